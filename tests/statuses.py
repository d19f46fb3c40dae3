"""Statuses as a real service would have them, for whatever shows one."""

from __future__ import annotations

import dataclasses
import datetime

from eiderd.health import Finding, Kind, Severity, worst_first
from eiderd.model import (
    Brief,
    BriefContent,
    ContentVerdict,
    Job,
    Level,
    Proof,
    Run,
    RunOutcome,
    State,
)
from eiderd.status import Disk, Frozen, Place, Running, Service, Status, Totals, Upcoming

AT = datetime.datetime(2026, 11, 22, 11, 12, 34, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
_BACKUP_AT = datetime.datetime(2026, 11, 22, 8, 15, tzinfo=datetime.UTC)


def brief(
    number: int,
    *,
    at: datetime.datetime,
    state: State = State.VERIFIED,
    pinned: bool = False,
    note: str = "",
) -> Brief:
    """Return a backup of a database that grows a little every day."""
    id_ = at.strftime("%Y%m%d-%H%M%S")
    verdict = ContentVerdict.SUSPECT if state is State.SUSPECT else ContentVerdict.NORMAL
    return Brief(
        id=id_,
        sequence=number,
        created_at=at,
        state=state,
        archive=f"backup-{id_}.tar.gz",
        bytes=41_200_000 + 31_000 * number,
        pinned=pinned,
        note=note,
        proof=Proof(
            level=Level.RESTORE if state is State.VERIFIED else Level.BLOCKS,
            at=at,
            engine="2.0.0",
            tables=21,
            rows=25_859 + 37 * number,
            blocks=255,
            seconds=6.4,
        ),
        content=BriefContent(
            verdict=verdict,
            reasons=("table facts lost 80% of its rows",) if state is State.SUSPECT else (),
            schema_version=42,
        ),
    )


def run(
    number: int,
    job: Job,
    *,
    at: datetime.datetime,
    seconds: float | None = 0.1,
    outcome: RunOutcome | None = RunOutcome.DONE,
    why: str = "",
    backup: str = "",
) -> Run:
    ended = None if seconds is None else at + datetime.timedelta(seconds=seconds)
    return Run(
        number=number, job=job, began_at=at, planned_at=at, ended_at=ended, seconds=seconds,
        outcome=outcome, why=why, backup=backup, pid=4711,
    )  # fmt: skip


def empty() -> Status:
    """Return what there is just after the installation: nothing, and a finding that says so."""
    return Status(
        at=AT,
        version="0.1.0",
        database="/srv/app/data/app.duckdb",
        directory="/var/lib/eiderd/backups",
        service=Service(since=AT - datetime.timedelta(seconds=20), config_loaded_at=AT),
        fresh_seconds=2 * 86_400.0,
        findings=(
            Finding(
                kind=Kind.NO_VERIFIED_BACKUP,
                severity=Severity.CRITICAL,
                message="there is no verified backup",
                command="eider backup",
                since=AT - datetime.timedelta(seconds=20),
            ),
        ),
        upcoming=(Upcoming(job=Job.BACKUP, at=AT.replace(hour=3, minute=15) + DAY),),
        schedule_seconds=86_400.0,
    )


def with_backups(count: int) -> Status:
    """Return a service in good order with `count` backups, one in some hours, most verified."""
    backups = tuple(_backups(count))
    recent = tuple(_recent(backups))
    last = {run.job: run for run in reversed(recent)}
    return Status(
        at=AT,
        version="0.1.0",
        database="/srv/app/data/app.duckdb",
        directory="/var/lib/eiderd/backups",
        service=Service(since=AT - 12 * DAY, config_loaded_at=AT - 2 * DAY),
        fresh_seconds=12 * 3600.0,
        backups=backups,
        disks=_disks(),
        upcoming=(
            Upcoming(job=Job.BACKUP, at=_BACKUP_AT + 6 * HOUR),
            Upcoming(job=Job.VERIFY, at=AT.replace(hour=4, minute=30, second=0) + 7 * DAY),
        ),
        recent=recent,
        last=last,
        last_done={job: run for job, run in last.items() if run.outcome is RunOutcome.DONE},
        totals=Totals(
            runs={(Job.BACKUP, RunOutcome.DONE): count, (Job.PRUNE, RunOutcome.DONE): count // 2},
            seconds={Job.BACKUP: 6.4 * count, Job.PRUNE: 0.02 * count},
            pruned_backups=count // 2,
            pruned_bytes=41_200_000 * (count // 2),
        ),
        max_count=2 * count or None,
        schedule_seconds=6 * 3600.0,
        tables={"facts": 20_411, "events": 4_120, "schema_migrations": 42},
        database_bytes=67_100_000,
        wal_bytes=1_240_000,
    )


def well() -> Status:
    """Return a service in good order, four weeks after its installation."""
    return with_backups(40)


def with_findings() -> Status:
    """Return a service with one finding of each severity, a job at work, pruning frozen."""
    status = well()
    old = tuple(status.backups[:-8])
    late = (
        brief(33, at=_BACKUP_AT - 42 * HOUR),
        brief(34, at=_BACKUP_AT - 36 * HOUR, pinned=True, note="before the import of 2025"),
        brief(35, at=_BACKUP_AT - 30 * HOUR, state=State.CORRUPT),
        brief(38, at=_BACKUP_AT - 12 * HOUR, state=State.SUSPECT),
        brief(39, at=_BACKUP_AT - 6 * HOUR, state=State.UNVERIFIED),
    )
    failed = run(
        905, Job.BACKUP, at=_BACKUP_AT, seconds=61.0, outcome=RunOutcome.FAILED,
        why="the database changes faster than it can be copied: 300 passes in 60 s",
    )  # fmt: skip
    return dataclasses.replace(
        status,
        findings=worst_first(_findings(late)),
        backups=old + late,
        unreadable=1,
        running=(Running(job=Job.BACKUP, began_at=AT - datetime.timedelta(seconds=94),
                         limit_seconds=14_400.0),),
        recent=(failed, *status.recent[2:]),
        last={**status.last, Job.BACKUP: failed},
        frozen=(Frozen.SUSPECT,),
        disks=_disks(filling=True),
    )  # fmt: skip


def _findings(late: tuple[Brief, ...]) -> tuple[Finding, ...]:
    return (
        Finding(
            kind=Kind.NO_VERIFIED_BACKUP,
            severity=Severity.CRITICAL,
            message="the newest verified backup is 38 hours old, and may be 12 hours old",
            command="eider backup",
            since=AT - 27 * HOUR,
        ),
        Finding(
            kind=Kind.SUSPECT_CONTENT,
            subject=late[3].id,
            severity=Severity.WARNING,
            message=f"backup {late[3].id} has suspect content: table facts lost 80% of its rows",
            command=f"eider accept {late[3].id}",
            since=AT - 15 * HOUR,
        ),
        Finding(
            kind=Kind.DISK_FILLING,
            subject=str(Place.BACKUPS),
            severity=Severity.WARNING,
            message="/var/lib/eiderd/backups will be full in about 31 hours",
            command="df -h /var/lib/eiderd/backups",
            since=AT - 3 * HOUR,
        ),
        Finding(
            kind=Kind.PRUNE_FROZEN,
            severity=Severity.NOTICE,
            message="nothing is pruned: the newest backup is suspect",
            command="eider prune --explain",
            since=AT - 15 * HOUR,
        ),
    )


def _backups(count: int) -> list[Brief]:
    states = {7: State.UNVERIFIED, 19: State.SUSPECT, 23: State.CORRUPT}
    return [
        brief(
            number,
            at=_BACKUP_AT - 6 * HOUR * (count - number),
            state=State.VERIFIED
            if number > count - 10
            else states.get(number % 37, State.VERIFIED),
            pinned=number % 31 == 5,
            note="before the upgrade to 2.0" if number % 31 == 5 else "",
        )
        for number in range(1, count + 1)
    ]


def _recent(backups: tuple[Brief, ...]) -> list[Run]:
    """Return the runs behind the newest backups, newest first."""
    runs = []
    for number, backup in enumerate(backups[-12:]):
        after = backup.created_at + datetime.timedelta(seconds=8)
        runs += [
            run(880 + 2 * number, Job.BACKUP, at=backup.created_at, seconds=6.4 + number / 10,
                backup=backup.id),
            run(881 + 2 * number, Job.PRUNE, at=after, seconds=0.02,
                outcome=RunOutcome.DONE if number % 2 else RunOutcome.NOTHING_TO_DO,
                why="" if number % 2 else "every backup is kept by a rule"),
        ]  # fmt: skip
    return runs[::-1]


def _disks(*, filling: bool = False) -> tuple[Disk, ...]:
    gb = 10**9
    return (
        Disk(place=Place.DATA, path="/srv/app/data", at=AT, total_bytes=80 * gb,
             free_bytes=52 * gb, total_inodes=5_000_000, free_inodes=4_900_000,
             growth_bytes_per_hour=1_100_000.0, seconds_to_full=52 * gb / 1_100_000 * 3600),
        Disk(place=Place.BACKUPS, path="/var/lib/eiderd/backups", at=AT, total_bytes=40 * gb,
             free_bytes=(4 if filling else 31) * gb, total_inodes=2_600_000,
             free_inodes=2_500_000,
             growth_bytes_per_hour=129_000_000.0 if filling else 7_000_000.0,
             seconds_to_full=31 * 3600.0 if filling else 184 * 86_400.0),
        Disk(place=Place.STATE, path="/var/lib/eiderd", at=AT, total_bytes=40 * gb,
             free_bytes=(4 if filling else 31) * gb, total_inodes=2_600_000,
             free_inodes=2_500_000),
    )  # fmt: skip
