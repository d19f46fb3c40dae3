"""The WAL files of a live database, imaged: read to their end, and asked whether they still hold.

An engine appends to a WAL, or truncates it after a checkpoint. An image that is a prefix of it
is therefore its state at the instant the last byte of the image was read.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from eiderd.errors import SourceUnavailable
from eiderd.outside import files
from eiderd.outside.duckdb_file import may_free_blocks, wal_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK: Final = 4 << 20


def refresh(*, live: Path, image: Path, told: Callable[[int], None]) -> tuple[int, int] | None:
    """Make `image` the bytes of `live` up to its end; what both have in common is not written.

    `told` hears of the bytes read. Return the (from, to) range that was written, None when nothing
    changed. Raise SourceUnavailable, NoSpace, StoreUnavailable.
    """
    with _opened(live) as source:
        if source is None:
            gone = image.exists()
            with files.writing_to(image.parent):
                image.unlink(missing_ok=True)
            return (0, 0) if gone else None
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with files.writing_to(image.parent):
            target = os.open(image, flags, files.PRIVATE_FILE)
        try:
            return _append(source, target, live=live, folder=image.parent, told=told)
        finally:
            os.close(target)


def _append(
    source: int, target: int, *, live: Path, folder: Path, told: Callable[[int], None]
) -> tuple[int, int] | None:
    had = os.fstat(target).st_size
    with files.reading_from(live):
        offset = common = _common(source, target)
    while True:
        with files.reading_from(live):
            data = os.pread(source, _CHUNK, offset)
        if not data:
            break
        told(len(data))
        with files.writing_to(folder):
            offset += os.pwrite(target, data, offset)
    with files.writing_to(folder):
        os.ftruncate(target, offset)
    return (common, offset) if (common, common) != (had, offset) else None


def base(source: Path) -> Path:
    """Return the path beside which the WAL files of the database at `source` stand.

    Behind a symbolic link they stand beside the link (1.4) or beside its target (1.5, 2.0).
    Raise SourceUnavailable when there are some in both places.
    """
    target = Path(os.path.realpath(source))
    if target.name == source.name and target.parent.samefile(source.parent):
        return source
    beside_link, beside_target = bool(sizes(source)), bool(sizes(target))
    if beside_link and beside_target:
        raise SourceUnavailable(
            f"{source} is a link, and there are WAL files beside it and beside {target}",
            hint="Find out which ones belong to it, move the others away, and name the target "
            "in database.path.",
        )
    return source if beside_link else target


def held(*, live: Path, image: Path, encrypted: bool) -> bool:
    """Say whether the images are still prefixes of the WAL files, and no block was freed since.

    `live` and `image` are the paths of the two databases.


    At most one file may have grown: then all of them together were read at one instant. Blocks of
    an encrypted file never return to an earlier content, so there it does not matter what grew.
    """
    grown = 0
    for ours, theirs in zip(_files(image), _files(live), strict=True):
        with _opened(theirs) as wal, _opened(ours) as copy:
            if wal is None or copy is None:
                if wal is not copy:
                    return False
                continue
            had, has = os.fstat(copy).st_size, os.fstat(wal).st_size
            if has < had or _common(wal, copy) < had:
                return False
            if has == had:
                continue
            grown += 1
            if not encrypted and may_free_blocks(_reader(wal), since=had, size=has):
                return False
    return grown <= 1


def sizes(live: Path) -> dict[Path, int]:
    """Return how many bytes each WAL file of the database at `live` has."""
    found: dict[Path, int] = {}
    for path in _files(live):
        with _opened(path) as wal:
            if wal is not None:
                found[path] = os.fstat(wal).st_size
    return found


def may_have_freed(live: Path, *, since: dict[Path, int]) -> bool:
    """Say whether blocks can have been freed by what the WAL files gained since they had `since`.

    For as long as the database's headers stay the same: a checkpoint begins a new WAL.
    """
    for path in _files(live):
        had = since.get(path, 0)
        with _opened(path) as wal:
            has = 0 if wal is None else os.fstat(wal).st_size
            if has < had:
                return True
            if wal is None or has == had:
                continue
            if may_free_blocks(_reader(wal), since=had, size=has):
                return True
    return any(path not in _files(live) for path in since)


def _files(database: Path) -> list[Path]:
    return [database.with_name(name) for name in wal_names(database.name)]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """Yield the open file, None when it is not there."""
    descriptor: int | None = None
    try:
        with files.reading_from(path), contextlib.suppress(FileNotFoundError):
            descriptor = files.open_regular(path)
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _reader(descriptor: int) -> Callable[[int, int], bytes]:
    return lambda offset, length: os.pread(descriptor, length, offset)


def _common(one: int, other: int) -> int:
    """How many bytes two open files have in common from their beginning."""
    offset = 0
    while True:
        a, b = os.pread(one, _CHUNK, offset), os.pread(other, _CHUNK, offset)
        if a != b or not a:
            return offset + _common_prefix(a, b)
        offset += len(a)


def _common_prefix(a: bytes, b: bytes) -> int:
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    differs = np.frombuffer(a[:length], np.uint8) != np.frombuffer(b[:length], np.uint8)
    return int(differs.argmax())
