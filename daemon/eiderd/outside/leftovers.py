"""What runs that died left in a folder of folders, and how large it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from eiderd.errors import NoSpace
from eiderd.outside import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def found(parent: Path, *, locked: bool) -> list[tuple[Path, int]]:
    """Return each folder in `parent` with its bytes; `locked`: of scratch, those nobody holds."""
    with files.reading_own(parent):
        if not parent.is_dir():
            return []
        return [
            (folder, _bytes(folder))
            for folder in sorted(parent.iterdir())
            if folder.is_dir()
            and not folder.is_symlink()
            and not (locked and _is_foreign_or_held(folder))
        ]


def sweep(parent: Path) -> None:
    """Remove the folders of scratch that nobody holds. A full disk does not keep them."""
    if parent.is_dir():
        with contextlib.suppress(NoSpace), files.scratch(parent):
            pass  # whoever makes a folder there sweeps first


def _is_foreign_or_held(folder: Path) -> bool:
    return not folder.name.startswith(files.SCRATCH) or _is_held(folder)


def _is_held(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # its owner has just removed it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _bytes(folder: Path) -> int:
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for inner, _folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(os.path.join(inner, name)).st_blocks * 512  # noqa: PTH118
