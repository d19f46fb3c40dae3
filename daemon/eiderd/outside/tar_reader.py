"""A tar as a stream, read once, as if its maker meant harm.

It reads what GNU tar, bsdtar, Go and Python write of plain files and folders, with long names by
GNU headers or by pax. Everything else is refused: links, devices, sparse files, set-id bits, names
that leave the folder, two members of one name. Python's tarfile only writes here: reading, it
allocates what a header claims, follows chains of headers until the stack ends, and has patterns
that take minutes on a crafted megabyte (CVE-2024-6232).
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import zlib
from typing import IO, TYPE_CHECKING, Final, Protocol, cast

from isal import igzip_threaded, isal_zlib

from eiderd.evidence import Damage
from eiderd.outside.tar_header import (
    BLOCK,
    EXTENSIONS,
    LONG_LINK,
    LONG_NAME,
    PAX_GLOBAL,
    Header,
    Refused,
    extended,
    parse,
    pax,
    safe_name,
    shown,
    text,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK: Final = 1 << 20
GZIP: Final = b"\x1f\x8b"

_BLANK: Final = bytes(BLOCK)
_MOST_MEMBERS: Final = 50_000  # folders count
_MOST_NAMES: Final = 4 << 20  # characters of all names: they are all remembered
_LARGEST_EXTENSION: Final = 1 << 20
_MOST_EXTENSIONS: Final = 32 << 20
_LONGEST_PADDING: Final = 16 << 20  # zeros after the end: tar fills its last record

_UNREADABLE: Final[tuple[type[Exception], ...]] = (
    EOFError,
    OverflowError,  # a gzip header without end
    zlib.error,
    gzip.BadGzipFile,
    cast("type[Exception]", isal_zlib.error),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A plain file in a tar. `name` is normalised: no `./`, no doubled slash."""

    name: str
    size: int


class Content(Protocol):
    """The bytes of one member, until the next one is asked for."""

    def read(self, size: int, /) -> bytes: ...


@contextlib.contextmanager
def opened(file: IO[bytes], *, compressed: bool) -> Iterator[Tar]:
    """Yield the tar in `file`. Raise Refused for whatever is wrong with it, found inside too."""
    try:
        with contextlib.ExitStack() as stack:
            stream: IO[bytes] = file
            if compressed:
                stream = stack.enter_context(igzip_threaded.open(file, "rb", block_size=CHUNK))
            yield Tar(stream)
    except _UNREADABLE as error:
        raise unreadable(f"it cannot be read: {error}") from error
    except MemoryError as error:
        raise Refused(Damage.TOO_BIG, "it takes too much memory to read") from error


class Tar:
    """Iterates over the plain files of a tar, each with its bytes, and reads on to the very end.

    `bytes` counts what was read of it, unpacked.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.bytes = 0
        self._headers = self._names = self._extended = 0

    def __iter__(self) -> Iterator[tuple[Entry, Content]]:
        seen: set[str] = set()
        while header := self._next():
            name = safe_name(header)
            if header.is_folder:
                continue
            if name in seen:
                raise Refused(Damage.UNSAFE, f"two members are called {shown(name)}")
            seen.add(name)
            content = _Content(self, header.size)
            yield Entry(name=name, size=header.size), content
            content.skip()
            self._exactly(-header.size % BLOCK)
        self._finish()

    def _next(self) -> Header | None:
        """Return the next member's header, extended headers applied, or None at the end mark."""
        applied: dict[bytes, dict[str, bytes]] = {}
        while (header := self._header()) and header.kind in EXTENSIONS:
            if header.kind in applied:
                raise unreadable("one extended header follows another")
            applied[header.kind] = self._extension(header)
        if header is None:
            if applied:
                raise unreadable("it ends after an extended header")
            return None
        header = extended(header, [words for words in applied.values() if words])
        self._headers += 1
        self._names += len(header.path)
        if self._headers > _MOST_MEMBERS:
            raise Refused(Damage.TOO_BIG, f"it has more than {_MOST_MEMBERS} members")
        if self._names > _MOST_NAMES:
            raise Refused(Damage.TOO_BIG, "the names in it are too long")
        return header

    def _header(self) -> Header | None:
        block = self._exactly(BLOCK)
        return None if block == _BLANK else parse(block)

    def _extension(self, header: Header) -> dict[str, bytes]:
        """Return what an extended header says of the member after it: `path`, `size`."""
        self._extended += header.size
        if header.size > _LARGEST_EXTENSION or self._extended > _MOST_EXTENSIONS:
            raise Refused(Damage.TOO_BIG, "an extended header is too big")
        data = self._exactly(header.size)
        self._exactly(-header.size % BLOCK)
        if header.kind == LONG_LINK:  # a link is refused, however long
            return {}
        if header.kind == LONG_NAME:
            return {"path": text(data)}
        words = pax(data)
        if words and header.kind == PAX_GLOBAL:
            raise Refused(Damage.UNSAFE, "a global header names or sizes every member")
        return words

    def _exactly(self, count: int) -> bytes:
        data = self.read(count)
        if len(data) < count:
            raise EOFError("it ends too early")
        return data

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self.bytes += len(data)
        return data

    def _finish(self) -> None:
        """Read what follows the end mark: zeros only. gzip's own checksum stands after them."""
        padding = 0
        while data := self.read(CHUNK):
            padding += len(data)
            if data.count(0) != len(data):
                raise unreadable("something follows the end of the tar")
            if padding > _LONGEST_PADDING:
                raise Refused(Damage.TOO_BIG, "zeros without end follow the end of the tar")


class _Content:
    def __init__(self, tar: Tar, size: int) -> None:
        self._tar = tar
        self._left = size

    def read(self, size: int, /) -> bytes:
        data = self._tar.read(min(size, self._left))
        if not data and self._left:
            raise EOFError("it ends inside a member")
        self._left -= len(data)
        return data

    def skip(self) -> None:
        while self.read(CHUNK):
            pass
