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
from eiderd.setup import privileges as setup_privileges
from eiderd.setup import search as setup_search
from eiderd.setup import units as setup_units
from eiderd.setup.facts import Application, usable_path
from eiderd.setup.plan import USER, Command, Folder, Step, Write
from eiderd.setup.sandbox import STATE
from eiderd.words import is_unicode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.config import Settings
    from eiderd.outside.host import Host
    from eiderd.setup.evidence import Data

# What ProtectHome=yes and PrivateTmp=yes hide from the service.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the person said. `access` is acl, group or none; `docker`: eiderd may speak with it."""

    config: str
    database: str | None = None
    unit: str | None = None
    compose: str | None = None
    container: str | None = None
    backups: str | None = None
    access: str | None = None
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
    _ensure_place(wishes)
    application = setup_search.find(
        host,
        database=wishes.database,
        unit=wishes.unit,
        compose=wishes.compose,
        container=wishes.container,
        configured=_configured_database(host, wishes),
    )
    data = host.data(application.database)
    notes = [*application.notes]
    steps: list[Step] = list(_installed(host, wishes)) if wishes.systemd else []
    settings, steps_here = _configured(host, wishes, application, data, notes)
    steps += steps_here
    if not wishes.is_own and (host.user(USER) or wishes.systemd):
        given = setup_privileges.steps(
            host,
            settings,
            data,
            config=wishes.config,
            access=wishes.access,
            docker=wishes.docker,
            notes=notes,
        )
        made = {step.path for step in steps if isinstance(step, Folder)}
        steps += [step for step in given if not (isinstance(step, Folder) and step.path in made)]
    else:
        why = f"{wishes.config} is not below /etc" if wishes.is_own else f"there is no user {USER}"
        notes.append(
            f"{why}: eiderd may read what whoever runs it may read. "
            "For a service of its own, as root: eider setup --systemd"
        )
    return Plan(application=application, steps=tuple(steps), notes=tuple(notes))


def _ensure_place(wishes: Wishes) -> None:
    if not is_unicode(wishes.config) or not posixpath.isabs(wishes.config):
        raise ConfigError(
            f"{wishes.config!r} is no place for the configuration",
            hint="Name it from the root: eider --config /etc/eiderd/eiderd.toml setup",
        )
    if wishes.systemd and wishes.is_own:
        raise ConfigError(
            "the service reads a configuration below /etc",
            hint="Leave --config away: eider setup --systemd",
        )


def _configured_database(host: Host, wishes: Wishes) -> str | None:
    """Return the database that is configured already, if there is one."""
    text = host.text(wishes.config)
    path = setup_configuration.database_of(text, path=wishes.config) if text else None
    return path if path and usable_path(path) and host.is_file(path) else None


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
                makes=STATE,
                why="where the mirror, the journal and backups stand",
            )


def _command(*words: str, makes: str, why: str) -> Command:
    return Command(what=f"run {' '.join(words)}", why=why, words=words, makes=makes)


def _bin_folder(host: Host) -> str:
    """Return where the commands of this installation are, if the service can run them there."""
    folder = str(Path(sys.executable).parent)
    if host.is_this_machine:
        for place in (folder, sys.base_prefix):  # the commands, and the Python that they are for
            if any(place.startswith(f"{hidden}/") for hidden in _HIDDEN):
                raise ConfigError(
                    f"the service cannot run what is in {place}: its sandbox hides that",
                    hint="Install eiderd elsewhere, with the system's Python: PIPX_HOME=/opt/pipx "
                    "PIPX_BIN_DIR=/usr/local/bin pipx install . Or: python3 -m venv /opt/eiderd",
                )
        _must_be_open(host, folder)
    return folder


def _must_be_open(host: Host, folder: str) -> None:
    """Raise when the service's user may not run what root has installed, as with a umask of 077."""
    above = [str(one) for one in reversed(Path(sys.prefix).parents)]
    closed = [one for one in above if not host.standing(one).mode & 1]
    inside = (sys.prefix, folder, f"{folder}/eiderd")
    if closed or not all(host.standing(one).mode & 1 for one in inside):
        pass_through = f"chmod a+x {' '.join(closed)} && " if closed else ""
        raise ConfigError(
            f"the service cannot run what is in {folder}: its user may not enter or read it",
            hint=f"Let everybody: {pass_through}chmod -R a+rX {sys.prefix}",
        )


# The configuration ------------------------------------------------------------------------------


def _configured(
    host: Host, wishes: Wishes, application: Application, data: Data, notes: list[str]
) -> tuple[Settings, list[Step]]:
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
    document = setup_configuration.merged(old, found=found, first=first)
    new = (text or "") if document is None else setup_configuration.text_of(document)
    settings = _meant(host, new, of=wishes.config)
    if application.kind == "docker" and settings.application.kind != "docker":
        notes.append(
            "eiderd's service will not speak with Docker, which would make it as good as root: "
            f"stop {application.name} yourself before a restore, or run: eider setup --docker"
        )
    return settings, [*steps, _written(wishes, new)]


def _meant(host: Host, text: str, *, of: str) -> Settings:
    try:
        return host.trying(text, lambda file: config.load(file)[0])
    except ConfigError as error:
        raise ConfigError(
            "what would be configured cannot be meant: " + error.message.partition(":")[2].strip(),
            hint=f"See what is in {of}: eider config check. Or: eider setup --help",
        ) from error


def _written(wishes: Wishes, text: str) -> Write:
    return Write(
        what=f"write {wishes.config}",
        why="where the database is, where its backups go, and which are kept; "
        "every other setting stands there as a comment, with its default",
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
        taken = (host.device_of(STATE),)
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
