"""DuckDB's block checksum, over many blocks at once. Imported by child processes only (numpy).

Source: `Checksum` in DuckDB's src/common/checksum.cpp: 5381 XOR (word * C) over the u64 words that
follow the checksum itself, modulo 2^64. XOR forgets order: two blocks with the same words in
another order have the same checksum, so an equal checksum does not prove equal content.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from eiderd.outside.duckdb_file import HEADER_BYTES, PAGE, read_headers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Words: TypeAlias = NDArray[np.uint64]

_MULTIPLIER = np.uint64(0xBF58476D1CE4E5B9)
_SEED = np.uint64(5381)
WORD = 8


def sound(data: bytes | memoryview, block_size: int) -> NDArray[np.bool_]:
    """Given whole blocks, say of each whether its stored checksum is that of its content."""
    words = np.frombuffer(data, dtype="<u8").reshape(-1, block_size // WORD)
    sums = np.fromiter(
        (np.bitwise_xor.reduce(block[1:] * _MULTIPLIER) for block in words), np.uint64, len(words)
    )
    return np.asarray(sums ^ _SEED == words[:, 0])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """How many blocks of a database file are as their checksums say.

    `blank` blocks hold only zeros (never written); `unsound` ones hold something else than their
    checksum says. Free blocks may be unsound: only an engine knows which ones are in use.
    """

    total: int
    sound: int
    blank: int
    unsound: int
    headers_sound: bool


class BlockAudit:
    """Checks a database file that arrives as a stream, holding one block at a time.

    Of an encrypted file nothing can be checked without the key: `blocks` is then None.
    """

    def __init__(self, *, of: Path) -> None:
        self._of = of
        self._rest = b""
        self._block_size = 0
        self._encrypted = False
        self._headers_sound = False
        self._total = self._sound = self._blank = 0

    def feed(self, data: bytes) -> None:
        self._rest = self._rest + data if self._rest else data
        if not self._block_size:
            if len(self._rest) < HEADER_BYTES:
                return
            self._read_headers()
        if not self._encrypted:
            self._take_blocks()

    def _read_headers(self) -> None:
        pages, self._rest = self._rest[:HEADER_BYTES], self._rest[HEADER_BYTES:]
        headers = read_headers(pages, of=self._of)
        self._block_size, self._encrypted = headers.block_size, headers.encrypted
        # A database that was checkpointed once may have one blank database header.
        main, *both = sound(pages, PAGE)
        self._headers_sound = bool(main) and any(both)
        if self._encrypted:
            self._rest = b""

    def _take_blocks(self) -> None:
        whole = len(self._rest) - len(self._rest) % self._block_size
        if not whole:
            return
        data, self._rest = memoryview(self._rest)[:whole], self._rest[whole:]
        good = sound(data, self._block_size)
        self._total += len(good)
        self._sound += int(good.sum())
        for index in np.flatnonzero(~good):
            block = data[index * self._block_size : (index + 1) * self._block_size]
            self._blank += not np.frombuffer(block, dtype="<u8").any()

    def finish(self) -> Blocks | None:
        """Return the counts. Raise SourceUnavailable when not even the headers came."""
        if not self._block_size:
            read_headers(self._rest, of=self._of)
        if self._encrypted:
            return None
        return Blocks(
            total=self._total,
            sound=self._sound,
            blank=self._blank,
            unsound=self._total - self._sound - self._blank,
            headers_sound=self._headers_sound,
        )
