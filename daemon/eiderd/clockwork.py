"""The clock wakes a job: the timetable, run by APScheduler.

No run is skipped in silence. A run that comes late runs once; what it stands for besides itself is
counted as missed. At the beginning, and whenever the clock was set, whatever is overdue runs once.
"""

from __future__ import annotations

import datetime
import itertools
import time
from typing import TYPE_CHECKING, Final, Protocol

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from eiderd import schedule
from eiderd.schedule import Every, Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from apscheduler.schedulers.base import BaseScheduler

    from eiderd.model import Job
    from eiderd.schedule import Entry

_BEAT: Final = "beat"
_SOON: Final = "soon"
_BEAT_SECONDS: Final = 5.0
_SPARE_THREADS: Final = 4


class Turn(Protocol):
    """Do what an entry of the timetable says. It reports on itself and raises nothing."""

    def __call__(self, entry: Entry, /) -> None: ...


def threads(timetable: Sequence[Entry]) -> BackgroundScheduler:
    """Return a scheduler with one thread for the store, and enough that no watcher waits.

    A watcher that hangs keeps its thread; all others, and the beat, have their own.
    """
    watchers = sum(entry.lane is Lane.WATCH for entry in timetable)
    return BackgroundScheduler(
        executors={
            str(Lane.STORE): ThreadPoolExecutor(max_workers=1),
            str(Lane.SPARE): ThreadPoolExecutor(max_workers=1),
            str(Lane.WATCH): ThreadPoolExecutor(max_workers=watchers + _SPARE_THREADS),
        },
        # By default a run that is a second late is dropped, and the log says so at best.
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        timezone=datetime.UTC,
    )


class _Coming(BaseTrigger):  # type: ignore[misc]  # it ships no types
    """A trigger that never looks back: of what is late, nothing but the next time is asked for.

    APScheduler lists every time that passed before it makes one run of them. When the clock is set
    by a year, that is millions of beats, hundreds of megabytes and a minute without a turn.
    """

    def __init__(self, trigger: BaseTrigger) -> None:
        self._trigger = trigger

    def get_next_fire_time(
        self, previous: datetime.datetime | None, now: datetime.datetime
    ) -> datetime.datetime | None:
        last = previous and max(previous, now)
        found: datetime.datetime | None = self._trigger.get_next_fire_time(last, now)
        return found


class Clockwork:
    """Turns until it is ended."""

    def __init__(
        self,
        *,
        scheduler: BaseScheduler,
        turn: Turn,
        zone: datetime.tzinfo,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._scheduler = scheduler
        self._turn = turn
        self._zone = zone
        self._now = now
        self._beat_at = time.monotonic()
        self._busy: dict[Job, tuple[Entry, float]] = {}
        self._numbers = itertools.count()

    def begin(self, timetable: Sequence[Entry], *, at_once: Callable[[Entry], bool]) -> None:
        """Start turning. Entries of which `at_once` is true run now, then by the timetable."""
        self._scheduler.start()
        self.wake()
        self.follow(timetable, at_once=at_once)

    def follow(self, timetable: Sequence[Entry], *, at_once: Callable[[Entry], bool]) -> None:
        """Go by this timetable from now on. What runs goes on running."""
        now = self._now()
        wanted = {str(entry.job) for entry in timetable}
        for job in self._scheduler.get_jobs():
            if job.id not in wanted | {_BEAT} and not job.id.startswith(_SOON):
                self._scheduler.remove_job(job.id)
        for entry in timetable:
            trigger = _Coming(schedule.trigger(entry.when, zone=self._zone, begin=now))
            later = schedule.times(entry.when, after=now, zone=self._zone)
            first = now if at_once(entry) else next(later, None)
            self._scheduler.add_job(
                self._run,
                trigger=trigger,
                args=(entry,),
                id=str(entry.job),
                executor=str(entry.lane),
                next_run_time=first,
                replace_existing=True,
            )

    def soon(self, entry: Entry, turn: Turn) -> None:
        """Let this run once in the entry's lane, when the lane is free.

        Each has a name of its own: of one name, APScheduler drops what comes while it runs.
        """
        self._scheduler.add_job(
            self._run,
            args=(entry, turn),
            id=f"{_SOON} {next(self._numbers)}",
            executor=str(entry.lane),
            next_run_time=self._now(),
        )

    def alive(self) -> bool:
        """Whether its thread is there. APScheduler lets it die of what a job store raises."""
        thread = getattr(self._scheduler, "_thread", None)
        return thread is None or thread.is_alive()

    def at_work(self) -> list[tuple[Entry, float]]:
        """Return what runs now, and since when by the clock that only counts."""
        return list(self._busy.values())

    def wake(self) -> None:
        """Look at the clock again, and let it beat at once.

        After a suspend, a thread that waits has waited too long; when the clock was set back, the
        next beat lies that far ahead.
        """
        now, interval = self._now(), datetime.timedelta(seconds=_BEAT_SECONDS)
        self._scheduler.add_job(
            self._beat,
            trigger=_Coming(schedule.trigger(Every(interval), zone=self._zone, begin=now)),
            id=_BEAT,
            executor=str(Lane.WATCH),
            next_run_time=now,
            replace_existing=True,
        )

    def beat_age_seconds(self) -> float:
        """How long ago the loop that does the work turned last."""
        return time.monotonic() - self._beat_at

    def end(self) -> None:
        """Begin no further run. Those at work are not waited for."""
        self._scheduler.shutdown(wait=False)

    def _beat(self) -> None:
        self._beat_at = time.monotonic()

    def _run(self, entry: Entry, turn: Turn | None = None) -> None:
        self._busy[entry.job] = (entry, time.monotonic())
        try:
            (turn or self._turn)(entry)
        finally:
            del self._busy[entry.job]
