"""Lets the watchers look: hands each what it needs, and puts what they see on the board."""

from __future__ import annotations

import contextlib
import datetime
from typing import TYPE_CHECKING, Final

from eiderd import catalog, retention, self_findings
from eiderd.app import App
from eiderd.board import Board, Stock
from eiderd.broker import unfinished
from eiderd.broker.watch import NatsWatch
from eiderd.errors import Bug, Busy, EiderError, SourceUnavailable
from eiderd.evidence import ApplicationState
from eiderd.frame import frame_of
from eiderd.growth import Samples
from eiderd.healer import Healer
from eiderd.health import Finding, Kind, Severity
from eiderd.jobs import ballast as ballast_job
from eiderd.maintenance import exchange as exchange_app
from eiderd.model import Ending, Job, Outcome
from eiderd.outside import clock, filesystem, ruin, swap
from eiderd.outside.application import looking
from eiderd.schema.watch import SchemaWatch
from eiderd.status import Place, Service
from eiderd.watch import application, content, disk, exchange, freshness

if TYPE_CHECKING:
    from pathlib import Path

    from eiderd.config import Settings
    from eiderd.model import Brief
    from eiderd.status import Status

WATCHERS: Final = (  # the disk before all that would hang with it
    Job.DISK, Job.FRESHNESS, Job.CONTENT, Job.APPLICATION, Job.NATS, Job.SCHEMA, Job.EXCHANGE,
)  # fmt: skip
_STOPS_IT: Final = (Job.RESTORE, Job.COMPACT)
_SAVED_EVERY: Final = datetime.timedelta(hours=1)


class Lookout:
    """The watchers of one configuration (`app`; a reload gives another), and what they remember."""

    def __init__(self, *, app: App, board: Board) -> None:
        self.app = app
        self._board = board
        self.healer = Healer(board)
        self._schema = SchemaWatch(app=app, board=board)
        self._nats = NatsWatch(app=app, board=board)
        with app.journal.memory() as known:
            saved, earlier = dict(known.samples), tuple(known.findings)
        self._samples = {place: Samples.from_json(saved.get(place)) for place in Place}
        self._saved_at: datetime.datetime | None = None
        self._answers: bool | None = None  # whether the data disk did, when it was last looked at
        # Of the newest verified backup: its id, its rows, and how long the application was frozen.
        self._newest: tuple[str, dict[str, int], float] = ("", {}, 0.0)
        self._unfinished: tuple[Finding, ...] = ()
        self._is_suspect = False if board.records else None
        self._known = application.NOTHING
        if board.records:  # what was found before this process began was seen often enough
            self._known = application.Known(suspected=frozenset(earlier))

    def look(self, job: Job, *, at: datetime.datetime) -> tuple[Finding, ...] | None:
        """Let one watcher look. Return None when nothing can be told now. Raise what it raises."""
        return {
            Job.FRESHNESS: self._freshness,
            Job.DISK: self._disk,
            Job.CONTENT: self._content,
            Job.MIRROR: self._mirror,
            Job.SCHEMA: lambda moment: self._schema.look(self.app, at=moment),
            Job.APPLICATION: self._application,
            Job.EXCHANGE: self._exchange,
            Job.NATS: lambda moment: self._nats.look(self.app, at=moment),
            Job.HEAL: self._heal,
        }[job](at)

    def _heal(self, at: datetime.datetime) -> tuple[Finding, ...]:
        return self.healer.look(self.app, at=at)

    def ballast(self) -> Outcome[int]:
        """Keep the ballast, or release it when the disk is critically full."""
        if self.healer.pause(self.app, at=clock.now()):
            return Outcome(ending=Ending.NOTHING_TO_DO, value=0, why="healing is paused")
        settings = self.app.settings.disk
        return ballast_job.run(
            disk=next((one for one in self._board.disks if one.place is Place.BACKUPS), None),
            size=settings.ballast,
            path=self.app.directory / ballast_job.NAME,
            critical_bytes=settings.critical,
            found=filesystem.ballast_at,
            allocate=filesystem.make_ballast,
            release=filesystem.release_ballast,
        )

    def _freshness(self, at: datetime.datetime) -> tuple[Finding, ...]:
        self._take_stock(at)
        frame = self._board.frame
        with self.app.journal.memory() as known:
            last, failures, first = dict(known.last), dict(known.failures), known.first
        return freshness.run(
            now=at,
            briefs=self._board.stock.backups,
            last=last,
            failures=failures,
            running={run.job for run in self.app.journal.running()},
            timetable=frame.timetable,
            since=self._board.service.since or at,
            first_began=first or at,
            fresh_within=frame.fresh_within,
            zone=frame.zone,
        )

    def _take_stock(self, at: datetime.datetime) -> None:
        listing = self.app.briefs.look()
        plan = retention.decide(
            listing.backups,
            unreadable=len(listing.unreadable),
            rules=self.app.rules(),
            now=at,
            zone=self._board.frame.zone,
            clock_jumped=self.app.journal.is_clock_doubtful(clock.reading()),
        )
        live = self._live()
        tables, frozen_seconds = self._recorded(listing.newest_verified)
        self._board.stock = Stock(
            backups=listing.backups,
            unreadable=listing.unreadable,
            frozen=plan.frozen,
            tables=tables,
            application_frozen_seconds=frozen_seconds,
            removable=len(plan.remove),
            database_bytes=filesystem.file_bytes(live) if live else 0,
            wal_bytes=filesystem.file_bytes(live.with_name(f"{live.name}.wal")) if live else 0,
        )

    def _live(self) -> Path | None:
        """Return the live database, unless its disk gives no answer: whoever asks it would hang."""
        path, answers = self.app.settings.database.path, self._answers
        if answers is None:
            try:
                filesystem.look(path.parent)
                answers = True
            except EiderError:  # the watcher of disks tells of it
                answers = False
        return path if answers else None

    def _recorded(self, newest: Brief | None) -> tuple[dict[str, int], float]:
        """Return what only the manifest of the newest verified backup says: see Stock."""
        if newest is None:
            return {}, 0.0
        known, rows, frozen_seconds = self._newest  # read and set at once: two lanes look
        if newest.id == known:
            return rows, frozen_seconds
        try:
            backup = catalog.recorded(self.app.directory, newest.id)
        except EiderError:  # it went a moment ago: the next look sees another
            return {}, 0.0
        rows = {name: table.rows for name, table in backup.content.tables.items()}
        self._newest = (newest.id, rows, backup.consistency.frozen_seconds)
        return rows, backup.consistency.frozen_seconds

    def _mirror(self, at: datetime.datetime) -> tuple[Finding, ...]:
        """Keep the mirror up with the database. What is seen in it, the schema's watcher says."""
        if self._live():
            self._schema.follow(self.app, at=at)
        return ()

    def _content(self, _at: datetime.datetime) -> tuple[Finding, ...]:
        stock = self._board.stock
        return content.run(briefs=stock.backups, unreadable=stock.unreadable, frozen=stock.frozen)

    def _application(self, at: datetime.datetime) -> tuple[Finding, ...] | None:
        wanted = self.app.settings.application
        if wanted.kind == "none" and not wanted.health_url:
            self._board.application = None
            return ()
        if any(self._is_stopped_by(run.job) for run in self.app.journal.running()):
            return None  # what is seen now is our own doing
        database = self._live()
        if database is None:
            self._board.application = None
            return None
        seen = looking.look(self.app.application(), database=database)
        self._board.application = seen
        if self._board.records and seen.state is ApplicationState.RUNNING:
            self._forget_stop()
        found, self._known = application.run(now=at, seen=seen, known=self._known)
        return found

    def _forget_stop(self) -> None:
        """Forget that a run which died had stopped it: it runs, and may be stopped on purpose."""
        stopped = exchange_app.remembered(self.app.application(), self.app.settings)
        if stopped.is_noted:
            with contextlib.suppress(Busy), self.app.spare():  # nobody is about to stop it
                stopped.was_stopped()

    def _exchange(self, _at: datetime.datetime) -> tuple[Finding, ...]:
        settings = self.app.settings
        if database := self._live():
            try:
                self._unfinished = exchange.run(
                    look=lambda: swap.unfinished(database, state=settings.service.state),
                    is_whole=swap.is_whole,
                    is_at_work=self._is_exchanging,
                )
            except SourceUnavailable as error:  # the streams are looked at all the same
                self._unfinished = (blind(Job.EXCHANGE, error),)
            if not self._unfinished and not self._is_exchanging():
                self._unfinished, self._is_suspect = exchange.ruined(
                    look=lambda: ruin.headers(database), suspected=self._is_suspect
                )
        streams = unfinished.look(settings, journal=self.app.journal)
        return (*self._unfinished, *streams)  # of a disk that gives no answer, what was known

    def _is_exchanging(self) -> bool:
        return any(run.job in _STOPS_IT for run in self.app.journal.running())

    def _is_stopped_by(self, job: Job) -> bool:
        allowed = self.app.settings.application.allow_stop
        return job in _STOPS_IT or (job is Job.BACKUP and allowed)

    def _disk(self, at: datetime.datetime) -> tuple[Finding, ...]:
        settings = self.app.settings
        looks = disk.run(
            now=at,
            folders={
                Place.DATA: settings.database.path.parent,
                Place.BACKUPS: self.app.directory,
                Place.STATE: settings.service.state,
            },
            look=filesystem.look,
            ballast_there=lambda: filesystem.is_there(self.app.directory / ballast_job.NAME),
            samples=self._samples,
            limits=disk.Limits(
                warn=settings.disk.warn,
                critical=settings.disk.critical,
                forecast=settings.disk.forecast,
                ballast=settings.disk.ballast,
            ),
        )
        self._board.disks, self._samples = looks.disks, dict(looks.samples)
        self._answers = any(one.place is Place.DATA for one in looks.disks)
        is_time = self._saved_at is None or at - self._saved_at > _SAVED_EVERY
        if self._board.records and is_time:
            self._saved_at = at
            self.app.journal.disk(
                [[place, samples.to_json()] for place, samples in self._samples.items()]
            )
            self.app.journal.keep_short(at=at)
        return looks.findings


def look_around(settings: Settings, *, at: datetime.datetime, zone: datetime.tzinfo) -> Status:
    """Let every watcher look once, recording nothing: how things are, with the service or without.

    A watcher that cannot look is told of like a finding.
    """
    app = App(settings)
    frame = frame_of(settings, zone=zone, at=at)
    board = Board(frame=frame, journal=app.journal, records=False)
    board.service = Service(since=app.journal.service_since())
    lookout = Lookout(app=app, board=board)
    for job in WATCHERS:
        try:
            seen = lookout.look(job, at=at)
        except EiderError as error:
            seen = (blind(job, error),)
        board.report(str(job), seen or (), at=at)
    found = self_findings.all_of(
        at_work=(),
        refused="",
        unfollowed=(),
        trouble=app.journal.trouble,
        is_clock_doubtful=app.journal.is_clock_doubtful(clock.reading()),
    )
    board.report("journal", found, at=at)
    board.report(str(Job.HEAL), lookout.healer.look(app, at=at), at=at)  # by what the others found
    return board.status(at=at)


def blind(job: Job, error: Exception) -> Finding:
    """Return what is found when a watcher cannot look."""
    known = error if isinstance(error, EiderError) else Bug(f"{type(error).__name__}: {error}")
    return Finding(
        kind=Kind.WATCHER_FAILED,
        subject=str(job),
        severity=Severity.WARNING,
        message=f"the watcher {job} cannot look: {known.message}",
        command=known.hint or f"journalctl -u eiderd -g {job}",
    )
