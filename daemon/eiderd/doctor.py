"""What the doctor concludes from what was seen: what is well, and what to type otherwise. Pure."""

from __future__ import annotations

import dataclasses
import enum
import shlex
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal

from eiderd.health import Finding, Kind, Severity
from eiderd.units import spoken
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eiderd.evidence import (
        ApplicationSeen,
        DatabaseSeen,
        EngineSeen,
        ServiceSeen,
    )
    from eiderd.setup.sandbox import Lack

_OTHERS_WRITE: Final = 0o022
_OLDEST_PYTHON: Final = (3, 11)


class Mark(enum.StrEnum):
    """How one thing is. The last is the worst."""

    WELL = "well"
    NOTE = "note"  # nothing is wrong, and a person may want to know it
    WARNING = "warning"
    PROBLEM = "problem"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. `command` is the remedy, if one is needed.

    What only takes up room also says how much, in bytes, and for how long.
    """

    name: str
    mark: Mark
    said: str
    command: str = ""
    bytes: int | None = None
    age_seconds: float | None = None


def _well(name: str, said: str) -> Check:
    return Check(name=name, mark=Mark.WELL, said=said)


def _warning(name: str, said: str, command: str) -> Check:
    return Check(name=name, mark=Mark.WARNING, said=said, command=command)


def _problem(name: str, said: str, command: str) -> Check:
    return Check(name=name, mark=Mark.PROBLEM, said=said, command=command)


def is_all_well(checks: Sequence[Check]) -> bool:
    return bool(checks) and all(check.mark in {Mark.WELL, Mark.NOTE} for check in checks)


def as_typed(checks: Sequence[Check], *, systemd: bool) -> tuple[Check, ...]:
    """Given what to type on a machine with systemd, return what to type on this one."""
    if systemd:
        return tuple(checks)
    return tuple(dataclasses.replace(one, command=_without(one.command)) for one in checks)


def _without(command: str) -> str:
    match command.split():
        case ["journalctl", "-u", "eiderd", *_]:
            return "eider status"
        case ["systemctl", *_, "eiderd"]:
            return "eiderd"
        case ["timedatectl", *_]:
            return "date"
        case _:
            return command


def unseen(name: str, *, why: str, command: str) -> Check:
    """Say that a thing could not be looked at: that is a problem, never silence."""
    return _problem(name, f"it could not be looked at: {why}", command or "dmesg | tail")


# This machine -----------------------------------------------------------------------------------


def of_configuration(path: str | None, *, owner: str, group: str, mode: int) -> Check:
    if path is None:
        return _warning(
            "configuration",
            "there is no file: only defaults and the environment count",
            "sudo eider setup",
        )
    said = f"{path}, of {owner}:{group}, mode {mode:04o}"
    if mode & _OTHERS_WRITE:
        others = "everybody" if mode & 0o002 else f"the group {group}"
        return _problem(
            "configuration",
            f"{said}: {others} may change what eiderd does",
            f"chmod go-w {shlex.quote(path)}",
        )
    readers = "everybody" if mode & 0o004 else f"the group {group}" if mode & 0o040 else owner
    return _well("configuration", f"{said}: {readers} may read it")


def of_python(version: str) -> Check:
    numbers = tuple(map(int, version.split(".")[:2]))
    if numbers < _OLDEST_PYTHON:
        return _problem(
            "python", f"Python {version} is too old: 3.11 is needed", "python3 --version"
        )
    return _well("python", f"Python {version}")


def of_tools(missing: Sequence[str]) -> Check:
    if missing:
        return _problem(
            "tools",
            f"{', '.join(missing)} missing: no child process can be started",
            "apt-get install util-linux coreutils (or dnf)",
        )
    return _well("tools", "setpriv, prlimit and ionice are there")


def of_clock(*, doubtful: bool, synchronised: bool | None) -> Check:
    if doubtful:
        return _warning("clock", "it was set by more than five minutes lately", "timedatectl")
    if synchronised is False:
        return _warning("clock", "nobody keeps it in time", "timedatectl set-ntp true")
    said = "it is kept in time" if synchronised else "it was steady; systemd says nothing of it"
    return _well("clock", said)


def of_service(*, running: bool, address: str, seen: ServiceSeen) -> Check:
    if seen.answers and running:
        return _well("service", f"it runs and answers on {address}")
    if seen.answers:
        return _warning(
            "service",
            f"something answers on {address}, but no service of this state folder runs",
            "eider config show",
        )
    if running:
        return _problem(
            "service",
            f"it runs, but does not answer on {address}: {seen.said}",
            "journalctl -u eiderd -n 50",
        )
    return _warning("service", "it does not run", "systemctl enable --now eiderd")


def of_journal(trouble: str, *, command: str, runs: int) -> Check:
    if trouble:
        return _problem("journal", f"it cannot be read: {trouble}", command)
    return _well("journal", f"it is readable, with {many(runs, 'run') if runs else 'no run yet'}")


def of_sandbox(lacks: Sequence[Lack]) -> Iterator[Check]:
    """Return what the units in force keep from the service, as the configuration needs it."""
    for lack in lacks:
        yield _problem("sandbox", lack.said, lack.command)
    if not lacks:
        yield _well("sandbox", "it lets through all that the configuration names")


# The database -----------------------------------------------------------------------------------


def of_database(path: str, seen: DatabaseSeen) -> Iterator[Check]:
    if seen.problem:
        # While an exchange has not ended there may be none: to make a new one would be wrong.
        yield _problem("database", seen.problem, seen.to_end or seen.hint)
    else:
        what = ", encrypted: no engine can prove its backups" if seen.encrypted else ""
        maker = seen.engine.removeprefix("v") or "?"
        said = f"{path}, {decimal(seen.bytes)}, made by DuckDB {maker}, "
        said += f"format {seen.storage_version}{what}"
        if seen.encrypted:
            yield _warning("database", said, "eider runbook unverified_backup")
        else:
            yield _well("database", said)
    yield _of_logs(seen)
    yield _of_holder(seen)
    if seen.unfinished:
        yield _problem(
            "exchange",
            f"this did not end: {seen.unfinished}; the same verb again finishes or undoes it first",
            seen.to_end,
        )


def _of_logs(seen: DatabaseSeen) -> Check:
    said = ", ".join(f"{name} {decimal(size)}" for name, size in seen.logs.items())
    cut_short = [name for name in seen.logs if not name.endswith(".wal")]
    if cut_short and not seen.holder:
        return _warning(
            "wal",
            f"{said}: a checkpoint was cut short, and only DuckDB 1.5 or later replays "
            f"{' and '.join(cut_short)}",
            "eider backup",
        )
    return _well("wal", said or "none beside the database")


def _of_holder(seen: DatabaseSeen) -> Check:
    if seen.holder:
        return _well("lock", f"held by {seen.holder}")
    return _well("lock", "nobody has the database open")


def of_application(seen: ApplicationSeen) -> Check:
    if seen.frozen:
        said = f"{seen.name} is frozen: it does nothing until it is thawed"
        return _warning("application", said, seen.to_thaw)
    if seen.health is not None and seen.health.well:
        return _well("application", f"{seen.name} is {seen.state} and well: {seen.health.why}")
    why = f", and not well: {plain(seen.health.why)}" if seen.health else ""
    why = f": {plain(seen.why)}" if seen.why else why
    return _warning("application", f"{seen.name} is {seen.state}{why}", seen.to_see_why)


def of_no_application() -> Check:
    return _well("application", "eiderd looks after its database alone (application.kind)")


# Room -------------------------------------------------------------------------------------------


def of_room(refused: str, *, command: str, needed: int) -> Check:
    if refused:
        return _problem("room", refused, command)
    return _well("room", f"the next backup fits: it needs about {decimal(needed)}")


# Engines ----------------------------------------------------------------------------------------


def of_engines(seen: Sequence[EngineSeen], *, application: str | None) -> Iterator[Check]:
    for one in seen:
        what = "bundled" if one.bundled else "installed beside it"
        if one.problem:
            yield _problem(
                "engine",
                f"DuckDB {one.version or '?'} ({what}) does not work: {one.problem}",
                "apt-get install --reinstall eiderd, dnf reinstall eiderd or pipx reinstall eiderd"
                if one.bundled
                else f"eider engine add {one.version}",
            )
        else:
            yield _well("engine", f"DuckDB {one.version} works ({what})")
    works = {one.version: one for one in seen if not one.problem}
    wanted = (application or "").removeprefix("v")
    if wanted and wanted not in works:
        yield _warning(
            "application's engine",
            f"DuckDB {wanted}, which the application runs, is not installed: "
            "backups are proven by another",
            f"eider engine add {wanted}",
        )
    elif not wanted:
        said = "engine.application is not set: the bundled engine proves backups"
        yield _well("application's engine", said)
    proving = works.get(wanted) or next((one for one in works.values() if one.bundled), None)
    if proving and proving.spatial is not None:
        has = "installed" if proving.spatial else "not installed"
        why = "" if proving.spatial else "; only RTREE indexes need it"
        yield _well("spatial", f"it is {has} for DuckDB {proving.version}{why}")


# What there is to restore -----------------------------------------------------------------------


def of_backups(
    *,
    age_seconds: float | None,
    fresh_seconds: float,
    newest: str,
    rules: Mapping[str, object],
    known: bool = True,
) -> Iterator[Check]:
    if not known:
        yield _problem("backup", "which backups there are is not known", "eider list")
    elif age_seconds is None:
        yield _problem("backup", "there is no verified backup", "eider backup")
    elif age_seconds > fresh_seconds:
        said = f"the newest verified one, {newest}, is {spoken(age_seconds)} old"
        yield _problem("backup", f"{said}; the limit is {spoken(fresh_seconds)}", "eider backup")
    else:
        yield _well("backup", f"the newest verified one, {newest}, is {spoken(age_seconds)} old")
    meant = {name: value for name, value in rules.items() if value and name != "min_count"}
    if meant:
        yield _well("retention", ", ".join(f"{name} {value}" for name, value in meant.items()))


_SAID_ALREADY: Final = {
    Kind.APPLICATION_DOWN,
    Kind.APPLICATION_UNHEALTHY,
    Kind.CLOCK_JUMPED,
    Kind.EXCHANGE_UNFINISHED,
    Kind.JOURNAL_UNWRITABLE,
    Kind.NO_VERIFIED_BACKUP,
}
_MARKS: Final = {
    Severity.CRITICAL: Mark.PROBLEM,
    Severity.WARNING: Mark.WARNING,
    Severity.NOTICE: Mark.WARNING,
}


def of_findings(findings: Sequence[Finding]) -> Iterator[Check]:
    """Return what the watchers see at this moment, but what the doctor has seen for himself."""
    for found in findings:
        if found.kind in _SAID_ALREADY:
            continue
        yield Check(
            name=str(found.kind).replace("_", " "),
            mark=_MARKS[found.severity],
            said=found.message,
            command=found.command,
        )


def of_problems(problems: Sequence[str]) -> Iterator[Check]:
    """Return what a well-formed configuration still lacks here."""
    for said in problems:
        yield _problem("configuration", said, "eider config check")
