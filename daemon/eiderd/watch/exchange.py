"""Did an exchange of database files end in the middle, because its run died?

The plan beside the database says so. While a run is at work on it, that is as it should be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eiderd.errors import EiderError
from eiderd.health import Finding, Kind, Severity
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from eiderd.evidence import Exchange


def run(
    *,
    look: Callable[[], Exchange | None],
    is_whole: Callable[[Exchange], bool],
    is_at_work: Callable[[], bool],
) -> tuple[Finding, ...]:
    """Return what is unfinished. `look` raises EiderError for a plan that cannot be believed.

    Both are asked twice: a run may begin or end between the two questions.
    """
    if is_at_work():
        return ()
    try:
        if look() is None or is_at_work() or (begun := look()) is None:
            return ()
    except EiderError as error:
        return (_finding(f"{error.message}.", command=error.hint),)
    name = f"The {begun.kind} of the database ({plain(begun.what)})"
    if is_whole(begun):
        said = (
            f"{name} put its files in place and was ended before anybody saw the application work "
            "with them. The application may still be stopped."
        )
    else:
        said = (
            f"{name} was ended in the middle: there may be no database now. Do not start the "
            "application before it is finished or undone."
        )
    return (_finding(said, command=begun.verb),)


def _finding(said: str, *, command: str) -> Finding:
    return Finding(
        kind=Kind.EXCHANGE_UNFINISHED,
        severity=Severity.CRITICAL,
        message=said,
        command=command,
    )
