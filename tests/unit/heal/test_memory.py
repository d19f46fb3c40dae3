"""What healing remembers: over restarts, kills, a shortened journal, a clock that was set."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.healing import Decision, Pause, Verdict
from eiderd.health import Kind
from eiderd.journal import Journal
from eiderd.memory import Memory
from eiderd.model import Job, RunOutcome
from eiderd.outside.clock import Reading

NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
NAME = (Kind.JOB_FAILED, "backup")
DECISION = Decision(
    kind=Kind.JOB_FAILED, subject="backup", job=Job.BACKUP, verdict=Verdict.COOLING, why="w",
    said="s", command="eider backup", next_at=NOON + HOUR, tries=2,
)  # fmt: skip


def _journal(folder: Path, pid: int = 1) -> Journal:
    return Journal(folder / "journal.jsonl", pid=pid, who=lambda number: f"{number}:1:boot")


def _told(journal: Journal) -> None:
    """Let it live through everything that healing can say."""
    for outcome in (RunOutcome.FAILED, RunOutcome.DONE):
        journal.healing(Job.BACKUP, NAME, at=NOON, why="found twice")
        journal.healed(Job.BACKUP, at=NOON + HOUR, outcome=outcome, why="so")
    journal.confirmed(Job.BACKUP, NAME, at=NOON + 2 * HOUR)
    journal.healing(Job.QUARANTINE, (Kind.CORRUPT_BACKUP, "x"), at=NOON + 3 * HOUR, why="")
    journal.stopped(Job.PRUNE, at=NOON)
    journal.stopped(Job.CLEAN, at=NOON)
    journal.going_on(Job.CLEAN, at=NOON)
    journal.paused(Pause(since=NOON, until=NOON + HOUR, reason="why not"))
    journal.decided((DECISION,))


def test_all_of_it_is_known_to_another_process(tmp_path: Path) -> None:
    _told(_journal(tmp_path))
    with _journal(tmp_path, pid=2).memory() as known:
        heal = known.heal
    assert [(one.job, one.outcome) for one in heal.attempts] == [
        (Job.BACKUP, RunOutcome.FAILED), (Job.BACKUP, RunOutcome.DONE), (Job.QUARANTINE, None),
    ]  # fmt: skip
    assert [one.confirmed_at for one in heal.attempts] == [NOON + 2 * HOUR] * 2 + [None]
    assert heal.counts == {(Job.BACKUP, RunOutcome.FAILED): 1, (Job.BACKUP, RunOutcome.DONE): 1}
    assert heal.confirmed == {Job.BACKUP: 1}
    assert heal.stopped == {Job.PRUNE: NOON}
    assert heal.pause == Pause(since=NOON, until=NOON + HOUR, reason="why not")
    assert heal.decisions == (DECISION,)


def test_a_shortened_journal_remembers_all_of_it(tmp_path: Path) -> None:
    journal = _journal(tmp_path)
    _told(journal)
    journal.look_at_clock(Reading(at=NOON, boot="boot", up=1.0))
    with journal.memory() as known:
        short = known.shortened(at=NOON)
        before = known.heal
    anew = Memory()
    anew.read(json.dumps(document).encode() for document in short)
    assert anew.heal == before


def test_a_resumed_one_forgets_the_pause_what_was_given_up_and_what_was_tried(
    tmp_path: Path,
) -> None:
    journal = _journal(tmp_path)
    _told(journal)
    journal.resumed(at=NOON + 4 * HOUR)
    with journal.memory() as known:
        assert known.heal.pause is None
        assert known.heal.stopped == {}
        assert known.heal.resumed_at == NOON + 4 * HOUR
        assert len(known.heal.attempts) == 3, "they happened all the same"


def test_a_repair_whose_service_was_killed_has_been_tried(tmp_path: Path) -> None:
    journal = _journal(tmp_path)
    journal.healing(Job.BACKUP, NAME, at=NOON, why="")
    again = _journal(tmp_path, pid=2)
    again.begin_service(at=NOON + HOUR)
    with again.memory() as known:
        (tried,) = known.heal.attempts
        assert (tried.outcome, tried.ended_at) == (RunOutcome.DIED, NOON + HOUR)
        assert known.heal.counts == {(Job.BACKUP, RunOutcome.DIED): 1}


def test_one_that_a_person_ended_was_no_try(tmp_path: Path) -> None:
    journal = _journal(tmp_path)
    journal.healing(Job.BACKUP, NAME, at=NOON, why="")
    journal.healed(Job.BACKUP, at=NOON, outcome=RunOutcome.INTERRUPTED, why="")
    with journal.memory() as known:
        assert known.heal.attempts == []


@pytest.mark.parametrize("days", [-400, -1, 1, 400])
def test_when_the_clock_is_set_the_times_move_with_it(tmp_path: Path, days: int) -> None:
    """A year ahead gives nobody a new budget, and a year back does not pause for a year."""
    journal, by = _journal(tmp_path), datetime.timedelta(days=days)
    _told(journal)
    journal.look_at_clock(Reading(at=NOON, boot="boot", up=1.0))
    journal.look_at_clock(Reading(at=NOON + by, boot="boot", up=1.0))
    with journal.memory() as known:
        assert [one.at - by for one in known.heal.attempts] == [NOON, NOON, NOON + 3 * HOUR]
        assert known.heal.pause is not None
        assert known.heal.pause.until == NOON + HOUR + by
        assert known.heal.stopped == {Job.PRUNE: NOON + by}
        short = known.shortened(at=NOON + by)
        before = known.heal
    anew = Memory()
    anew.read(json.dumps(document).encode() for document in short)
    assert anew.heal == before


def test_a_journal_of_before_healing_is_read(tmp_path: Path) -> None:
    totals = {
        "word": "totals", "format": 1, "at": NOON.isoformat(), "first": NOON.isoformat(),
        "number": 3, "runs": [["backup", "done", 3]], "seconds": {"backup": 9.0}, "missed": {},
        "failures": {}, "pruned": [0, 0],
    }  # fmt: skip
    clock = {"word": "clock", "by_seconds": -3600.0, "at": NOON.isoformat(), "boot": "b", "up": 1.0}
    lines = [json.dumps(one).encode() for one in (totals, clock)]
    (tmp_path / "journal.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with _journal(tmp_path).memory() as known:
        assert known.runs == {(Job.BACKUP, RunOutcome.DONE): 3}
        assert known.heal.attempts == []


_WORDS = ["healing", "healed", "confirmed", "stopped", "going_on", "paused", "resumed", "decided",
          "attempt", "heal_totals"]  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["backup", "job_failed", "done", "2026-11-22T12:00:00+00:00",
                       "0001-01-01T00:00:00+14:00"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@given(
    word=st.sampled_from(_WORDS),
    rest=st.dictionaries(
        st.sampled_from(["job", "at", "kind", "subject", "why", "outcome", "until", "reason",
                         "decisions", "actions", "confirmed", "resumed_at", "ended_at"]),
        _JSON,
    ),
    by=st.floats(-1e18, 1e18),
)  # fmt: skip
def test_no_strange_line_stops_the_reading(word: str, rest: dict[str, object], by: float) -> None:
    clock = {"word": "clock", "at": NOON.isoformat(), "boot": "b", "up": 1, "by_seconds": by}
    memory = Memory()
    good = {"word": "stopped", "job": "prune", "at": NOON.isoformat()}
    memory.read(json.dumps(one).encode() for one in ({**rest, "word": word}, clock, good))
    assert memory.heal.stopped[Job.PRUNE] == NOON
    json.dumps(memory.shortened(at=NOON))
