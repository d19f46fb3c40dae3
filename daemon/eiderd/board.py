"""What is known at this moment, kept for whoever asks: the watchers report here, pages read here.

A watcher hands in all that it finds; what it no longer finds is over. A finding is logged and
journaled when it is raised and when it is cleared, never in between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import structlog

from eiderd import __version__, health, schedule
from eiderd.healing import Healing, Seen
from eiderd.model import Brief, Job, RunOutcome, Unreadable, newest_verified
from eiderd.schema.facts import Known
from eiderd.status import Disk, Frozen, Running, Service, Status, Totals, Upcoming

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from eiderd.broker.evidence import NatsStanding
    from eiderd.evidence import ApplicationSeen
    from eiderd.frame import Frame
    from eiderd.heal_memory import HealMemory
    from eiderd.healing import Decision
    from eiderd.health import Finding
    from eiderd.journal import Journal
    from eiderd.memory import Memory
    from eiderd.schedule import Entry

_RECENT: Final = 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What the catalog and the live files were at the last look.

    `tables` (their rows) and `application_frozen_seconds` are those of the newest verified backup.
    """

    backups: tuple[Brief, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    frozen: tuple[Frozen, ...] = ()
    tables: Mapping[str, int] = dataclasses.field(default_factory=dict)
    database_bytes: int = 0
    wal_bytes: int = 0
    application_frozen_seconds: float = 0.0
    removable: int = 0  # how many backups the rules no longer keep

    @property
    def newest_verified(self) -> Brief | None:
        return newest_verified(self.backups)


class Board:
    """Holds the last report of each watcher. Reports replace whole values, so readers need no lock.

    With `records`, findings are journaled and logged; `eider status` only looks.
    """

    def __init__(self, *, frame: Frame, journal: Journal, records: bool) -> None:
        self.frame = frame
        self.records = records
        self.stock = Stock()
        self.disks: tuple[Disk, ...] = ()
        self.application: ApplicationSeen | None = None
        self.schema = Known()
        self.nats_version: str | None = None
        self.nats: NatsStanding | None = None
        self.service = Service()
        self._journal = journal
        self._reports: dict[str, tuple[Finding, ...]] = {}
        self.decisions: tuple[Decision, ...] | None = None  # None: those of the service
        self._looks: dict[str, dict[health.Name, tuple[datetime.datetime, ...]]] = {}
        self.looked: dict[str, datetime.datetime] = {}  # when each watcher looked last
        self._runs: dict[tuple[Job, RunOutcome], int] = {}  # of watchers: not in the journal
        self._forgot = False

    def report(self, source: str, found: Iterable[Finding], *, at: datetime.datetime) -> None:
        """Take in all that one watcher finds now."""
        before, now = self._reports.get(source), tuple(found)
        self._reports[source] = now
        looks = self._looks.get(source, {})
        self._looks[source] = {found.name: (*looks.get(found.name, ()), at)[-2:] for found in now}
        self.looked[source] = at
        if not self.records:
            return
        with self._journal.memory() as memory:
            known = memory.findings
            raised = [finding for finding in now if finding.name not in known]
        cleared = [finding for finding in before or () if finding not in now]
        for finding in raised:
            self._journal.raised(finding, at=at)
            _log_raised(finding)
        for finding in cleared:
            self._journal.cleared(finding, at=at)
            _log_cleared(finding)

    def seen(self) -> tuple[Seen, ...]:
        """Return every finding with the last two looks in a row that found it, the worst first."""
        looks = {name: at for one in list(self._looks.values()) for name, at in one.items()}
        return tuple(
            Seen(finding=found, looks=looks.get(found.name, ())) for found in self.findings()
        )

    def forget_old(self, sources: AbstractSet[str], *, at: datetime.datetime) -> None:
        """Clear what an earlier process found and this one, once all `sources` told, does not."""
        if self._forgot or not sources <= self.looked.keys():
            return
        self._forgot = True
        with self._journal.memory() as memory:
            known = tuple(memory.findings)
        present = {found.name for found in self.findings()}  # later: what is journaled is reported
        for kind, subject in (name for name in known if name not in present):
            gone = health.Finding(
                kind=kind, subject=subject, severity=health.Severity.NOTICE, message="", command=""
            )
            self._journal.cleared(gone, at=at)
            _log_cleared(gone)

    def count(self, job: Job, outcome: RunOutcome) -> None:
        """Count a run of a watcher. Each job runs in one thread at a time."""
        self._runs[job, outcome] = self._runs.get((job, outcome), 0) + 1

    def findings(self) -> tuple[Finding, ...]:
        """Return every finding, the worst first, each once and with the time it was first seen."""
        with self._journal.memory() as memory:
            since = dict(memory.findings)
        unique = {found: found for report in list(self._reports.values()) for found in report}
        return health.worst_first(
            dataclasses.replace(found, since=since.get(found.name)) for found in unique.values()
        )

    def status(self, *, at: datetime.datetime) -> Status:
        """Return all of it as one value."""
        frame, stock = self.frame, self.stock
        with self._journal.memory() as memory:
            recent, totals = tuple(memory.recent), self._totals(memory)
            last, last_done = dict(memory.last), dict(memory.last_done)
            healing = self._healing(memory.heal, at=at)
            drilled = memory.drilled
        limits = {entry.job: entry.limit.total_seconds() for entry in frame.timetable}
        return Status(
            at=at,
            version=__version__,
            database=frame.database,
            directory=frame.directory,
            service=self.service,
            fresh_seconds=frame.fresh_within.total_seconds(),
            findings=self.findings(),
            backups=stock.backups,
            unreadable=len(stock.unreadable),
            disks=self.disks,
            running=tuple(
                Running(job=run.job, began_at=run.began_at, limit_seconds=limits.get(run.job))
                for run in self._journal.running()
            ),
            upcoming=tuple(_upcoming(frame.timetable, at=at, zone=frame.zone)),
            recent=recent[: -_RECENT - 1 : -1],
            last=last,
            last_done=last_done,
            totals=totals,
            frozen=stock.frozen,
            max_count=frame.max_count,
            schedule_seconds=frame.schedule_seconds,
            tables=stock.tables,
            database_bytes=stock.database_bytes,
            wal_bytes=stock.wal_bytes,
            application_frozen_seconds=stock.application_frozen_seconds,
            healing=healing,
            application=self.application,
            schema=self.schema,
            nats=self.nats,
            drilled=drilled,
        )

    def _healing(self, heal: HealMemory, *, at: datetime.datetime) -> Healing:
        limits = self.frame.heal
        return Healing(
            enabled=limits.enabled,
            tries=limits.tries,
            period=limits.period,
            pause=heal.pause if heal.pause and heal.pause.holds(at) else None,
            decisions=heal.decisions if self.decisions is None else self.decisions,
            attempts=tuple(heal.attempts[: -_RECENT - 1 : -1]),
            stopped=dict(heal.stopped),
            counts=dict(heal.counts),
            confirmed=dict(heal.confirmed),
        )

    def _totals(self, memory: Memory) -> Totals:
        return Totals(
            runs={**memory.runs, **self._runs},
            seconds=dict(memory.seconds),
            missed=dict(memory.missed),
            pruned_backups=memory.pruned_backups,
            pruned_bytes=memory.pruned_bytes,
            frozen=dict(memory.frozen),
            frozen_seconds=memory.frozen_seconds,
        )


def _upcoming(
    timetable: Sequence[Entry], *, at: datetime.datetime, zone: datetime.tzinfo
) -> list[Upcoming]:
    found = []
    for entry in timetable:
        if entry.lane is schedule.Lane.STORE:
            moment = next(schedule.times(entry.when, after=at, zone=zone), None)
            found += [Upcoming(job=entry.job, at=moment)] if moment else []
    return sorted(found, key=lambda upcoming: upcoming.at)


def _log_raised(finding: Finding) -> None:
    """Write one log line, as loud as the finding."""
    log = structlog.get_logger()
    tell = {
        health.Severity.CRITICAL: log.error,
        health.Severity.WARNING: log.warning,
        health.Severity.NOTICE: log.info,
    }[finding.severity]
    tell(
        "Found.",
        word="finding_raised",
        kind=str(finding.kind),
        subject=finding.subject or None,
        why=finding.message,
        hint=finding.command,
    )


def _log_cleared(finding: Finding) -> None:
    structlog.get_logger().info(
        "It is over.",
        word="finding_cleared",
        kind=str(finding.kind),
        subject=finding.subject or None,
    )
