"""What the outside reports: plain values that travel between processes as JSON. Pure."""

from __future__ import annotations

import dataclasses
import enum


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One refresh of the mirror.

    `instant` holds two times in nanoseconds since the epoch: the image is the exact state of the
    database files at some moment between them. `changed` lists the (offset, length) byte ranges of
    the database file that were rewritten in the mirror, `wal_changed` per WAL file the (from, to)
    range. `unsound` counts blocks whose checksum does not vouch for them (free blocks may be so).
    """

    method: str
    passes: int
    seconds: float
    frozen_seconds: float
    first_pass: str | None
    instant: tuple[int, int]
    iteration: int | None
    engine: str
    storage_version: int
    encrypted: bool
    block_size: int
    bytes: int
    wal_bytes: int
    unsound: int
    changed: tuple[tuple[int, int], ...]
    wal_changed: dict[str, tuple[int, int]]
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in an archive: its name there, its size in bytes, its SHA-256 in hex."""

    name: str
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An archive as it was written: its size in bytes, its SHA-256, its members in order."""

    bytes: int
    sha256: str
    members: tuple[Member, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """One look at a folder's filesystem. `free_bytes` is what an ordinary user may still write.

    `device` says which filesystem it is, as long as the machine runs. One that does not count its
    inodes has none in total.
    """

    device: int
    total_bytes: int
    free_bytes: int
    used_bytes: int
    total_inodes: int
    free_inodes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ballast:
    """What stands where the ballast should. `ours`: eiderd made it, so it may go again."""

    bytes: int
    ours: bool


class Damage(enum.StrEnum):
    """Why an archive, or the database in it, is not good. The words of verdicts."""

    UNREADABLE_ARCHIVE = "unreadable_archive"
    CHECKSUM = "checksum_differs"
    MANIFEST = "manifest_differs"
    MISSING = "member_missing"
    DIFFERS = "member_differs"
    UNEXPECTED = "member_unexpected"
    UNSAFE = "member_unsafe"
    TOO_BIG = "too_big"
    NO_DATABASE = "no_database"
    BLOCKS = "blocks_damaged"
    KEY_NEEDED = "key_needed"
    NOT_A_DATABASE = "not_a_database"
    CANNOT_OPEN = "cannot_open"
    WAL_REPLAY = "wal_replay"
    TABLE = "unreadable"
    INDEX = "index_disagrees"
    DUPLICATES = "duplicates"
    NOTHING_CHECKED = "nothing_checked"
    OUT_OF_MEMORY = "out_of_memory"
    ENGINE_DIED = "engine_died"
    DEADLINE = "deadline"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one reading of an archive found, without writing anything.

    `passed` is the highest proof level that holds (1 checksum, 2 archive, 3 blocks); `damage` and
    `message` say why the next one does not. `database` names the member that is a database.
    """

    passed: int
    damage: Damage | None
    message: str
    sha256: str
    members: tuple[Member, ...]
    database: str | None
    blocks: int
    blocks_unsound: int
    encrypted: bool
    origin: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableContent:
    """One table as an engine read it, every row and column.

    `fingerprint` does not depend on the order of the rows and does on everything else; `newest` is
    the greatest value of the configured time column.
    """

    rows: int
    fingerprint: str
    newest: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an engine found when it opened a database read-only and read all of it (level 4)."""

    engine: str
    damage: Damage | None
    message: str
    tables: dict[str, TableContent]
    rows: int
    indexes: int
    indexes_asked: int
    lookups: int
    unique_checked: int
    schema_digest: str | None
    schema_version: int | None
    storage_version: str | None
    fingerprint_kind: str | None
    blocks_free: int | None
    extensions: tuple[str, ...]
    seconds: float
    peak_bytes: int
