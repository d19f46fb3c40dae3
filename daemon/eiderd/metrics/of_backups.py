"""The series of the backups, the database and its schema. Pure."""

from __future__ import annotations

import math
from typing import Final

from eiderd.metrics import samples
from eiderd.metrics.declared import Series, Type
from eiderd.metrics.samples import each, one, when
from eiderd.model import State

BACKUPS: Final = (
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
)
