"""What the configuration says of time and measure: the timetable, and how old is too old."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Final

from eiderd import schedule
from eiderd.model import Job
from eiderd.schedule import Entry

if TYPE_CHECKING:
    from eiderd.config import Settings

_PATIENCE: Final = datetime.timedelta(hours=1)  # a run may wait so long for `eider` to be done
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


def frame_of(settings: Settings, *, zone: datetime.tzinfo, at: datetime.datetime) -> Frame:
    timetable = schedule.timetable(
        backup=settings.backup.schedule,
        backup_limit=settings.backup.deadline + settings.engine.deadline + _PATIENCE,
        scrub=settings.verify.scrub_schedule,
        scrub_limit=_SCRUB_LIMIT,
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
    )
