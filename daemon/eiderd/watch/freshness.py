"""Is there a backup that is proven and young enough, and do the jobs run that see to it?"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final

from eiderd import proof, schedule
from eiderd.health import Finding, Kind, Severity
from eiderd.model import Brief, Job, Run, RunOutcome, State, newest_verified
from eiderd.schedule import Lane
from eiderd.units import spoken
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from eiderd.schedule import Entry

_CLOCK_WRONG: Final = datetime.timedelta(minutes=5)
_FIRST_BACKUP: Final = datetime.timedelta(minutes=10)  # how long the very first one may take
_LATE: Final = datetime.timedelta(minutes=10)
_TAKE_ONE: Final = "eider backup"


def run(
    *,
    now: datetime.datetime,
    briefs: Sequence[Brief],
    last: Mapping[Job, Run],
    failures: Mapping[Job, int],
    running: Collection[Job],
    timetable: Sequence[Entry],
    since: datetime.datetime,
    first_began: datetime.datetime,
    fresh_within: datetime.timedelta,
    zone: datetime.tzinfo,
) -> tuple[Finding, ...]:
    """Return what is wrong with the age of the backups and with the jobs.

    `briefs` are oldest first. `last` has each job's last run that ended, `failures` how many in a
    row have failed, `running` what is at work now. The service is up `since`, and was started for
    the very first time at `first_began`.
    """
    newest = newest_verified(briefs)
    new = now - first_began < _FIRST_BACKUP and Job.BACKUP in running
    return (
        *_age(newest, count=len(briefs), new=new, now=now, fresh_within=fresh_within),
        *_unverified(briefs, newest=newest),
        *_without_streams(newest),
        *_failed(_that_matter(last, timetable, newest=newest), failures, now=now),
        *_overdue(timetable, last, running, now=now, since=since, zone=zone),
    )


def _age(
    newest: Brief | None,
    *,
    count: int,
    new: bool,
    now: datetime.datetime,
    fresh_within: datetime.timedelta,
) -> Iterator[Finding]:
    severity, command = Severity.CRITICAL, _TAKE_ONE
    age = now - newest.created_at if newest else None
    if newest is None or age is None:
        said = "There is no verified backup" + (f" among {count}." if count else " at all.")
        if new and not count:
            severity, said = Severity.WARNING, "The first backup is being taken."
    elif -age > _CLOCK_WRONG:
        said = (
            f"The newest verified backup, {newest.id}, is dated {_said(-age)} in the future: "
            "the clock is or was wrong, and how old the backup is cannot be told."
        )
        command = "timedatectl"
    elif age > fresh_within:
        said = (
            f"The newest verified backup, {newest.id}, is {_said(age)} old; "
            f"{_said(fresh_within)} is the limit."
        )
    else:
        return
    yield Finding(kind=Kind.NO_VERIFIED_BACKUP, severity=severity, message=said, command=command)


def _unverified(briefs: Sequence[Brief], *, newest: Brief | None) -> Iterator[Finding]:
    base = newest.sequence if newest else 0
    later = [brief for brief in briefs if brief.state is State.UNVERIFIED and brief.sequence > base]
    if not later:
        return
    first, *others = later
    why = proof.explain(first.proof)[0] or f"it was proven to level {int(first.proof.level)} only"
    more = f"; {len(others)} more after it are unverified too" if others else ""
    yield Finding(
        kind=Kind.UNVERIFIED_BACKUP,
        subject=first.id,
        severity=Severity.WARNING,
        message=f"Backup {first.id} could not be proven: {plain(why)}{more}.",
        command=f"eider show {later[-1].id}",
    )


def _without_streams(newest: Brief | None) -> Iterator[Finding]:
    """A backup counts without the streams of NATS, but whoever restores it lacks them."""
    if newest is None:
        return
    for missing in newest.nats_missing:
        yield Finding(
            kind=Kind.STREAM_NOT_IN_BACKUP,
            subject=plain(missing.stream),
            severity=Severity.WARNING,
            message=f"The newest verified backup, {newest.id}, does without "
            f"stream {plain(missing.stream)}: {_sentence(missing.why, '')}",
            command=_TAKE_ONE,
        )


def _that_matter(
    last: Mapping[Job, Run], timetable: Sequence[Entry], *, newest: Brief | None
) -> dict[Job, Run]:
    """Return the runs of jobs that must go well unattended. Of others, whoever typed them knows.

    A backup whose process was killed after it had counted has done what it was to do.
    """
    jobs = {job for entry in timetable for job in (entry.job, *entry.then)}
    found = {job: run for job, run in last.items() if job in jobs}
    backup = found.get(Job.BACKUP)
    if backup and newest and newest.created_at >= backup.began_at:
        del found[Job.BACKUP]
    return found


def _failed(
    last: Mapping[Job, Run], failures: Mapping[Job, int], *, now: datetime.datetime
) -> Iterator[Finding]:
    for job, run in last.items():
        if run.outcome not in {RunOutcome.FAILED, RunOutcome.DIED}:
            continue
        times = failures.get(job, 1)
        often = f" {times} times in a row, last" if times > 1 else ""
        died = "its process was killed, or the machine went down"
        why = run.why or (died if run.outcome is RunOutcome.DIED else "it did not say why")
        ago = _said(now - (run.ended_at or run.began_at))
        yield Finding(
            kind=Kind.JOB_FAILED,
            subject=str(job),
            severity=Severity.WARNING,
            message=f"The job {job} failed{often} {ago} ago: {_sentence(why, run.hint)}",
            command=f"journalctl -u eiderd -g {job}",
        )


def _sentence(why: str, hint: str) -> str:
    said = plain(why).rstrip(".")
    return f"{said}. {plain(hint)}" if hint else f"{said}."


def _overdue(
    timetable: Sequence[Entry],
    last: Mapping[Job, Run],
    running: Collection[Job],
    *,
    now: datetime.datetime,
    since: datetime.datetime,
    zone: datetime.tzinfo,
) -> Iterator[Finding]:
    for entry in timetable:
        if entry.lane is not Lane.STORE or entry.job in running:
            continue
        began = last[entry.job].began_at if entry.job in last else since
        # What began in the future, by a clock that was wrong, is no sign of life.
        base = max(since, began) if began <= now else since
        planned = next(schedule.times(entry.when, after=base, zone=zone), None)
        if planned is None or now - planned <= _LATE:
            continue
        yield Finding(
            kind=Kind.JOB_OVERDUE,
            subject=str(entry.job),
            severity=Severity.WARNING,
            message=f"The job {entry.job} was due {_said(now - planned)} ago "
            f"({planned.astimezone(zone):%a %d %b %H:%M}) and has not begun.",
            command=f"journalctl -u eiderd -g {entry.job}",
        )


def _said(time: datetime.timedelta) -> str:
    return spoken(time.total_seconds())
