"""Does what an entry of the timetable says: the job, what follows it, the count of missed runs.

A job that fails, and a watcher that raises, stop nothing but themselves.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import structlog

from eiderd import schedule
from eiderd.errors import EiderError
from eiderd.lookout import WATCHERS, Lookout, blind
from eiderd.model import Ending, Job, Level, Outcome, RunOutcome, newest_verified
from eiderd.outside import clock
from eiderd.schedule import Lane

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable

    from eiderd.app import App
    from eiderd.board import Board
    from eiderd.schedule import Entry

_AFTER_A_CHANGE: Final = (Job.FRESHNESS, Job.CONTENT)


class Rounds:
    """Knows the app and the watchers of the present configuration; a reload gives it others."""

    def __init__(self, *, app: App, lookout: Lookout, board: Board, zone: datetime.tzinfo) -> None:
        self.app = app
        self.lookout = lookout
        self._board = board
        self._zone = zone
        self.looked: set[Job] = set()  # which watchers have looked at all

    def __call__(self, entry: Entry) -> None:
        """Run the entry's job, and what follows if it was done. Raise nothing."""
        if entry.lane is Lane.WATCH:
            self.watch(entry.job)
            for job in entry.then:
                if job in WATCHERS:
                    self.watch(job)
                else:
                    ended = self._perform(job, planned_at=None)
                    self._board.count(job, _outcome(ended))
            return
        outcome = self._perform(entry.job, planned_at=self._planned(entry))
        for job in entry.then:
            if outcome is None or outcome.ending is not Ending.DONE:
                break
            outcome = self._perform(job, planned_at=None)
        for watcher in _AFTER_A_CHANGE:
            self.watch(watcher)

    def go_on_with(self, app: App) -> None:
        """Do all that begins from now on with another configuration."""
        self.app = self.lookout.app = app

    def watch(self, job: Job) -> None:
        """Let a watcher look. One that cannot is itself a finding."""
        at = clock.now()
        try:
            found = self.lookout.look(job, at=at)
        except Exception as error:  # noqa: BLE001  (whatever it is, the others go on)
            self._board.count(job, RunOutcome.FAILED)
            self._board.report(f"watcher {job}", (blind(job, error),), at=at)
            structlog.get_logger().debug(
                "The watcher raised.", word="watcher_raised", exc_info=True
            )
        else:
            self._board.count(job, RunOutcome.DONE)
            self._board.report(f"watcher {job}", (), at=at)
            self._board.report(str(job), found, at=at)
        self.looked.add(job)

    def is_overdue(self, entry: Entry) -> bool:
        """Say whether a job should run at once, as eiderd begins or the clock was set.

        For backups, what counts is the newest verified one; if there is none, one is overdue.
        """
        if entry.lane is Lane.WATCH:
            return False
        if entry.job is Job.BACKUP:
            newest = newest_verified(self._board.stock.backups)
            last = newest.created_at if newest else None
        else:
            last = self._last_began(entry.job)
            if last is None:  # it never ran: its time will come
                return False
        return last is None or bool(self._due(entry, last=last))

    def _planned(self, entry: Entry) -> datetime.datetime | None:
        """Return for which time the entry runs now, and count what was missed before it."""
        last = self._last_began(entry.job)
        due = self._due(entry, last=last) if last else []
        if len(due) > 1:
            self.app.journal.missed(entry.job, count=len(due) - 1)
            structlog.get_logger().warning(
                "Runs were missed; one makes up for all.",
                word="runs_missed",
                job=str(entry.job),
                count=len(due) - 1,
            )
        return due[-1] if due else None

    def _due(self, entry: Entry, *, last: datetime.datetime) -> list[datetime.datetime]:
        return schedule.due(entry.when, last=last, now=clock.now(), zone=self._zone)

    def _last_began(self, job: Job) -> datetime.datetime | None:
        with self.app.journal.memory() as known:
            run = known.last.get(job)
        return run.began_at if run else None

    def _perform(self, job: Job, *, planned_at: datetime.datetime | None) -> Outcome[Any] | None:
        """Run a job to its end, which the runner has told everybody of when this returns."""
        jobs: dict[Job, Callable[[], Outcome[Any]]] = {
            Job.BACKUP: functools.partial(self.app.backup, planned_at=planned_at),
            Job.VERIFY: functools.partial(
                self.app.verify_all, level=Level.ARCHIVE, planned_at=planned_at
            ),
            Job.PRUNE: self.app.prune,
            Job.BALLAST: self.lookout.ballast,
        }
        try:
            return jobs[job]()
        except EiderError:
            return None
        except Exception:  # noqa: BLE001  (logged as the bug it is; the others go on)
            structlog.get_logger().exception("A bug in eiderd.", word="bug", job=str(job))
            return None


def _outcome(ended: Outcome[Any] | None) -> RunOutcome:
    return RunOutcome[ended.ending.name] if ended else RunOutcome.FAILED
