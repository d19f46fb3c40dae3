"""From what is known to the figures of each series. All names and labels are seeded. Pure."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from eiderd.heal import actions
from eiderd.health import Kind, Severity
from eiderd.model import FROZEN_BOUNDS, Job, RunOutcome
from eiderd.schema.facts import Replay
from eiderd.status import Place, Status
from eiderd.words import plain

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Mapping

    from eiderd.broker.evidence import ConsumerSeen, NatsSeen, StreamSeen
    from eiderd.evidence import ApplicationState
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


def wal_replays(status: Status) -> float:
    latest = status.schema.latest
    known = {Replay.YES: 1.0, Replay.NO: 0.0}
    return known.get(latest.seen.replay, math.nan) if latest else math.nan


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


def frozen(status: Status) -> Iterator[Sample]:
    """Yield how often the application was held still for so long or less, for each bound."""
    counts = status.totals.frozen
    for bound in FROZEN_BOUNDS:
        so_far = sum(count for within, count in counts.items() if within <= bound)
        yield ("+Inf" if math.isinf(bound) else str(bound),), so_far


# The application --------------------------------------------------------------------------------


def application_state(status: Status) -> dict[ApplicationState, float]:
    return {status.application.state: 1} if status.application else {}


def application_healthy(status: Status) -> float:
    health = status.application.health if status.application else None
    return math.nan if health is None else health.well


def application_restarts(status: Status) -> float:
    count = status.application.restarts if status.application else None
    return math.nan if count is None else count


# Healing ----------------------------------------------------------------------------------------


def heal_actions(status: Status) -> Iterator[Sample]:
    for job in actions.JOBS:
        for outcome in RunOutcome:
            yield (str(job), str(outcome)), status.healing.counts.get((job, outcome), 0)


# NATS -------------------------------------------------------------------------------------------


def nats(value: Callable[[NatsSeen], float | None]) -> Samples:
    """Return what gives one figure of NATS; NaN while nobody has looked, or NATS does not say."""

    def figure(status: Status) -> float:
        seen = status.nats.seen if status.nats else None
        found = value(seen) if seen else None
        return math.nan if found is None else found

    return one(figure)


def nats_up(status: Status) -> float:
    """Return 1 or 0; NaN while NATS is not configured, or nobody has looked."""
    if status.nats is None or not (status.nats.seen or status.nats.why):
        return math.nan
    return status.nats.seen is not None


def nats_store_limit(status: Status) -> float:
    """Return the limit that the account has, else the one that is configured."""
    if status.nats is None:
        return math.inf
    account = status.nats.seen.account if status.nats.seen else None
    limit = account.max_storage_bytes if account else None
    return limit or status.nats.store_limit_bytes or math.inf


def nats_streams(value: Callable[[StreamSeen], float]) -> Samples:
    """Return what gives a figure of each expected stream; NaN for one that is not there."""

    def found(status: Status) -> Iterator[Sample]:
        known = {stream.name: stream for stream in _streams(status)}
        for name in status.nats.expected if status.nats else ():
            yield (name,), value(known[name]) if name in known else math.nan

    return found


def nats_consumers(value: Callable[[ConsumerSeen], float]) -> Samples:
    """Return what gives a figure of each expected consumer; NaN for one that is not there."""

    def found(status: Status) -> Iterator[Sample]:
        known = {
            (of.stream, of.name): of
            for stream in _streams(status)
            for of in stream.consumers
            if of.there and not of.problem
        }
        for stream, consumers in (status.nats.expected if status.nats else {}).items():
            for name in consumers:
                place = (stream, name)
                yield place, value(known[place]) if place in known else math.nan

    return found


def _streams(status: Status) -> list[StreamSeen]:
    seen = status.nats.seen if status.nats else None
    streams = seen.streams if seen else ()
    return [stream for stream in streams if stream.there and not stream.problem]


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
