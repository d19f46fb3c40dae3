"""What the user of the service, and the sandbox of its units, are given for a configuration."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from eiderd import resources
from eiderd.errors import ConfigError
from eiderd.setup import needs as setup_needs
from eiderd.setup import plan as setup_plan
from eiderd.setup import record as setup_record
from eiderd.setup import sandbox as setup_sandbox
from eiderd.setup import unit_file as setup_unit_file
from eiderd.setup import units as setup_units
from eiderd.setup.plan import USER, Command, Folder, Remove, Step, Write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eiderd.config import Settings
    from eiderd.outside.host import Host
    from eiderd.setup.evidence import Data
    from eiderd.setup.sandbox import Allowed, Needs

_UNITS: Final = {
    setup_plan.SERVICE_DROP_IN: "eiderd.service",
    setup_plan.MAINTAIN_DROP_IN: "eiderd-maintain@.service",
}
_WHY: Final = {
    setup_plan.SERVICE_DROP_IN: "what the service needs of this machine, beyond its sandbox",
    setup_plan.MAINTAIN_DROP_IN: "compact.window and heal.restore write in the folder of the "
    "database, nowhere else",
}


def steps(
    host: Host,
    settings: Settings,
    data: Data,
    *,
    config: str,
    access: str | None,
    docker: bool,
    notes: list[str],
) -> Iterator[Step]:
    """Return what lets eiderd read the data, and the units what the settings name.

    `access` is acl, group or none; None: as it is, else acl. Raise ConfigError when that cannot be.
    """
    groups = ["docker"] if docker else []
    if not setup_plan.is_open(data):
        before = setup_sandbox.groups_in(host.text(setup_plan.SERVICE_DROP_IN) or "")
        match access or ("group" if data.folder.group in before else "acl"):
            case "group":
                groups.append(setup_plan.group_of(data))
                notes.append(
                    f"eiderd will be able to read whatever the group {groups[-1]} may read"
                )
            case "acl":
                yield from _lists(host, settings, data, notes)
            case _:
                notes.append(f"see to it yourself that {USER} may read {data.path}")
    yield from _sandboxes(host, settings, groups=groups, notes=notes)
    yield from _rules(settings)
    yield _command(
        *setup_plan.RELOAD, why="systemd reads its files anew", after=("/etc/systemd/system/",)
    )
    if host.is_active("eiderd.service"):
        yield _command(
            *setup_plan.RESTART,
            why="it reads its configuration, and gets its sandbox, when it begins",
            after=("/etc/systemd/system/eiderd.service", config),
        )


def _lists(host: Host, settings: Settings, data: Data, notes: list[str]) -> Iterator[Step]:
    if not (host.has("setfacl") and host.has("getfacl")):
        raise ConfigError(
            f"{USER} may not read the database, and setfacl is not installed",
            hint="Install acl (apt-get install acl, or dnf); where there is none: "
            "eider setup --access group",
        )
    given = tuple(setup_plan.grants(data))
    if strange := next((one.path for one in given if not one.path.isprintable()), None):
        raise ConfigError(
            f"{strange!r} cannot be noted, to be taken back once",
            hint="Rename it, or see to it yourself: eider setup --access none",
        )
    if host.text(setup_record.PLACE) is None:
        notes.append(
            f"what {USER} is given to read is noted in {setup_record.PLACE}: eider setup --remove, "
            "or purging the package, takes it back"
        )
    yield from given
    name = settings.application.unit
    if settings.application.kind != "systemd" or not name:
        return
    unit = setup_unit_file.parse(name, host.unit_texts(name).values())
    mode = setup_plan.mode_that_lasts(unit, data)
    path, text = setup_plan.mode_drop_in(unit, mode or 0o750)
    if mode is None and host.text(path) is None:
        return
    # Ours, once it is there, is why nothing is needed any more: it is told of as done.
    text = setup_units.sealed(text) if mode is not None else host.text(path) or ""
    why = "systemd sets that folder's mode at each start, and 0700 would shut eiderd out again"
    yield Write(what=f"write {path}", why=why, path=path, text=text)


def _rules(settings: Settings) -> Iterator[Step]:
    unit = settings.application.unit
    if settings.application.kind != "systemd" or not unit:
        return
    template = (resources.units() / setup_units.TEMPLATE).read_text()
    path = setup_plan.APPLICATION_RULES
    yield Write(
        what=f"write {path}",
        why=f"eiderd may start, stop and freeze {unit}, no other unit",
        path=path,
        text=setup_units.application_rules(template, unit=unit),
    )


# The sandboxes ----------------------------------------------------------------------------------


def _sandboxes(
    host: Host, settings: Settings, *, groups: list[str], notes: list[str]
) -> Iterator[Step]:
    eyes = setup_needs.Eyes(look_up=host.addresses, real=host.real, nameservers=host.nameservers())
    made: set[str] = set()
    for path, name in _UNITS.items():
        writes = path == setup_plan.MAINTAIN_DROP_IN
        if writes and not setup_needs.is_changed(settings):
            yield from _drop_in(host, path, None)
            continue
        needs = setup_needs.of(settings, eyes, writes=writes)
        more = [] if writes else notes  # each is told once
        needs = dataclasses.replace(needs, groups=_groups(host, needs.groups, groups, more))
        more += _told(settings, needs)
        lacks = list(setup_sandbox.missing(needs, _without_ours(host, name, path)))
        for folder in setup_sandbox.opened(lacks, needs):
            if folder not in made:
                made.add(folder)
                why = "a unit that names a folder which is not there does not start"
                yield Folder(what=f"make the folder {folder}", why=why, path=folder)
        yield from _drop_in(host, path, setup_sandbox.drop_in(lacks, needs))


def _without_ours(host: Host, name: str, drop_in: str) -> Allowed:
    """Return what a unit lets through but for what setup wrote: what a person wrote counts."""
    texts = host.unit_texts(name) or {name: (resources.units() / name).read_text()}
    texts.pop(drop_in, None)
    words = setup_unit_file.words(texts.values(), setup_sandbox.PROPERTIES)
    return setup_sandbox.allowed(words)


def _groups(
    host: Host, needed: Iterable[str], given: Iterable[str], notes: list[str]
) -> tuple[str, ...]:
    """Return the groups the service is to be in. With one that is not there, it would not start."""
    absent = [name for name in needed if name not in given and not host.has_group(name)]
    notes += [f"there is no group {name}: see to it that eiderd may use it" for name in absent]
    return tuple(sorted({*needed, *given} - {*absent}))


def _told(settings: Settings, needs: Needs) -> Iterator[str]:
    """Return what a person should know of what the sandbox is opened for."""
    for peer in needs.peers:
        if not peer.addresses:
            yield (
                f"{peer.host} ({peer.setting}) cannot be looked up, so it is not let through: "
                "run eider setup again when it can be"
            )
        elif peer.is_name and not all(map(setup_sandbox.is_loopback, peer.addresses)):
            yield (
                f"{peer.host} ({peer.setting}) is {', '.join(peer.addresses)} now, and only that "
                "is let through: when it changes, eider doctor says so, and setup follows"
            )
    if needs.served:
        yield (
            "server.listen is not for this machine alone: private networks may reach the service. "
            "For less, or more: systemctl edit eiderd, IPAddressAllow=ADDRESS; then eider setup"
        )
    if settings.application.kind == "commands" or settings.application.version_command:
        yield (
            "what eiderd runs for you (application.commands, version_command) runs in its sandbox: "
            "what it needs beyond that, give it with systemctl edit eiderd"
        )


def _drop_in(host: Host, path: str, text: str | None) -> Iterator[Step]:
    if text is not None:
        text = setup_units.sealed(text)
        yield Write(what=f"write {path}", why=_WHY[path], path=path, text=text)
    elif setup_units.is_sealed(host.text(path) or ""):
        yield Remove(what=f"remove {path}", why="its unit needs nothing more", path=path)


def _command(*words: str, why: str, after: tuple[str, ...]) -> Command:
    return Command(what=f"run {' '.join(words)}", why=why, words=words, after=after)
