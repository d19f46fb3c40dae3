"""Healing in a world that breaks in random order for months; policy, healer and rounds are real.

Simulated are the clock, what is broken, the checks that see it, and the jobs, which may help, fail,
be killed or do nothing. Every act is held to the laws at the moment it happens.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import os
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from eiderd import config
from eiderd.board import Board, Stock
from eiderd.errors import SourceUnavailable, StoreUnavailable
from eiderd.frame import frame_of
from eiderd.healer import Healer
from eiderd.healing import Pause
from eiderd.health import Finding, Kind, Severity
from eiderd.journal import Journal
from eiderd.model import Ending, Job, Outcome, Run, RunOutcome, State
from eiderd.outside import clock
from eiderd.outside.clock import Reading
from eiderd.rounds import Rounds
from eiderd.schedule import Entry, Every, Lane
from tests import statuses
from tests.helpers import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEGIN = datetime.datetime(2026, 1, 10, 9, tzinfo=datetime.UTC)
TICK = datetime.timedelta(minutes=10)
DAY = datetime.timedelta(days=1)
TRIES = 3
COOLDOWN = datetime.timedelta(minutes=45)
DAYS = 40
PERSON = 77


class Killed(BaseException):
    """The service is no more."""


class World:
    """What is true, what eiderd was told, and what it did about it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = BEGIN
        self.up = 0.0
        self.place = Place(folder)
        folder.mkdir(parents=True)
        self.place.configure(
            heal__tries=TRIES, heal__cooldown="45m", heal__restore=True, service__look_every="10m"
        )
        self.place.database.parent.mkdir()
        self.place.database.write_bytes(b"live")
        self.settings = config.load(self.place.config)[0]
        # What is true.
        self.broken = self.helpless = self.unknown = self.killing = False
        self.blind: set[Job] = set()
        self.failed = self.stale = False  # the last backup failed; the newest is too old
        self.corrupt: set[str] = set()
        self.pinned: set[str] = set()
        self.low = False
        self.prunable = self.left = 0
        self.numbers = iter(range(1, 10**6))
        self.backups = {f"b{next(self.numbers)}" for _ in range(5)}
        self.quarantined: set[str] = set()
        self.person: Run | None = None
        # What happened.
        self.pid = 100
        self.alive = {self.pid: f"{self.pid}:1:boot", PERSON: f"{PERSON}:1:boot"}
        self.acts: list[tuple[float, Job, str]] = []  # seconds up, so that no set clock matters
        self.story: list[str] = []
        self.queue: list[tuple[Entry, Callable[[Entry], None]]] = []
        self.happened: collections.Counter[str] = collections.Counter()
        self.begin()

    # A life of the service -----------------------------------------------------------------------

    def begin(self) -> None:
        self.queue.clear()
        path = self.place.root / "journal.jsonl"
        self.journal = _Watched(path, pid=self.pid, who=self.alive.get, world=self)
        frame = frame_of(self.settings, zone=datetime.UTC, at=self.now)
        board = Board(frame=frame, journal=self.journal, records=True)
        self.app = _App(self)
        lookout: Any = _Lookout(self, board)
        self.rounds = Rounds(app=self.app, lookout=lookout, board=board, zone=datetime.UTC)  # type: ignore[arg-type]
        self.rounds.soon = lambda entry, turn: self.queue.append((entry, turn))
        self.board = board
        self.journal.look_at_clock(Reading(at=self.now, boot="boot", up=self.up))
        self.journal.begin_service(at=self.now)

    def restart(self) -> None:
        self.happened["restart"] += 1
        del self.alive[self.pid]
        self.pid += 1
        self.alive[self.pid] = f"{self.pid}:1:boot"
        self.begin()

    def tick(self) -> None:
        """Let ten minutes pass, and everybody look."""
        self.now += TICK
        self.up += TICK.total_seconds()
        self.journal.look_at_clock(Reading(at=self.now, boot="boot", up=self.up))
        queue, self.queue = self.queue, []
        try:
            for entry, turn in queue:
                turn(entry)
            for job in (Job.FRESHNESS, Job.CONTENT, Job.DISK, Job.HEAL):
                self.rounds(Entry(job=job, when=Every(TICK), lane=Lane.WATCH, limit=TICK))
        except Killed:
            self.happened["killed"] += 1
            self.restart()

    # What befalls it -----------------------------------------------------------------------------

    def roll(self) -> None:
        """Let some of all this begin or end now."""
        rng = self.rng
        for share, event in (
            (0.02, self._break), (0.03, self._corrupt), (0.02, self._disk), (0.01, self._person),
            (0.01, self._pause), (0.008, self.restart), (0.01, self._blind), (0.004, self._clock),
            (0.02, self._unknown), (0.01, self._helpless), (0.01, self._kill), (0.02, self._away),
        ):  # fmt: skip
            if rng.random() < share:
                event()
        for share, event in (
            (0.03, self._mend), (0.06, self._person_goes), (0.02, self._resume),
            (0.2, self.blind.clear), (0.1, self._known),
        ):  # fmt: skip
            if rng.random() < share:
                event()

    def _break(self) -> None:
        self.happened["broken"] += 1
        self.broken = self.failed = True
        self.stale = self.rng.random() < 0.3

    def _mend(self) -> None:
        self.broken = self.helpless = False
        self.place.database.write_bytes(b"live")

    def _away(self) -> None:
        self.happened["away"] += 1
        self.place.database.unlink(missing_ok=True)
        self.failed = True

    def _corrupt(self) -> None:
        self.happened["corrupt"] += 1
        count = self.rng.choice((1, 1, 1, 6))
        self.corrupt |= set(self.rng.sample(sorted(self.backups), min(count, len(self.backups))))
        if self.rng.random() < 0.1:
            self.pinned |= self.corrupt

    def _disk(self) -> None:
        self.happened["low"] += 1
        self.low = True
        self.prunable += self.rng.randint(0, 2)
        self.left = self.rng.choice((0, 10**6))

    def _helpless(self) -> None:
        self.helpless = True

    def _unknown(self) -> None:
        self.unknown = True

    def _known(self) -> None:
        self.unknown = False

    def _kill(self) -> None:
        self.killing = True

    def _blind(self) -> None:
        self.happened["blind"] += 1
        self.blind.add(self.rng.choice((Job.FRESHNESS, Job.CONTENT, Job.DISK)))

    def _clock(self) -> None:
        self.happened["clock"] += 1
        days = self.rng.choice((-400, -1, -1 / 24, 1 / 24, 1, 400))
        self.now += datetime.timedelta(days=days)
        self.journal.look_at_clock(Reading(at=self.now, boot="boot", up=self.up))

    def _person(self) -> None:
        if self.person is None:
            self.happened["person"] += 1
            other = Journal(self.journal._lines.path, pid=PERSON, who=self.alive.get)
            self.person = other.begin(Job.RESTORE, at=self.now, planned_at=None)

    def _person_goes(self) -> None:
        if self.person:
            other = Journal(self.journal._lines.path, pid=PERSON, who=self.alive.get)
            other.end(self.person, at=self.now, seconds=1, outcome=RunOutcome.DONE)
            self.person = None

    def _pause(self) -> None:
        self.happened["pause"] += 1
        until = self.now + datetime.timedelta(hours=self.rng.randint(1, 30))
        other = Journal(self.journal._lines.path, pid=PERSON, who=self.alive.get)
        other.paused(Pause(since=self.now, until=self.rng.choice((None, until)), reason="x"))

    def _resume(self) -> None:
        self.happened["resume"] += 1
        other = Journal(self.journal._lines.path, pid=PERSON, who=self.alive.get)
        other.resumed(at=self.now)
        self.acts.clear()  # all tries count anew

    # What the checks see -------------------------------------------------------------------------

    def findings(self, job: Job) -> list[Finding]:
        """Return what is true, as the check of that name would say it."""
        if job is Job.FRESHNESS:
            found = [(Kind.JOB_FAILED, "backup")] * self.failed
            return _all(found + [(Kind.NO_VERIFIED_BACKUP, "")] * self.stale)
        if job is Job.CONTENT:
            return _all([(Kind.CORRUPT_BACKUP, id_) for id_ in sorted(self.corrupt)[-5:]])
        return _all([(Kind.DISK_LOW, "backups+state")] * self.low)

    def stock(self) -> Stock:
        return Stock(
            backups=tuple(
                _brief(id_, corrupt=id_ in self.corrupt, pinned=id_ in self.pinned)
                for id_ in sorted(self.backups)
            ),
            removable=self.prunable,
        )

    # What it does, held to the laws --------------------------------------------------------------

    def act(self, job: Job, subject: str = "", *, follows: bool = False) -> None:
        """Hold an act to every law, at the moment it is about to happen."""
        with self.journal.memory() as known:
            pause = known.heal.pause
        assert pause is None or not pause.holds(self.now), "while it is paused"
        assert self.person is None, "while a person holds the store"
        self.story.append(f"{self.now} {job} {subject}")
        if follows:
            return
        asked = job in {Job.BACKUP, Job.CLEAN}  # of the other two, the catalog knows all
        assert not (self.unknown and asked), "while its precondition is unknown"
        lately = [at for at, one, _subject in self.acts if one is job and self.up - at < 86_400]
        assert len(lately) < TRIES, f"{job} beyond its budget: {lately}, now {self.up}"
        assert not lately or self.up - lately[-1] >= COOLDOWN.total_seconds(), "no cooldown"
        self.acts.append((self.up, job, subject))
        self.happened[f"act {job}"] += 1
        if self.killing:
            self.killing = False
            raise Killed

    def law_of_confirming(self, name: tuple[Kind, str]) -> None:
        """A repair is confirmed only when what it was for is not so."""
        self.happened["confirmed"] += 1
        every = [one.name for job in (Job.FRESHNESS, Job.CONTENT, Job.DISK)
                 for one in self.findings(job)]  # fmt: skip
        assert name not in every


class _Watched(Journal):
    """A journal whose word on what helped is held to what is true."""

    def __init__(self, path: Path, *, world: World, **words: Any) -> None:
        super().__init__(path, **words)
        self._world = world

    def confirmed(self, job: Job, name: tuple[Kind, str], *, at: datetime.datetime) -> None:
        self._world.law_of_confirming(name)
        super().confirmed(job, name, at=at)


class _App:
    """The jobs, as the world has them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.settings = world.settings
        self.following = False

    @property
    def journal(self) -> Journal:
        return self.world.journal

    def needs(self) -> tuple[()]:
        if self.world.unknown:
            raise StoreUnavailable("the disk does not answer", hint="wait")
        return ()

    def leftovers(self) -> tuple[SimpleNamespace, ...]:
        self.needs()
        return (SimpleNamespace(bytes=self.world.left),)

    def _run(self, job: Job, do: Callable[[], Any], subject: str = "", **more: Any) -> Outcome[Any]:
        world = self.world
        run = world.journal.begin(job, at=world.now, planned_at=None)
        try:
            world.act(job, subject, **more)
            value = do()
        except SourceUnavailable as error:
            world.journal.end(
                run, at=world.now, seconds=1, outcome=RunOutcome.FAILED, why=error.message
            )
            raise
        world.journal.end(run, at=world.now, seconds=1, outcome=RunOutcome.DONE)
        return Outcome(ending=Ending.DONE, value=value)

    def backup(self, *, planned_at: object = None) -> Outcome[Any]:
        del planned_at

        def do() -> None:
            world = self.world
            if world.broken or not world.place.database.exists():
                world.failed = True
                raise SourceUnavailable("no", hint="x")
            if not world.helpless:
                world.failed = world.stale = False
                world.backups.add(f"b{next(world.numbers)}")

        follows, self.following = self.following, False
        return self._run(Job.BACKUP, do, follows=follows)

    def prune(self) -> Outcome[Any]:
        world = self.world

        def do() -> None:
            gone = sorted(world.backups - world.corrupt)[: world.prunable]
            assert len(gone) <= world.prunable, "more than the rules let go"
            world.backups -= set(gone) if len(world.backups) > 3 else set()
            world.prunable = 0
            if not world.helpless:
                world.low = world.low and world.rng.random() < 0.3

        follows = bool(world.story) and " backup" in world.story[-1]
        return self._run(Job.PRUNE, do, follows=follows)

    def clean(self) -> Outcome[Any]:
        def do() -> None:
            self.world.left = 0
            if not self.world.helpless:
                self.world.low = self.world.low and self.world.rng.random() < 0.3

        return self._run(Job.CLEAN, do)

    def quarantine(self, name: str) -> Outcome[Any]:
        world = self.world

        def do() -> None:
            assert name in world.corrupt
            assert name not in world.pinned
            before = world.backups | world.quarantined
            if not world.helpless:
                world.corrupt.discard(name)
                world.backups.discard(name)
                world.quarantined.add(name)
            assert world.backups | world.quarantined == before, "something was deleted"

        outcome = self._run(Job.QUARANTINE, do, name)
        self.following = True
        return outcome

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Any other job: none of them is ever run by healing here."""

        def never(*_words: object, **_more: object) -> None:
            raise AssertionError(f"{name} was run")

        return never


class _Lookout:
    """Checks that see what is true, unless they are blind."""

    def __init__(self, world: World, board: Board) -> None:
        self.world, self.board = world, board
        self.app = world.app
        self.healer = Healer(board)

    def ballast(self) -> Outcome[int]:
        raise NotImplementedError

    def look(self, job: Job, *, at: datetime.datetime) -> tuple[Finding, ...]:
        if job in self.world.blind:
            raise StoreUnavailable("it cannot look", hint="wait")
        if job is Job.HEAL:
            return self.healer.look(self.app, at=at)  # type: ignore[arg-type]
        if job is Job.FRESHNESS:
            self.board.stock = self.world.stock()
        return tuple(self.world.findings(job))


def _all(names: list[tuple[Kind, str]]) -> list[Finding]:
    return [
        Finding(kind=kind, subject=subject, severity=Severity.WARNING, message="so", command="x")
        for kind, subject in names
    ]


def _brief(id_: str, *, corrupt: bool, pinned: bool) -> Any:  # noqa: ANN401
    state = State.CORRUPT if corrupt else State.VERIFIED
    one = statuses.brief(1, at=BEGIN, state=state, pinned=pinned)
    return dataclasses.replace(one, id=id_)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)

    def hear(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401
        if event.get("word") == "bug":
            raise sys.exc_info()[1] or AssertionError(event)
        raise structlog.DropEvent

    structlog.configure(processors=[hear], cache_logger_on_first_use=False)
    yield
    structlog.reset_defaults()


def _live(world: World, monkeypatch: pytest.MonkeyPatch, days: int = DAYS) -> World:
    monkeypatch.setattr(clock, "now", lambda: world.now)
    while world.up < days * 86_400:
        if world.rng.random() < 0.5:
            world.roll()
        world.tick()
    return world


@pytest.mark.parametrize("seed", range(3))
def test_in_months_of_faults_no_law_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("eiderd.journal._LONGEST", 20_000)  # shortened at every restart
    world = _live(World(tmp_path / "world", seed), monkeypatch)
    for what in ("act backup", "act quarantine", "act prune", "act clean", "confirmed", "killed",
                 "pause", "person", "restart", "blind", "clock", "resume"):  # fmt: skip
        assert world.happened[what], (what, world.happened)
    # When nothing breaks any more, all that can be repaired is, and the check says so.
    world._mend()
    world.blind.clear()
    world.unknown = world.killing = world.low = False
    world.pinned.clear()
    world._person_goes()
    world._resume()
    for _tick in range(6 * 24 * 3):
        world.tick()
        if not world.corrupt and not world.failed:
            break
        if not world.queue and world.rng.random() < 0.05:
            world._resume()  # more are corrupt than a day's budget moves
    for _tick in range(3):
        world.tick()
    with world.journal.memory() as known:
        assert not world.failed
        assert not world.corrupt
        unconfirmed = [one for one in known.heal.attempts if one.confirmed_at is None]
        assert unconfirmed == [], (world.now, world.low, world.board.looked)
        assert known.heal.stopped == {}
        assert Kind.HEALING_STOPPED not in {kind for kind, _subject in known.findings}


def test_the_same_seed_gives_the_same_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stories = [
        _live(World(tmp_path / name, 7), monkeypatch, days=12).story for name in ("one", "other")
    ]
    assert stories[0] == stories[1]
    assert len(stories[0]) > 10
