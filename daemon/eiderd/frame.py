"""What the configuration says of time and measure: the timetable, and how old is too old."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Final

from eiderd import schedule
from eiderd.healing import Limits, Switch
from eiderd.maintenance import window
from eiderd.model import Job
from eiderd.schedule import Entry
from eiderd.units import NEVER

if TYPE_CHECKING:
    from eiderd.config import Settings

_STALE: Final = datetime.timedelta(minutes=10)
_LOOKS_MISSED: Final = 3
_PATIENCE: Final = datetime.timedelta(hours=1)  # a run may wait so long for `eider` to be done
_AFTER_BACKUPS: Final = datetime.timedelta(minutes=1)  # how soon a backup is looked into
_SCRUB_LIMIT: Final = datetime.timedelta(hours=24)


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


def frame_of(settings: Settings, *, zone: datetime.tzinfo, at: datetime.datetime) -> Frame:
    wanted = settings.compact.window
    timetable = schedule.timetable(
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
