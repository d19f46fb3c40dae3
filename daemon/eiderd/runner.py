"""Runs one job: takes the lane's lock, runs it, logs how it ended. The only place that does.

Two lanes: `store` for whatever writes backups, one at a time on this machine, and `watch` for quick
looks that never wait behind a backup.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from eiderd import catalog
from eiderd.errors import EiderError
from eiderd.outside import files
from eiderd.schedule import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eiderd.model import Job, Outcome

Value = TypeVar("Value")

_BUSY = "Wait for it to end, or see who it is: fuser -v {}"


def run(
    job: Job, *, lane: Lane, state: Path, directory: Path, do: Callable[[], Outcome[Value]]
) -> Outcome[Value]:
    """Run `do` in its lane. Raise Busy at once when the lane is taken, and whatever `do` raises.

    In the store lane, what an earlier run left unfinished is put right first.
    """
    log = structlog.get_logger().bind(job=str(job))
    began = time.monotonic()
    try:
        with _held(lane, state=state, directory=directory):
            outcome = do()
    except EiderError as error:
        log.error(  # noqa: TRY400  (a failure that is understood needs no traceback)
            "The job failed.",
            word="job_failed",
            kind=type(error).__name__,
            why=error.message,
            hint=error.hint,
            seconds=_since(began),
        )
        raise
    log.info(
        "The job ended.",
        word="job_ended",
        ending=str(outcome.ending),
        why=outcome.why or None,
        seconds=_since(began),
    )
    return outcome


@contextlib.contextmanager
def _held(lane: Lane, *, state: Path, directory: Path) -> Iterator[None]:
    if lane is Lane.WATCH:
        yield
        return
    # The state folder guards the mirror, the backup folder the catalog: either may be shared.
    folders = (files.private_folder(state), files.private_folder(directory))
    with files.locked(*folders, hint=_BUSY.format(directory)):
        catalog.recover(directory)
        yield


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
