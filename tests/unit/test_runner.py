"""The runner: every way a run can end becomes one journal entry and one log line."""

from __future__ import annotations

import datetime
import threading
from pathlib import Path

import pytest
import structlog

from eiderd.catalog import Briefs
from eiderd.errors import Busy, SourceUnavailable
from eiderd.journal import Journal
from eiderd.model import Ending, Job, Outcome, RunOutcome
from eiderd.outside import files
from eiderd.outside.signals import Ended
from eiderd.runner import Runner


class _Place:
    def __init__(self, root: Path, *, patience_seconds: float = 0.0) -> None:
        self.root, self.ending = root, False
        self.journal = Journal(
            root / "state" / "journal.jsonl", pid=1, who=lambda pid: f"{pid}:1:b"
        )
        self.runner = Runner(
            journal=self.journal,
            state=root / "state",
            briefs=Briefs(root / "backups"),
            patience_seconds=patience_seconds,
            is_ending=lambda: self.ending,
        )

    def last(self) -> tuple[RunOutcome | None, str, str]:
        with self.journal.memory() as known:
            run = known.recent[-1]
            return run.outcome, run.why, run.hint


def _outcome(ending: Ending = Ending.DONE, why: str = "") -> Outcome[int]:
    return Outcome(ending=ending, value=7, why=why)


@pytest.mark.parametrize("ending", list(Ending))
def test_every_ending_of_a_job_is_an_outcome_of_its_run(tmp_path: Path, ending: Ending) -> None:
    place = _Place(tmp_path)
    with structlog.testing.capture_logs() as logs:
        place.runner.store(Job.PRUNE, lambda: _outcome(ending, "so"))
    assert place.last() == (RunOutcome[ending.name], "so", "")
    assert [log["word"] for log in logs] == ["job_ended"]


def test_a_failure_is_recorded_with_its_hint_and_raised(tmp_path: Path) -> None:
    place = _Place(tmp_path)

    def fail() -> Outcome[int]:
        raise SourceUnavailable("gone", hint="look")

    with structlog.testing.capture_logs() as logs, pytest.raises(SourceUnavailable):
        place.runner.store(Job.BACKUP, fail)
    assert place.last() == (RunOutcome.FAILED, "gone", "look")
    assert [(log["word"], log["log_level"], log["hint"]) for log in logs] == [
        ("job_failed", "error", "look")
    ]


def test_a_bug_is_a_failure_too(tmp_path: Path) -> None:
    place = _Place(tmp_path)

    def stumble() -> Outcome[int]:
        return Outcome(ending=Ending.DONE, value=1 // 0)

    with pytest.raises(ZeroDivisionError):
        place.runner.store(Job.BACKUP, stumble)
    outcome, why, _hint = place.last()
    assert (outcome, "ZeroDivisionError" in why) == (RunOutcome.FAILED, True)


def test_what_a_signal_ended_was_interrupted(tmp_path: Path) -> None:
    place = _Place(tmp_path)

    def end() -> Outcome[int]:
        raise Ended(15)

    with pytest.raises(Ended):
        place.runner.store(Job.BACKUP, end)
    assert place.last()[0] is RunOutcome.INTERRUPTED


def test_what_fails_while_the_service_ends_was_interrupted(tmp_path: Path) -> None:
    place = _Place(tmp_path)

    def fail() -> Outcome[int]:
        place.ending = True
        raise SourceUnavailable("its child was killed", hint="")

    with pytest.raises(SourceUnavailable):
        place.runner.store(Job.BACKUP, fail)
    assert place.last()[0] is RunOutcome.INTERRUPTED


def test_a_run_waits_for_another_to_leave_the_store_but_not_for_ever(tmp_path: Path) -> None:
    place = _Place(tmp_path, patience_seconds=0.3)
    files.private_folder(tmp_path / "state")
    with files.locked(tmp_path / "state", hint=""), pytest.raises(Busy):
        place.runner.store(Job.BACKUP, _outcome)
    assert place.last()[0] is RunOutcome.FAILED


def test_it_runs_as_soon_as_the_other_has_left(tmp_path: Path) -> None:
    place = _Place(tmp_path, patience_seconds=30)
    files.private_folder(tmp_path / "state")
    held, leave = threading.Event(), threading.Event()

    def other() -> None:
        with files.locked(tmp_path / "state", hint=""):
            held.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(30)
    timer = threading.Timer(0.3, leave.set)
    timer.start()
    assert place.runner.store(Job.BACKUP, _outcome).value == 7
    assert leave.is_set()
    thread.join()
    timer.join()


def test_a_service_that_ends_waits_for_nobody(tmp_path: Path) -> None:
    place = _Place(tmp_path, patience_seconds=3600)
    place.ending = True
    files.private_folder(tmp_path / "state")
    with files.locked(tmp_path / "state", hint=""), pytest.raises(Busy):
        place.runner.store(Job.BACKUP, _outcome)
    assert place.last()[0] is RunOutcome.INTERRUPTED


def test_the_run_stands_in_the_journal_before_it_does_anything(tmp_path: Path) -> None:
    place = _Place(tmp_path)
    planned = datetime.datetime(2026, 11, 22, 3, 15, tzinfo=datetime.UTC)
    seen = []

    def look() -> Outcome[int]:
        seen.extend(place.journal.running())
        return _outcome()

    place.runner.store(Job.VERIFY, look, planned_at=planned)
    assert [(run.job, run.planned_at) for run in seen] == [(Job.VERIFY, planned)]
    assert place.journal.running() == []


def test_a_look_that_needs_the_store_has_it_alone_and_is_not_journaled(tmp_path: Path) -> None:
    place = _Place(tmp_path)

    def look() -> Outcome[int]:
        with pytest.raises(Busy):
            place.runner.store(Job.BACKUP, _outcome)
        return _outcome()

    assert place.runner.measure(Job.COMPACT, look).value == 7
    with place.journal.memory() as known:
        assert [run.job for run in known.recent] == [Job.BACKUP]


def test_a_look_is_not_journaled(tmp_path: Path) -> None:
    place = _Place(tmp_path)
    assert place.runner.look(Job.VERIFY, _outcome).value == 7
    with place.journal.memory() as known:
        assert not known.recent
