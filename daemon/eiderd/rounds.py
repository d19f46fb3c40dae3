"""Does what an entry of the timetable says: the job, what follows it, the count of missed runs.

A job that fails, and a watcher that raises, stop nothing but themselves.
"""

from __future__ import annotations

import datetime
import functools
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from eiderd import schedule
from eiderd.errors import EiderError
from eiderd.frame import stuck_after
from eiderd.heal import actions
from eiderd.healer import summary
from eiderd.health import Finding, Kind, Severity
from eiderd.lookout import Lookout, blind
from eiderd.maintenance import delegated
from eiderd.model import Ending, Job, Level, Outcome, RunOutcome, newest_verified
from eiderd.outside import clock
from eiderd.schedule import Entry, Lane
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from eiderd.app import App
    from eiderd.board import Board
    from eiderd.healing import Decision

_AFTER_A_CHANGE: Final = (Job.FRESHNESS, Job.CONTENT, Job.SCHEMA)


# What a repair that was done leads to, as the timetable has it after a backup.
_THEN: Final = {Job.BACKUP: (Job.PRUNE,), Job.QUARANTINE: (Job.BACKUP, Job.PRUNE)}
_REPAIR_LIMIT: Final = datetime.timedelta(hours=24)


class Soon(Protocol):
    """Let a turn run once in the entry's lane, when that is free."""

    def __call__(self, entry: Entry, turn: Callable[[Entry], None], /) -> None: ...


def _nobody(_entry: Entry, _turn: Callable[[Entry], None], /) -> None:
    """Nobody is there to run it: nothing is repaired."""


class Rounds:
    """Knows the app and the watchers of the present configuration; a reload gives it others."""

    def __init__(self, *, app: App, lookout: Lookout, board: Board, zone: datetime.tzinfo) -> None:
        self.app = app
        self.lookout = lookout
        self._board = board
        self._zone = zone
        self.looked: set[Job] = set()  # which watchers have looked at all
        self.soon: Soon = _nobody  # lets a repair wait for its lane
        self._repairing = False

    def __call__(self, entry: Entry) -> None:
        """Run the entry's job, and what follows if it was done. Raise nothing."""
        if entry.lane is not Lane.STORE:
            self.watch(entry.job)
            if entry.job is Job.HEAL:
                self._begin_repair()
            for job in entry.then:
                if job is Job.BALLAST:
                    self._keep_ballast()
                else:
                    self.watch(job)
            return
        outcome = self._perform(entry.job, planned_at=self._planned(entry))
        for job in entry.then:
            if outcome is None or outcome.ending is not Ending.DONE:
                break
            outcome = self._perform(job, planned_at=None)
        if entry.job is Job.BACKUP:
            self.watch(Job.MIRROR)
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
            if found is not None:  # else what was found before stands, and grows old
                self._board.report(str(job), found, at=at)
        self.looked.add(job)

    def _keep_ballast(self) -> None:
        """Keep it, or release it. It is no run of the journal: what goes wrong is a finding."""
        at, why, hint = clock.now(), "", ""
        try:
            outcome = self.lookout.ballast()
        except EiderError as error:
            ended, why, hint = RunOutcome.FAILED, error.message, error.hint
        else:
            ended = RunOutcome[outcome.ending.name]
            if outcome.ending is Ending.REFUSED:
                why, hint = outcome.why, "eider config show"
        self._board.count(Job.BALLAST, ended)
        failed = Finding(
            kind=Kind.JOB_FAILED,
            subject=str(Job.BALLAST),
            severity=Severity.WARNING,
            message=f"The ballast cannot be kept: {plain(why)}.",
            command=hint,
        )
        self._board.report(str(Job.BALLAST), (failed,) if why else (), at=at)

    # Repairs -----------------------------------------------------------------------------------

    def _begin_repair(self) -> None:
        """Let what healing wants wait for the lane of the store. One is under way at a time."""
        wanted = self.lookout.healer.wanted
        if wanted is None or wanted.job is None or self._repairing:
            return
        self._repairing = True
        every = schedule.Every(datetime.timedelta(minutes=1))
        known = {entry.job: entry.limit for entry in self._board.frame.timetable}
        limit = known.get(wanted.job, _REPAIR_LIMIT)
        stuck = stuck_after(self.app.settings, wanted.job)
        entry = Entry(job=wanted.job, when=every, lane=Lane.STORE, limit=limit, stuck=stuck)
        try:
            self.soon(entry, lambda _entry: self._repair(wanted))
        except BaseException:
            self._repairing = False
            raise

    def _repair(self, wanted: Decision) -> None:
        """Make a repair, if the check still asks for it. Whether it helped, the next looks say."""
        try:
            self.watch(_watcher_of(wanted))
            job = wanted.job
            decision = self.lookout.healer.still(self.app, wanted, at=clock.now())
            if decision is None or job is None:
                return
            structlog.get_logger().warning("A repair begins.", word="healing", **summary(decision))
            self.app.journal.healing(
                job, decision.name, at=clock.now(), why=f"{decision.said}: {decision.why}"
            )
            self._act(decision, job)
        finally:
            self._repairing = False
        for watcher in dict.fromkeys((*_AFTER_A_CHANGE, _watcher_of(wanted), Job.HEAL)):
            self.watch(watcher)

    def _act(self, decision: Decision, job: Job) -> None:
        began = clock.now()
        outcome = self._perform(job, planned_at=None, subject=decision.subject)
        why, ended = outcome.why if outcome else "see the log", _outcome(outcome)
        with self.app.journal.memory() as known:
            run = known.last.get(job)
        if outcome is None and run and run.began_at >= began:  # how it failed, or was interrupted
            why, ended = run.why, run.outcome or ended
        self.app.journal.healed(job, at=clock.now(), outcome=ended, why=why)
        for follower in _THEN.get(job, ()):
            if outcome is None or outcome.ending is not Ending.DONE:
                return
            outcome = self._perform(follower, planned_at=None)

    def is_overdue(self, entry: Entry) -> bool:
        """Say whether a job should run at once, as eiderd begins or the clock was set.

        For backups, what counts is the newest verified one; if there is none, one is overdue.
        """
        if entry.lane is not Lane.STORE or entry.job is Job.COMPACT:  # which waits for its window
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

    def _perform(
        self, job: Job, *, planned_at: datetime.datetime | None, subject: str = ""
    ) -> Outcome[Any] | None:
        """Run a job to its end, which the runner has told everybody of when this returns."""
        jobs: dict[Job, Callable[[], Outcome[Any]]] = {
            Job.BACKUP: functools.partial(self.app.backup, planned_at=planned_at),
            Job.VERIFY: functools.partial(
                self.app.verify_all, level=Level.ARCHIVE, planned_at=planned_at
            ),
            Job.COMPACT: functools.partial(
                delegated.compact, self.app, zone=self._zone, planned_at=planned_at
            ),
            Job.DRILL: functools.partial(self.app.drill, planned_at=planned_at),
            Job.PRUNE: self.app.prune,
            Job.QUARANTINE: functools.partial(self.app.quarantine, subject),
            Job.CLEAN: self.app.clean,
            Job.ENSURE: self.app.nats_ensure,
            Job.RESTORE: functools.partial(delegated.restore, self.app),
        }
        try:
            return jobs[job]()
        except EiderError:
            return None
        except Exception:  # noqa: BLE001  (logged as the bug it is; the others go on)
            structlog.get_logger().exception("A bug in eiderd.", word="bug", job=str(job))
            return None


def _watcher_of(wanted: Decision) -> Job:
    """Return the check that found what is to be repaired."""
    return next(
        repair.watcher
        for repair in actions.TABLE
        if (repair.job, repair.kind) == (wanted.job, wanted.kind)
    )


def _outcome(ended: Outcome[Any] | None) -> RunOutcome:
    return RunOutcome[ended.ending.name] if ended else RunOutcome.FAILED
