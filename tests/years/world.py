"""A machine, its clocks, its disk, its database and its operator, simulated; eiderd is real.

Real are the service, the timetable and APScheduler, rounds, runner, journal, board, lookout, the
job `backup` with the catalog, prune, retention, accept and pin, on real files. Stood in for are
threads, clocks, processes, the capture, the writing of archives and the engine.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import functools
import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import structlog
import time_machine

from eiderd import catalog, manifest
from eiderd.errors import EiderError, NoSpace
from eiderd.evidence import Captured, Checked, Damage, Filesystem, Opened
from eiderd.journal import Journal
from eiderd.model import Backup, Ending, Job, Outcome, RunOutcome, State, Unreadable
from eiderd.outside import clock, filesystem, lines, process
from eiderd.outside.clock import Reading
from tests.helpers import Place
from tests.years import oracle, stand_ins
from tests.years.oracle import BERLIN, Made
from tests.years.stand_ins import Killed

if TYPE_CHECKING:
    from eiderd.app import App
    from eiderd.status import Status

TAKES = datetime.timedelta(seconds=20)  # a backup
STEADY = datetime.timedelta(hours=24)
JUMP = datetime.timedelta(minutes=5)
FOREIGN = {
    "README.txt": b"mine\n",
    "backup-20200101-000000.tar.gz": b"copied here by hand\n",
    "backup-20200101-000000.tar.gz.sha256": b"whatever\n",
    ".backup-notes.json.pruned": b"{}\n",
    "backup-old.tar": b"an older tool's\n",
}


class World:
    """Everything around eiderd, and all that it should know and have done."""

    def __init__(
        self,
        root: Path,
        *,
        begin: datetime.datetime,
        schedule: str,
        fresh_within: datetime.timedelta,
        rules: dict[str, Any],
        seed: int = 0,
    ) -> None:
        self.place = Place(root / "world")
        self._snapshot = root / "snapshot"
        self.rng = random.Random(seed)
        self.schedules = {Job.BACKUP: schedule, Job.VERIFY: oracle.SCRUB}
        self.fresh_within, self.rules = fresh_within, rules
        # The clocks, and who is alive.
        self.wall, self.up, self.boot = begin, 100.0, "boot 1"
        self._travel = time_machine.travel(begin, tick=False)
        self._coordinates: Any = None
        self.alive: dict[int, str] = {}
        self._pids = iter(range(1000, 10_000_000))
        self._boots = iter(range(2, 10_000_000))
        # What befalls it next.
        self.trouble: Callable[[], EiderError] | None = None
        self.unproven = self.empty = self.journal_full = False
        self.rows = 1_000_000
        self.damaged: set[str] = set()
        self.kill_in: int | None = None
        self.killed = self.touched = False  # the latter: by somebody else than the service
        self.kill_next: int | None = None  # at which sync of the next backup and its prune
        # What eiderd should know.
        self.made: dict[str, Made] = {}
        self.highest = self.verified_ever = self.backups_begun = 0
        self.counts: collections.Counter[tuple[Job, RunOutcome]] = collections.Counter()
        self.missed: collections.Counter[Job] = collections.Counter()
        self.pruned, self.pruned_bytes = 0, 0
        self.last_ended: tuple[Job, RunOutcome] | None = None
        self.last_began: dict[Job, datetime.datetime] = {}
        self.jumped: tuple[datetime.datetime, str, float] | None = None
        self.journal_latest = begin
        self.next_due = begin
        self.problems: list[str] = []
        self.happened: collections.Counter[str] = collections.Counter()
        self.life: stand_ins.Life | None = None
        self._seen_by_life: Reading | None = None

    # Around the test ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[World]:
        """Put the world in the place of the real one, and begin the first life."""
        self.place.root.mkdir(parents=True)
        self.place.database.parent.mkdir()
        duckdb.connect(self.place.database).close()  # the watchers ask whether it is a database
        self.place.backups.mkdir(mode=0o700)
        for name, data in FOREIGN.items():
            (self.place.backups / name).write_bytes(data)
        self.place.configure(
            backup__schedule=self.schedules[Job.BACKUP],
            backup__fresh_within=f"{int(self.fresh_within.total_seconds())}s",
            verify__scrub_schedule=self.schedules[Job.VERIFY],
            heal__enabled=False,  # it has a world of its own: test_hostile_world
            verify__drill_schedule="off",
            **{f"retention__{word}": count for word, count in self.rules.items()},
        )
        with pytest.MonkeyPatch.context() as patch, self._travel as self._coordinates:
            self._put_in_place(patch)
            self.begin()
            yield self
            self.end()
        structlog.reset_defaults()

    def _put_in_place(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(clock, "zone", lambda: BERLIN)
        patch.setattr(clock, "reading", self.reading)
        patch.setattr(os, "fsync", lambda _descriptor: self._sync())
        patch.setattr(process, "close", lambda: None)
        patch.setattr(process, "together", lambda one, other: (one(), other()))
        patch.setattr(filesystem, "look", self._disk)
        # Pure, and asked thousands of times about the same bytes.
        patch.setattr(manifest, "believe_brief", functools.cache(manifest.believe_brief))
        patch.setattr("sdnotify.SystemdNotifier", stand_ins.Nobody)
        patch.setattr("eiderd.service.threads", stand_ins.Driven)
        patch.setattr("eiderd.service.journal_of", lambda settings: self.journal(settings)[0])
        append = lines.Lines.append

        def appended(of: lines.Lines, make: Callable[[], bytes]) -> None:
            if self.journal_full:
                raise NoSpace("no space left", hint="df -h")
            append(of, make)

        patch.setattr(lines.Lines, "append", appended)
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL + 1)  # of what was killed
        structlog.configure(processors=[self._hear], cache_logger_on_first_use=False)

    def _hear(self, _logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401
        if event.get("word") in {"bug", "watcher_raised"}:
            self.problems.append(repr(event))
        raise structlog.DropEvent

    def _disk(self, _folder: Path, **_words: object) -> Filesystem:
        return Filesystem(
            device=1, total_bytes=10**12, free_bytes=5 * 10**11, used_bytes=5 * 10**11,
            total_inodes=10**6, free_inodes=10**6,
        )  # fmt: skip

    def _sync(self) -> None:
        """Be killed here, if it is time: the files are as they are at this instant."""
        if self.kill_in is None:
            return
        self.kill_in -= 1
        if self.kill_in <= 0:
            self.kill_in, self.killed = None, True
            shutil.copytree(self.place.root, self._snapshot, symlinks=True)
            raise Killed

    # Clocks and processes ----------------------------------------------------------------------

    def reading(self) -> Reading:
        return Reading(at=self.wall, boot=self.boot, up=self.up)

    def go_on(self, by: datetime.timedelta) -> None:
        """Let time pass."""
        self.wall += by
        self.up += by.total_seconds()
        self._coordinates.move_to(self.wall)

    def set_clock(self, by: datetime.timedelta) -> None:
        """Somebody sets the clock that people set."""
        self.happened["clock set"] += 1
        self.wall += by
        self._coordinates.move_to(self.wall)
        if -JUMP < by < datetime.timedelta():
            self.go_on(-by)  # a small step back is not noticed: so long the watchers do not look

    def journal(self, settings: Any) -> tuple[Journal, int]:  # noqa: ANN401
        """Return the journal as a new process has it, and that process's number."""
        pid = next(self._pids)
        self.alive[pid] = f"{pid}:{self.up}:{self.boot}"
        return Journal(settings.service.state / "journal.jsonl", pid=pid, who=self.alive.get), pid

    def is_doubtful(self) -> bool:
        if self.jumped is None:
            return False
        when, boot, up = self.jumped
        if boot == self.boot:
            return self.up - up < STEADY.total_seconds()
        return self.wall - when < STEADY

    # Lives of the service ----------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a life of the service, on whatever files there are."""
        self.happened["life"] += 1
        back = self.wall - self.journal_latest
        if back <= -JUMP:
            self._note_jump()
        self._seen_by_life = self.reading()
        overdue = self._is_overdue()
        began = self.backups_begun
        self.life = stand_ins.Life(self)
        self.next_due = next(oracle.times(self.schedules[Job.BACKUP], after=self.wall))
        self.life.come_to_life()
        self._saw(self.wall)
        self.kill_in = None
        if not self.killed:
            assert self.backups_begun - began == overdue, f"{overdue} overdue at the beginning"
        self._after()

    def status(self) -> Status:
        """Return what the service shows."""
        assert self.life is not None
        return self.life.shown()

    @property
    def is_unwritten(self) -> bool:
        """Whether there is what only the living process knows."""
        assert self.life is not None
        return self.journal_full or self.life.journal_in_use.trouble is not None

    def end(self) -> None:
        """Stop the service as systemd does."""
        assert self.life is not None
        self.life.go()
        self.alive.clear()
        self.life = None

    def crash(self) -> None:
        """Lose the process between two runs."""
        self.alive.clear()
        self.life = None

    def off(self, duration: datetime.timedelta) -> None:
        """Turn the machine off for so long, and on again."""
        self.happened["off"] += 1
        self.end() if self.rng.random() < 0.5 else self.crash()
        self.wall += duration
        self.boot, self.up = f"boot {next(self._boots)}", 30.0
        self._coordinates.move_to(self.wall)
        self.begin()

    def turn(self) -> None:
        """Let the service look at everything once, and hold it to all laws."""
        assert self.life is not None
        jumped, began, expected = self.jumped, self.backups_begun, self._expected()
        self.life.turn()
        self.kill_in = None
        if not self.killed:
            got = self.backups_begun - began
            assert got == expected, f"{got} backups ran, {expected} should have, at {self.wall}"
        touched, self.touched = self.touched, False
        if self.killed or (self.jumped == jumped and not touched):
            self._after()
        else:  # within a minute all watchers have seen it
            self.go_on(datetime.timedelta(seconds=61))
            self.turn()

    def _expected(self) -> int:
        """Say how many backups this turn will begin, and when the next will be due."""
        before, now = self._seen_by_life, self.reading()
        assert before is not None
        self._seen_by_life = now
        jump = (now.at - before.at).total_seconds() - (now.up - before.up)
        expected = int(self.next_due <= now.at)
        if abs(jump) >= JUMP.total_seconds():
            self._note_jump()
            expected = self._is_overdue()
        elif self.next_due > now.at:
            return 0  # also when the clock was set back a little: what was planned stays planned
        self.next_due = next(oracle.times(self.schedules[Job.BACKUP], after=now.at))
        return expected

    def _note_jump(self) -> None:
        self.jumped = (self.wall, self.boot, self.up)
        self.journal_latest = self.wall

    def _saw(self, at: datetime.datetime) -> None:
        self.journal_latest = max(self.journal_latest, at)

    def _is_overdue(self) -> int:
        newest = oracle.newest_verified(self.backups)
        line = self.schedules[Job.BACKUP]
        if newest is None:
            return 1
        return int(next(oracle.times(line, after=newest.created_at)) <= self.wall)

    def _after(self) -> None:
        if self.killed:
            self._resurrect()
        else:
            self.laws()

    def _resurrect(self) -> None:
        """Go on with the files as they were at the instant of the kill."""
        self.happened["killed"] += 1
        shutil.rmtree(self.place.root)
        self._snapshot.rename(self.place.root)
        self.crash()
        self.killed = False
        if self.rng.random() < 0.3:  # the whole machine
            self.boot, self.up = f"boot {next(self._boots)}", 30.0
        self.go_on(datetime.timedelta(minutes=self.rng.randint(1, 90)))
        self.begin_again()

    def begin_again(self) -> None:
        """See what the killed run had done, by what the catalog and the journal say."""
        self._learn_after_kill()
        self.begin()

    def _learn_after_kill(self) -> None:
        listing = catalog.briefs(self.place.backups)
        there = {one.id: one for one in listing.backups}
        new = set(there) - set(self.made)
        gone = set(self.made) - set(there)
        assert len(new) <= 1, f"a killed run left {new}"
        assert gone <= self.doomed, f"a killed run removed {gone - self.doomed}"
        for id_ in gone:
            del self.made[id_]
        for id_ in new:
            self._learn(there[id_])
        for whole in self.place.backups.glob(".staging/*/backup-*.json"):
            staged = manifest.believe(whole.read_bytes(), id_=whole.parent.name)
            assert not isinstance(staged, Unreadable)
            if staged.id not in there:
                self._half = self._judged(staged)
        for id_, one in there.items():
            self.made[id_].pinned = one.pinned  # the last good one, before the suspect one is there
            if self.made[id_].state is not one.state:
                assert {self.made[id_].state, one.state} & {State.CORRUPT}, one
                self.made[id_].state = one.state
        self._reckon_anew = self._unrecovered = True
        self._doomed_then = self.doomed  # before the next prune, which may come at once

    def _reckon(self, known: Any) -> None:  # noqa: ANN401
        """Take over from the journal what one killed run may or may not have had time for."""
        self._reckon_anew = False
        runs = collections.Counter(known.runs)
        more = runs - self.counts
        assert not self.counts - runs, f"a kill lost {self.counts - runs}"
        assert more.total() <= 1, f"one killed run left {more}"
        self.counts = runs
        assert 0 <= known.pruned_backups - self.pruned <= len(self._doomed_then)
        self.pruned, self.pruned_bytes = known.pruned_backups, known.pruned_bytes

    # What eiderd tells of itself ---------------------------------------------------------------

    @property
    def backups(self) -> list[Made]:
        return sorted(self.made.values(), key=lambda one: one.sequence)

    _reckon_anew = _unrecovered = False
    _half: Made | None = None  # was killed when all was done but the renaming: the next run ends it

    def _learn(self, one: Any) -> None:  # noqa: ANN401
        made = self._judged(one)
        self.made[made.id] = made
        self.verified_ever += made.verified
        self.happened[str(made.state)] += 1

    def _recover(self) -> None:
        """The next run begins by putting right what a killed one left."""
        self._unrecovered = False
        if self._half:
            self.made[self._half.id] = self._half
            self.verified_ever += self._half.verified
            self.happened["ended by the next run"] += 1
            self._half = None

    def _judged(self, one: Any) -> Made:  # noqa: ANN401
        """Return a new backup as the world knows it. Fail if that is not how it was recorded."""
        assert one.sequence > self.highest, f"{one.id} has a sequence number that was used"
        self.highest = one.sequence
        newest = oracle.newest_verified(self.backups)
        rows = 0 if self.empty else self.rows
        state = State.UNVERIFIED if self.unproven else State.VERIFIED
        lost = newest is not None and newest.rows > 0 and rows < 0.8 * newest.rows
        if state is State.VERIFIED and lost:
            state = State.SUSPECT
            assert newest is not None
            newest.pinned = True
        assert one.state is state, f"{one.id} is {one.state}, and should be {state}"
        return Made(
            id=one.id, sequence=one.sequence, created_at=one.created_at, state=state,
            bytes=one.bytes, rows=rows, pinned=one.pinned,
        )  # fmt: skip

    @contextlib.contextmanager
    def counted(self, job: Job) -> Iterator[list[Outcome[Any]]]:
        """Count a run as whoever looked on would."""
        if self.killed:
            raise Killed
        self._recover()
        ended: list[Outcome[Any]] = []
        began = self.wall
        try:
            yield ended
            outcome = RunOutcome[ended[0].ending.name]
        except EiderError:
            outcome = RunOutcome.FAILED
            raise
        finally:
            self.last_began[job] = began
            self._saw(self.wall)
            if not self.killed:
                self.counts[job, outcome] += 1
                self.last_ended = job, outcome
                self.happened[f"{job} {outcome}"] += 1

    def planned(self, job: Job, planned_at: datetime.datetime | None) -> None:
        """Hold what the clockwork says of the time for which it runs, and count what was missed."""
        last = self.last_began.get(job)
        due = oracle.due(self.schedules[job], after=last, until=self.wall) if last else []
        wanted = due[-1] if due else None
        if planned_at != wanted:
            self.problems.append(f"{job} ran for {planned_at}, and should for {wanted}")
        self.missed[job] += max(0, len(due) - 1)

    _doomed_then: frozenset[str] = frozenset()
    doomed: frozenset[str] = frozenset()  # what the prune at work may remove

    def about_to_prune(self, *, by_itself: bool) -> set[str]:
        """Return what has to stay. By itself, eiderd removes only after a success."""
        if by_itself and self.last_ended != (Job.BACKUP, RunOutcome.DONE):
            self.problems.append(f"it prunes after {self.last_ended}")
        there = {one.id for one in self.backups}
        if self.frozen():
            self.doomed = frozenset()
            return there
        stays = oracle.kept(self.backups, now=self.wall, rules=self.rules)
        self.doomed = frozenset(there - stays)
        return stays

    def frozen(self) -> set[str]:
        return oracle.frozen(
            self.backups, now=self.wall, doubtful=self.is_doubtful(),
            unreadable=(self.place.backups / "backup-strange.json").exists(),
        )  # fmt: skip

    def has_pruned(self, stays: set[str]) -> None:
        there = {one.id for one in catalog.briefs(self.place.backups).backups}
        if there != stays:
            self.problems.append(
                f"at {self.wall} the prune left {sorted(there - stays)} that should go, and "
                f"removed {sorted(stays - there)} that should stay"
            )
        newest = oracle.newest_verified(self.backups)
        for id_ in set(self.made) - there:
            if self.made[id_].pinned or self.made[id_] is newest or self.frozen():
                self.problems.append(f"{self.made[id_]} went, which nothing may remove")
            self.pruned += 1
            self.pruned_bytes += self.made.pop(id_).bytes
        self.happened["frozen prune"] += bool(self.frozen())

    def has_backed_up(self, backup: Backup) -> None:
        self._learn(backup)

    def has_scrubbed(self) -> None:
        for one in self.made.values():
            if one.id in self.damaged:
                one.state = State.CORRUPT

    # What a backup meets --------------------------------------------------------------------------

    def captured(self) -> Captured:
        self.go_on(TAKES)
        at = round((self.wall - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds())
        return dataclasses.replace(
            stand_ins.CAPTURED, instant=(at * 10**9 - 5_000_000, at * 10**9 - 999)
        )

    def checked(self, archive: Path) -> Checked:
        id_ = archive.name.removeprefix("backup-").removesuffix(".tar.gz")
        if id_ not in self.damaged:
            return stand_ins.CHECKED
        return dataclasses.replace(
            stand_ins.CHECKED, passed=0, damage=Damage.CHECKSUM, message="the bytes differ"
        )

    def opened(self) -> Opened:
        rows = 0 if self.empty else self.rows
        if self.unproven:
            return dataclasses.replace(
                stand_ins.OPENED, damage=Damage.WAL_REPLAY, message="no", tables={}
            )
        table = dataclasses.replace(stand_ins.OPENED.tables["facts"], rows=rows)
        return dataclasses.replace(stand_ins.OPENED, tables={"facts": table}, rows=rows)

    # What the operator does --------------------------------------------------------------------

    def operator(self, do: Callable[[App], Outcome[Any]]) -> Outcome[Any]:
        """Type a verb: another process, with its own view of the files."""
        assert self.life is not None
        self.touched = True
        settings = self.life.settings
        journal, pid = self.journal(settings)
        try:
            return do(stand_ins.Simulated(settings, world=self, journal=journal))
        finally:
            self.alive.pop(pid, None)

    def pin(self, one: Made, *, pinned: bool) -> None:
        self.happened["pin" if pinned else "unpin"] += 1
        outcome = self.operator(lambda app: app.pin(one.id) if pinned else app.unpin(one.id))
        assert (outcome.ending is Ending.DONE) == (one.pinned is not pinned)
        one.pinned = pinned

    def accept(self, one: Made) -> None:
        self.happened["accept"] += 1
        outcome = self.operator(lambda app: app.accept(one.id))
        assert outcome.ending is Ending.DONE
        one.state = State.VERIFIED
        self.verified_ever += 1

    # The laws ----------------------------------------------------------------------------------

    def laws(self) -> None:
        """Hold, after every step, all that has to be so."""
        assert not self.problems, self.problems
        assert self.life is not None
        self._laws_of_the_folder()
        self._laws_of_the_journal(self.life.journal_in_use)
        self._laws_of_the_board(self.life)

    def _laws_of_the_folder(self) -> None:
        assert self.life is not None
        listing = self.life.fresh_briefs.look()
        there = {one.id: one for one in listing.backups}
        assert set(there) == set(self.made)
        assert [one.sequence for one in listing.backups] == [one.sequence for one in self.backups]
        for id_, one in self.made.items():
            assert (there[id_].state, there[id_].pinned) == (one.state, one.pinned), id_
        lost = sum(one.state is State.CORRUPT for one in self.backups)
        verified = sum(one.verified for one in self.backups)
        assert verified >= min(self.rules["min_count"], self.verified_ever - lost)
        newest = oracle.newest_verified(self.backups)
        latest = self.place.latest
        assert latest is None or (self.place.backups / latest).exists()
        if not self._unrecovered:
            self.no_remains()
            assert latest == (f"backup-{newest.id}.tar.gz" if newest else None)
        if newest:
            assert self.place.archive(newest.id).stat().st_size == newest.bytes
        for name, data in FOREIGN.items():
            assert (self.place.backups / name).read_bytes() == data

    def runs_of_freshness(self) -> int:
        return self.status().totals.runs[Job.FRESHNESS, RunOutcome.DONE]

    def is_ahead(self) -> bool:
        """Whether the newest verified backup is dated in the future."""
        newest = oracle.newest_verified(self.backups)
        return newest is not None and newest.created_at > self.wall + JUMP

    def beat_at(self) -> float:
        assert self.life is not None
        return self.life.beat_at

    def no_remains(self) -> None:
        """Hold that nothing stands in the folder besides backups and what others put there."""
        wanted = {*FOREIGN, ".staging", "backup-strange.json"}
        wanted |= {"backup-latest.tar.gz"}
        for id_ in self.made:
            wanted |= {f"backup-{id_}{end}" for end in (".tar.gz", ".tar.gz.sha256", ".json")}
        there = {path.name for path in self.place.backups.iterdir()}
        assert there <= wanted, there - wanted
        staging = self.place.backups / ".staging"
        assert not staging.exists() or not list(staging.iterdir())

    def _laws_of_the_journal(self, journal: Journal) -> None:
        with journal.memory() as known:
            if self._reckon_anew:
                self._reckon(known)
            assert known.last_number == self.counts.total(), (known.last_number, self.counts)
            assert known.runs == self.counts, (known.runs - self.counts, self.counts - known.runs)
            assert +known.missed == +self.missed
            assert (known.pruned_backups, known.pruned_bytes) == (self.pruned, self.pruned_bytes)
            assert not known.open

    def laws_of_a_new_reader(self) -> None:
        """Hold that the file says what this process remembers."""
        assert self.life is not None
        self._laws_of_the_journal(self.journal(self.life.settings)[0])

    def _laws_of_the_board(self, life: stand_ins.Life) -> None:
        found = {str(finding.kind) for finding in life.findings()}
        newest = oracle.newest_verified(self.backups)
        age = self.wall - newest.created_at if newest else None
        is_old = age is None or age > self.fresh_within or -age > JUMP
        assert ("no_verified_backup" in found) == is_old, (age, found)
        assert ("suspect_content" in found) == ("suspect" in self.frozen()), found
        assert ("clock_jumped" in found) == self.is_doubtful(), found
        assert ("journal_unwritable" in found) <= self.journal_full
        assert "watcher_failed" not in found
        assert life.frozen() == self.frozen(), (life.frozen(), self.frozen())
