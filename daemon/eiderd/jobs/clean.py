"""Remove what runs that died left behind: staged archives, scratch. And the ballast, if asked.

Only eiderd's own leftovers go, and only under the lock of the store: nobody can be using them. The
store's lock itself ends what was staged, before this begins.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.filesize import decimal

from eiderd.model import Ending, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from eiderd.evidence import Ballast


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A folder, or the ballast, and what it takes up."""

    path: Path
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What was, or would be, removed."""

    removed: tuple[Leftover, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.removed)


class Find(Protocol):
    """Return what is left over now."""

    def __call__(self) -> tuple[Leftover, ...]: ...


def run(
    *,
    before: tuple[Leftover, ...],
    find: Find,
    sweep: Callable[[], None],
    ballast: Path | None = None,
    ballast_at: Callable[[Path], Ballast | None] = lambda _path: None,
    release: Callable[[Path], None] = lambda _path: None,
) -> Outcome[Cleaned]:
    """Remove what is left over; `before` is what there was before the lock was taken.

    `ballast` is its path when it is to be released. Raise NoSpace, StoreUnavailable.
    """
    sweep()
    still = {one.path for one in find()}
    removed = [one for one in before if one.path not in still]
    there = ballast_at(ballast) if ballast else None
    if ballast and there and there.ours:
        release(ballast)
        removed.append(Leftover(path=ballast, bytes=there.bytes))
    value = Cleaned(removed=tuple(removed))
    if not removed:
        return Outcome(ending=Ending.NOTHING_TO_DO, value=value, why="nothing is left over")
    return Outcome(ending=Ending.DONE, value=value, why=f"{decimal(value.bytes)} freed")
