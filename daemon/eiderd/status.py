"""What is known at one moment: the one noun behind the page, the terminal, JSON and the metrics.

Everything in it comes from the catalog, the journal and the last look of each watcher: whoever
shows it probes nothing. Pure.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping

from eiderd import health
from eiderd.broker.evidence import NatsStanding
from eiderd.evidence import ApplicationSeen
from eiderd.healing import Healing
from eiderd.model import Brief, Drilled, Job, Run, RunOutcome, State, newest_verified
from eiderd.schema.facts import Known


class Place(enum.StrEnum):
    """The filesystems that matter."""

    DATA = "data"  # where the application's database stands
    BACKUPS = "backups"
    STATE = "state"


class Frozen(enum.StrEnum):
    """Why nothing may be pruned."""

    NO_RULES = "no_rules"
    NO_VERIFIED = "no_verified"
    UNREADABLE = "unreadable"
    SUSPECT = "suspect"
    CLOCK = "clock"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One look at a filesystem. `free_bytes` is what an ordinary user may still write.

    `growth_bytes_per_hour` (of what is used) and `seconds_to_full` are None until enough was seen;
    `seconds_to_full` is also None when nothing grows.
    """

    place: Place
    path: str
    at: datetime.datetime
    total_bytes: int
    free_bytes: int
    total_inodes: int
    free_inodes: int
    growth_bytes_per_hour: float | None = None
    seconds_to_full: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A job at work. `limit_seconds` is how long it may take."""

    job: Job
    began_at: datetime.datetime
    limit_seconds: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upcoming:
    """When the timetable wants a job next."""

    job: Job
    at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts since the journal began. They survive restarts for whatever the journal records.

    `frozen` counts how often the application was held still, by the bound that it stayed within.
    """

    runs: Mapping[tuple[Job, RunOutcome], int] = dataclasses.field(default_factory=dict)
    seconds: Mapping[Job, float] = dataclasses.field(default_factory=dict)
    missed: Mapping[Job, int] = dataclasses.field(default_factory=dict)
    pruned_backups: int = 0
    pruned_bytes: int = 0
    frozen: Mapping[float, int] = dataclasses.field(default_factory=dict)
    frozen_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The service itself. `since` is None when it is not running."""

    since: datetime.datetime | None = None
    config_loaded_at: datetime.datetime | None = None
    config_refused: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything there is to show. Backups oldest first, runs newest first, findings worst first.

    `fresh_seconds` is how old the newest verified backup may become; `last` has the last run of
    each job and `last_done` the last that was done, whenever they were.
    `application_frozen_seconds` is how long the newest verified backup kept it from its work;
    `application` is None when eiderd knows nothing of it, or did not look yet; `drilled` is the
    last restore for practice; `schema` has the last looks at it; `nats` is None without nats.url.
    """

    at: datetime.datetime
    version: str
    database: str
    directory: str
    service: Service
    fresh_seconds: float
    findings: tuple[health.Finding, ...] = ()
    backups: tuple[Brief, ...] = ()
    unreadable: int = 0
    disks: tuple[Disk, ...] = ()
    running: tuple[Running, ...] = ()
    upcoming: tuple[Upcoming, ...] = ()
    recent: tuple[Run, ...] = ()
    last: Mapping[Job, Run] = dataclasses.field(default_factory=dict)
    last_done: Mapping[Job, Run] = dataclasses.field(default_factory=dict)
    totals: Totals = Totals()
    frozen: tuple[Frozen, ...] = ()
    max_count: int | None = None
    schedule_seconds: float = 0.0
    tables: Mapping[str, int] = dataclasses.field(default_factory=dict)
    database_bytes: int = 0
    wal_bytes: int = 0
    application_frozen_seconds: float = 0.0
    application: ApplicationSeen | None = None
    schema: Known = dataclasses.field(default_factory=Known)
    drilled: Drilled | None = None
    healing: Healing = dataclasses.field(default_factory=Healing)
    nats: NatsStanding | None = None

    @property
    def condition(self) -> health.Condition:
        return health.condition(self.findings)

    @property
    def newest_verified(self) -> Brief | None:
        return newest_verified(self.backups)

    @property
    def is_blind(self) -> bool:
        """Whether nobody could look which backups there are: that none is seen means nothing."""
        blind = (health.Kind.WATCHER_FAILED, str(Job.FRESHNESS))
        return not self.backups and any(found.name == blind for found in self.findings)

    @property
    def age_seconds(self) -> float | None:
        """How old the newest verified backup is; None when there is none."""
        newest = self.newest_verified
        return None if newest is None else (self.at - newest.created_at).total_seconds()

    def counted(self) -> dict[State, int]:
        counts = dict.fromkeys(State, 0)
        for backup in self.backups:
            counts[backup.state] += 1
        counts[State.CORRUPT] += self.unreadable
        return counts
