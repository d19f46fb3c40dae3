"""The mark of a mirror: whether its bytes can be taken at their word.

Nothing in a mirror is synced: it can always be rebuilt. What another boot wrote, or a refresh that
did not end, is compared byte by byte before it is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from eiderd.outside import files, kernel

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """`unsound` lists the blocks that their checksums did not vouch for when the refresh ended."""

    path: Path
    trusted: bool
    unsound: tuple[int, ...]

    @classmethod
    def begin(cls, mirror: Path, *, name: str) -> Mark:
        path = mirror / f".{name}.mark"
        was: dict[str, object] = {}
        with contextlib.suppress(OSError, ValueError):
            was = json.loads(path.read_text())
        unsound = was.get("unsound")
        trusted = was.get("boot") == kernel.boot() and isinstance(unsound, list)
        with files.writing_to(mirror):
            path.unlink(missing_ok=True)
        return cls(path, trusted, tuple(unsound) if isinstance(unsound, list) else ())

    def whole(self, *, unsound: Iterable[int], thorough: bool) -> None:
        """Record that a refresh ended; `thorough`: it compared every byte."""
        said = {"boot": kernel.boot(), "unsound": sorted(unsound), "thorough": thorough}
        with files.writing_to(self.path.parent):
            self.path.write_text(json.dumps(said))


def stamp(mirror: Path, *, name: str) -> tuple[int, int] | None:
    """Return what differs after every refresh; None while one writes, or where no mirror is.

    The second of the two is when the last one ended, in nanoseconds since the epoch. Whoever reads
    a mirror without its lock asks before and after: equal, and nothing was written between.
    """
    try:
        seen = (mirror / f".{name}.mark").stat()
    except FileNotFoundError:
        return None
    return seen.st_ino, seen.st_mtime_ns


def was_thorough(mirror: Path, *, name: str) -> bool:
    """Say whether the last refresh compared every byte."""
    with contextlib.suppress(OSError, ValueError):
        said = json.loads((mirror / f".{name}.mark").read_text())
        return isinstance(said, dict) and said.get("thorough") is True
    return False
