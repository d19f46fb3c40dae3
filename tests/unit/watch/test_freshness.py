"""Each finding about the age of backups and the jobs that take them: raised, and over again."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import pytest

from eiderd import schedule
from eiderd.evidence import Damage, StreamMissing
from eiderd.health import Finding, Kind, Severity
from eiderd.model import Brief, Failure, Job, Level, Proof, Run, RunOutcome, State
from eiderd.watch import freshness

NOW = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
MINUTE = datetime.timedelta(minutes=1)
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
TIMETABLE = schedule.timetable(
    backup="15 3 * * *", backup_limit=HOUR, scrub="30 4 * * sun", scrub_limit=HOUR
)
WAL = Failure(level=Level.RESTORE, kind=Damage.WAL_REPLAY, message="no \x1b[31mreplay")


def _brief(
    number: int, *, age: datetime.timedelta, state: State = State.VERIFIED, **more: Any
) -> Brief:
    failure = WAL if state is State.UNVERIFIED else None
    return Brief(
        id=f"2026030{number}-000000", sequence=number, created_at=NOW - age, state=state,
        archive="x", bytes=1, proof=Proof(level=Level.BLOCKS, at=NOW, failure=failure), **more,
    )  # fmt: skip


def _run(job: Job, *, age: datetime.timedelta, outcome: RunOutcome, **more: Any) -> Run:
    began = NOW - age
    return Run(number=1, job=job, began_at=began, ended_at=began, outcome=outcome, **more)


def _found(*briefs: Brief, **changed: Any) -> dict[tuple[Kind, str], Finding]:
    arguments: dict[str, Any] = {
        "now": NOW,
        "last": {},
        "failures": {},
        "running": (),
        "timetable": TIMETABLE,
        "since": NOW - MINUTE,
        "first_began": NOW - 1000 * HOUR,
        "fresh_within": 48 * HOUR,
        "zone": BERLIN,
    }
    findings = freshness.run(briefs=briefs, **(arguments | changed))
    assert len(set(findings)) == len(findings)
    return {(found.kind, found.subject): found for found in findings}


FRESH = _brief(1, age=HOUR)


def test_a_young_verified_backup_is_well() -> None:
    assert _found(FRESH) == {}
    assert _found(_brief(1, age=48 * HOUR)) == {}


def test_an_old_one_is_critical_and_its_age_is_said() -> None:
    (found,) = _found(_brief(1, age=48 * HOUR + MINUTE)).values()
    assert (found.kind, found.severity) == (Kind.NO_VERIFIED_BACKUP, Severity.CRITICAL)
    assert found.message == (
        "The newest verified backup, 20260301-000000, is 2 days old; 2 days is the limit."
    )
    assert found.command == "eider backup"


def test_the_newest_is_the_one_with_the_highest_number_not_the_latest_date() -> None:
    """A clock that was ahead once must not keep the alarm silent."""
    found = _found(_brief(1, age=HOUR), _brief(2, age=100 * HOUR))
    assert "20260302-000000" in found[Kind.NO_VERIFIED_BACKUP, ""].message


@pytest.mark.parametrize("state", [State.UNVERIFIED, State.SUSPECT, State.CORRUPT])
def test_only_verified_ones_count(state: State) -> None:
    found = _found(_brief(1, age=HOUR, state=state))[Kind.NO_VERIFIED_BACKUP, ""]
    assert found.severity is Severity.CRITICAL
    assert found.message == "There is no verified backup among 1."


def test_none_at_all_is_critical_but_while_the_very_first_is_taken() -> None:
    key = (Kind.NO_VERIFIED_BACKUP, "")
    new = {"first_began": NOW - 9 * MINUTE}
    assert _found()[key].severity is Severity.CRITICAL
    assert _found(**new)[key].severity is Severity.CRITICAL
    assert _found(**new, running=(Job.BACKUP,))[key].severity is Severity.WARNING
    late = _found(first_began=NOW - 10 * MINUTE, running=(Job.BACKUP,))
    assert late[key].severity is Severity.CRITICAL
    # With something there that could not be verified it is not the first.
    bad = _brief(1, age=HOUR, state=State.CORRUPT)
    assert _found(bad, **new, running=(Job.BACKUP,))[key].severity is Severity.CRITICAL


def test_a_backup_from_the_future_is_the_clocks_fault() -> None:
    assert _found(_brief(1, age=-5 * MINUTE)) == {}
    (found,) = _found(_brief(1, age=-6 * HOUR)).values()
    assert found.severity is Severity.CRITICAL
    assert "dated 6 hours in the future" in found.message
    assert "clock" in found.message
    assert found.command == "timedatectl"


def test_what_could_not_be_proven_is_said_in_the_proofs_words_until_one_can() -> None:
    first = _brief(2, age=HOUR, state=State.UNVERIFIED)
    second = _brief(3, age=MINUTE, state=State.UNVERIFIED)
    (found,) = _found(FRESH, first, second).values()
    assert (found.kind, found.subject) == (Kind.UNVERIFIED_BACKUP, first.id)
    assert found.severity is Severity.WARNING
    assert "would not come back after a crash" in found.message
    assert "1 more after it" in found.message
    assert "\x1b" not in found.message
    assert found.command == f"eider show {second.id}"
    assert _found(FRESH, first, _brief(4, age=MINUTE)) == {}


@pytest.mark.parametrize("outcome", [RunOutcome.FAILED, RunOutcome.DIED])
def test_a_job_whose_last_run_failed_is_a_warning(outcome: RunOutcome) -> None:
    failed = _run(
        Job.PRUNE, age=HOUR, outcome=outcome, why="no \x1b[31mspace", hint="Free some: df -h /"
    )
    (found,) = _found(FRESH, last={Job.PRUNE: failed}).values()
    assert (found.kind, found.subject) == (Kind.JOB_FAILED, "prune")
    assert found.severity is Severity.WARNING
    assert found.message == (
        "The job prune failed 60 minutes ago: "
        "no \N{REPLACEMENT CHARACTER}[31mspace. Free some: df -h /"
    )
    assert found.command == "journalctl -u eiderd -g prune"
    often = _found(FRESH, last={Job.PRUNE: failed}, failures={Job.PRUNE: 3})
    assert "failed 3 times in a row, last 60 minutes ago" in often[Kind.JOB_FAILED, "prune"].message


_NO_FAILURE = [one for one in RunOutcome if one not in {RunOutcome.FAILED, RunOutcome.DIED}]


@pytest.mark.parametrize("outcome", _NO_FAILURE, ids=str)
def test_any_other_end_is_no_failure(outcome: RunOutcome) -> None:
    last = {Job.PRUNE: _run(Job.PRUNE, age=HOUR, outcome=outcome)}
    assert _found(FRESH, last=last) == {}


def test_one_that_died_without_a_word_is_said_so() -> None:
    died = _run(Job.BACKUP, age=MINUTE, outcome=RunOutcome.DIED)
    (found,) = _found(FRESH, last={Job.BACKUP: died}).values()
    assert "killed, or the machine went down." in found.message


# 03:15 in Berlin is 02:15 UTC, 585 minutes before NOW.
PLANNED = 585 * MINUTE
OVERDUE = (Kind.JOB_OVERDUE, "backup")


def test_a_job_is_overdue_ten_minutes_after_its_time() -> None:
    yesterday = {Job.BACKUP: _run(Job.BACKUP, age=30 * HOUR, outcome=RunOutcome.DONE)}
    up = {"since": NOW - 100 * HOUR, "last": yesterday}
    at = NOW - PLANNED
    assert OVERDUE not in _found(FRESH, **up, now=at - MINUTE)
    assert OVERDUE not in _found(FRESH, **up, now=at + 10 * MINUTE)
    found = _found(FRESH, **up, now=at + 11 * MINUTE)[OVERDUE]
    assert found.severity is Severity.WARNING
    assert found.message == (
        "The job backup was due 11 minutes ago (Wed 04 Mar 03:15) and has not begun."
    )
    assert found.command == "journalctl -u eiderd -g backup"


def test_a_job_that_began_is_not_overdue() -> None:
    since = NOW - 100 * HOUR
    assert OVERDUE in _found(FRESH, since=since)
    began = {Job.BACKUP: _run(Job.BACKUP, age=PLANNED, outcome=RunOutcome.DONE)}
    assert OVERDUE not in _found(FRESH, since=since, last=began)
    assert OVERDUE not in _found(FRESH, since=since, running=(Job.BACKUP,))


def test_a_service_that_was_not_up_then_owes_nothing() -> None:
    long_ago = {Job.BACKUP: _run(Job.BACKUP, age=300 * HOUR, outcome=RunOutcome.DONE)}
    assert OVERDUE not in _found(FRESH, since=NOW - PLANNED, last=long_ago)
    assert OVERDUE in _found(FRESH, since=NOW - PLANNED - MINUTE, last=long_ago)


def test_a_run_from_the_future_is_no_sign_of_life() -> None:
    ahead = {Job.BACKUP: _run(Job.BACKUP, age=-300 * HOUR, outcome=RunOutcome.DONE)}
    assert OVERDUE in _found(FRESH, since=NOW - 100 * HOUR, last=ahead)
    assert _found(FRESH, since=NOW + HOUR) == {}  # the clock was set back after the start


def test_watchers_are_not_asked_for() -> None:
    found = _found(FRESH, since=NOW - 1000 * HOUR)
    assert {subject for _kind, subject in found} == {"backup", "verify"}


def test_what_a_person_typed_in_vain_is_no_finding() -> None:
    typed = _run(Job.UNPIN, age=MINUTE, outcome=RunOutcome.FAILED, why="there is no such backup")
    assert _found(FRESH, last={Job.UNPIN: typed}) == {}


def test_a_backup_that_died_after_it_had_counted_is_no_finding() -> None:
    died = _run(Job.BACKUP, age=2 * MINUTE, outcome=RunOutcome.DIED)
    assert _found(_brief(1, age=MINUTE), last={Job.BACKUP: died}) == {}
    assert (Kind.JOB_FAILED, "backup") in _found(_brief(1, age=HOUR), last={Job.BACKUP: died})


def test_a_stream_that_the_newest_verified_backup_does_without_is_told_and_over_again() -> None:
    missing = (StreamMissing(stream="EVENTS", why="NATS is \x1b[31maway"),)
    without = _brief(2, age=HOUR, nats_missing=missing)
    found = _found(_brief(1, age=2 * HOUR), without)[Kind.STREAM_NOT_IN_BACKUP, "EVENTS"]
    assert found.severity is Severity.WARNING
    assert "does without stream EVENTS: NATS is \ufffd[31maway." in found.message
    assert not _found(without, _brief(3, age=MINUTE))
    # One that does not count says nothing about what would be restored.
    later = _brief(3, age=MINUTE, state=State.SUSPECT, nats_missing=missing)
    assert (Kind.STREAM_NOT_IN_BACKUP, "EVENTS") not in _found(FRESH, later)
