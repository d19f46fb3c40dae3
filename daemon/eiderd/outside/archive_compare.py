"""What was read of an archive against every description of it. Touches nothing.

An archive may be described by the manifest inside it, by the catalog, by Cartographus's own record
inside it and by the one beside it. All that there are must agree with what was read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eiderd.evidence import Damage, Member
from eiderd.outside.archive import EXTRA_FOLDER, GZIP_HEADERS, MANIFEST, STREAM_FOLDER
from eiderd.outside.duckdb_file import WAL_SUFFIXES, wal_names
from eiderd.outside.tar_header import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

# What Cartographus calls the description inside its own archives.
FOREIGN_METADATA: Final = "backup-metadata.json"

Finding: TypeAlias = tuple[Damage | None, str]
GOOD: Final[Finding] = (None, "")
_MOST_NAMED: Final = 3


@dataclasses.dataclass(slots=True, kw_only=True)
class Reading:
    """What one reading of an archive found.

    `documents` are the descriptions at its root, parsed, None for what is no JSON. `databases`
    names the members that are DuckDB files. `head` is the first bytes of the archive;
    `one_gzip_stream` says that it is a single one and nothing follows it.
    """

    members: list[Member]
    documents: dict[str, object]
    databases: list[str]
    head: bytes = b""
    one_gzip_stream: bool = False

    @property
    def ours(self) -> bool:
        return MANIFEST in self.documents

    def is_extra(self, name: str) -> bool:
        """Say whether a member is one of the files that the operator has had added, or a stream."""
        first, *rest = PurePosixPath(name).parts
        return self.ours and bool(rest) and first in {EXTRA_FOLDER, STREAM_FOLDER}

    @property
    def candidates(self) -> list[str]:
        return [name for name in self.databases if not self.is_extra(name)]


def compare_checksum(
    sha256: str, *, recorded: str | None, beside: Mapping[str, Any] | None
) -> Finding:
    """Compare the archive's SHA-256 with the recorded one and with the one in a record beside."""
    theirs = beside.get("checksum") if beside else None
    if theirs and not isinstance(theirs, str):
        return Damage.MANIFEST, "the checksum in the record beside it is not one"
    for known in (recorded, theirs):
        if known and known.lower() != sha256:
            return Damage.CHECKSUM, "its SHA-256 is not the one recorded"
    return GOOD


def compare(
    reading: Reading,
    *,
    members: Sequence[Mapping[str, Any]] | None,
    id_: str | None,
    beside: Mapping[str, Any] | None,
) -> Finding:
    """Compare what was read with every description of it that there is; the first fault wins."""
    faults = (
        _compare_inner(reading, id_=id_, expected=members is not None),
        GOOD if members is None else _compare_list(reading, members, of="the catalog"),
        _compare_foreign(reading),
        _compare_beside(reading, beside),
        _one_database(reading),
        _every_wal_beside(reading),
    )
    return next((fault for fault in faults if fault[0]), GOOD)


def _compare_inner(reading: Reading, *, id_: str | None, expected: bool) -> Finding:
    """Compare with the manifest inside, which every archive of ours has."""
    if not reading.ours:
        return (Damage.MISSING, f"{MANIFEST} is not in it") if expected else GOOD
    document = reading.documents[MANIFEST]
    if not isinstance(document, dict):
        return Damage.MANIFEST, "the manifest inside it is not one"
    if id_ is not None and document.get("id") != id_:
        return Damage.MANIFEST, f"the manifest inside it is not that of backup {shown(id_)}"
    form = _compare_form(reading)
    if form[0]:
        return form
    return _compare_list(reading, document.get("members"), of="the manifest inside it")


def _compare_form(reading: Reading) -> Finding:
    """An archive of ours is one gzip stream of ISA-L's, and the manifest stands last in it."""
    if reading.head not in GZIP_HEADERS:
        return Damage.UNREADABLE_ARCHIVE, "its gzip header was changed"
    if not reading.one_gzip_stream:
        return Damage.UNREADABLE_ARCHIVE, "something follows the end of it"
    if (last := reading.members[-1].name) != MANIFEST:
        return Damage.UNEXPECTED, f"member {shown(last)} stands after the manifest"
    return GOOD


def _compare_list(reading: Reading, listed: object, *, of: str) -> Finding:
    described = _described(listed, name="name", size="bytes", sha256="sha256")
    if described is None:
        return Damage.MANIFEST, f"{of} does not list the members"
    return compare_members(reading, described, exhaustive=True)


def _compare_foreign(reading: Reading) -> Finding:
    """Compare with the application's own description inside its archive."""
    if FOREIGN_METADATA not in reading.documents:
        return GOOD
    listed = _foreign_list(reading.documents[FOREIGN_METADATA])
    return _compare_files(reading, listed, of=FOREIGN_METADATA)


def _compare_beside(reading: Reading, beside: Mapping[str, Any] | None) -> Finding:
    """Compare with the application's record beside its archive, which need not list the files."""
    listed = _foreign_list(beside)
    return GOOD if listed is None else _compare_files(reading, listed, of="the record beside it")


def _foreign_list(document: object) -> object:
    """Return `contents.files`: path, size and SHA-256 of each."""
    contents = document.get("contents") if isinstance(document, Mapping) else None
    return contents.get("files") if isinstance(contents, Mapping) else None


def _compare_files(reading: Reading, listed: object, *, of: str) -> Finding:
    described = _described(listed, name="path", size="size", sha256="checksum")
    if described is None:
        return Damage.MANIFEST, f"{of} does not list the files"
    return compare_members(reading, described, exhaustive=False)


def _described(listed: object, *, name: str, size: str, sha256: str) -> list[Member] | None:
    """Return the members that a list describes, or None when it is no such list.

    Each once: Cartographus's validation appends its list to itself.
    """
    if not isinstance(listed, list | tuple):
        return None
    found: dict[Member, None] = {}
    for entry in listed:
        if not isinstance(entry, Mapping):
            return None
        path, count, digest = (entry.get(key) for key in (name, size, sha256))
        if not isinstance(path, str) or type(count) is not int or not isinstance(digest, str):
            return None
        found[Member(name=str(PurePosixPath(path)), bytes=count, sha256=digest.lower())] = None
    return list(found)


def compare_members(reading: Reading, described: Sequence[Member], *, exhaustive: bool) -> Finding:
    """Compare the members with a description. An `exhaustive` one must know all of them."""
    there = {member.name: member for member in reading.members}
    for known in described:
        member = there.get(known.name)
        if member is None:
            return Damage.MISSING, f"member {shown(known.name)} is missing"
        if member.bytes != known.bytes:
            size = f"{member.bytes} bytes, which is not what was recorded"
            return Damage.DIFFERS, f"{shown(known.name)} has {size}"
        if member.sha256 != known.sha256:
            return Damage.DIFFERS, f"{shown(known.name)} is not as its SHA-256 says"
    strangers = there.keys() - {MANIFEST} - {known.name for known in described}
    if exhaustive and strangers:
        return Damage.UNEXPECTED, f"member {shown(min(strangers))} is not in the manifest"
    return GOOD


def _one_database(reading: Reading) -> Finding:
    names = reading.candidates
    if not names:
        return Damage.NO_DATABASE, "there is no DuckDB database in it"
    if len(names) > 1:
        some = ", ".join(map(shown, names[:_MOST_NAMED]))
        more = ", …" if len(names) > _MOST_NAMED else ""
        return Damage.NO_DATABASE, f"it holds several databases ({some}{more}); verify each apart"
    return GOOD


def _every_wal_beside(reading: Reading) -> Finding:
    """A WAL that no engine would find holds rows that would be missing from what is proven."""
    known = {wal for name in reading.candidates for wal in wal_names(name)}
    for member in reading.members:
        stray = member.name.endswith(WAL_SUFFIXES) and member.name not in known
        if stray and not reading.is_extra(member.name):
            return Damage.UNEXPECTED, f"{shown(member.name)} is a WAL that is not beside a database"
    return GOOD
