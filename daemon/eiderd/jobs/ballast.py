"""Keep the ballast: a file that takes up room, removed when the disk is critically full.

Then there is room to put things right: a prune needs some, and so does the application. It is made
again only when the disk has long been well, or it would come and go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from rich.filesize import decimal

from eiderd import room
from eiderd.model import Ending, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eiderd.evidence import Ballast
    from eiderd.status import Disk


NAME: Final = ".ballast"  # in the folder of the backups


class Allocate(Protocol):
    """Make the file, whole or not at all."""

    def __call__(self, path: Path, *, size: int) -> None: ...


def run(
    *,
    disk: Disk | None,
    size: int | None,
    path: Path,
    critical_bytes: int,
    found: Callable[[Path], Ballast | None],
    allocate: Allocate,
    release: Callable[[Path], None],
) -> Outcome[int]:
    """Return how many bytes the ballast has now. `size` is None when none is wanted.

    `disk` is the last look at the filesystem of `path`, None when it could not be had: then
    nothing is touched. Raise NoSpace, StoreUnavailable.
    """
    if disk is None:
        return _nothing(0, "the disk could not be looked at")
    there = found(path)
    if there and not there.ours:
        why = f"{path} is not eiderd's: remove it, or take disk.ballast out of the configuration"
        return Outcome(ending=Ending.REFUSED, value=0, why=why)
    now = there.bytes if there else 0
    critical = room.reserve(disk.total_bytes, critical_bytes=critical_bytes)
    if there and (size is None or disk.free_bytes < critical):
        release(path)
        why = "none is wanted" if size is None else f"only {decimal(disk.free_bytes)} were free"
        return Outcome(ending=Ending.DONE, value=0, why=f"{decimal(now)} released: {why}")
    if size is None or now == size:
        return _nothing(now, "")
    # While it is made, one of another size is still there beside it.
    if disk.free_bytes < 2 * critical + size:
        return _nothing(now, f"{decimal(disk.free_bytes)} free are too few to make it")
    allocate(path, size=size)
    return Outcome(ending=Ending.DONE, value=size, why=f"{decimal(size)} set aside")


def _nothing(value: int, why: str) -> Outcome[int]:
    return Outcome(ending=Ending.NOTHING_TO_DO, value=value, why=why)
