"""The archive: a plain tar.gz, written and read as a stream.

`tar -xzf` of it restores by hand: the database and its WAL files stand at its root under their own
names, configured extra files under `files/`, and last `eider-manifest.json`, which lists them all.
Tar as GNU tar writes it, gzip by ISA-L (RFC 1952), so any tool reads it.

Reading treats every archive as hostile: nothing is written while an archive is checked, links,
devices and names that leave the folder are refused, and unpacking is bounded by what was counted.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias, cast

from isal import igzip_threaded, isal_zlib

from eiderd.errors import NoSpace, VerificationFailed
from eiderd.evidence import Damage, Member, Packed
from eiderd.outside import files
from eiderd.outside.duckdb_file import WAL_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Progress: TypeAlias = Callable[[int, int], None]

MANIFEST: Final = "eider-manifest.json"
EXTRA_FOLDER: Final = "files"

CHUNK: Final = 1 << 20
_LEVEL: Final = 1  # ISA-L's best ratio for its speed; 2 threads compress, this one hashes
_THREADS: Final = 2
_MOST_MEMBERS: Final = 100_000
GZIP: Final = b"\x1f\x8b"
# gzip's own checksum does not cover its header, so an archive of ours must begin with one of those
# that ISA-L writes: python-isal 1.9 swaps the last two bytes (flags, operating system).
GZIP_HEADERS: Final = frozenset(
    {bytes.fromhex("1f8b08000000000000ff"), bytes.fromhex("1f8b080000000000ff00")}
)
GZIP_HEADER_BYTES: Final = 10
UNREADABLE: Final[tuple[type[Exception], ...]] = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    cast("type[Exception]", isal_zlib.error),
)


class Hashing(io.RawIOBase):
    """Passes bytes through to or from `file`, hashing and counting them."""

    def __init__(
        self, file: IO[bytes], *, told: Callable[[int], None] = lambda _count: None
    ) -> None:
        self._file = file
        self._told = told
        self.hash = hashlib.sha256()
        self.count = 0

    def _see(self, data: bytes) -> None:
        self.hash.update(data)
        self.count += len(data)
        self._told(len(data))

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        data = self._file.read(-1 if size is None else size)
        self._see(data)
        return data

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:  # noqa: ANN401  (any readable buffer)
        self._see(data)
        return self._file.write(data)


# Writing ----------------------------------------------------------------------------------------


def pack(
    *,
    target: Path,
    members: Sequence[tuple[Path, str]],
    owner: tuple[int, int, int],
    modified: int,
    manifest: Mapping[str, object],
    progress: Progress,
) -> Packed:
    """Write `members` (file, name in the archive) and `manifest` into a synced archive `target`.

    `owner` is (uid, gid, mode) for every member, `modified` seconds since the epoch. The manifest
    gets a `members` list and stands last.
    """
    total = sum(path.stat().st_size for path, _name in members)
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    def info(name: str, size: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime = size, modified
        entry.uid, entry.gid, entry.mode = owner
        return entry

    packed: list[Member] = []
    with files.writing_to(target.parent):
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, files.PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as raw:
            out = Hashing(raw)
            with _compressing(out) as squeezed, _tar_writer(squeezed) as tar:
                for path, name in members:
                    with path.open("rb", buffering=0) as file:
                        source = Hashing(file, told=told)
                        tar.addfile(info(name, path.stat().st_size), cast("IO[bytes]", source))
                    packed.append(
                        Member(name=name, bytes=source.count, sha256=source.hash.hexdigest())
                    )
                document = _document(manifest, packed)
                tar.addfile(info(MANIFEST, len(document)), io.BytesIO(document))
            raw.flush()
            os.fsync(raw.fileno())
    return Packed(bytes=out.count, sha256=out.hash.hexdigest(), members=tuple(packed))


def _document(manifest: Mapping[str, object], members: Sequence[Member]) -> bytes:
    listed = [{"name": m.name, "bytes": m.bytes, "sha256": m.sha256} for m in members]
    return json.dumps({**manifest, "members": listed}, indent=1).encode() + b"\n"


def _compressing(out: Hashing) -> contextlib.AbstractContextManager[IO[bytes]]:
    stream = igzip_threaded.open(
        out, "wb", compresslevel=_LEVEL, threads=_THREADS, block_size=CHUNK
    )
    return cast("contextlib.AbstractContextManager[IO[bytes]]", stream)


def _tar_writer(out: IO[bytes]) -> tarfile.TarFile:
    tar = tarfile.open(  # noqa: SIM115
        fileobj=out, mode="w|", bufsize=CHUNK, format=tarfile.GNU_FORMAT
    )
    tar.copybufsize = CHUNK  # type: ignore[attr-defined]
    return tar


# Reading ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def entries(
    file: IO[bytes], *, compressed: bool
) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    """Yield the regular members of a tar, each with its bytes, in order, reading once.

    Raise VerificationFailed for a member that an honest archive does not hold.
    """
    with contextlib.ExitStack() as stack:
        stream: IO[bytes] = file
        if compressed:
            stream = stack.enter_context(igzip_threaded.open(file, "rb", block_size=CHUNK))
        tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK))
        yield _regular(tar)
        while stream.read(CHUNK):  # to the end: gzip's checksum stands there
            pass


def _regular(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    seen: set[str] = set()
    for entry in tar:
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile remembers every member; a stream needs none of them
        refuse_unsafe(entry)
        if entry.isdir():
            continue
        if entry.name in seen:
            raise Refused(Damage.UNSAFE, f"two members are called {entry.name!r}")
        if len(seen) >= _MOST_MEMBERS:
            raise Refused(Damage.TOO_BIG, f"more than {_MOST_MEMBERS} members")
        seen.add(entry.name)
        content = tar.extractfile(entry)
        if content is not None:
            yield entry, content


def refuse_unsafe(entry: tarfile.TarInfo) -> None:
    """Raise VerificationFailed unless `entry` is a plain file or folder that stays inside."""
    if not (entry.isreg() or entry.isdir()) or entry.issparse():
        kind = "a link" if entry.issym() or entry.islnk() else "not a plain file"
        raise Refused(Damage.UNSAFE, f"member {entry.name!r} is {kind}")
    path = PurePosixPath(entry.name)
    if path.is_absolute() or ".." in path.parts or "\0" in entry.name or not entry.name:
        raise Refused(Damage.UNSAFE, f"member {entry.name!r} would leave the folder")


class Refused(VerificationFailed):
    """A member that an honest archive does not hold. `damage` says of what kind."""

    def __init__(self, damage: Damage, message: str) -> None:
        super().__init__(message, hint="Do not unpack this archive; find out who made it.")
        self.damage = damage


@contextlib.contextmanager
def readable(archive: Path) -> Iterator[None]:
    """Turn what the readers of gzip and tar raise into VerificationFailed."""
    try:
        yield
    except UNREADABLE as error:
        raise Refused(
            Damage.UNREADABLE_ARCHIVE, f"{archive.name} cannot be read: {error}"
        ) from error


# Unpacking --------------------------------------------------------------------------------------


def unpack(
    *, archive: Path, folder: Path, database: str, members: Sequence[Member], progress: Progress
) -> Path:
    """Unpack the database and its WAL files of a checked archive into `folder`, synced.

    `members` is what `check` counted: a member that turns out longer, or that was not there, is
    refused. Return the database's path. Raise VerificationFailed, NoSpace, StoreUnavailable.
    """
    wanted = {database + suffix for suffix in ("", *WAL_SUFFIXES)}
    sizes = {member.name: member.bytes for member in members if member.name in wanted}
    total = sum(sizes.values())
    if total > (free := files.free_bytes(folder)):
        raise NoSpace(
            f"{archive.name} unpacks to {total} bytes, {folder} has {free} left",
            hint=f"Free some space (df -h {folder}) or set service.state to a larger disk.",
        )
    done = 0
    with files.reading_from(archive), archive.open("rb") as raw, readable(archive):
        compressed = raw.read(2) == GZIP
        raw.seek(0)
        with entries(raw, compressed=compressed) as found:
            for entry, content in found:
                name = str(PurePosixPath(entry.name))
                if name not in sizes:
                    continue
                if entry.size != sizes[name]:
                    raise Refused(Damage.DIFFERS, f"{name!r} changed while it was read")
                for count in _write_member(folder / PurePosixPath(name).name, content):
                    done += count
                    progress(done, total)
    with files.writing_to(folder):
        files.sync_folder(folder)
    return folder / PurePosixPath(database).name


def _write_member(path: Path, content: IO[bytes]) -> Iterator[int]:
    with files.writing_to(path.parent):
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, files.PRIVATE_FILE
        )
    with os.fdopen(descriptor, "wb") as file:
        while data := content.read(CHUNK):
            with files.writing_to(path.parent):
                file.write(data)
            yield len(data)
        with files.writing_to(path.parent):
            file.flush()
            os.fsync(file.fileno())
