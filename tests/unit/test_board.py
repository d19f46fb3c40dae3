"""The board: each finding once, raised once, cleared once, whatever reports it how often."""

from __future__ import annotations

import datetime
from pathlib import Path

import structlog
from hypothesis import given
from hypothesis import strategies as st

from eiderd.board import Board
from eiderd.frame import Frame
from eiderd.health import Condition, Finding, Kind, Severity, condition, worst_first
from eiderd.journal import Journal
from eiderd.model import Job, RunOutcome
from eiderd.schedule import timetable

NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


def _found(
    kind: Kind = Kind.DISK_LOW,
    *,
    severity: Severity = Severity.WARNING,
    subject: str = "data",
    message: str = "low",
) -> Finding:
    return Finding(kind=kind, subject=subject, severity=severity, message=message, command="df")


def _board(folder: Path, *, records: bool = True) -> Board:
    journal = Journal(folder / "journal.jsonl", pid=1, who=lambda pid: f"{pid}:1:boot")
    frame = Frame(
        database="/data/x.duckdb",
        directory="/backups",
        fresh_within=48 * HOUR,
        schedule_seconds=86_400,
        max_count=None,
        timetable=timetable(
            backup="15 3 * * *", backup_limit=HOUR, scrub="30 4 * * sun", scrub_limit=HOUR
        ),
        zone=datetime.UTC,
    )
    return Board(frame=frame, journal=journal, records=records)


def test_a_finding_is_told_when_it_is_raised_and_when_it_is_over(tmp_path: Path) -> None:
    board = _board(tmp_path)
    with structlog.testing.capture_logs() as logs:
        board.report("disk", [_found()], at=NOON)
        board.report("disk", [_found(message="lower")], at=NOON + HOUR)
        assert [(found.message, found.since) for found in board.findings()] == [("lower", NOON)]
        board.report("disk", [], at=NOON + 2 * HOUR)
    assert board.findings() == ()
    assert [log["word"] for log in logs] == ["finding_raised", "finding_cleared"]


def test_since_when_survives_a_restart(tmp_path: Path) -> None:
    _board(tmp_path).report("disk", [_found()], at=NOON)
    later = _board(tmp_path)
    with structlog.testing.capture_logs() as logs:
        later.report("disk", [_found()], at=NOON + HOUR)
    assert [found.since for found in later.findings()] == [NOON]
    assert logs == []


def test_what_was_over_while_nobody_looked_is_forgotten(tmp_path: Path) -> None:
    _board(tmp_path).report("disk", [_found()], at=NOON)
    later = _board(tmp_path)
    later.report("disk", [], at=NOON + HOUR)
    later.forget_old({"disk"}, at=NOON + HOUR)
    later.report("disk", [_found()], at=NOON + 2 * HOUR)
    assert [found.since for found in later.findings()] == [NOON + 2 * HOUR]


def test_nothing_is_forgotten_before_everybody_has_looked(tmp_path: Path) -> None:
    _board(tmp_path).report("disk", [_found()], at=NOON)
    later = _board(tmp_path)
    later.report("nats", [], at=NOON + HOUR)
    with structlog.testing.capture_logs() as logs:
        later.forget_old({"nats", "disk"}, at=NOON + HOUR)
        later.report("disk", [_found()], at=NOON + HOUR)
        later.forget_old({"nats", "disk"}, at=NOON + HOUR)
    assert [found.since for found in later.findings()] == [NOON]
    assert logs == []


def test_the_same_from_two_watchers_is_one(tmp_path: Path) -> None:
    board = _board(tmp_path)
    board.report("disk", [_found()], at=NOON)
    board.report("other", [_found()], at=NOON)
    assert len(board.findings()) == 1


def test_one_that_only_looks_writes_and_says_nothing(tmp_path: Path) -> None:
    board = _board(tmp_path, records=False)
    with structlog.testing.capture_logs() as logs:
        board.report("disk", [_found()], at=NOON)
    assert board.status(at=NOON).condition is Condition.DEGRADED
    assert logs == []
    assert list(tmp_path.iterdir()) == []


def test_a_status_has_what_runs_next_and_what_ran(tmp_path: Path) -> None:
    board = _board(tmp_path)
    board.count(Job.DISK, RunOutcome.DONE)
    status = board.status(at=NOON)
    assert [(one.job, one.at.day, one.at.hour) for one in status.upcoming] == [
        (Job.BACKUP, 23, 3),
        (Job.VERIFY, 29, 4),
    ]
    assert status.totals.runs[Job.DISK, RunOutcome.DONE] == 1
    assert status.newest_verified is None
    assert status.age_seconds is None


_FINDINGS = st.builds(
    _found,
    st.sampled_from(list(Kind)),
    severity=st.sampled_from(list(Severity)),
    subject=st.text(max_size=3),
)


@given(st.lists(_FINDINGS, max_size=8))
def test_the_worst_decides_and_comes_first(found: list[Finding]) -> None:
    ordered = worst_first(found)
    assert sorted(map(repr, ordered)) == sorted(map(repr, found))
    worst = ordered[0].severity if ordered else Severity.NOTICE
    assert (
        condition(found)
        is {
            Severity.CRITICAL: Condition.ILL,
            Severity.WARNING: Condition.DEGRADED,
            Severity.NOTICE: Condition.WELL,
        }[worst]
    )
    ranks = [list(Severity).index(one.severity) for one in ordered]
    assert ranks == sorted(ranks)
