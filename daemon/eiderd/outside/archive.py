"""The archive: a plain tar.gz, written and read as a stream.

`tar -xzf` of it restores by hand: the database and its WAL files stand at its root under their own
names, configured extra files under `files/`, and last `eider-manifest.json`, which lists them all.
Tar as GNU tar writes it, gzip by ISA-L (RFC 1952), so any tool reads it.

It is read by `tar_reader`, which treats every archive as hostile. Unpacking writes exactly what the
check counted, or, in one reading with the check, what a manifest says that it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias, cast

from isal import igzip_threaded

from eiderd.errors import NoSpace
from eiderd.evidence import Damage, Member, Packed
from eiderd.outside import files
from eiderd.outside.duckdb_file import wal_names
from eiderd.outside.tar_header import Refused, shown
from eiderd.outside.tar_reader import CHUNK, GZIP, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from eiderd.outside.tar_reader import Content

    Progress: TypeAlias = Callable[[int, int], None]

MANIFEST: Final = "eider-manifest.json"
EXTRA_FOLDER: Final = "files"
STREAM_FOLDER: Final = "nats"

_LEVEL: Final = 1  # ISA-L's best ratio for its speed; 2 threads compress, this one hashes
_THREADS: Final = 2
# gzip's own checksum does not cover its header, so an archive of ours must begin with one of those
# that ISA-L writes: python-isal 1.9 swaps the last two bytes (flags, operating system).
GZIP_HEADERS: Final = frozenset(
    {bytes.fromhex("1f8b08000000000000ff"), bytes.fromhex("1f8b080000000000ff00")}
)
GZIP_HEADER_BYTES: Final = 10


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
    """Write `members` (file, name in the archive) and `manifest` into a new archive `target`.

    It is not synced: the caller does that while the archive is read back.

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


# Unpacking --------------------------------------------------------------------------------------


def unpack(
    *, archive: Path, folder: Path, database: str, members: Sequence[Member], progress: Progress
) -> Path:
    """Unpack the database and its WAL files of a checked archive into `folder`, synced.

    `members` is what `check` counted: an archive that is another now is refused. Return the
    database's path. Raise VerificationFailed, NoSpace, SourceUnavailable, StoreUnavailable.
    """
    wanted = {database, *wal_names(database)}
    sizes = {member.name: member.bytes for member in members if member.name in wanted}
    total = sum(sizes.values())
    if total > (free := files.free_bytes(folder)):
        raise NoSpace(
            f"{archive.name} unpacks to {total} bytes, {folder} has {free} left",
            hint=f"Free some space (df -h {folder}) or set service.state to a larger disk.",
        )
    done = 0
    for count in _unpacked(archive, folder=folder, sizes=sizes):
        done += count
        progress(done, total)
    if done != total:
        raise Refused(Damage.DIFFERS, f"{shown(archive.name)} changed while it was read")
    with files.writing_to(folder):
        files.sync_folder(folder)
    return folder / PurePosixPath(database).name


def unpack_extras(
    *,
    archive: Path,
    folder: Path,
    members: Sequence[Member],
    progress: Progress,
    inside: str = EXTRA_FOLDER,
) -> int:
    """Unpack the extra files of a checked archive below `folder`, which is new; return how many.

    `inside` is where they stand in the archive: the streams stand elsewhere. `members` is what
    `check` counted. Raise as `unpack` does.
    """
    sizes = {one.name: one.bytes for one in members if one.name.startswith(f"{inside}/")}
    total, done = sum(sizes.values()), 0
    if total > (free := files.free_bytes(folder)):
        raise NoSpace(
            f"the extra files unpack to {total} bytes, {folder} has {free} left",
            hint=f"Free some space: df -h {folder}",
        )
    with files.writing_to(folder):
        for name in sizes:
            (folder / name).parent.mkdir(mode=files.PRIVATE_FOLDER, parents=True, exist_ok=True)
    for count in _unpacked(archive, folder=folder, sizes=sizes, flat=False):
        done += count
        progress(done, total)
    if done != total:
        raise Refused(Damage.DIFFERS, f"{shown(archive.name)} changed while it was read")
    return len(sizes)


def _unpacked(
    archive: Path, *, folder: Path, sizes: Mapping[str, int], flat: bool = True
) -> Iterator[int]:
    """Write the members named in `sizes`; yield how many bytes were written, again and again.

    `flat`: without the folders in their names.
    """
    with files.reading_archive(archive), os.fdopen(files.open_regular(archive), "rb") as raw:
        compressed = raw.read(len(GZIP)) == GZIP
        raw.seek(0)
        with opened(cast("IO[bytes]", raw), compressed=compressed) as tar:
            for entry, content in tar:
                if entry.name not in sizes:
                    continue
                if entry.size != sizes[entry.name]:
                    raise Refused(Damage.DIFFERS, f"{shown(entry.name)} changed while it was read")
                name = PurePosixPath(entry.name).name if flat else entry.name
                yield from _write_member(folder / name, content)


def _write_member(path: Path, content: Content) -> Iterator[int]:
    with new_file(path) as write:
        while data := content.read(CHUNK):
            write(data)
            yield len(data)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield what writes into a file that was not there, which is synced in the end."""
    with files.writing_to(path.parent):
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, files.PRIVATE_FILE
        )
    with os.fdopen(descriptor, "wb") as file:

        def write(data: bytes) -> None:
            with files.writing_to(path.parent):
                file.write(data)
                file.flush()  # here, where a full disk has a remedy

        yield write
        with files.writing_to(path.parent):
            os.fsync(file.fileno())
