"""The timetable as data: which job, when, in which lane, for how long at most, and what then. Pure.

A schedule is what cron understands, in local time, or a steady interval. Two things differ from
APScheduler's own reading of cron lines, because people write them as cron does: Sunday is 0 or 7,
and a line that restricts both the day of the month and the weekday is refused (cron means "or"
there, APScheduler "and").
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import itertools
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from eiderd.model import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apscheduler.triggers.base import BaseTrigger

_FIELDS: Final = 5
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MOST_COUNTED: Final = 10_000
_WATCHER_LIMIT: Final = datetime.timedelta(minutes=1)


class Lane(enum.StrEnum):
    """Which runs exclude each other."""

    STORE = "store"  # whatever writes backups: one at a time on this machine
    WATCH = "watch"  # quick looks, which never wait behind a backup
    SPARE = "spare"  # what is left out while the store is busy, and gives way to it


@dataclasses.dataclass(frozen=True, slots=True)
class Cron:
    """At the times that a cron line names, in local time."""

    line: str


@dataclasses.dataclass(frozen=True, slots=True)
class Every:
    """Again and again, this long after the last time."""

    interval: datetime.timedelta


When: TypeAlias = Cron | Every


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the timetable. `limit` is how long a run should take, `then` runs on success.

    `stuck` is after how long it hangs for certain, None when nobody can say.
    """

    job: Job
    when: When
    lane: Lane
    limit: datetime.timedelta
    then: tuple[Job, ...] = ()
    stuck: datetime.timedelta | None = None


def timetable(
    *,
    backup: str,
    backup_limit: datetime.timedelta,
    scrub: str,
    scrub_limit: datetime.timedelta,
    mirror: datetime.timedelta | None = None,
    mirror_limit: datetime.timedelta = datetime.timedelta(hours=4),
    drill: str | None = None,
    drill_limit: datetime.timedelta = datetime.timedelta(hours=24),
    compact: str | None = None,
    compact_limit: datetime.timedelta = datetime.timedelta(hours=24),
    look_every: datetime.timedelta = datetime.timedelta(minutes=1),
) -> tuple[Entry, ...]:
    """Return all that runs by the clock. Whatever else runs, runs after one of these.

    `drill` and `compact` are None when there are to be none, `mirror` when it is left to
    backups alone.
    """
    drills = [
        Entry(job=Job.DRILL, when=Cron(line), lane=Lane.STORE, limit=drill_limit)
        for line in (drill,)
        if line
    ]
    compactions = [
        Entry(job=Job.COMPACT, when=Cron(line), lane=Lane.STORE, limit=compact_limit)
        for line in (compact,)
        if line
    ]
    mirrors = [
        Entry(job=Job.MIRROR, when=Every(interval), lane=Lane.SPARE, limit=mirror_limit,
              then=(Job.SCHEMA,))
        for interval in (mirror,)
        if interval
    ]  # fmt: skip
    watch = [
        Entry(job=job, when=Every(look_every), lane=Lane.WATCH, limit=_WATCHER_LIMIT, then=then)
        for job, then in (
            (Job.FRESHNESS, (Job.CONTENT, Job.SCHEMA)),  # by the same look at the catalog
            (Job.DISK, (Job.BALLAST,)),
            (Job.APPLICATION, ()),
            (Job.EXCHANGE, ()),
            (Job.NATS, ()),
            (Job.HEAL, ()),
        )
    ]
    return (
        Entry(
            job=Job.BACKUP,
            when=Cron(backup),
            lane=Lane.STORE,
            limit=backup_limit,
            then=(Job.PRUNE,),
        ),
        Entry(job=Job.VERIFY, when=Cron(scrub), lane=Lane.STORE, limit=scrub_limit),
        *drills,
        *compactions,
        *mirrors,
        *watch,
    )


def trigger(when: When, *, zone: datetime.tzinfo, begin: datetime.datetime) -> BaseTrigger:
    """Return what APScheduler needs to know; `begin` is where an interval starts to count."""
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415  (not every verb needs it)
    from apscheduler.triggers.interval import IntervalTrigger  # noqa: PLC0415

    if isinstance(when, Every):
        return IntervalTrigger(
            seconds=when.interval.total_seconds(), timezone=datetime.UTC, start_date=begin
        )
    minute, hour, day, month, weekday = _named_weekdays(when.line).split()
    return CronTrigger(
        minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=zone
    )


def times(
    when: When, *, after: datetime.datetime, zone: datetime.tzinfo
) -> Iterator[datetime.datetime]:
    """Yield the times (UTC) at which this is due, the first of them later than `after`."""
    source = trigger(when, zone=zone, begin=after)
    last = after
    while True:
        found = source.get_next_fire_time(last, last + datetime.timedelta(microseconds=1))
        if found is None:
            return
        last = found.astimezone(datetime.UTC)
        if last > after:
            yield last


def due(
    when: When, *, last: datetime.datetime, now: datetime.datetime, zone: datetime.tzinfo
) -> list[datetime.datetime]:
    """Return the times at which this was due after `last` and until `now`, at most ten thousand."""
    found = times(when, after=last, zone=zone)
    return list(
        itertools.islice(itertools.takewhile(lambda moment: moment <= now, found), _MOST_COUNTED)
    )


def interval(when: When, *, now: datetime.datetime, zone: datetime.tzinfo) -> datetime.timedelta:
    """Return the longest wait between two of the next few times."""
    if isinstance(when, Every):
        return when.interval
    moments = times(when, after=now, zone=zone)
    found = list(itertools.islice(moments, _SAMPLE))
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    return max(gaps, default=datetime.timedelta(days=366))


_SAMPLE: Final = 64  # enough to meet every gap of a week; a longer period has few times anyway


def checked_cron(line: str) -> str:
    """Return a cron line that can be meant. Raise ValueError, in a person's words."""
    fields = line.split()
    if len(fields) != _FIELDS:
        raise ValueError('must have five fields, minute hour day month weekday, as in "15 3 * * *"')
    if "*" not in (fields[2], fields[4]):
        raise ValueError("may restrict the day of the month or the weekday, not both")
    far = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)  # a leap year, for 29 February
    try:
        found = next(times(Cron(line), after=far, zone=datetime.UTC), None)
    except ValueError as error:
        raise ValueError(f"cannot be read as cron: {error}") from error
    if found is None:
        raise ValueError("names no time at all")
    return " ".join(fields)


def _named_weekdays(line: str) -> str:
    *fields, weekday = line.split()
    head = re.sub(r"(?<![\w/])[0-7]", lambda found: _WEEKDAYS[int(found[0])], weekday.lower())
    return " ".join((*fields, _unwrapped(head)))


def _unwrapped(weekdays: str) -> str:
    """Spell out a range that cron lets pass over the end of the week, as in `sat-mon`."""
    parts = []
    for part in weekdays.split(","):
        span, _, step = part.replace("*/", "sun-sat/").partition("/")
        first, dash, last = span.partition("-")
        if dash and {first, last} <= set(_WEEKDAYS):
            begin, end = _WEEKDAYS.index(first), _WEEKDAYS.index(last)
            days = range(begin, end + 1 if end >= begin else end + 8)
            parts += [_WEEKDAYS[day % 7] for day in days[:: int(step or 1)]]
        else:
            parts.append(part)
    return ",".join(parts)
