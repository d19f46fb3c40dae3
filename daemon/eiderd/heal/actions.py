"""The table: what is found, and what is done about it. The order is the order of trying.

Nothing here deletes. A prune removes what the rules of [retention] no longer keep, which it does
after every backup anyway; a corrupt archive is moved aside. What is not listed, a person decides.
The ballast is not in the table: the watcher of the disk releases it in its own lane, because a
store that is busy must not keep it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eiderd.healing import Repair, Switch
from eiderd.health import Kind
from eiderd.model import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

_AGAIN: Final = "take another backup"


def _backups() -> Iterator[Repair]:
    for kind, subject in ((Kind.JOB_FAILED, Job.BACKUP), (Kind.NO_VERIFIED_BACKUP, "")):
        yield Repair(
            kind=kind,
            subject=subject,
            job=Job.BACKUP,
            switch=Switch.BACKUP,
            watcher=Job.FRESHNESS,
            said=_AGAIN,
            command="eider backup",
        )
    for job, command in (
        (Job.BACKUP, "eider backup"),
        (Job.VERIFY, "eider verify --all"),
        (Job.DRILL, "eider verify --level 5"),
    ):
        yield Repair(
            kind=Kind.JOB_OVERDUE,
            subject=job,
            job=job,
            switch=Switch.MISSED,
            watcher=Job.FRESHNESS,
            said=f"run {job} once, now",
            command=command,
        )
    yield Repair(
        kind=Kind.CORRUPT_BACKUP,
        job=Job.QUARANTINE,
        switch=Switch.QUARANTINE,
        watcher=Job.CONTENT,
        said="move it to quarantine/ and take another backup",
        command="eider quarantine {subject}",
    )


def _disks() -> Iterator[Repair]:
    for kind in (Kind.DISK_CRITICAL, Kind.DISK_LOW, Kind.DISK_FILLING):
        yield Repair(
            kind=kind,
            subject="backups",
            job=Job.PRUNE,
            switch=Switch.DISK,
            watcher=Job.DISK,
            said="prune by the rules",
            command="eider prune",
            counted=False,
        )
        for place in ("backups", "state"):
            yield Repair(
                kind=kind,
                subject=place,
                job=Job.CLEAN,
                switch=Switch.DISK,
                watcher=Job.DISK,
                said="remove what runs that died left behind",
                command="eider clean",
                counted=False,
            )


def _application() -> Iterator[Repair]:
    for kind in (Kind.APPLICATION_DOWN, Kind.RESTART_LOOP):
        yield Repair(
            kind=kind,
            job=Job.RESTORE,
            switch=Switch.RESTORE,
            watcher=Job.APPLICATION,
            said="rescue its database on a copy, else restore the newest verified backup",
            command="eider rescue",
        )


def _streams() -> Iterator[Repair]:
    for kind in (Kind.STREAM_MISSING, Kind.CONSUMER_MISSING):
        yield Repair(
            kind=kind,
            job=Job.ENSURE,
            switch=Switch.STREAMS,
            watcher=Job.NATS,
            said="create it as the configuration says",
            command="eider nats ensure",
        )


def _for_a_person() -> Iterator[Repair]:
    """What eiderd never does by itself: the finding's own command is proposed."""
    for kind, watcher, said in (
        (Kind.NATS_DRIFT, Job.NATS, "decide which of the two is right"),
        (Kind.NATS_LAG, Job.NATS, "look why the consumer does not keep up"),
        (Kind.SCHEMA_AHEAD, Job.SCHEMA, "install the version of the application that fits"),
    ):
        yield Repair(kind=kind, job=None, watcher=watcher, said=said)
    for kind in (Kind.DISK_CRITICAL, Kind.DISK_LOW, Kind.DISK_FILLING):
        yield Repair(
            kind=kind,
            subject="data",
            job=None,
            watcher=Job.DISK,
            said="give back the dead space in the database",
            command="eider compact",
        )


TABLE: Final = (*_backups(), *_disks(), *_streams(), *_application(), *_for_a_person())
# What must be over before a repair of that kind could help.
_NO_NATS: Final = (
    Kind.NATS_DOWN,
    Kind.NATS_REFUSED,
    Kind.JETSTREAM_OFF,
    Kind.NATS_NO_LEADER,
    Kind.NATS_STORE_FULL,
)
_HALF_DONE: Final = (Kind.EXCHANGE_UNFINISHED,)  # the database is neither the old nor the new one
_NO_DATABASE: Final = (*_HALF_DONE, Kind.NOT_A_DATABASE)
SPEAK_AGAINST: Final = {
    # An empty one in its place would only be in the way of what is to be put back.
    Kind.STREAM_MISSING: (*_NO_NATS, Kind.NATS_REPLACE_UNFINISHED),
    Kind.CONSUMER_MISSING: _NO_NATS,
    Kind.JOB_FAILED: _NO_DATABASE,
    Kind.NO_VERIFIED_BACKUP: _NO_DATABASE,
    Kind.JOB_OVERDUE: _NO_DATABASE,
    Kind.APPLICATION_DOWN: _HALF_DONE,
    Kind.RESTART_LOOP: _HALF_DONE,
}
# What says that it is the database that keeps the application down.
UNOPENABLE: Final = (Kind.WAL_WOULD_NOT_REPLAY, Kind.NOT_A_DATABASE)
JOBS: Final = tuple(dict.fromkeys(repair.job for repair in TABLE if repair.job))
