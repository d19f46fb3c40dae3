"""The nouns: what a backup is, what is known of it, and how a job can end. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
from typing import TYPE_CHECKING, Generic, TypeVar

from eiderd.evidence import Damage, Member, StreamMissing, StreamTaken, TableContent

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT = 1  # of the manifest; a newer one is refused, an older one is read
# Of the histogram of how long the application was held still, in seconds.
FROZEN_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, math.inf)

Value = TypeVar("Value")


class State(enum.StrEnum):
    """What a backup is worth. Only `verified` ones count, for retention, freshness and alerts."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    SUSPECT = "suspect"
    CORRUPT = "corrupt"


class ContentVerdict(enum.StrEnum):
    """What the comparison of a backup's content with the last verified backup said."""

    NORMAL = "normal"
    SUSPECT = "suspect"
    ACCEPTED = "accepted"  # it was suspect, and a person said that it is right


class Level(enum.IntEnum):
    """How far a proof went. Each level includes those below it."""

    NONE = 0
    CHECKSUM = 1
    ARCHIVE = 2
    BLOCKS = 3
    RESTORE = 4
    DRILL = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """Which state of the live database the backup is, and why that is believed.

    `captured_from` and `captured_to` enclose the instant, to the microsecond.
    """

    method: str
    passes: int
    frozen_seconds: float
    iteration: int | None
    wal_bytes: int
    captured_from: datetime.datetime
    captured_to: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The live database: its path, and what its header says."""

    path: str
    engine: str
    storage_version: int
    encrypted: bool
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a proof went no further than its level."""

    level: Level
    kind: Damage
    message: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The highest level that holds, with counts as evidence.

    `seconds` is how long the engine took to read it; of a drill, how long the whole restore took.
    """

    level: Level
    at: datetime.datetime
    engine: str | None = None
    tables: int = 0
    rows: int = 0
    blocks: int = 0
    indexes: int = 0
    indexes_asked: int = 0
    lookups: int = 0
    unique_checked: int = 0
    seconds: float = 0.0
    failure: Failure | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What was in the database, and how that compares with the last verified backup before it.

    `verdict` is None when nothing could be read to compare; `reasons` say why it is suspect.
    """

    verdict: ContentVerdict | None = None
    reasons: tuple[str, ...] = ()
    compared_with: str | None = None
    schema_version: int | None = None
    schema_digest: str | None = None
    fingerprint_kind: str | None = None
    tables: dict[str, TableContent] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One backup, as its manifest says. `bytes` and `sha256` are those of the archive.

    `nats` are the streams in it, `nats_missing` those that it had to do without.
    """

    format: int = FORMAT
    id: str
    sequence: int
    created_at: datetime.datetime
    state: State
    archive: str
    bytes: int
    sha256: str
    pinned: bool = False
    note: str = ""
    source: Source
    consistency: Consistency
    proof: Proof
    nats: tuple[StreamTaken, ...] = ()
    nats_missing: tuple[StreamMissing, ...] = ()
    content: Content
    members: tuple[Member, ...]
    eiderd: str

    @property
    def verified(self) -> bool:
        return self.state is State.VERIFIED


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A manifest that cannot be believed: not ours, damaged, edited, or of a newer format."""

    id: str
    problem: str
    sequence: int = 0
    state: State = State.CORRUPT


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BriefContent:
    """What a list needs to know of a backup's content."""

    verdict: ContentVerdict | None = None
    reasons: tuple[str, ...] = ()
    schema_version: int | None = None
    schema_digest: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """A backup as lists, retention and watchers see it: its manifest without tables and members."""

    id: str
    sequence: int
    created_at: datetime.datetime
    state: State
    archive: str
    bytes: int
    pinned: bool = False
    note: str = ""
    proof: Proof
    nats_missing: tuple[StreamMissing, ...] = ()
    content: BriefContent = BriefContent()

    @property
    def verified(self) -> bool:
        return self.state is State.VERIFIED


Noun = TypeVar("Noun", Backup, Brief)


def newest_verified(backups: Sequence[Noun]) -> Noun | None:
    """Given backups by sequence number, oldest first, return the newest that counts."""
    return next((backup for backup in reversed(backups) if backup.verified), None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """The last backup that was restored for practice, and how long that took."""

    at: datetime.datetime
    seconds: float
    backup: str


class Ending(enum.StrEnum):
    """How a run ended when it did not fail."""

    DONE = "done"
    UNPROVEN = "unproven"  # done, but what was made could not be proven
    NOTHING_TO_DO = "nothing to do"
    REFUSED = "refused"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[Value]):
    """What a job returns: how it ended, why if not done, and what it made. Failure raises."""

    ending: Ending
    value: Value
    why: str = ""


class Job(enum.StrEnum):
    """Everything that runs: the name of the module, the verb, the table, the label."""

    BACKUP = "backup"
    PRUNE = "prune"
    VERIFY = "verify"
    DRILL = "drill"
    PIN = "pin"
    UNPIN = "unpin"
    ACCEPT = "accept"
    BALLAST = "ballast"
    RESTORE = "restore"
    RESCUE = "rescue"
    COMPACT = "compact"
    QUARANTINE = "quarantine"
    CLEAN = "clean"
    FRESHNESS = "freshness"
    DISK = "disk"
    CONTENT = "content"
    MIRROR = "mirror"
    SCHEMA = "schema"
    HEAL = "heal"
    APPLICATION = "application"
    EXCHANGE = "exchange"
    NATS = "nats"
    ENSURE = "ensure"
    NATS_RESTORE = "nats_restore"
    MIGRATE = "migrate"


class RunOutcome(enum.StrEnum):
    """How a run ended, whichever way."""

    DONE = "done"
    UNPROVEN = "unproven"
    NOTHING_TO_DO = "nothing_to_do"
    REFUSED = "refused"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    DIED = "died"  # its process was killed, or the machine went down


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job, as the journal has it. While it lasts, `outcome` is None.

    `planned_at` is when the timetable wanted it (None: somebody typed it); times are UTC.
    """

    number: int
    job: Job
    began_at: datetime.datetime
    planned_at: datetime.datetime | None = None
    ended_at: datetime.datetime | None = None
    seconds: float | None = None
    outcome: RunOutcome | None = None
    why: str = ""
    hint: str = ""
    backup: str = ""
    pid: int = 0
