"""The journal: what it knows after restarts, kills, a full disk, and a clock that was set."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eiderd.errors import NoSpace, StoreUnavailable
from eiderd.health import Finding, Kind, Severity
from eiderd.journal import Journal
from eiderd.memory import Memory
from eiderd.model import Drilled, Job, RunOutcome
from eiderd.outside.clock import Reading

NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


class _World:
    """Processes that are alive, by number; each has a mark as none before it."""

    def __init__(self) -> None:
        self.alive = {1: "1:100:boot", 2: "2:200:boot"}

    def who(self, pid: int) -> str | None:
        return self.alive.get(pid)


def _journal(folder: Path, world: _World, pid: int = 1) -> Journal:
    return Journal(folder / "journal.jsonl", pid=pid, who=world.who)


def _end(journal: Journal, job: Job, outcome: RunOutcome, *, at: datetime.datetime = NOON) -> None:
    run = journal.begin(job, at=at, planned_at=None)
    journal.end(run, at=at, seconds=2.5, outcome=outcome, why="so", hint="type")


def test_a_run_is_known_while_it_lasts_and_after(tmp_path: Path) -> None:
    world = _World()
    journal, other = _journal(tmp_path, world), _journal(tmp_path, world, pid=2)
    run = journal.begin(Job.BACKUP, at=NOON, planned_at=NOON - HOUR)
    assert [(one.job, one.planned_at) for one in other.running()] == [(Job.BACKUP, NOON - HOUR)]
    journal.end(
        run, at=NOON + HOUR, seconds=3600, outcome=RunOutcome.DONE, backup="20261122-120000"
    )
    assert other.running() == []
    with other.memory() as known:
        last = known.last_done[Job.BACKUP]
        assert (last.backup, last.seconds, last.ended_at) == ("20261122-120000", 3600, NOON + HOUR)
        assert known.runs[Job.BACKUP, RunOutcome.DONE] == 1


def test_two_processes_never_use_one_number(tmp_path: Path) -> None:
    world = _World()
    journals = [_journal(tmp_path, world), _journal(tmp_path, world, pid=2)]
    numbers = [journals[n % 2].begin(Job.VERIFY, at=NOON, planned_at=None).number for n in range(9)]
    assert numbers == list(range(1, 10))


def test_how_often_the_application_was_frozen_and_the_last_drill_survive(tmp_path: Path) -> None:
    journal = _journal(tmp_path, _World())
    for seconds in (0.04, 0.05, 0.2, 60.0):
        journal.froze(seconds=seconds)
    journal.drilled(Drilled(at=NOON, seconds=12.5, backup="A"))
    journal.drilled(Drilled(at=NOON + HOUR, seconds=13.0, backup="B"))
    again = Memory()
    with _journal(tmp_path, _World()).memory() as known:
        again.read(json.dumps(told).encode() for told in known.shortened(at=NOON))
        for memory in (known, again):
            assert dict(memory.frozen) == {0.05: 2, 0.25: 1, math.inf: 1}
            assert memory.frozen_seconds == pytest.approx(60.29)
            assert memory.drilled == Drilled(at=NOON + HOUR, seconds=13.0, backup="B")


def test_a_run_whose_process_is_gone_has_died(tmp_path: Path) -> None:
    world = _World()
    _journal(tmp_path, world, pid=2).begin(Job.BACKUP, at=NOON, planned_at=None)
    journal = _journal(tmp_path, world)
    assert [run.job for run in journal.running()] == [Job.BACKUP]
    world.alive[2] = "2:999:boot"  # another process has its number by now
    assert journal.running() == []
    died = journal.begin_service(at=NOON + HOUR)
    assert [run.job for run in died] == [Job.BACKUP]
    again = _journal(tmp_path, world)
    with again.memory() as known:
        assert known.runs[Job.BACKUP, RunOutcome.DIED] == 1
        assert known.failures[Job.BACKUP] == 1
        assert Job.BACKUP not in known.last_done
    assert again.begin_service(at=NOON + HOUR) == []


def test_a_run_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    world = _World()
    other = _journal(tmp_path, world, pid=2)
    run = other.begin(Job.VERIFY, at=NOON, planned_at=None)
    journal = _journal(tmp_path, world)
    assert journal.begin_service(at=NOON) == []
    other.end(run, at=NOON, seconds=1, outcome=RunOutcome.DONE)
    with journal.memory() as known:
        assert known.runs == {(Job.VERIFY, RunOutcome.DONE): 1}


def test_the_service_is_up_while_its_process_is(tmp_path: Path) -> None:
    world = _World()
    journal, other = _journal(tmp_path, world), _journal(tmp_path, world, pid=2)
    assert other.service_since() is None
    journal.begin_service(at=NOON)
    assert other.service_since() == NOON
    del world.alive[1]
    assert other.service_since() is None


def test_failures_in_a_row_are_counted_and_end_with_a_success(tmp_path: Path) -> None:
    journal = _journal(tmp_path, _World())
    for outcome in (RunOutcome.FAILED, RunOutcome.UNPROVEN, RunOutcome.INTERRUPTED):
        _end(journal, Job.BACKUP, outcome)
    with journal.memory() as known:
        assert known.failures[Job.BACKUP] == 2
        assert known.last[Job.BACKUP].why == "so"
    _end(journal, Job.BACKUP, RunOutcome.DONE)
    with journal.memory() as known:
        assert known.failures[Job.BACKUP] == 0


def test_a_disk_that_is_full_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = _journal(tmp_path, _World())
    _end(journal, Job.BACKUP, RunOutcome.DONE)

    def full(_make: object) -> None:
        raise NoSpace("no space left", hint="df -h")

    with monkeypatch.context() as patch:
        patch.setattr(journal._lines, "append", full)
        _end(journal, Job.BACKUP, RunOutcome.FAILED)
        assert isinstance(journal.trouble, NoSpace)
        with journal.memory() as known:
            assert known.runs[Job.BACKUP, RunOutcome.FAILED] == 1
            assert known.last[Job.BACKUP].outcome is RunOutcome.FAILED
    _end(journal, Job.PRUNE, RunOutcome.DONE)
    assert journal.trouble is None


_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_that_stands_still_while_it_writes_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eiderd.outside.lines._PATIENCE_SECONDS", 0.2)
    journal, path = _journal(tmp_path, _World()), tmp_path / "journal.jsonl"
    known: list[int] = []

    def read() -> None:
        with journal.memory() as memory:
            known.append(memory.missed[Job.BACKUP])

    with subprocess.Popen(
        [sys.executable, "-c", _LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        writer = threading.Thread(target=journal.missed, args=(Job.BACKUP,), kwargs={"count": 2})
        reader = threading.Thread(target=read)
        for thread in (writer, reader):
            thread.daemon = True
            thread.start()
            thread.join(20)
            assert not thread.is_alive()
        trouble = journal.trouble
        assert isinstance(trouble, StoreUnavailable)
        assert "fuser" in trouble.hint
        assert known == [2]
        holder.kill()
    journal.missed(Job.BACKUP, count=3)
    assert journal.trouble is None
    with _journal(tmp_path, _World(), pid=2).memory() as memory:
        assert memory.missed[Job.BACKUP] == 5


@pytest.mark.parametrize(
    "line",
    [b"", b"\xff\xfe", b"[]", b"7", b'{"word": "ended", "number": 99}', b'{"word": "began"}',
     b'{"word": "begin_service"}',
     b'{"word": "raised", "kind": "no such", "subject": "", "at": "x"}',
     b'{"word": "of_a_later_version", "x": 1}', b'{"word": {}}',
     b'{"word": "totals"}', b'{"word": "missed", "job": "backup", "count": "many"}'],
)  # fmt: skip
def test_a_strange_line_is_passed_over(tmp_path: Path, line: bytes) -> None:
    journal = _journal(tmp_path, _World())
    _end(journal, Job.BACKUP, RunOutcome.DONE)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(line + b"\n")
    _end(journal, Job.BACKUP, RunOutcome.DONE)
    with _journal(tmp_path, _World()).memory() as known:
        assert known.runs == {(Job.BACKUP, RunOutcome.DONE): 2}
        assert known.last_number == 2


_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(list(Job)), st.sampled_from(list(RunOutcome))),
        st.tuples(st.just("missed"), st.sampled_from(list(Job))),
        st.tuples(st.just("raised"), st.sampled_from(list(Kind))),
        st.tuples(st.just("cleared"), st.sampled_from(list(Kind))),
        st.tuples(st.just("pruned"), st.integers(1, 9)),
        st.tuples(st.just("open"), st.sampled_from(list(Job))),
    ),
    max_size=30,
)


@settings(deadline=None)  # each line is synced: the disk decides
@given(events=_EVENTS)
def test_a_shortened_journal_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = _journal(folder, _World())
    journal.begin_service(at=NOON)
    for first, second in events:
        finding = Finding(kind=Kind.DISK_LOW, severity=Severity.WARNING, message="m", command="c")
        match first:
            case "missed":
                journal.missed(second, count=3)
            case "raised":
                journal.raised(_kind(finding, second), at=NOON)
            case "cleared":
                journal.cleared(_kind(finding, second), at=NOON)
            case "pruned":
                journal.pruned(backups=second, size=second * 10)
            case "open":
                journal.begin(second, at=NOON, planned_at=None)
            case _:
                _end(journal, first, second)
    with journal.memory() as known:
        again = Memory()
        again.read(json.dumps(told).encode() for told in known.shortened(at=NOON))
        for name in Memory.__slots__:
            mine, theirs = getattr(known, name), getattr(again, name)
            if isinstance(mine, dict):  # a counter's zero is as good as nothing
                mine = {key: value for key, value in mine.items() if value}
                theirs = {key: value for key, value in theirs.items() if value}
            assert mine == theirs, name


def _kind(finding: Finding, kind: Kind) -> Finding:
    return Finding(
        kind=kind, severity=finding.severity, message=finding.message, command=finding.command
    )


def test_a_long_journal_is_shortened_when_the_service_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eiderd.journal._LONGEST", 20_000)
    journal = _journal(tmp_path, _World())
    for number in range(300):
        _end(journal, Job.BACKUP, RunOutcome.DONE, at=NOON + number * HOUR)
    long = (tmp_path / "journal.jsonl").stat().st_size
    reader = _journal(tmp_path, _World(), pid=2)
    with reader.memory() as known:
        assert known.last_number == 300
    _journal(tmp_path, _World()).begin_service(at=NOON)
    assert (tmp_path / "journal.jsonl").stat().st_size < long
    with reader.memory() as known:
        assert known.runs == {(Job.BACKUP, RunOutcome.DONE): 300}
        assert known.last_number == 300
        assert len(known.recent) == 200


def _say_often(journal: Journal, *, times: int) -> None:
    for number in range(times):
        journal.disk([["data", [500, [[number, number]] * 99]]])


def test_a_journal_stays_short_while_the_service_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eiderd.journal._LONGEST", 20_000)
    journal, path = _journal(tmp_path, _World()), tmp_path / "journal.jsonl"
    journal.begin_service(at=NOON)
    _end(journal, Job.BACKUP, RunOutcome.DONE)
    _say_often(journal, times=100)
    assert path.stat().st_size > 50_000
    journal.keep_short(at=NOON + HOUR)
    assert path.stat().st_size < 20_000
    with journal.memory() as mine, _journal(tmp_path, _World(), pid=2).memory() as others:
        for memory in (mine, others):
            assert memory.runs == {(Job.BACKUP, RunOutcome.DONE): 1}
            assert memory.samples == [["data", [500, [[99, 99]] * 99]]]
            assert memory.service == (NOON, "1:100:boot")
    journal.missed(Job.BACKUP, count=1)
    assert journal.trouble is None


def test_what_a_journal_has_to_keep_is_not_written_anew_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eiderd.journal._LONGEST", 500)
    journal, path = _journal(tmp_path, _World()), tmp_path / "journal.jsonl"
    _say_often(journal, times=9)
    journal.keep_short(at=NOON)
    short = path.stat()
    assert short.st_size > 500
    journal.missed(Job.BACKUP, count=1)
    journal.keep_short(at=NOON)
    assert path.stat().st_ino == short.st_ino
    _say_often(journal, times=9)
    journal.keep_short(at=NOON)
    assert path.stat().st_size < 2 * short.st_size


def test_what_is_not_written_yet_is_counted_once_in_a_shortened_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eiderd.journal._LONGEST", 1)
    journal = _journal(tmp_path, _World())
    journal.missed(Job.BACKUP, count=1)

    def full(_make: object) -> None:
        raise NoSpace("no space left", hint="df -h")

    with monkeypatch.context() as patch:
        patch.setattr(journal._lines, "append", full)
        journal.missed(Job.BACKUP, count=1)
        journal.keep_short(at=NOON)
    journal.missed(Job.BACKUP, count=1)
    journal.keep_short(at=NOON)
    with _journal(tmp_path, _World(), pid=2).memory() as known:
        assert known.missed[Job.BACKUP] == 3


def test_a_journal_that_cannot_be_read_to_its_end_is_not_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eiderd.journal._LONGEST", 1)
    journal = _journal(tmp_path, _World())
    journal.missed(Job.BACKUP, count=1)
    with journal.memory() as known:
        assert known.missed[Job.BACKUP] == 1
    _journal(tmp_path, _World(), pid=2).missed(Job.BACKUP, count=1)

    def unreadable() -> None:
        raise StoreUnavailable("Input/output error", hint="dmesg")

    with monkeypatch.context() as patch:
        patch.setattr(journal._lines, "unread", unreadable)
        journal.keep_short(at=NOON)
    with _journal(tmp_path, _World(), pid=2).memory() as known:
        assert known.missed[Job.BACKUP] == 2


# The clock --------------------------------------------------------------------------------------


def _reading(hours: float, *, up: float, boot: str = "a") -> Reading:
    return Reading(at=NOON + hours * HOUR, boot=boot, up=up * 3600)


def test_a_steady_clock_is_believed(tmp_path: Path) -> None:
    journal = _journal(tmp_path, _World())
    for hours in (0, 1, 2, 30):
        assert journal.look_at_clock(_reading(hours, up=hours)) is None
    assert not journal.is_clock_doubtful(_reading(30, up=30))


@pytest.mark.parametrize("by", [-24 * 365, -1, 1, 24 * 365])
def test_a_jump_within_a_boot_is_noticed_either_way(tmp_path: Path, by: float) -> None:
    journal = _journal(tmp_path, _World())
    journal.look_at_clock(_reading(0, up=10))
    jump = journal.look_at_clock(_reading(1 + by, up=11))
    assert jump == by * HOUR
    assert journal.look_at_clock(_reading(2 + by, up=12)) is None
    assert journal.is_clock_doubtful(_reading(2 + by, up=12))
    assert not journal.is_clock_doubtful(_reading(26 + by, up=36))
    # also for whoever begins later
    assert _journal(tmp_path, _World(), pid=2).is_clock_doubtful(_reading(2 + by, up=12))


def test_a_jump_is_doubted_before_it_is_noticed_and_then_noticed_all_the_same(
    tmp_path: Path,
) -> None:
    journal = _journal(tmp_path, _World())
    journal.look_at_clock(_reading(0, up=10))
    assert not journal.is_clock_doubtful(_reading(1, up=11))
    assert journal.is_clock_doubtful(_reading(3, up=11))
    assert journal.look_at_clock(_reading(3, up=11)) == 2 * HOUR
    # A process that never looked has an earlier reading.
    other = _journal(tmp_path / "other", _World())
    assert not other.is_clock_doubtful(_reading(3, up=11))
    assert other.is_clock_doubtful(_reading(3, up=11), since=_reading(0, up=10))
    assert not other.is_clock_doubtful(_reading(3, up=13), since=_reading(0, up=10))
    assert not other.is_clock_doubtful(_reading(3, up=0, boot="b"), since=_reading(0, up=10))


def test_sleep_is_no_jump(tmp_path: Path) -> None:
    journal = _journal(tmp_path, _World())
    journal.look_at_clock(_reading(0, up=10))
    assert journal.look_at_clock(_reading(100, up=110)) is None


def test_time_that_went_back_over_a_boot_is_noticed(tmp_path: Path) -> None:
    journal = _journal(tmp_path, _World())
    _end(journal, Job.BACKUP, RunOutcome.DONE)
    later = _journal(tmp_path, _World())
    assert later.look_at_clock(_reading(-50, up=0, boot="b")) == -50 * HOUR
    assert later.is_clock_doubtful(_reading(-49, up=1, boot="b"))
    assert later.look_at_clock(_reading(-48, up=2, boot="b")) is None


def test_a_machine_that_was_off_for_long_has_a_good_clock(tmp_path: Path) -> None:
    journal = _journal(tmp_path, _World())
    _end(journal, Job.BACKUP, RunOutcome.DONE)
    assert _journal(tmp_path, _World()).look_at_clock(_reading(9000, up=0, boot="b")) is None
