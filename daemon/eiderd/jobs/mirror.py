"""Refresh the mirror: the exact state of the live database at one instant, as private files.

The ladder: double collect; then freeze the application for the last pass; then stop it, if that is
allowed; then a clear failure. Each step is tried only when the one before it could not converge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eiderd.errors import ApplicationFailed, NotConverged
from eiderd.model import Ending, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eiderd.evidence import Captured


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
