"""Did an exchange of database files end in the middle, because its run died? Is it a database?

The plan beside the database says the first. While a run is at work on it, that is as it should be.
The second is read in the file itself, and counts when two looks in a row say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eiderd.errors import EiderError, NotADatabase, StoreUnavailable
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
    """Return what is unfinished. `look` raises StoreUnavailable for a plan that is not believed.

    Both are asked twice: a run may begin or end between the two questions. What else `look` raises,
    this raises: whether there is a plan is not known then.
    """
    if is_at_work():
        return ()
    try:
        if look() is None or is_at_work() or (begun := look()) is None:
            return ()
    except StoreUnavailable as error:
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


def ruined(
    *, look: Callable[[], object], suspected: bool | None
) -> tuple[tuple[Finding, ...], bool]:
    """Return what is found, and whether this look suspects it. `look` raises NotADatabase.

    `suspected`: so did the look before; None when there was none: who looks only once believes it.
    What cannot be read is not known to be ruined: others tell of that.
    """
    try:
        look()
    except NotADatabase as error:
        said = (
            f"{plain(error.message)}. If the application's database stood there, it was "
            "overwritten or cut off: what runs may go on for a while, and will not open it again. "
            "See what a restore would do; or is database.path another file?"
        )
        found = _finding(said, command="eider restore --dry-run", kind=Kind.NOT_A_DATABASE)
        return (found,) if suspected is not False else (), True
    except EiderError:
        pass
    return (), False


def _finding(said: str, *, command: str, kind: Kind = Kind.EXCHANGE_UNFINISHED) -> Finding:
    return Finding(
        kind=kind,
        severity=Severity.CRITICAL,
        message=said,
        command=command,
    )
