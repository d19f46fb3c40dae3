"""Setup looks around, and makes a plan of what was found: steps, each with its reason."""

from __future__ import annotations

import dataclasses
import posixpath
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eiderd import config, resources
from eiderd.errors import ConfigError
from eiderd.setup import configuration as setup_configuration
from eiderd.setup import plan as setup_plan
from eiderd.setup import search as setup_search
from eiderd.setup import unit_file as setup_unit_file
from eiderd.setup import units as setup_units
from eiderd.setup.facts import Application
from eiderd.setup.plan import USER, Command, Folder, Step, Write
from eiderd.words import is_unicode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.evidence import Data
    from eiderd.outside.host import Host


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the person said. `access` is acl, group or none; `docker`: eiderd may speak with it."""

    config: str
    database: str | None = None
    unit: str | None = None
    compose: str | None = None
    container: str | None = None
    backups: str | None = None
    access: str = "acl"
    docker: bool = False
    systemd: bool = False

    @property
    def is_own(self) -> bool:
        """Say whether this is not for the machine's service: a person's own configuration."""
        return not self.config.startswith("/etc/")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was found, what is to be done about it, and what a person should know."""

    application: Application | None
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()


def plan(host: Host, wishes: Wishes) -> Plan:
    """Return what is to be done. Raise when there is nothing to be done it with."""
    if not is_unicode(wishes.config) or not posixpath.isabs(wishes.config):
        raise ConfigError(
            f"{wishes.config!r} is no place for the configuration",
            hint="Name it from the root: eider --config /etc/eiderd/eiderd.toml setup",
        )
    application = setup_search.find(
        host,
        database=wishes.database,
        unit=wishes.unit,
        compose=wishes.compose,
        container=wishes.container,
    )
    data = host.data(application.database)
    notes = [*application.notes]
    if wishes.systemd and wishes.is_own:
        raise ConfigError(
            "the service reads a configuration below /etc",
            hint="Leave --config away: eider setup --systemd",
        )
    steps: list[Step] = list(_installed(host, wishes)) if wishes.systemd else []
    document, steps_here = _configured(host, wishes, application, data, notes)
    steps += steps_here
    if not wishes.is_own and (host.user(USER) or wishes.systemd):
        backups = document.get("backup", {}).get("directory", setup_plan.BACKUPS)
        steps += _privileged(host, wishes, application, data, backups=backups, notes=notes)
    else:
        why = f"{wishes.config} is not below /etc" if wishes.is_own else f"there is no user {USER}"
        notes.append(
            f"{why}: eiderd may read what whoever runs it may read. "
            "For a service of its own, as root: eider setup --systemd"
        )
    return Plan(application=application, steps=tuple(steps), notes=tuple(notes))


# Without a package ------------------------------------------------------------------------------


def _installed(host: Host, wishes: Wishes) -> Iterator[Step]:
    if packaged := host.files(setup_units.PACKAGED):
        raise ConfigError(
            f"a package has brought {packaged[0]}", hint="Leave --systemd away: eider setup"
        )
    bin_folder = _bin_folder(host)
    folder = resources.units()
    shipped = {name: (folder / name).read_text() for name in setup_units.PLACES}
    texts = setup_units.files(shipped, bin_folder=bin_folder, config=wishes.config)
    why = {
        "/etc/systemd": f"a unit that starts {bin_folder}/eiderd within its sandbox",
        "/etc/polkit-1": "eiderd may start its own maintenance units, and nothing else",
        "/etc/dbus-1": "polkit, not the bus, decides which unit eiderd may freeze",
        "/etc/sysusers.d": "the service runs as a user of its own",
        "/etc/tmpfiles.d": "where the mirror, the journal and backups stand",
    }
    for path, text in texts.items():
        said = next(reason for place, reason in why.items() if path.startswith(place))
        yield Write(what=f"write {path}", why=said, path=path, text=text)
        if "sysusers" in path:
            yield _command(
                "systemd-sysusers", path, makes=USER, why="the service runs as nobody else"
            )
        elif "tmpfiles" in path:
            yield _command(
                "systemd-tmpfiles",
                "--create",
                path,
                makes=setup_plan.STATE,
                why="where the mirror, the journal and backups stand",
            )


def _command(*words: str, makes: str, why: str) -> Command:
    return Command(what=f"run {' '.join(words)}", why=why, words=words, makes=makes)


def _bin_folder(host: Host) -> str:
    """Return where the commands of this installation are, if the service can run them there."""
    folder = str(Path(sys.executable).parent)
    if host.is_this_machine and any(
        folder.startswith(f"{hidden}/")
        for hidden in ("/home", "/root", "/tmp", "/run/user")  # noqa: S108
    ):
        raise ConfigError(
            f"the service cannot run what is in {folder}: its sandbox hides that",
            hint="Install eiderd elsewhere: python3 -m venv /opt/eiderd, or pipx install --global.",
        )
    return folder


# The configuration ------------------------------------------------------------------------------


def _configured(
    host: Host, wishes: Wishes, application: Application, data: Data, notes: list[str]
) -> tuple[dict[str, Any], list[Step]]:
    """Return the configuration as it will be, and the steps that lead there."""
    text = host.text(wishes.config)
    old = None if text is None else setup_configuration.read(text, path=wishes.config)
    first: dict[str, Any] = {}
    steps: list[Step] = []
    if old is None or setup_configuration.is_untouched(old) or wishes.backups:
        first, steps = _first(host, wishes, data, notes)
    found = setup_configuration.wanted(
        application, database=application.database, docker=wishes.docker
    )
    if wishes.backups:
        found["backup"] = {"directory": wishes.backups}
    if application.kind == "docker" and not wishes.docker:
        notes.append(
            "eiderd's service will not speak with Docker, which would make it as good as root: "
            f"stop {application.name} yourself before a restore, or run: eider setup --docker"
        )
    document = setup_configuration.merged(old, found=found, first=first)
    if document is None:
        return old or {}, [*steps, _written(wishes, text or "")]
    new = setup_configuration.text_of(document)
    try:
        host.trying(new, _is_meant)
    except ConfigError as error:
        raise ConfigError(
            "what would be configured cannot be meant: " + error.message.partition(":")[2].strip(),
            hint=f"See what is in {wishes.config}: eider config check. Or: eider setup --help",
        ) from error
    return document, [*steps, _written(wishes, new)]


def _is_meant(file: Path) -> None:
    config.load(file)


def _written(wishes: Wishes, text: str) -> Write:
    return Write(
        what=f"write {wishes.config}",
        why="where the database is, where its backups go, and which are kept",
        path=wishes.config,
        text=text,
        keeps_old=True,
    )


def _first(
    host: Host, wishes: Wishes, data: Data, notes: list[str]
) -> tuple[dict[str, Any], list[Step]]:
    """Return what only a new configuration gets, and the folder that is made for it."""
    if wishes.is_own and not host.is_root:
        state = str(Path.home() / ".local" / "state" / "eiderd")
        where = wishes.backups or f"{state}/backups"
        return setup_configuration.chosen(state=state, backups=where), []
    backups = wishes.backups
    if backups is None:
        taken = (host.device_of(setup_plan.STATE),)
        if disk := setup_plan.disk_for_backups(data, host.disks(), taken=taken):
            backups = posixpath.join(disk.mount, "eiderd")
            notes.append(f"backups go to {backups}, which is on another disk than the database")
        elif data.device in taken:
            notes.append(
                "backups stand on the disk of the database: whatever loses it loses both. "
                "For another place: eider setup --backups FOLDER"
            )
    steps: list[Step] = []
    if backups and backups != setup_plan.BACKUPS:
        why = "backups stand here; nobody but eiderd may enter"
        steps.append(Folder(what=f"make the folder {backups}", why=why, path=backups))
    return setup_configuration.chosen(state=None, backups=backups), steps


# Privileges -------------------------------------------------------------------------------------


def _privileged(
    host: Host,
    wishes: Wishes,
    application: Application,
    data: Data,
    *,
    backups: str,
    notes: list[str],
) -> Iterator[Step]:
    groups = ["docker"] if wishes.docker else []
    if not setup_plan.is_open(data):
        if wishes.access == "group":
            groups.append(setup_plan.group_of(data))
            notes.append(f"eiderd will be able to read whatever the group {groups[-1]} may read")
        elif wishes.access == "acl":
            if not host.has("setfacl"):
                raise ConfigError(
                    f"{USER} may not read the database, and setfacl is not installed",
                    hint="apt-get install acl; where there is none: eider setup --access group",
                )
            yield from setup_plan.grants(data)
            yield from _lasting(host, application, data)
        else:
            notes.append(f"see to it yourself that {USER} may read {data.path}")
    written = dict(setup_plan.drop_ins(data=data, backups=backups, groups=groups))
    texts = {path: setup_units.sealed(text) for path, text in written.items()}
    if application.kind == "systemd":
        template = (resources.units() / setup_units.TEMPLATE).read_text()
        rules = setup_units.application_rules(template, unit=application.name)
        texts[setup_plan.APPLICATION_RULES] = rules
    why = {
        setup_plan.SERVICE_DROP_IN: "what the service needs of this machine, beyond its sandbox",
        setup_plan.MAINTAIN_DROP_IN: "a restore writes in the folder of the database, nowhere else",
        setup_plan.APPLICATION_RULES: f"eiderd may start, stop and freeze {application.name}, "
        "no other unit",
    }
    for path, text in texts.items():
        yield Write(what=f"write {path}", why=why[path], path=path, text=text)
    yield Command(
        what=f"run {' '.join(setup_plan.RELOAD)}",
        why="systemd reads its files anew",
        words=setup_plan.RELOAD,
        after=("/etc/systemd/system/",),
    )


def _lasting(host: Host, application: Application, data: Data) -> Iterator[Write]:
    if application.kind != "systemd":
        return
    unit = setup_unit_file.parse(application.name, host.unit_texts(application.name).values())
    mode = setup_plan.mode_that_lasts(unit, data)
    path, text = setup_plan.mode_drop_in(unit, mode or 0o750)
    if mode is None and host.text(path) is None:
        return
    # Ours, once it is there, is why nothing is needed any more: it is told of as done.
    text = setup_units.sealed(text) if mode is not None else host.text(path) or ""
    why = "systemd sets that folder's mode at each start, and 0700 would shut eiderd out again"
    yield Write(what=f"write {path}", why=why, path=path, text=text)
