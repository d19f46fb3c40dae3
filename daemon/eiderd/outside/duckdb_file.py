"""A DuckDB database file as bytes: headers, blocks, WAL frames. No engine is involved.

Layout, little endian (source: src/storage/single_file_block_manager.cpp and write_ahead_log.cpp of
DuckDB, checked against files of 1.4.3, 1.5.6 and 2.0.0):

- bytes 0-4095: main header page. u64 checksum, `DUCK` at 8, u64 storage version at 12, four u64
  flag words from 20 (bit 0 of the first: encrypted), engine's version text at 52 (32 bytes).
- bytes 4096 and 8192: two database headers, written alternately, one per checkpoint; the live one
  has the higher iteration. u64 checksum, u64 iteration, root meta block, free list, block count,
  block size, vector size, storage compatibility. In an encrypted file both are ciphertext.
- from 12288: blocks of `block size` bytes, each beginning with the u64 checksum of the rest.

Beside the database `X` can stand `X.wal`, and from 1.5 `X.wal.checkpoint` (commits that arrive
while a checkpoint runs) and `X.wal.recovery`. All of them together are the database.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import TYPE_CHECKING

from eiderd.errors import NotADatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGE = 4096
HEADER_BYTES = 3 * PAGE
MAGIC_OFFSET = 8
MAGIC = b"DUCK"
WAL_SUFFIXES = (".wal", ".wal.checkpoint", ".wal.recovery")

# The smallest block an engine makes. Of an encrypted file the true block size is ciphertext; every
# 8 bytes of it change when a block is rewritten, so the smallest grain is always right there.
SMALLEST_BLOCK = 16_384
LARGEST_BLOCK = 262_144

_VERSION_TEXT = slice(52, 84)
_ENCRYPTED = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What the three header pages say. `block_size` in bytes; `block_count` None when encrypted."""

    engine: str
    storage_version: int
    encrypted: bool
    iteration: int | None
    block_size: int
    block_count: int | None


def wal_names(database_name: str) -> tuple[str, ...]:
    return tuple(database_name + suffix for suffix in WAL_SUFFIXES)


def read_headers(pages: bytes, *, of: Path) -> Headers:
    """Given the first 12,288 bytes of `of`, return what they say.

    Raise NotADatabase when they are not those of a DuckDB database.
    """
    if len(pages) < HEADER_BYTES:
        what = "is empty" if not pages else f"ends after {len(pages)} bytes, inside its headers"
        raise NotADatabase(
            f"{of} {what}",
            hint="Check database.path: is this the application's live database?",
        )
    if pages[MAGIC_OFFSET : MAGIC_OFFSET + 4] != MAGIC:
        raise NotADatabase(
            f"{of} is not a DuckDB database",
            hint="Is it the file that the application opens (database.path)? If it was "
            "overwritten: eider restore --dry-run",
        )
    version, flags = struct.unpack_from("<QQ", pages, 12)
    encrypted = bool(flags & _ENCRYPTED)
    iteration, block_count, block_size = (
        (None, None, SMALLEST_BLOCK) if encrypted else _live_header(pages, of=of)
    )
    return Headers(
        engine=pages[_VERSION_TEXT].split(b"\0")[0].decode("ascii", "replace"),
        storage_version=version,
        encrypted=encrypted,
        iteration=iteration,
        block_size=block_size,
        block_count=block_count,
    )


def _live_header(pages: bytes, *, of: Path) -> tuple[int, int, int]:
    """Return (iteration, block count, block size) of the database header in force."""
    best: tuple[int, int, int] | None = None
    for offset in (PAGE, 2 * PAGE):
        iteration, _root, _free, count, size = struct.unpack_from("<QqqQQ", pages, offset + 8)
        plausible = SMALLEST_BLOCK <= size <= LARGEST_BLOCK and size & (size - 1) == 0
        if plausible and (best is None or iteration > best[0]):
            best = (iteration, count, size)
    if best is None:
        raise NotADatabase(
            f"{of} has no usable database header",
            hint="The file is damaged. See what a restore would do: eider restore --dry-run",
        )
    return best


# Write-ahead log ------------------------------------------------------------------------------

_FRAME_HEAD = 16  # u64 payload size, u64 checksum
_ENTRY_FIELD = b"\x64\x00"  # field 100 of the serialised entry: its type, one byte
_OBJECT_END = b"\xff\xff"
_LONGEST_VERSION_ENTRY = 160

# Entries after which no block can have been given back for reuse: a sequence value, a created
# object, rows, the end of a commit. Anything else (drop, alter, checkpoint, unknown) may free some.
_FREES_NOTHING = frozenset({1, 3, 5, 8, 10, 11, 13, 21, 23, 25, 26, 27, 28, 29, 98, 100})


def wal_frames(read: Callable[[int, int], bytes], size: int) -> Iterator[tuple[int, int]] | None:
    """Given `read(offset, length)` over a WAL of `size` bytes, return its (end, entry type)s.

    The last frame may be torn: its end then lies beyond `size`. The type is 0 where there is no
    entry. Return None when the frames cannot be followed: another format, or encrypted.
    """
    start = _first_frame(read(0, _LONGEST_VERSION_ENTRY))
    return None if start is None else _walk(read, start=start, size=size)


def _first_frame(head: bytes) -> int | None:
    """The version entry has no frame of its own; the first frame follows one of its end marks."""
    if not head.startswith(_ENTRY_FIELD):
        return None
    end = 0
    while (end := head.find(_OBJECT_END, end)) >= 0:
        end += len(_OBJECT_END)
        entry = head[end + _FRAME_HEAD : end + _FRAME_HEAD + len(_ENTRY_FIELD)]
        if end == len(head) or entry == _ENTRY_FIELD:
            return end
    return None


def _walk(read: Callable[[int, int], bytes], *, start: int, size: int) -> Iterator[tuple[int, int]]:
    offset = start
    while offset < size and len(head := read(offset, _FRAME_HEAD + 3)) == _FRAME_HEAD + 3:
        (length,) = struct.unpack_from("<Q", head)
        offset += _FRAME_HEAD + length
        yield offset, head[-1] if head[_FRAME_HEAD:-1] == _ENTRY_FIELD else 0


def may_free_blocks(read: Callable[[int, int], bytes], *, since: int, size: int) -> bool:
    """Given a WAL that grew from `since` to `size` bytes, say whether blocks can have been freed.

    Freed blocks may be rewritten at once. Answers yes whenever that cannot be ruled out.
    """
    frames = wal_frames(read, size)
    return frames is None or any(end > since and kind not in _FREES_NOTHING for end, kind in frames)
