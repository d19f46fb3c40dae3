"""What the status page says: every fact of a status as words, marks and places on a drawing. Pure.

The template only arranges it.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any, Final

from rich.filesize import decimal

from eiderd.health import Condition, Severity
from eiderd.model import RunOutcome, State
from eiderd.status import Frozen
from eiderd.units import short, spoken
from eiderd.web import drawings, heal_facts
from eiderd.words import many, plain

if TYPE_CHECKING:
    from eiderd.broker.evidence import NatsStanding
    from eiderd.evidence import ApplicationSeen
    from eiderd.health import Finding
    from eiderd.model import Brief, Drilled, Run
    from eiderd.status import Disk, Running, Status, Upcoming

_NEWEST, _RECENT, _FINDINGS = 20, 12, 50
_LONGEST_NOTE, _LONGEST_MESSAGE, _LONGEST_PATH = 120, 600, 160
_WIDE, _NARROW, _BAR = 1000.0, 340.0, 200.0
_SOON_FULL: Final = 7 * 86_400.0
_OTHER_YEAR: Final = 300 * 86_400.0
_NEVER_FULL: Final = 2 * 365 * 86_400.0

_SAID: Final = {
    Condition.WELL: "Nothing needs you.",
    Condition.DEGRADED: "Somebody should look within days.",
    Condition.ILL: "There is, or soon will be, nothing to restore. Somebody should look now.",
}
_MARKS: Final = {Condition.WELL: "✓", Condition.DEGRADED: "!", Condition.ILL: "✗"}
_SEVERITY_MARKS: Final = {Severity.CRITICAL: "✗", Severity.WARNING: "!", Severity.NOTICE: "i"}
_STATE_MARKS: Final = {
    State.VERIFIED: "✓",
    State.UNVERIFIED: "◆",
    State.SUSPECT: "▲",
    State.CORRUPT: "✗",
}
_OUTCOMES: Final = {
    RunOutcome.DONE: ("good", "✓", "done"),
    RunOutcome.NOTHING_TO_DO: ("quiet", "·", "nothing to do"),
    RunOutcome.UNPROVEN: ("warn", "◆", "unproven"),
    RunOutcome.REFUSED: ("warn", "!", "refused"),
    RunOutcome.FAILED: ("bad", "✗", "failed"),
    RunOutcome.INTERRUPTED: ("warn", "!", "interrupted"),
    RunOutcome.DIED: ("bad", "✗", "died"),
}
_FROZEN: Final = {
    Frozen.NO_RULES: "there are no retention rules",
    Frozen.NO_VERIFIED: "there is no verified backup",
    Frozen.UNREADABLE: "a manifest cannot be read",
    Frozen.SUSPECT: "the newest backup is suspect",
    Frozen.CLOCK: "the clock jumped",
}


def facts(status: Status, *, zone: datetime.tzinfo | None) -> dict[str, Any]:
    """Return what the template of the status page is given."""
    clock = _Clock(now=status.at, zone=zone)
    return {
        "title": _title(status),
        "at": clock.shown(status.at),
        "top": _top(status, clock=clock),
        "findings": [_finding(found, clock=clock) for found in status.findings[:_FINDINGS]],
        "more_findings": max(0, len(status.findings) - _FINDINGS),
        "running": [_running(running, clock=clock) for running in status.running],
        "upcoming": [_upcoming(upcoming, clock=clock) for upcoming in status.upcoming],
        "backups": _backups(status, clock=clock),
        "disks": [_disk(disk) for disk in status.disks],
        "application": _application(status.application),
        "nats": _nats(status.nats),
        "restore": _restore(status.drilled, clock=clock),
        "healing": heal_facts.facts(status, clock=clock),
        "runs": [_run(run, clock=clock) for run in status.recent[:_RECENT]],
        "schema": _schema(status),
        "service": _service(status, clock=clock),
    }


def _title(status: Status) -> str:
    age = status.age_seconds
    said = "no backup" if age is None else short(age)
    return f"{_MARKS[status.condition]} {said} · eiderd"


def _top(status: Status, *, clock: _Clock) -> dict[str, Any]:
    newest = status.newest_verified
    return {
        "condition": str(status.condition),
        "mark": _MARKS[status.condition],
        "said": _SAID[status.condition],
        "age": None if newest is None else spoken(status.age_seconds or 0.0),
        "at": None if newest is None else clock.shown(newest.created_at),
        "content": "" if newest is None else _content(newest),
        "size": "" if newest is None else decimal(newest.bytes),
        "limit": spoken(status.fresh_seconds),
        "blind": status.is_blind,
    }


def _content(newest: Brief) -> str:
    proof = newest.proof
    return f"{many(proof.rows, 'row')} of {many(proof.tables, 'table')}"


def _finding(found: Finding, *, clock: _Clock) -> dict[str, Any]:
    return {
        "kind": str(found.kind),
        "severity": str(found.severity),
        "mark": _SEVERITY_MARKS[found.severity],
        "message": _sentence(_cut(found.message, _LONGEST_MESSAGE)),
        "command": _cut(found.command, _LONGEST_MESSAGE),
        "since": None if found.since is None else clock.shown(found.since),
    }


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _running(running: Running, *, clock: _Clock) -> dict[str, Any]:
    elapsed = (clock.now - running.began_at).total_seconds()
    limit = running.limit_seconds
    return {
        "job": str(running.job),
        "elapsed": spoken(elapsed),
        "limit": None if limit is None else spoken(limit),
        "filled": drawings.share(elapsed, limit or 0.0, width=_BAR),
        "width": _BAR,
        "late": limit is not None and elapsed > limit,
    }


def _upcoming(upcoming: Upcoming, *, clock: _Clock) -> dict[str, Any]:
    return {
        "job": str(upcoming.job),
        "at": clock.shown(upcoming.at),
        "due": upcoming.at <= clock.now,
    }


def _backups(status: Status, *, clock: _Clock) -> dict[str, Any]:
    pinned = sum(backup.pinned for backup in status.backups)
    counted = status.counted()
    drawn = {
        name: drawings.timeline(
            status.backups,
            now=status.at,
            fresh_seconds=status.fresh_seconds,
            width=width,
            zone=clock.zone,
        )
        for name, width in (("wide", _WIDE), ("narrow", _NARROW))
    }
    return {
        "count": len(status.backups),
        "unreadable": status.unreadable,
        "total": decimal(sum(backup.bytes for backup in status.backups)),
        "counted": {str(state): count for state, count in counted.items() if count},
        "pinned": pinned,
        "timelines": {name: (line, _marks(line, clock=clock)) for name, line in drawn.items()},
        "legend": {str(state): drawings.outline(state, x=8, y=8, size=5) for state in State},
        "fresh": spoken(status.fresh_seconds) if drawn["wide"].fresh is not None else "",
        "frozen": "; ".join(_FROZEN[frozen] for frozen in status.frozen),
        "newest": [_backup(backup, clock=clock) for backup in status.backups[: -_NEWEST - 1 : -1]],
        "more": max(0, len(status.backups) - _NEWEST),
    }


def _marks(line: drawings.Timeline, *, clock: _Clock) -> list[tuple[drawings.Mark, str]]:
    """Return each mark with what it says when a pointer rests on it."""
    said = []
    for mark in line.marks:
        first, last = (f"{clock.local(at):%Y-%m-%d %H:%M}" for at in (mark.first, mark.last))
        when = last if mark.count == 1 else f"{first} to {last}"
        pinned = ", pinned" if mark.needle else ""
        said.append((mark, f"{mark.count} {mark.state}{pinned}: {when}"))
    return said


def _backup(backup: Brief, *, clock: _Clock) -> dict[str, Any]:
    reasons = "; ".join(backup.content.reasons) if backup.state is State.SUSPECT else ""
    return {
        "id": backup.id,
        "at": clock.shown(backup.created_at),
        "state": str(backup.state),
        "mark": _STATE_MARKS[backup.state],
        "size": decimal(backup.bytes),
        "rows": backup.proof.rows,
        "pinned": backup.pinned,
        "note": _cut(backup.note, _LONGEST_NOTE),
        "reasons": _cut(reasons, _LONGEST_NOTE),
    }


def _disk(disk: Disk) -> dict[str, Any]:
    seconds = disk.seconds_to_full
    soon = seconds is not None and seconds < _SOON_FULL
    if seconds is None or seconds > _NEVER_FULL:
        forecast = ""
    else:
        forecast = f"full in about {spoken(seconds)}"
    return {
        "place": str(disk.place),
        "path": _cut(disk.path, _LONGEST_PATH),
        "free": decimal(max(0, disk.free_bytes)),
        "total": decimal(max(0, disk.total_bytes)),
        "used": drawings.share(disk.total_bytes - disk.free_bytes, disk.total_bytes, width=_BAR),
        "width": _BAR,
        "forecast": forecast,
        "soon": soon,
    }


def _run(run: Run, *, clock: _Clock) -> dict[str, Any]:
    tone, mark, outcome = ("quiet", "…", "running")
    if run.outcome is not None:
        tone, mark, outcome = _OUTCOMES[run.outcome]
    return {
        "job": str(run.job),
        "at": clock.shown(run.began_at),
        "took": _took(run.seconds),
        "tone": tone,
        "mark": mark,
        "outcome": outcome,
        "why": _cut(run.why, _LONGEST_NOTE),
    }


def _application(seen: ApplicationSeen | None) -> str:
    if seen is None:
        return ""
    state = "frozen" if seen.frozen else str(seen.state)
    health = "" if seen.health is None else ", and well" if seen.health.well else ", and not well"
    return f"{seen.name}: {state}{health}"


def _nats(standing: NatsStanding | None) -> str:
    if standing is None:
        return ""
    seen = standing.seen
    if seen is None:
        return "not reached"
    there = [stream for stream in seen.streams if stream.there and not stream.problem]
    streams = f"{len(there)} of {many(len(standing.expected), 'stream')}"
    return f"{plain(seen.version)} answers in {seen.rtt_seconds * 1000:.1f} ms, has {streams}"


def _restore(drilled: Drilled | None, *, clock: _Clock) -> str:
    if drilled is None:
        return ""
    away = clock.shown(drilled.at)["away"]
    return f"takes about {_took(drilled.seconds)}, measured {away} ago with {drilled.backup}"


def _schema(status: Status) -> str:
    """Say which schema and application were seen last; nothing when no version is known."""
    latest = status.schema.latest
    if latest is None or latest.seen.version is None:
        return ""
    said = f"version {latest.seen.version}"
    return _cut(f"{said}, application {latest.application}" if latest.application else said, 80)


def _service(status: Status, *, clock: _Clock) -> dict[str, Any]:
    return {
        "database": _cut(status.database, _LONGEST_PATH),
        "database_size": decimal(status.database_bytes) if status.database_bytes else "",
        "directory": _cut(status.directory, _LONGEST_PATH),
        "since": None if status.service.since is None else clock.shown(status.service.since),
        "version": status.version,
    }


# Words ------------------------------------------------------------------------------------------


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 0.1:  # noqa: PLR2004
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else short(seconds)  # noqa: PLR2004


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Clock:
    now: datetime.datetime
    zone: datetime.tzinfo | None

    def local(self, moment: datetime.datetime) -> datetime.datetime:
        return moment.astimezone(self.zone)

    def shown(self, moment: datetime.datetime) -> dict[str, Any]:
        """Return a time as a template wants it: for people, exactly, and for machines."""
        local, utc = self.local(moment), moment.astimezone(datetime.UTC)
        away = abs((self.now - moment).total_seconds())
        date = f"{local.day} {local:%b}"
        if away > _OTHER_YEAR:
            date += f" {local:%Y}"
        return {
            "weekday": f"{local:%a}",
            "date": f"{date} {local:%H:%M}",
            "brief": f"{local:%a} {date}, {local:%H:%M}",
            "is_utc": not local.utcoffset(),
            "full": f"{local:%A} {local.day} {local:%B %Y, %H:%M:%S %Z}",
            "utc": f"{utc:%Y-%m-%d %H:%M:%S} UTC",
            "iso": f"{utc:%Y-%m-%dT%H:%M:%SZ}",
            "away": spoken(away),
            "short": short(away),
        }
