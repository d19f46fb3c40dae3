"""Runs one job: takes the lane, reads the clock, tells journal and log how it ended. Nobody else.

Two lanes: `store` for whatever writes backups, one at a time on this machine, and `watch` for quick
looks that never wait behind a backup. What runs in the store lane is in the journal, but a look
that needs the store is not.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from eiderd import staging
from eiderd.errors import Busy, EiderError, Interrupted
from eiderd.model import Backup, Ending, RunOutcome
from eiderd.outside import clock, files

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eiderd.catalog import Briefs
    from eiderd.journal import Journal
    from eiderd.model import Job, Outcome, Run

Value = TypeVar("Value")

# Of the service and its unit, while `eider` holds the store; the limit of a run allows for it.
LONG_PATIENCE_SECONDS: Final = 3600.0

_BUSY: Final = "Wait for it to end, or see who it is: fuser -v {}"


class Runner:
    """Runs jobs of one configuration.

    `patience_seconds` is how long a run waits for another process to leave the store; `is_ending`
    says that this process was asked to end, so that what fails from then on was interrupted.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        state: Path,
        briefs: Briefs,
        patience_seconds: float,
        is_ending: Callable[[], bool],
    ) -> None:
        self._journal = journal
        self._state = state
        self._briefs = briefs
        self._patience_seconds = patience_seconds
        self._is_ending = is_ending

    def look(self, job: Job, do: Callable[[], Outcome[Value]]) -> Outcome[Value]:
        """Run `do` in the watch lane. Raise whatever it raises."""
        began = time.monotonic()
        try:
            outcome = do()
        except EiderError as error:
            _log_failure(job, error, began=began)
            raise
        _log_end(job, outcome, began=began)
        return outcome

    def store(
        self,
        job: Job,
        do: Callable[[], Outcome[Value]],
        *,
        planned_at: datetime.datetime | None = None,
        alone: bool = True,
    ) -> Outcome[Value]:
        """Run `do` in the store lane. Raise Busy when it stays taken, and whatever `do` raises.

        What an earlier run left unfinished is put right first. What touches no backup need not be
        `alone`: it is journaled as others are, and waits for nobody.
        """
        # Before anything else: a run that is killed while it waits was begun as well.
        files.private_folder(self._state)
        run = self._journal.begin(job, at=clock.now(), planned_at=planned_at)
        began = time.monotonic()
        try:
            with self._held() if alone else contextlib.nullcontext():
                outcome = do()
        except BaseException as error:
            self._failed(run, error, began=began)
            raise
        made = outcome.value.id if isinstance(outcome.value, Backup) else ""
        self._end(run, RunOutcome[outcome.ending.name], began=began, why=outcome.why, backup=made)
        _log_end(job, outcome, began=began)
        return outcome

    def measure(self, job: Job, do: Callable[[], Outcome[Value]]) -> Outcome[Value]:
        """Run `do`, which only looks, with the store in its hands. It is not in the journal.

        There it would count as a run of the job. Raise what `store` raises.
        """
        files.private_folder(self._state)
        with self._held():
            return self.look(job, do)

    @contextlib.contextmanager
    def spare(self) -> Iterator[Callable[[], None]]:
        """Hold the mirror while nobody is in the store. Raise Busy at once when somebody is.

        It is not in the journal. What is yielded raises Busy once a run wants in: ask it often, so
        that nobody has to wait.
        """

        def give_way() -> None:
            for run in self._journal.running():
                raise Busy(f"{run.job} is at work", hint="Wait for it to end: eider status")

        give_way()
        files.private_folder(self._state)
        with files.locked(self._state, hint=_BUSY.format(self._state)):
            give_way()  # one may have begun meanwhile, and waits now
            try:
                yield give_way
            except Exception as error:
                if self._is_ending():  # its child was ended, which says nothing
                    raise Interrupted("eiderd was asked to end") from error
                raise

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        # The state folder guards the mirror, the backup folder the catalog: either may be shared.
        directory = self._briefs.directory
        folders = (self._state, files.private_folder(directory))
        deadline = time.monotonic() + self._patience_seconds

        def go_on_waiting() -> bool:
            return time.monotonic() < deadline and not self._is_ending()

        hint = _BUSY.format(directory)
        with files.locked(*folders, hint=hint, go_on_waiting=go_on_waiting):
            staging.recover(directory, look=self._briefs.look)
            yield

    def _failed(self, run: Run, error: BaseException, *, began: float) -> None:
        if self._is_ending() or not isinstance(error, Exception):
            self._end(run, RunOutcome.INTERRUPTED, began=began, why="eiderd was asked to end")
        elif isinstance(error, EiderError):
            self._end(run, RunOutcome.FAILED, began=began, why=error.message, hint=error.hint)
            _log_failure(run.job, error, began=began)
        else:
            why = f"a bug in eiderd: {type(error).__name__}: {error}"
            self._end(run, RunOutcome.FAILED, began=began, why=why, hint="Please report it.")

    def _end(
        self,
        run: Run,
        outcome: RunOutcome,
        *,
        began: float,
        why: str = "",
        hint: str = "",
        backup: str = "",
    ) -> None:
        self._journal.end(
            run,
            at=clock.now(),
            seconds=_since(began),
            outcome=outcome,
            why=why,
            hint=hint,
            backup=backup,
        )


def _log_failure(job: Job, error: EiderError, *, began: float) -> None:
    structlog.get_logger().error(
        "The job failed.",
        word="job_failed",
        job=str(job),
        kind=type(error).__name__,
        why=error.message,
        hint=error.hint,
        seconds=_since(began),
    )


def _log_end(job: Job, outcome: Outcome[Value], *, began: float) -> None:
    log = structlog.get_logger()
    (log.debug if outcome.ending is Ending.NOTHING_TO_DO else log.info)(
        "The job ended.",
        word="job_ended",
        job=str(job),
        ending=str(outcome.ending),
        why=outcome.why or None,
        seconds=_since(began),
    )


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
