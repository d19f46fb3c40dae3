"""Every series that `/metrics` has, declared once: name, type, help, labels, source of its figures.

All of them are there from the start, whatever happened so far. What is not known has a value of its
own: a time is 0 when it never was, a figure is NaN while nobody has looked (no rule compares true
with it), and `+Inf` is a limit that is not set or a disk that does not fill. Pure.
"""

from __future__ import annotations

import math
from typing import Final

from eiderd.heal import actions
from eiderd.health import Condition
from eiderd.metrics import samples
from eiderd.metrics.declared import Series, Type
from eiderd.metrics.of_application import APPLICATION
from eiderd.metrics.of_backups import BACKUPS
from eiderd.metrics.samples import each, one, when
from eiderd.model import Job
from eiderd.status import Frozen

# What the timetable begins by itself. A test holds it equal to the timetable.
TIMED: Final = (Job.BACKUP, Job.VERIFY, Job.DRILL, Job.MIRROR, Job.FRESHNESS, Job.DISK,
                Job.APPLICATION, Job.NATS, Job.HEAL, Job.EXCHANGE)  # fmt: skip
# `job` and `instance` are Prometheus's own: it would rename ours to `exported_job`.
_JOB: Final = ("job_name",)

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
    *BACKUPS,
    *APPLICATION,
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
