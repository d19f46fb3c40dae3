"""One reading of an archive: proof levels 1 to 3.

Given an archive of eiderd's, of the application itself, or a bare tar of a database and its WAL,
say how far it can be trusted. Memory is bounded whatever the archive. Nothing is written, unless
somebody wants files of it: then those, in the same reading, to be thrown away if it is not good.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias, cast

from eiderd.errors import EiderError
from eiderd.evidence import Checked, Damage, Member
from eiderd.outside import files
from eiderd.outside.archive import GZIP_HEADER_BYTES, MANIFEST, Hashing, new_file
from eiderd.outside.archive_compare import (
    FOREIGN_METADATA,
    GOOD,
    Finding,
    Reading,
    compare,
    compare_checksum,
)
from eiderd.outside.checksum import BlockAudit, Blocks
from eiderd.outside.duckdb_file import MAGIC, MAGIC_OFFSET
from eiderd.outside.tar_header import Refused, shown
from eiderd.outside.tar_reader import CHUNK, GZIP, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eiderd.outside.tar_reader import Content, Entry

    Progress: TypeAlias = Callable[[int, int], None]

# A description of 40,000 files. What JSON becomes in memory is bounded by its values.
LARGEST_DOCUMENT: Final = 8 << 20
_MOST_VALUES: Final = 300_000


class _Audit:
    """The block checksums of one database as it streams by."""

    __slots__ = ("_audit", "blocks", "encrypted", "problem")

    def __init__(self, name: str) -> None:
        self._audit: BlockAudit | None = BlockAudit(of=Path(shown(name)))
        self.blocks: Blocks | None = None
        self.encrypted = False
        self.problem = ""

    def feed(self, data: bytes) -> None:
        if self._audit:
            try:
                self._audit.feed(data)
            except EiderError as error:
                self._audit, self.problem = None, error.message

    def finish(self) -> None:
        audit, self._audit = self._audit, None
        if not audit:
            return
        try:
            self.blocks = audit.finish()
        except EiderError as error:
            self.problem = error.message
            return
        self.encrypted = self.blocks is None
        if self.blocks and not self.blocks.headers_sound:
            self.problem = "a header page is not as its checksum says"


class _Reader:
    """Takes the members of an archive one after the other; writes those in `wanted` to `into`."""

    def __init__(
        self, *, most_bytes: int | None, into: Path | None, wanted: Mapping[str, int]
    ) -> None:
        self._into = into
        self._wanted = wanted
        self.reading = Reading(members=[], documents={}, databases=[])
        self.audits: dict[str, _Audit] = {}
        self._most_bytes = most_bytes
        self._total = 0

    def take_all(self, file: IO[bytes], *, compressed: bool) -> int:
        """Return how many bytes the tar has, unpacked."""
        with opened(file, compressed=compressed) as tar:
            for entry, content in tar:
                self._total += entry.size
                if self._most_bytes is not None and self._total > self._most_bytes:
                    raise Refused(
                        Damage.TOO_BIG,
                        f"it unpacks to more than the {self._most_bytes} bytes that are free",
                    )
                self._take(entry, content)
        return tar.bytes

    def _take(self, entry: Entry, content: Content) -> None:
        with contextlib.ExitStack() as stack:
            write = None
            # Neither another name nor more bytes than whoever wants it has said.
            if self._into and self._wanted.get(entry.name) == entry.size:
                write = stack.enter_context(new_file(self._into / entry.name))
            self._read(entry, content, write=write)

    def _read(
        self, entry: Entry, content: Content, *, write: Callable[[bytes], None] | None
    ) -> None:
        name = entry.name
        digest, first = hashlib.sha256(), True
        audit: _Audit | None = None
        kept = bytearray()
        keep = name in (MANIFEST, FOREIGN_METADATA)
        if keep and entry.size > LARGEST_DOCUMENT:
            raise Refused(Damage.TOO_BIG, f"{name} has {entry.size} bytes")
        while data := content.read(CHUNK):
            if first and data[MAGIC_OFFSET : MAGIC_OFFSET + len(MAGIC)] == MAGIC:
                self.reading.databases.append(name)
                audit = self.audits[name] = _Audit(name)
            first = False
            digest.update(data)
            if keep:
                kept += data
            if audit:
                audit.feed(data)
            if write:
                write(data)
        if audit:
            audit.finish()
        if keep:
            self.reading.documents[name] = _parsed(kept, name=name)
        self.reading.members.append(Member(name=name, bytes=entry.size, sha256=digest.hexdigest()))


def _parsed(data: bytearray, *, name: str) -> object:
    """Return what a JSON document says, None when it is none."""
    if sum(map(data.count, b",[{")) > _MOST_VALUES:
        raise Refused(Damage.TOO_BIG, f"{name} has more than {_MOST_VALUES} values")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def check(
    *,
    archive: Path,
    expected_sha256: str | None,
    expected_members: Sequence[Mapping[str, Any]] | None,
    expected_id: str | None,
    most_bytes: int | None,
    progress: Progress,
    beside: Mapping[str, Any] | None = None,
    into: Path | None = None,
    wanted: Mapping[str, int] | None = None,
) -> Checked:
    """Read an archive once and say how far it can be trusted.

    Level 1 compares its SHA-256, level 2 every member with the manifest inside and with
    `expected_members` (the manifest beside it), level 3 the database's headers and block checksums.
    `beside` is Cartographus's own record of this archive, from its `metadata.json`. `most_bytes`
    bounds what it may unpack to. With `into`, a private folder, the members of `wanted` (names of
    plain files, with their sizes) are written there on the way, synced: they are good for nothing
    before the answer is.

    Raise SourceUnavailable when the archive itself cannot be read from disk; with `into` also what
    refuses to be written: NoSpace, StoreUnavailable.
    """
    if expected_members is not None:  # then there is no reason to read on and on
        most_bytes = sum(member["bytes"] for member in expected_members) + LARGEST_DOCUMENT
    reader = _Reader(most_bytes=most_bytes, into=into, wanted=wanted or {})
    found, sha256 = _read(archive, reader, progress=progress)
    if into:
        with files.writing_to(into):
            files.sync_folder(into)
    reading = reader.reading
    audit = reader.audits.get(reading.candidates[0]) if reading.candidates else None
    differs = compare_checksum(sha256, recorded=expected_sha256, beside=beside)
    passed = 0 if differs[0] else 1
    if differs[0]:
        because = f" ({found[1]})" if found[1] else ""
        found = differs[0], differs[1] + because
    elif not found[0]:
        found = compare(reading, members=expected_members, id_=expected_id, beside=beside)
    if not found[0]:
        found = (Damage.BLOCKS, audit.problem) if audit and audit.problem else GOOD
        passed = 2 if found[0] else 3
    blocks = audit.blocks if audit else None
    return Checked(
        passed=passed,
        damage=found[0],
        message=found[1],
        sha256=sha256,
        members=() if found[0] else tuple(reading.members),  # nobody unpacks what failed
        database=reading.candidates[0] if reading.candidates else None,
        blocks=blocks.total if blocks else 0,
        blocks_unsound=blocks.unsound if blocks else 0,
        encrypted=bool(audit and audit.encrypted),
        origin="eiderd" if reading.ours else "foreign",
    )


def _read(archive: Path, reader: _Reader, *, progress: Progress) -> tuple[Finding, str]:
    """Return what stopped the reading, and the SHA-256."""
    found = GOOD
    with files.reading_archive(archive), os.fdopen(files.open_regular(archive), "rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        head = raw.read(GZIP_HEADER_BYTES)
        raw.seek(0)
        file = Hashing(raw, told=lambda _count: progress(file.count, size))
        try:
            tar_bytes = reader.take_all(cast("IO[bytes]", file), compressed=head.startswith(GZIP))
        except Refused as error:
            found = error.damage, error.message
        else:
            reader.reading.head = head
            reader.reading.one_gzip_stream = tar_bytes % (1 << 32) == _last_number(raw, size)
        while file.read(CHUNK):  # the SHA-256 is of all of it, whatever stopped the reading
            pass
    return found, file.hash.hexdigest()


def _last_number(file: IO[bytes], size: int) -> int:
    """Return where gzip says how much it unpacks to: of the last stream in a file, that is.

    Where streams or zeros follow the first, that is less than what was unpacked.
    """
    return int.from_bytes(os.pread(file.fileno(), 4, max(0, size - 4)), "little")
