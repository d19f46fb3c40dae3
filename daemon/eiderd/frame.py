"""What the configuration says of time and measure: the timetable, and how old is too old."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Final

from eiderd import schedule
from eiderd.healing import Limits, Switch
from eiderd.maintenance import delegated, window
from eiderd.model import Job
from eiderd.schedule import Entry, Lane
from eiderd.units import NEVER

if TYPE_CHECKING:
    from eiderd.config import Settings

_STALE: Final = datetime.timedelta(minutes=10)
_LOOKS_MISSED: Final = 3
_PATIENCE: Final = datetime.timedelta(hours=1)  # a run may wait so long for `eider` to be done
_AFTER_BACKUPS: Final = datetime.timedelta(minutes=1)  # how soon a backup is looked into
_SCRUB_LIMIT: Final = datetime.timedelta(hours=24)
_MOST_PATIENCE: Final = 4 * _PATIENCE  # a repair is up to three runs; one for the rest

# How many steps a run takes at most, with all that follows it in its turn: those that have
# backup.deadline each, and those that have engine.deadline.
_STEPS: Final = {
    Job.BACKUP: (7, 3),  # streams, three ways to copy, archive, check; the mirror is looked into
    Job.QUARANTINE: (9, 4),  # check, unpack and read, then a backup
    Job.DRILL: (7, 3),  # a proof, the restore with the extra files, a proof when that failed
    Job.COMPACT: (6, 12),  # two copies, each refreshed, written, listed and read twice
    Job.RESTORE: (7, 12),  # a rescue, and the restore of what came of it
}
_RESCUES: Final = 3  # more steps of a rescue for each engine: its version, its attempt, the reading


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the settings say that a status shows, and watchers measure with."""

    database: str
    directory: str
    fresh_within: datetime.timedelta
    schedule_seconds: float
    max_count: int | None
    timetable: tuple[Entry, ...]
    zone: datetime.tzinfo
    heal: Limits = dataclasses.field(default_factory=Limits)


def limits_of(settings: Settings) -> Limits:
    """Return what [heal] allows."""
    wanted = settings.heal
    return Limits(
        enabled=wanted.enabled,
        allowed=frozenset(switch for switch in Switch if getattr(wanted, switch)),
        tries=wanted.tries,
        cooldown=wanted.cooldown,
        period=wanted.period,
        stale=max(_STALE, _LOOKS_MISSED * settings.service.look_every),
    )


def stuck_after(settings: Settings, job: Job) -> datetime.timedelta | None:
    """Return after how long a run of the store hangs for certain; None when nobody can say.

    Each step is ended at its own deadline, so a run that is not stuck may take all of them.
    """
    if job is Job.VERIFY:  # a step for each archive
        return None
    steps, engine_steps = _STEPS.get(job, (1, 1))
    given = datetime.timedelta(0)
    if job in {Job.COMPACT, Job.RESTORE}:
        given = datetime.timedelta(seconds=delegated.LIMIT_SECONDS)
    if job is Job.RESTORE:
        engine_steps += _RESCUES * (2 + len(settings.engine.others))
    own = steps * settings.backup.deadline + engine_steps * settings.engine.deadline
    return max(given, own) + _MOST_PATIENCE


def _timetable(settings: Settings) -> tuple[Entry, ...]:
    wanted = settings.compact.window
    entries = schedule.timetable(
        backup=settings.backup.schedule,
        backup_limit=settings.backup.deadline + settings.engine.deadline + _PATIENCE,
        scrub=settings.verify.scrub_schedule,
        scrub_limit=_SCRUB_LIMIT,
        mirror=(settings.mirror.interval if settings.mirror.keep else NEVER) or _AFTER_BACKUPS,
        mirror_limit=settings.backup.deadline,
        drill=None if settings.verify.drill_schedule == "off" else settings.verify.drill_schedule,
        drill_limit=2 * settings.backup.deadline + settings.engine.deadline + _PATIENCE,
        compact=window.cron(wanted) if wanted else None,
        compact_limit=(window.length(wanted) if wanted else _PATIENCE) + _PATIENCE,
        look_every=settings.service.look_every,
    )
    return tuple(
        dataclasses.replace(entry, stuck=stuck_after(settings, entry.job))
        if entry.lane is Lane.STORE
        else entry
        for entry in entries
    )


def frame_of(settings: Settings, *, zone: datetime.tzinfo, at: datetime.datetime) -> Frame:
    timetable = _timetable(settings)
    backup = next(entry for entry in timetable if entry.job is Job.BACKUP)
    interval = schedule.interval(backup.when, now=at, zone=zone)
    return Frame(
        database=str(settings.database.path),
        directory=str(settings.backup.directory),
        fresh_within=settings.backup.fresh_within or 2 * interval,
        schedule_seconds=interval.total_seconds(),
        max_count=settings.retention.max_count,
        timetable=timetable,
        zone=zone,
        heal=limits_of(settings),
    )
