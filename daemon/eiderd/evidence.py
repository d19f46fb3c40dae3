"""What the outside reports: plain values that travel between processes as JSON. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import enum


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One refresh of the mirror.

    `instant` holds two times in nanoseconds since the epoch: the image is the exact state of the
    database files at some moment between them. `changed` lists the (offset, length) byte ranges of
    the database file that were rewritten in the mirror, `wal_changed` per WAL file the (from, to)
    range. `unsound` counts blocks whose checksum does not vouch for them (free blocks may be so).
    `frozen_seconds` is how long the application stood still for it, frozen or stopped.
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All objects of a database, by kind ("tables", "views" ...), with all that is said of each.

    `stored_rows` counts the deleted ones that still take room, `blocks` those of the file.
    """

    engine: str
    storage_version: str | None
    block_bytes: int
    blocks: int
    blocks_free: int
    stored_rows: int
    objects: dict[str, tuple[dict[str, str | None], ...]]


class ApplicationState(enum.StrEnum):
    """What is known of the application. A frozen one runs, and so does one that is stopping."""

    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the application is well, and what it was that said so."""

    well: bool
    why: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A process that holds the database and does not belong to the application."""

    pid: int
    said: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSeen:
    """One look at the application. `name` is what people call it.

    `restarts` counts those that nobody asked for; None when nobody counts them. `health` is None
    when it does not run or nothing tells. `why` is why it failed, if that is known. `to_see_why`
    and `to_thaw` are what a person types.
    """

    name: str
    state: ApplicationState
    health: Health | None = None
    restarts: int | None = None
    frozen: bool = False
    stranger: Stranger | None = None
    why: str = ""
    to_see_why: str = "eider doctor"
    to_thaw: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The plan of an exchange of database files, as it stands beside them until it has ended.

    Names are relative to the folder of the database. `aside_wals` pairs each live WAL file with
    the name under which it is kept; `live_wals` are all places where one could stand; `restart`
    says that the application was stopped for this; `before`, of a roll back, is the plan of what it
    takes back, and in force again if it is undone.
    """

    kind: str
    what: str
    live: str
    had_live: bool
    wal_base: str
    incoming: str
    incoming_wals: tuple[str, ...]
    aside: str
    aside_wals: tuple[tuple[str, str], ...]
    live_wals: tuple[str, ...]
    staging: str | None
    restart: bool
    phase: str
    before: Exchange | None = None
    format: int = 2

    @property
    def verb(self) -> str:
        """What to type to finish it, or to undo it."""
        return f"eider {self.kind if self.kind == 'compact' else 'restore'}"


class Settled(enum.StrEnum):
    """What became of an exchange whose run had died."""

    UNDONE = "undone"
    FINISHED = "finished"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A database that was set aside, its WAL files counted in. `at`: UTC, as in its name."""

    path: str
    word: str
    at: str
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What eiderd set aside and never removes: one folder, or a database with its WAL files.

    `name` says what it is. `since`: UTC, in the words of ISO 8601.
    """

    name: str
    paths: tuple[str, ...]
    is_folder: bool
    bytes: int
    since: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSeen:
    """What can be seen of the live database without an engine.

    `problem` and `hint` say why it cannot be read, if it cannot. `logs` has the bytes of each WAL
    file. `holder` says who has it open, if anybody; `unfinished`, which restore or compaction did
    not end, and `to_end` what to type about that.
    """

    problem: str
    hint: str
    bytes: int
    engine: str
    storage_version: int
    encrypted: bool
    device: int
    logs: dict[str, int]
    holder: str
    aside: tuple[Kept, ...]
    unfinished: str = ""
    to_end: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FolderSeen:
    """A folder of eiderd's own, or, while it does not exist, the one in which it will be made."""

    exists: bool
    is_folder: bool
    owner: str
    mode: int
    writable: bool
    device: int
    filesystem: str
    free_bytes: int
    total_inodes: int
    free_inodes: int
    leftovers: tuple[str, ...]
    kept: tuple[Kept, ...] = ()
    read_only: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSeen:
    """Whether the service answered, and what."""

    answers: bool
    said: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineSeen:
    """An engine and whether it works. `spatial` says whether it has that extension."""

    version: str
    bundled: bool
    problem: str
    spatial: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamTaken:
    """A stream of NATS in a backup. Whatever was published before `captured_at` is in it.

    `method` is `snapshot` or `messages`: as the server packed it, or read one after the other.
    """

    stream: str
    messages: int
    first_seq: int
    last_seq: int
    bytes: int
    consumers: int
    method: str
    captured_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamMissing:
    """A stream that a backup does without."""

    stream: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamsTaken:
    """What became of the streams that were to be in a backup."""

    taken: tuple[StreamTaken, ...] = ()
    missing: tuple[StreamMissing, ...] = ()
