"""From what is known to the figures of each series. All names and labels are seeded. Pure."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from eiderd.health import Kind, Severity
from eiderd.model import Job, RunOutcome
from eiderd.status import Place, Status
from eiderd.words import plain

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Mapping

    from eiderd.model import Brief, Run, State
    from eiderd.status import Disk

Sample: TypeAlias = tuple[tuple[str, ...], float]  # values of the labels, and the figure
Samples: TypeAlias = Callable[[Status], Iterable[Sample]]
Name = TypeVar("Name", bound=enum.StrEnum)

MOST_TABLES: Final = 200


# From a status to samples -----------------------------------------------------------------------


def one(value: Callable[[Status], float]) -> Samples:
    """Return what gives a single sample without labels."""
    return lambda status: [((), value(status))]


def each(
    names: Iterable[Name],
    values: Callable[[Status], Mapping[Name, float]],
    *,
    unseen: float = 0.0,
) -> Samples:
    """Return what gives a sample for each name; `unseen` is the figure of those without one."""
    seeds = dict.fromkeys(names, unseen)
    return lambda status: [
        ((str(name),), figure) for name, figure in {**seeds, **values(status)}.items()
    ]


def when(moment: datetime.datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()


def ended(runs: Iterable[Run | None]) -> float:
    """Return when the first of these that has ended did."""
    done = (run for run in runs if run is not None and run.outcome is not None)
    return next((when(run.ended_at or run.began_at) for run in done), 0.0)


# Backups ----------------------------------------------------------------------------------------


def created(backup: Brief | None) -> float:
    return 0.0 if backup is None else when(backup.created_at)


def oldest_verified(status: Status) -> Brief | None:
    return next((backup for backup in status.backups if backup.verified), None)


def state_bytes(status: Status) -> Mapping[State, int]:
    sums: Counter[State] = Counter()
    for backup in status.backups:
        sums[backup.state] += backup.bytes
    return sums


def last_proof(status: Status) -> float:
    proofs = (backup.proof for backup in status.backups if backup.proof.failure is None)
    return when(max((proof.at for proof in proofs), default=None))


def schema_version(status: Status) -> float:
    newest = status.newest_verified
    version = newest.content.schema_version if newest else None
    return math.nan if version is None else version


def rows(status: Status) -> list[Sample]:
    """Return the rows of each table. Two names that look alike once made plain are one series."""
    counts: Counter[str] = Counter()
    for name in sorted(status.tables)[:MOST_TABLES]:
        counts[plain(name)] += status.tables[name]
    return [((name,), count) for name, count in counts.items()]


# Jobs -------------------------------------------------------------------------------------------


def last_runs(status: Status) -> dict[Job, float]:
    """Return when each job last ended. One that is at work now has not."""
    found = {}
    for job in status.last:
        recent = (run for run in status.recent if run.job is job)
        found[job] = ended((status.last[job], *recent, status.last_done.get(job)))
    return found


def runs(status: Status) -> Iterator[Sample]:
    for job in Job:
        for outcome in RunOutcome:
            yield (str(job), str(outcome)), status.totals.runs.get((job, outcome), 0)


def next_runs(status: Status) -> dict[Job, float]:
    found: dict[Job, float] = {}
    for upcoming in status.upcoming:
        moment = when(upcoming.at)
        found[upcoming.job] = min(moment, found.get(upcoming.job, moment))
    return found


# Findings, disks --------------------------------------------------------------------------------


def findings(status: Status) -> Iterator[Sample]:
    counts = Counter((found.kind, found.severity) for found in status.findings)
    for kind in Kind:
        for severity in Severity:
            yield (str(kind), str(severity)), counts[kind, severity]


def disks(value: Callable[[Disk], float | None], *, unseen: float = math.nan) -> Samples:
    def found(status: Status) -> dict[Place, float]:
        known = {disk.place: value(disk) for disk in status.disks}
        return {place: figure for place, figure in known.items() if figure is not None}

    return each(Place, found, unseen=unseen)
