"""Every series that `/metrics` has, declared once: name, type, help, labels, source of its figures.

All of them are there from the start, whatever happened so far. What is not known has a value of its
own: a time is 0 when it never was, a figure is NaN while nobody has looked (no rule compares true
with it), and `+Inf` is a limit that is not set or a disk that does not fill. Pure.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from typing import Final

from eiderd.broker.evidence import JetStream
from eiderd.evidence import ApplicationState
from eiderd.heal import actions
from eiderd.health import Condition
from eiderd.metrics import samples
from eiderd.metrics.samples import each, one, when
from eiderd.model import Job, State
from eiderd.status import Frozen, Status

# What the timetable begins by itself. A test holds it equal to the timetable.
TIMED: Final = (Job.BACKUP, Job.VERIFY, Job.DRILL, Job.MIRROR, Job.FRESHNESS, Job.DISK,
                Job.APPLICATION, Job.NATS, Job.HEAL, Job.EXCHANGE)  # fmt: skip
# `job` and `instance` are Prometheus's own: it would rename ours to `exported_job`.
_JOB: Final = ("job_name",)


class Type(enum.StrEnum):
    """What Prometheus calls the type of a series."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One name. `samples` computes all its figures from what is known.

    Those of a histogram are the counts up to each bound, and `sum` is the sum of all it counted.
    """

    name: str
    type: Type = Type.GAUGE
    help: str
    labels: tuple[str, ...] = ()
    samples: samples.Samples
    sum: Callable[[Status], float] | None = None


TABLE: Final = (
    Series(
        name="eider_build_info",
        help="The version of eiderd. Always 1.",
        labels=("version",),
        samples=lambda status: [((status.version,), 1)],
    ),
    Series(
        name="eider_up_since_timestamp_seconds",
        help="When the service began.",
        samples=one(lambda status: when(status.service.since)),
    ),
    Series(
        name="eider_config_last_reload_successful",
        help="1 when the configuration file is the one in force, 0 when a changed one was refused.",
        samples=one(lambda status: not status.service.config_refused),
    ),
    Series(
        name="eider_config_loaded_timestamp_seconds",
        help="When the configuration in force was read.",
        samples=one(lambda status: when(status.service.config_loaded_at)),
    ),
    Series(
        name="eider_condition",
        help="1 for what holds of the whole: well, degraded (a warning) or ill (critical).",
        labels=("condition",),
        samples=each(Condition, lambda status: {status.condition: 1}),
    ),
    Series(
        name="eider_findings",
        help="Findings there are now, by kind and severity. Each kind has a runbook.",
        labels=("kind", "severity"),
        samples=samples.findings,
    ),
    Series(
        name="eider_last_verified_timestamp_seconds",
        help="When the newest verified backup was taken; 0 when there is none. The key metric.",
        samples=one(lambda status: samples.created(status.newest_verified)),
    ),
    Series(
        name="eider_verified_age_limit_seconds",
        help="How old the newest verified backup may become: backup.fresh_within.",
        samples=one(lambda status: status.fresh_seconds),
    ),
    Series(
        name="eider_last_proof_timestamp_seconds",
        help="When a backup last passed a proof, by a backup or by verify; 0 when never.",
        samples=one(samples.last_proof),
    ),
    Series(
        name="eider_recoverable_oldest_timestamp_seconds",
        help="The earliest state that can be restored: the oldest verified backup; 0 when none.",
        samples=one(lambda status: samples.created(samples.oldest_verified(status))),
    ),
    Series(
        name="eider_recoverable_newest_timestamp_seconds",
        help="The latest state that can be restored: the newest verified backup; 0 when none.",
        samples=one(lambda status: samples.created(status.newest_verified)),
    ),
    Series(
        name="eider_backups",
        help="Backups by state. A manifest that cannot be read counts as corrupt.",
        labels=("state",),
        samples=each(State, lambda status: status.counted()),
    ),
    Series(
        name="eider_backups_bytes",
        help="Size of the archives, by the state of their backup.",
        labels=("state",),
        samples=each(State, samples.state_bytes),
    ),
    Series(
        name="eider_pinned_backups",
        help="Backups that are pinned, which nothing prunes.",
        samples=one(lambda status: sum(backup.pinned for backup in status.backups)),
    ),
    Series(
        name="eider_newest_backup_bytes",
        help="Size of the archive of the newest verified backup; 0 when there is none.",
        samples=one(lambda status: newest.bytes if (newest := status.newest_verified) else 0),
    ),
    Series(
        name="eider_newest_backup_rows",
        help="Rows that its proof read in the newest verified backup; 0 when there is none.",
        samples=one(lambda status: newest.proof.rows if (newest := status.newest_verified) else 0),
    ),
    Series(
        name="eider_rows",
        help="Rows of each table in the newest verified backup; "
        f"of the first {samples.MOST_TABLES} tables by name.",
        labels=("table",),
        samples=samples.rows,
    ),
    Series(
        name="eider_tables",
        help="Tables in the newest verified backup.",
        samples=one(lambda status: len(status.tables)),
    ),
    Series(
        name="eider_schema_version",
        help="The schema's version in the newest verified backup; NaN when it is not known.",
        samples=one(samples.schema_version),
    ),
    Series(
        name="eider_schema_looked_timestamp_seconds",
        help="When the schema in force was last read, in the mirror; 0 when never.",
        samples=one(lambda status: when(status.schema.latest.at if status.schema.latest else None)),
    ),
    Series(
        name="eider_mirror_refreshed_timestamp_seconds",
        help="When the mirror was last brought up to date with the database; 0 when it is not "
        "known. It is left alone while nothing is written.",
        samples=one(lambda status: when(status.schema.refreshed_at)),
    ),
    Series(
        name="eider_wal_replays",
        help="1 when an engine would replay the write-ahead log as it was at the last look, 0 when "
        "it would not, NaN when it is not known.",
        samples=one(samples.wal_replays),
    ),
    Series(
        name="eider_database_bytes",
        help="Size of the live database file at the last look.",
        samples=one(lambda status: status.database_bytes),
    ),
    Series(
        name="eider_wal_bytes",
        help="Size of the write-ahead log beside the live database at the last look.",
        samples=one(lambda status: status.wal_bytes),
    ),
    Series(
        name="eider_last_frozen_seconds",
        help="How long the application was frozen or stopped for the newest verified backup.",
        samples=one(lambda status: status.application_frozen_seconds),
    ),
    Series(
        name="eider_frozen_seconds",
        type=Type.HISTOGRAM,
        help="How long the application was frozen or stopped for a backup, each time that it was.",
        labels=("le",),
        samples=samples.frozen,
        sum=lambda status: status.totals.frozen_seconds,
    ),
    Series(
        name="eider_last_drill_timestamp_seconds",
        help="When a backup was last restored for practice; 0 when none ever was.",
        samples=one(lambda status: when(status.drilled.at if status.drilled else None)),
    ),
    Series(
        name="eider_last_drill_seconds",
        help="How long that restore took, proofs included: what to expect; NaN when none ever was.",
        samples=one(lambda status: status.drilled.seconds if status.drilled else math.nan),
    ),
    Series(
        name="eider_application_state",
        help="1 for what the application's state was at the last look; all 0 before it.",
        labels=("state",),
        samples=each(ApplicationState, samples.application_state),
    ),
    Series(
        name="eider_application_healthy",
        help="1 when the application said that it is well, 0 when not; NaN when nothing tells.",
        samples=one(samples.application_healthy),
    ),
    Series(
        name="eider_application_restarts",
        help="Restarts of the application that nobody asked for, as its keeper counts them.",
        samples=one(samples.application_restarts),
    ),
    Series(
        name="eider_nats_up",
        help="1 when NATS took a connection at the last look, 0 when not; NaN without nats.url.",
        samples=one(samples.nats_up),
    ),
    Series(
        name="eider_nats_rtt_seconds",
        help="How long NATS took to answer at the last look.",
        samples=samples.nats(lambda seen: seen.rtt_seconds),
    ),
    Series(
        name="eider_nats_jetstream_up",
        help="1 when JetStream did what it was asked at the last look, 0 when not.",
        samples=samples.nats(lambda seen: seen.jetstream is JetStream.ON),
    ),
    Series(
        name="eider_nats_store_bytes",
        help="What the account has stored on disk.",
        samples=samples.nats(lambda seen: seen.account.storage_bytes if seen.account else None),
    ),
    Series(
        name="eider_nats_store_limit_bytes",
        help="What it may store: the account's limit, else nats.store_limit; +Inf without.",
        samples=one(samples.nats_store_limit),
    ),
    Series(
        name="eider_nats_stream_messages",
        help="Messages in the expected stream; NaN when it is not there.",
        labels=("stream",),
        samples=samples.nats_streams(lambda stream: stream.messages),
    ),
    Series(
        name="eider_nats_stream_bytes",
        help="Size of the expected stream; NaN when it is not there.",
        labels=("stream",),
        samples=samples.nats_streams(lambda stream: stream.bytes),
    ),
    Series(
        name="eider_nats_stream_first_sequence",
        help="Number of the oldest message in the expected stream.",
        labels=("stream",),
        samples=samples.nats_streams(lambda stream: stream.first_sequence),
    ),
    Series(
        name="eider_nats_stream_last_sequence",
        help="Number of the newest message of the expected stream.",
        labels=("stream",),
        samples=samples.nats_streams(lambda stream: stream.last_sequence),
    ),
    Series(
        name="eider_nats_consumer_pending",
        help="Messages that wait for the expected consumer; NaN when it is not there.",
        labels=("stream", "consumer"),
        samples=samples.nats_consumers(lambda of: of.pending),
    ),
    Series(
        name="eider_nats_consumer_ack_pending",
        help="Messages that were delivered to it and are not acknowledged yet.",
        labels=("stream", "consumer"),
        samples=samples.nats_consumers(lambda of: of.ack_pending),
    ),
    Series(
        name="eider_nats_consumer_redelivered",
        help="Messages that had to be delivered to it again.",
        labels=("stream", "consumer"),
        samples=samples.nats_consumers(lambda of: of.redelivered),
    ),
    Series(
        name="eider_nats_consumer_acked_sequence",
        help="Up to which message it has acknowledged all.",
        labels=("stream", "consumer"),
        samples=samples.nats_consumers(lambda of: of.acked_sequence),
    ),
    Series(
        name="eider_backup_schedule_interval_seconds",
        help="The longest wait between two backups that the timetable has.",
        samples=one(lambda status: status.schedule_seconds),
    ),
    Series(
        name="eider_job_last_success_timestamp_seconds",
        help="When the last run of the job that was done ended; 0 when there was none.",
        labels=_JOB,
        samples=each(
            Job,
            lambda status: {job: samples.ended((run,)) for job, run in status.last_done.items()},
        ),
    ),
    Series(
        name="eider_job_last_run_timestamp_seconds",
        help="When the last run of the job ended, however it did; 0 when there was none.",
        labels=_JOB,
        samples=each(Job, samples.last_runs),
    ),
    Series(
        name="eider_job_last_duration_seconds",
        help="How long the last run of the job that was done took; 0 when there was none.",
        labels=_JOB,
        samples=each(
            Job, lambda status: {job: run.seconds or 0 for job, run in status.last_done.items()}
        ),
    ),
    Series(
        name="eider_job_runs_total",
        type=Type.COUNTER,
        help="Runs of the job that ended, by how they ended.",
        labels=(*_JOB, "outcome"),
        samples=samples.runs,
    ),
    Series(
        name="eider_job_seconds_total",
        type=Type.COUNTER,
        help="Time spent in runs of the job.",
        labels=_JOB,
        samples=each(Job, lambda status: status.totals.seconds),
    ),
    Series(
        name="eider_job_missed_total",
        type=Type.COUNTER,
        help="Times at which the timetable wanted the job and it did not begin.",
        labels=_JOB,
        samples=each(TIMED, lambda status: status.totals.missed),
    ),
    Series(
        name="eider_job_running",
        help="1 while the job is at work.",
        labels=_JOB,
        samples=each(Job, lambda status: {running.job: 1 for running in status.running}),
    ),
    Series(
        name="eider_job_next_run_timestamp_seconds",
        help="When the timetable wants the job next; 0 when it is not known.",
        labels=_JOB,
        samples=each(TIMED, samples.next_runs),
    ),
    Series(
        name="eider_pruned_backups_total",
        type=Type.COUNTER,
        help="Backups that the retention rules removed.",
        samples=one(lambda status: status.totals.pruned_backups),
    ),
    Series(
        name="eider_pruned_bytes_total",
        type=Type.COUNTER,
        help="Bytes of archives that the retention rules removed.",
        samples=one(lambda status: status.totals.pruned_bytes),
    ),
    Series(
        name="eider_prune_frozen",
        help="1 for each reason for which nothing may be pruned now.",
        labels=("reason",),
        samples=each(Frozen, lambda status: dict.fromkeys(status.frozen, 1)),
    ),
    Series(
        name="eider_retention_max_backups",
        help="How many backups there may be: retention.max_count; +Inf when it is not set.",
        samples=one(lambda status: math.inf if status.max_count is None else status.max_count),
    ),
    Series(
        name="eider_healing_enabled",
        help="1 when eiderd may repair by itself: heal.enabled.",
        samples=one(lambda status: status.healing.enabled),
    ),
    Series(
        name="eider_healing_paused",
        help="1 while somebody has paused healing.",
        samples=one(lambda status: status.healing.pause is not None),
    ),
    Series(
        name="eider_heal_actions_total",
        type=Type.COUNTER,
        help="Repairs that were tried, by how their runs ended.",
        labels=("action", "outcome"),
        samples=samples.heal_actions,
    ),
    Series(
        name="eider_heal_confirmed_total",
        type=Type.COUNTER,
        help="Repairs of which the check says that they helped.",
        labels=("action",),
        samples=each(actions.JOBS, lambda status: status.healing.confirmed),
    ),
    Series(
        name="eider_heal_stopped",
        help="1 for a repair that was given up: a person has to act.",
        labels=("action",),
        samples=each(actions.JOBS, lambda status: dict.fromkeys(status.healing.stopped, 1)),
    ),
    Series(
        name="eider_disk_free_bytes",
        help="What an ordinary user may still write at this place; NaN before the first look.",
        labels=("place",),
        samples=samples.disks(lambda disk: disk.free_bytes),
    ),
    Series(
        name="eider_disk_total_bytes",
        help="Size of the filesystem at this place; NaN before the first look.",
        labels=("place",),
        samples=samples.disks(lambda disk: disk.total_bytes),
    ),
    Series(
        name="eider_disk_free_inodes",
        help="Files that can still be made at this place; NaN before the first look.",
        labels=("place",),
        samples=samples.disks(lambda disk: disk.free_inodes),
    ),
    Series(
        name="eider_disk_total_inodes",
        help="Files that the filesystem at this place can hold; NaN before the first look.",
        labels=("place",),
        samples=samples.disks(lambda disk: disk.total_inodes),
    ),
    Series(
        name="eider_disk_growth_bytes_per_hour",
        help="How fast what is used at this place grows; NaN until enough was seen.",
        labels=("place",),
        samples=samples.disks(lambda disk: disk.growth_bytes_per_hour),
    ),
    Series(
        name="eider_disk_seconds_to_full",
        help="When this place will be full if it goes on like this; +Inf when it does not fill.",
        labels=("place",),
        samples=samples.disks(lambda disk: disk.seconds_to_full, unseen=math.inf),
    ),
)
