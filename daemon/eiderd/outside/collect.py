"""The work of a capture: look, compare, copy, and remember what cannot be taken at its word.

`capture` says in which order, and why it is right.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from eiderd.errors import ConfigError, SourceUnavailable
from eiderd.evidence import Captured
from eiderd.outside import checksum, clock, files, wal_image
from eiderd.outside.duckdb_file import HEADER_BYTES, Headers, read_headers, wal_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Progress: TypeAlias = Callable[[int, int], None]

CHUNK: Final = 4 << 20  # bytes held at once; a multiple of every block size
# Two of these stay in the processor's cache; compared in pieces of CHUNK it takes thrice as long.
_COMPARED: Final = 256 << 10
_FICLONE: Final = 0x40049409  # ioctl_ficlone(2)
_KERNEL_COPY: Final = 16 << 20
_CANNOT_IN_KERNEL = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY}


@dataclasses.dataclass(slots=True, kw_only=True)
class Collect:
    """The open files of one refresh, and what is known about them."""

    source: Path
    wal_base: Path  # the path beside which the WAL files stand: source, but for links
    mirror: Path
    live: int
    copied: int
    throttle: clock.Throttle
    progress: Progress
    headers: Headers
    instant: tuple[int, int] = (0, 0)
    settled: bool = False  # the WAL was read after the last copying
    unsound: set[int] = dataclasses.field(default_factory=set)
    _suspects: set[int] = dataclasses.field(default_factory=set)  # compared in full
    _everything: bool = False
    _judging: bool = False
    _compared: tuple[bytes, dict[Path, int]] | None = None  # headers and WALs when all was compared
    _changed: set[int] = dataclasses.field(default_factory=set)
    _headers_changed: bool = False
    _wal_changed: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    _done: int = 0
    _todo: int = 0

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, source: Path, mirror: Path, *, rate_limit: int | None, progress: Progress
    ) -> Iterator[Collect]:
        with contextlib.ExitStack() as stack:
            with files.reading_from(source):
                live = files.open_regular(source)
            stack.callback(os.close, live)
            with files.reading_from(source):
                headers = read_headers(os.pread(live, HEADER_BYTES, 0), of=source)
            with files.writing_to(mirror):
                copied = os.open(
                    mirror / source.name,
                    os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                    files.PRIVATE_FILE,
                )
            stack.callback(os.close, copied)
            _refuse_itself(live, copied, mirror=mirror)
            yield cls(
                source=source,
                wal_base=wal_image.base(source),
                mirror=mirror,
                live=live,
                copied=copied,
                throttle=clock.throttle(rate_limit),
                progress=progress,
                headers=headers,
            )

    # Reading the two files

    def _read(self, offset: int, length: int) -> bytes:
        self.throttle(length)
        with files.reading_from(self.source):
            return os.pread(self.live, length, offset)

    def _read_into(self, buffer: bytearray, offset: int) -> int:
        self.throttle(len(buffer))
        with files.reading_from(self.source):
            return os.preadv(self.live, [buffer], offset)

    def _write(self, data: bytes, offset: int) -> None:
        with files.writing_to(self.mirror):
            written = 0
            while written < len(data):
                written += os.pwrite(self.copied, data[written:], offset + written)

    def _live_size(self) -> int:
        with files.reading_from(self.source):
            return os.fstat(self.live).st_size

    def _offset(self, index: int) -> int:
        return HEADER_BYTES + index * self.headers.block_size

    # 0. The first pass, in the kernel

    def first_pass(self) -> str | None:
        """Fill an empty mirror at once. Return how: `reflink`, `copy_file_range`, or not."""
        if os.fstat(self.copied).st_size:
            return None
        size = self._live_size()
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.copied, _FICLONE, self.live)
            return "reflink"
        try:
            self._copy_in_kernel(size)
        except OSError as error:
            if error.errno not in _CANNOT_IN_KERNEL:
                with files.writing_to(self.mirror):
                    raise
            return None
        return "copy_file_range"

    def _copy_in_kernel(self, size: int) -> None:
        offset = 0
        self._todo += size
        while offset < size:
            wanted = min(_KERNEL_COPY, size - offset)
            self.throttle(wanted)
            count = os.copy_file_range(self.live, self.copied, wanted, offset, offset)
            if count == 0:
                break
            offset += count
            self._advance(count)

    def distrust_everything(self, *, judge: bool) -> None:
        """Compare every byte once: what the mirror holds may not be what its words say.

        `judge` its checksums too, where the mirror's blocks were not judged when they were copied.
        """
        self._everything = True
        self._judging = judge
        self._todo += self._live_size() - HEADER_BYTES

    def distrust(self, blocks: Iterable[int]) -> None:
        self._suspects.update(blocks)
        self.unsound.update(blocks)

    def _advance(self, count: int) -> None:
        self._done += count
        self.progress(self._done, max(self._done, self._todo))

    # 1. Look

    def look(self) -> list[int]:
        """Return the blocks in which the mirror differs, as far as a look can tell."""
        with files.reading_from(self.source):
            self._refuse_another_file()
        pages = self._read(0, HEADER_BYTES)
        self.headers = read_headers(pages, of=self.source)
        if os.pread(self.copied, HEADER_BYTES, 0) != pages:
            self._write(pages, 0)
            self._headers_changed = True
            self.settled = False
        size = self._live_size()
        if os.fstat(self.copied).st_size > size:
            with files.writing_to(self.mirror):
                os.ftruncate(self.copied, size)
            self.settled = False
        whole, rest = divmod(size - HEADER_BYTES, self.headers.block_size)
        if rest:  # a file that ends inside a block is growing: its word may be all there is yet
            self._suspects.add(whole)
            self.unsound.add(whole)
        if self._everything:
            self._everything = False
            self._compared = pages, wal_image.sizes(self.wal_base)
            dirty = list(self._compare_all(whole))
        else:
            dirty = self._compare_words(whole)
        suspects = [index for index in sorted(self._suspects) if index < whole + bool(rest)]
        dirty += [index for index in suspects if not self._same(index)]
        return sorted(set(dirty))

    def nothing_reused(self) -> bool:
        """Say whether no block can have been rewritten unseen since every byte was compared."""
        if self.headers.encrypted:
            return True  # no block comes back the same there
        if self._compared is None:
            return False
        pages, wal_sizes = self._compared
        same_headers = pages == os.pread(self.copied, HEADER_BYTES, 0)
        return same_headers and not wal_image.may_have_freed(self.wal_base, since=wal_sizes)

    def _refuse_another_file(self) -> None:
        now, then = self.source.stat(), os.fstat(self.live)
        if (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino):
            raise SourceUnavailable(
                f"{self.source} was replaced by another file while it was copied",
                hint="Run the same command again.",
            )

    def _compare_words(self, whole: int) -> list[int]:
        live, copied = self._words(self.live, whole), self._words(self.copied, whole)
        return [int(index) for index in np.flatnonzero(live != copied)]

    def _words(self, descriptor: int, whole: int) -> checksum.Words:
        # A word that cannot be read (the file just shrank, or the mirror is short) is none: blocks
        # never begin with the complement of the other side's zero.
        words = np.full(whole, 0 if descriptor == self.live else ~np.uint64(0), dtype=np.uint64)
        view = memoryview(words.data).cast("B")
        stride, word = self.headers.block_size, checksum.WORD
        with files.reading_from(self.source):
            for index in range(whole):
                os.preadv(
                    descriptor,
                    [view[index * word : (index + 1) * word]],
                    HEADER_BYTES + index * stride,
                )
        return words

    def _same(self, index: int) -> bool:
        offset, length = self._offset(index), self.headers.block_size
        live = self._read(offset, length)
        if live != os.pread(self.copied, length, offset):
            return False
        self._judge(index, live)
        return True

    def _compare_all(self, whole: int) -> Iterator[int]:
        """Compare in full, and check the checksum of each block that is the same."""
        size = self.headers.block_size
        step = max(1, _COMPARED // size)
        live, copied = bytearray(step * size), bytearray(step * size)
        for first in range(0, whole, step):
            count = min(step, whole - first)
            if count < step:
                live, copied = bytearray(count * size), bytearray(count * size)
            got = self._read_into(live, self._offset(first))
            had = os.preadv(self.copied, [copied], self._offset(first))
            self._advance(got)
            all_there = got == had == len(live)
            if self._judging and all_there:
                self._judge(first, copied)
            if not all_there or live != copied:  # what was not read now is of an earlier turn
                one, other = live[:got], copied[:had]
                ends = ((i * size, (i + 1) * size) for i in range(count))
                yield from (first + a // size for a, b in ends if one[a:b] != other[a:b])

    def _judge(self, first: int, data: bytes | bytearray | memoryview) -> None:
        """Remember which of the blocks now in the mirror their checksum does not vouch for."""
        whole, rest = divmod(len(data), self.headers.block_size)
        blocks = range(first, first + whole)
        if rest:  # the file ended inside a block; what is there of it vouches for nothing
            self._suspects.add(first + whole)
            self.unsound.add(first + whole)
        if self.headers.encrypted:
            self._suspects.update(blocks)
            return
        data = memoryview(data)[: whole * self.headers.block_size]
        for index, good in zip(blocks, checksum.sound(data, self.headers.block_size), strict=True):
            if good:
                self.unsound.discard(index)
                self._suspects.discard(index)
            else:
                self.unsound.add(index)
                self._suspects.add(index)

    # 2. and 4. The WAL files

    def wal_held(self) -> bool:
        """Say whether the WAL images still stand for the instant they were read at.

        The headers are asked once more: a checkpoint that came during the look may leave an empty
        WAL as empty as it was.
        """
        headers = self._read(0, HEADER_BYTES)
        return (
            headers == os.pread(self.copied, HEADER_BYTES, 0)
            and self.wal_base == wal_image.base(self.source)
            and wal_image.held(
                live=self.wal_base,
                image=self.mirror / self.source.name,
                encrypted=self.headers.encrypted,
            )
        )

    def read_wal(self) -> None:
        """Bring the mirror's WAL files up to date, each to the live file's end."""
        self.wal_base = wal_image.base(self.source)
        began = time.time_ns()
        live_names = wal_names(self.wal_base.name)
        for live_name, name in zip(live_names, wal_names(self.source.name), strict=True):
            changed = wal_image.refresh(
                live=self.wal_base.with_name(live_name),
                image=self.mirror / name,
                told=self.throttle,
            )
            if changed:
                low, _high = self._wal_changed.get(name, changed)
                self._wal_changed[name] = (min(low, changed[0]), changed[1])
        self.instant = (began, time.time_ns())
        self.settled = True

    # 3. Copy

    def copy(self, dirty: list[int]) -> None:
        size = self.headers.block_size
        self._todo += len(dirty) * size
        for first, count in _runs(dirty, longest=CHUNK // size):
            data = self._read(self._offset(first), count * size)
            self._write(data, self._offset(first))
            self._judge(first, data)
            self._changed.update(range(first, first + count))
            self._advance(len(data))

    # The report

    def report(
        self,
        *,
        passes: int,
        seconds: float,
        frozen_seconds: float | None,
        first_pass: str | None,
        everything: bool,
    ) -> Captured:
        size = os.fstat(self.copied).st_size
        blocks = -(-(size - HEADER_BYTES) // self.headers.block_size)
        self.unsound = {index for index in self.unsound if index < blocks}
        names = (self.source.name, *wal_names(self.source.name))
        present = [name for name in names if (self.mirror / name).exists()]
        wal_bytes = {name: (self.mirror / name).stat().st_size for name in present[1:]}
        all_of_it = {name: (0, count) for name, count in wal_bytes.items()}
        return Captured(
            method="double-collect" if frozen_seconds is None else "freeze",
            passes=passes,
            seconds=seconds,
            frozen_seconds=frozen_seconds or 0.0,
            first_pass=first_pass,
            instant=self.instant,
            iteration=self.headers.iteration,
            engine=self.headers.engine,
            storage_version=self.headers.storage_version,
            encrypted=self.headers.encrypted,
            block_size=self.headers.block_size,
            bytes=size,
            wal_bytes=sum(wal_bytes.values()),
            unsound=len(self.unsound),
            changed=((0, size),) if everything else self._ranges(),
            wal_changed=all_of_it if everything else dict(self._wal_changed),
            files=tuple(present),
        )

    def _ranges(self) -> tuple[tuple[int, int], ...]:
        end = os.fstat(self.copied).st_size
        size = self.headers.block_size
        ranges = [(0, HEADER_BYTES)] if self._headers_changed else []
        for first, count in _runs(sorted(self._changed), longest=1 << 62):
            offset = self._offset(first)
            if offset < end:
                ranges.append((offset, min(count * size, end - offset)))
        return tuple(ranges)


def _refuse_itself(live: int, copied: int, *, mirror: Path) -> None:
    """A mirror that is a way back to the live database would be written to."""
    one, other = os.fstat(live), os.fstat(copied)
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        raise ConfigError(
            f"{mirror} leads to the live database itself",
            hint="Set service.state to a folder of eiderd's own.",
        )


def _runs(blocks: Iterable[int], *, longest: int) -> Iterator[tuple[int, int]]:
    """Given ascending blocks, yield (first, count) of each run of neighbours."""
    first = count = 0
    for index in blocks:
        if count and (index != first + count or count == longest):
            yield first, count
            count = 0
        if not count:
            first = index
        count += 1
    if count:
        yield first, count
