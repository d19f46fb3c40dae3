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

from eiderd.outside import files

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
        trusted = was.get("boot") == _boot() and isinstance(unsound, list)
        with files.writing_to(mirror):
            path.unlink(missing_ok=True)
        return cls(path, trusted, tuple(unsound) if isinstance(unsound, list) else ())

    def whole(self, *, unsound: Iterable[int]) -> None:
        with files.writing_to(self.path.parent):
            self.path.write_text(json.dumps({"boot": _boot(), "unsound": sorted(unsound)}))


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
