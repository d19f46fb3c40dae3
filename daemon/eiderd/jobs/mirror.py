"""Refresh the mirror: the exact state of the live database at one instant, as private files.

For a backup there is a ladder: double collect; then freeze the application for the last pass; then
stop it, if that is allowed; then a clear failure. Each step is tried only when the one before it
could not converge. Between backups the mirror follows: nothing is done while nothing was written,
and nobody waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eiderd.errors import ApplicationFailed, Busy, Interrupted, NotConverged
from eiderd.model import Ending, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eiderd.evidence import Captured
    from eiderd.schema.facts import Facts


class Step(Protocol):
    """One way to capture the database.

    Raise NotConverged when it changes too fast for it, ApplicationFailed when the application
    could not be frozen or stopped.
    """

    def __call__(self) -> Captured: ...


def run(*, ladder: Sequence[Step]) -> Outcome[Captured]:
    """Try each step of the ladder. Raise what the last step raises when none could do it."""
    *softer, hardest = ladder
    for step in softer:
        try:
            return Outcome(ending=Ending.DONE, value=step())
        except (NotConverged, ApplicationFailed):
            continue
    return Outcome(ending=Ending.DONE, value=hardest())


def follow(
    *, there: bool, written: bool, unsure: bool, look: Callable[..., Facts]
) -> Outcome[Facts | None]:
    """Bring the mirror up to date and look at it, if the database was written since the last look.

    `look` does both. `unsure`: something was suspected that a thorough look has to confirm. Nothing
    is done while the store is busy, or when the database changes faster than it can be copied: the
    next backup has means that are not used for a look.
    """
    if not there:
        return _left("the first backup makes the mirror")
    if not written and not unsure:
        return _left("nothing was written since the last look")
    try:
        return Outcome(ending=Ending.DONE, value=look(thorough=unsure))
    except (Busy, NotConverged, Interrupted) as error:
        return _left(error.message)


def _left(why: str) -> Outcome[Facts | None]:
    return Outcome(ending=Ending.NOTHING_TO_DO, value=None, why=why)
