"""Findings, and what they make of the whole: well, degraded or ill. Pure.

A finding is a value: the same problem seen twice is the same finding. A watcher returns all that it
finds; what it no longer returns is over.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable


class Severity(enum.StrEnum):
    """How much a finding matters. The first is the worst."""

    CRITICAL = "critical"  # there is, or soon will be, nothing to restore
    WARNING = "warning"  # a person should look within days
    NOTICE = "notice"  # worth knowing


class Condition(enum.StrEnum):
    """How eiderd and what it looks after are."""

    WELL = "well"
    DEGRADED = "degraded"
    ILL = "ill"


class Kind(enum.StrEnum):
    """What can be found. Also the label of a metric and the name of a runbook."""

    NO_VERIFIED_BACKUP = "no_verified_backup"  # none at all, or the newest is too old
    UNVERIFIED_BACKUP = "unverified_backup"  # the newest backup could not be proven
    CORRUPT_BACKUP = "corrupt_backup"
    UNREADABLE_MANIFEST = "unreadable_manifest"
    SUSPECT_CONTENT = "suspect_content"
    SCHEMA_AHEAD = "schema_ahead"  # the application is older than its database
    SCHEMA_BEHIND = "schema_behind"  # a migration is pending, or failed
    SCHEMA_UNKNOWN = "schema_unknown"
    SCHEMA_CHANGED = "schema_changed"
    VERSION_SKIPPED = "version_skipped"
    ENGINE_UNSUPPORTED = "engine_unsupported"
    WAL_WOULD_NOT_REPLAY = "wal_would_not_replay"
    PRUNE_FROZEN = "prune_frozen"
    NO_RETENTION_RULES = "no_retention_rules"
    JOB_FAILED = "job_failed"
    JOB_OVERDUE = "job_overdue"
    JOB_OVERRAN = "job_overran"
    WATCHER_FAILED = "watcher_failed"
    DISK_LOW = "disk_low"
    DISK_CRITICAL = "disk_critical"
    DISK_FILLING = "disk_filling"
    INODES_LOW = "inodes_low"
    BALLAST_RELEASED = "ballast_released"
    APPLICATION_DOWN = "application_down"
    APPLICATION_UNHEALTHY = "application_unhealthy"  # it runs and is not well, or is frozen
    RESTART_LOOP = "restart_loop"
    LOCK_HELD = "lock_held"  # the database is held by what is not the application
    NATS_DOWN = "nats_down"
    NATS_REFUSED = "nats_refused"  # it does not let eiderd in, or not do what it asks
    NATS_SLOW = "nats_slow"
    JETSTREAM_OFF = "jetstream_off"
    NATS_NO_LEADER = "nats_no_leader"  # JetStream, a stream or a consumer does not answer
    NATS_STORE_FULL = "nats_store_full"  # or nearly
    STREAM_MISSING = "stream_missing"
    CONSUMER_MISSING = "consumer_missing"
    NATS_DRIFT = "nats_drift"  # a stream or consumer is not configured as expected
    NATS_REPLICA_BEHIND = "nats_replica_behind"
    NATS_WENT_BACK = "nats_went_back"  # a stream's sequence
    NATS_LAG = "nats_lag"
    NATS_REDELIVERED = "nats_redelivered"
    STREAM_NOT_IN_BACKUP = "stream_not_in_backup"  # the newest one had to do without it
    NATS_STALLED = "nats_stalled"  # a consumer acknowledges nothing
    NATS_REPLACE_UNFINISHED = "nats_replace_unfinished"  # of a stream: the old one is set aside
    NOT_A_DATABASE = "not_a_database"  # the file was overwritten or cut off, or is another one
    EXCHANGE_UNFINISHED = "exchange_unfinished"  # a restore or compaction died in the middle
    CLOCK_JUMPED = "clock_jumped"
    CONFIG_REFUSED = "config_refused"
    RESTART_NEEDED = "restart_needed"
    JOURNAL_UNWRITABLE = "journal_unwritable"
    HEALING_STOPPED = "healing_stopped"  # it gave up: a person must act
    HEALING_PAUSED = "healing_paused"


Name: TypeAlias = tuple[Kind, str]  # of a finding


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a person should know, with what to type about it.

    `kind` and `subject` (a job, a disk, a backup) say which finding it is; the rest may change from
    one look to the next. `since` is when it was first seen, UTC; whoever keeps findings sets it.
    """

    kind: Kind
    subject: str = ""
    severity: Severity = dataclasses.field(compare=False)
    message: str = dataclasses.field(compare=False)
    command: str = dataclasses.field(compare=False)
    since: datetime.datetime | None = dataclasses.field(default=None, compare=False)

    @property
    def name(self) -> Name:
        """Which finding it is."""
        return self.kind, self.subject


_ORDER = {severity: place for place, severity in enumerate(Severity)}


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(
        sorted(findings, key=lambda found: (_ORDER[found.severity], found.kind, found.subject))
    )


def condition(findings: Iterable[Finding]) -> Condition:
    """Ill when anything is critical, degraded when anything is a warning."""
    severities = {found.severity for found in findings}
    if Severity.CRITICAL in severities:
        return Condition.ILL
    return Condition.DEGRADED if Severity.WARNING in severities else Condition.WELL
