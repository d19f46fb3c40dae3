"""One reading of an archive, writing nothing: proof levels 1 to 3.

Given an archive of eiderd's, of the application itself, or a bare tar of a database and its WAL,
say how far it can be trusted. Every description there is, beside it or inside it, must agree.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias, cast

from eiderd.errors import EiderError
from eiderd.evidence import Checked, Damage, Member
from eiderd.outside import files
from eiderd.outside.archive import (
    CHUNK,
    GZIP,
    GZIP_HEADER_BYTES,
    GZIP_HEADERS,
    MANIFEST,
    UNREADABLE,
    Hashing,
    Refused,
    entries,
)
from eiderd.outside.checksum import BlockAudit, Blocks
from eiderd.outside.duckdb_file import MAGIC, MAGIC_OFFSET

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Mapping, Sequence

    Progress: TypeAlias = Callable[[int, int], None]

# What Cartographus calls the description inside its own archives.
FOREIGN_METADATA: Final = "backup-metadata.json"
LARGEST_DOCUMENT: Final = 64 << 20

_Finding: TypeAlias = tuple[Damage | None, str]
_GOOD: Final[_Finding] = (None, "")


class _Reading:
    """What has been learned of an archive so far."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.documents: dict[str, Any] = {}
        self.databases: list[str] = []
        self.blocks: Blocks | None = None
        self.encrypted = False
        self.block_problem = ""

    def take_all(self, file: IO[bytes], *, compressed: bool, most_bytes: int | None) -> None:
        total = 0
        with entries(file, compressed=compressed) as found:
            for entry, content in found:
                total += entry.size
                if most_bytes is not None and total > most_bytes:
                    raise Refused(Damage.TOO_BIG, f"it unpacks to more than {most_bytes} bytes")
                self.take(entry, content)

    def block_finding(self) -> _Finding:
        return (Damage.BLOCKS, self.block_problem) if self.block_problem else _GOOD

    def take(self, entry: tarfile.TarInfo, content: IO[bytes]) -> None:
        name = str(PurePosixPath(entry.name))
        digest, count = hashlib.sha256(), 0
        audit: BlockAudit | None = None
        kept: list[bytes] = []
        keep = PurePosixPath(name).name in (MANIFEST, FOREIGN_METADATA)
        if keep and entry.size > LARGEST_DOCUMENT:
            raise Refused(Damage.TOO_BIG, f"{name} has {entry.size} bytes")
        while data := content.read(CHUNK):
            if not count and data[MAGIC_OFFSET : MAGIC_OFFSET + len(MAGIC)] == MAGIC:
                self.databases.append(name)
                audit = BlockAudit(of=Path(name))
            digest.update(data)
            count += len(data)
            if keep:
                kept.append(data)
            if audit:
                audit = self._audit(audit, data)
        if audit:
            self._finish(audit)
        if keep:
            self.documents[PurePosixPath(name).name] = _loads(b"".join(kept))
        self.members.append(Member(name=name, bytes=count, sha256=digest.hexdigest()))

    def _audit(self, audit: BlockAudit, data: bytes) -> BlockAudit | None:
        try:
            audit.feed(data)
        except EiderError as error:
            self.block_problem = error.message
            return None
        return audit

    def _finish(self, audit: BlockAudit) -> None:
        try:
            self.blocks = audit.finish()
        except EiderError as error:
            self.block_problem = error.message
            return
        self.encrypted = self.blocks is None
        if self.blocks and not self.blocks.headers_sound:
            self.block_problem = "a header page is not as its checksum says"


def _loads(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def check(
    *,
    archive: Path,
    expected_sha256: str | None,
    expected_members: Sequence[Mapping[str, Any]] | None,
    expected_id: str | None,
    most_bytes: int | None,
    progress: Progress,
) -> Checked:
    """Read an archive once and say how far it can be trusted.

    Level 1 compares its SHA-256, level 2 every member with the manifest inside and with
    `expected_members` (the manifest beside it), level 3 the database's headers and block checksums.
    `most_bytes` bounds what it may unpack to.

    Raise SourceUnavailable when the archive itself cannot be read from disk.
    """
    reading, found, head, sha256 = _read(archive, most_bytes=most_bytes, progress=progress)
    passed = 0
    if expected_sha256 and sha256 != expected_sha256:
        because = f" ({found[1]})" if found[1] else ""
        found = Damage.CHECKSUM, f"its SHA-256 is not the one recorded{because}"
    else:
        passed = 1
    if not found[0]:
        found = _compare(reading, head=head, members=expected_members, id_=expected_id)
    if not found[0]:
        passed = 2
        found = reading.block_finding()
    if not found[0]:
        passed = 3
    return Checked(
        passed=passed,
        damage=found[0],
        message=found[1],
        sha256=sha256,
        members=tuple(reading.members),
        database=reading.databases[0] if reading.databases else None,
        blocks=reading.blocks.total if reading.blocks else 0,
        blocks_unsound=reading.blocks.unsound if reading.blocks else 0,
        encrypted=reading.encrypted,
        origin="eiderd" if MANIFEST in reading.documents else "foreign",
    )


def _read(
    archive: Path, *, most_bytes: int | None, progress: Progress
) -> tuple[_Reading, _Finding, bytes, str]:
    """Return what was read, what stopped the reading, the first bytes, and the SHA-256."""
    reading = _Reading()
    found = _GOOD
    with files.reading_from(archive), archive.open("rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        head = raw.read(GZIP_HEADER_BYTES)
        raw.seek(0)
        file = Hashing(raw, told=lambda _count: progress(file.count, size))
        try:
            reading.take_all(
                cast("IO[bytes]", file), compressed=head.startswith(GZIP), most_bytes=most_bytes
            )
        except Refused as error:
            found = error.damage, error.message
        except UNREADABLE as error:
            found = Damage.UNREADABLE_ARCHIVE, f"it cannot be read: {error}"
        while file.read(CHUNK):  # the SHA-256 is of all of it, whatever stopped the reading
            pass
    return reading, found, head, file.hash.hexdigest()


def _compare(
    reading: _Reading,
    *,
    head: bytes,
    members: Sequence[Mapping[str, Any]] | None,
    id_: str | None,
) -> _Finding:
    """Compare what was read with every description of it that there is; the first fault wins."""
    faults = (
        _compare_inner(reading, head=head, id_=id_, expected=members is not None),
        _compare_members(reading, members, exhaustive=True) if members is not None else _GOOD,
        _compare_foreign(reading) if FOREIGN_METADATA in reading.documents else _GOOD,
        _one_database(reading),
    )
    return next((fault for fault in faults if fault[0]), _GOOD)


def _compare_inner(reading: _Reading, *, head: bytes, id_: str | None, expected: bool) -> _Finding:
    """Compare with the manifest inside, which every archive of ours has."""
    if MANIFEST not in reading.documents:
        return (Damage.MISSING, f"{MANIFEST} is not in it") if expected else _GOOD
    document = reading.documents[MANIFEST]
    if not isinstance(document, dict) or not isinstance(document.get("members"), list):
        return Damage.MANIFEST, "the manifest inside it is not one"
    if head not in GZIP_HEADERS:
        return Damage.UNREADABLE_ARCHIVE, "its gzip header was changed"
    if id_ is not None and document.get("id") != id_:
        return Damage.MANIFEST, f"it is backup {document.get('id')!r}, not {id_!r}"
    return _compare_members(reading, document["members"], exhaustive=True)


def _one_database(reading: _Reading) -> _Finding:
    if not reading.databases:
        return Damage.NO_DATABASE, "there is no DuckDB database in it"
    if len(reading.databases) > 1:
        names = ", ".join(reading.databases)
        return Damage.NO_DATABASE, f"it holds several databases ({names}); unpack and verify each"
    return _GOOD


def _compare_members(
    reading: _Reading, listed: Sequence[Mapping[str, Any]], *, exhaustive: bool
) -> _Finding:
    there = {member.name: member for member in reading.members}
    for entry in listed:
        name = str(entry.get("name"))
        member = there.pop(name, None)
        if member is None:
            return Damage.MISSING, f"member {name!r} is missing"
        if member.bytes != entry.get("bytes"):
            return Damage.DIFFERS, f"{name!r} has {member.bytes} bytes, not {entry.get('bytes')}"
        if member.sha256 != entry.get("sha256"):
            return Damage.DIFFERS, f"{name!r} is not as its SHA-256 says"
    there.pop(MANIFEST, None)
    if exhaustive and there:
        return Damage.UNEXPECTED, f"member {min(there)!r} is not in the manifest"
    return _GOOD


def _compare_foreign(reading: _Reading) -> _Finding:
    """The application's own description: `contents.files` with path, size and SHA-256 of each."""
    document = reading.documents[FOREIGN_METADATA]
    contents = document.get("contents") if isinstance(document, dict) else None
    listed = contents.get("files") if isinstance(contents, dict) else None
    if not isinstance(listed, list):
        return Damage.MANIFEST, f"{FOREIGN_METADATA} does not list the files"
    return _compare_members(
        reading,
        [
            {"name": f.get("path"), "bytes": f.get("size"), "sha256": f.get("checksum")}
            for f in listed
            if isinstance(f, dict)
        ],
        exhaustive=False,
    )
