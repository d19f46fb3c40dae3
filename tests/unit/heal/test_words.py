"""What a person and a script are told: `eider status --heal`, pause, resume, the page, metrics."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from eiderd import metrics
from eiderd.cli import heal_report
from eiderd.healing import Attempt, Decision, Healing, Pause, Verdict
from eiderd.health import Kind
from eiderd.model import Job, RunOutcome
from eiderd.status import Service, Status
from eiderd.web import page
from tests import statuses
from tests.helpers import Place
from tests.statuses import AT, HOUR

HOSTILE = "b\x1b[2J<script>"
DECISIONS = (
    Decision(
        kind=Kind.CORRUPT_BACKUP, subject=HOSTILE, job=Job.QUARANTINE, verdict=Verdict.COOLING,
        why="2 tries did not help", said="move it", command=f"eider quarantine {HOSTILE}",
        next_at=AT + HOUR, tries=2,
    ),
    Decision(
        kind=Kind.NATS_DRIFT, subject="S", job=None, verdict=Verdict.PROPOSED, why="for a person",
        said="decide", command="eider nats status",
    ),
)  # fmt: skip
ATTEMPTS = (
    Attempt(job=Job.PRUNE, name=(Kind.DISK_LOW, "backups"), at=AT - HOUR, ended_at=AT - HOUR,
            outcome=RunOutcome.DONE, confirmed_at=AT),
    Attempt(job=Job.BACKUP, name=(Kind.JOB_FAILED, "backup"), at=AT - 2 * HOUR,
            ended_at=AT - HOUR, outcome=RunOutcome.FAILED, why=HOSTILE),
)  # fmt: skip


def _status(**more: object) -> Status:
    healing = Healing(decisions=DECISIONS, attempts=ATTEMPTS)
    return dataclasses.replace(
        statuses.well(),
        healing=dataclasses.replace(healing, **more),  # type: ignore[arg-type]
    )


def _shown(status: Status, capsys: pytest.CaptureFixture[str]) -> str:
    heal_report.show(status, zone=datetime.UTC)
    return capsys.readouterr().out


def test_each_decision_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    said = _shown(_status(), capsys)
    for words in (
        "on; a repair is given up after 5 tries within 24 hours",
        "cools down", "to do: move it", "2 tries did not help; tried 2 of 5", "next try",
        "for you", "eider nats status", "helped, says the check",
        "failed, not confirmed by the check",
    ):  # fmt: skip
        assert words in said, said
    assert "\x1b" not in said


def test_what_keeps_it_from_healing_is_said_first(capsys: pytest.CaptureFixture[str]) -> None:
    pause = Pause(since=AT, until=AT + HOUR, reason="disks")
    assert "paused until" in _shown(_status(pause=pause), capsys)
    assert "until: eider resume" in _shown(
        _status(pause=dataclasses.replace(pause, until=None)), capsys
    )
    assert "heal.enabled is false" in _shown(_status(enabled=False), capsys)
    stopped = dataclasses.replace(_status(), service=Service())
    assert "nothing is repaired" in _shown(stopped, capsys)


def test_the_page_has_a_section_of_it_only_when_there_is_something() -> None:
    text = page.status_page(_status(), zone=datetime.UTC)
    assert 'id="healing"' in text
    assert "2 tries did not help" in text
    assert "<script>" not in text
    assert 'id="healing"' not in page.status_page(statuses.well(), zone=datetime.UTC)
    paused = _status(decisions=(), pause=Pause(since=AT))
    assert "paused until" in page.status_page(paused, zone=datetime.UTC)


def test_the_metrics_count_what_was_tried_and_what_helped() -> None:
    status = _status(
        counts={(Job.BACKUP, RunOutcome.FAILED): 3}, confirmed={Job.PRUNE: 2},
        stopped={Job.QUARANTINE: AT}, pause=Pause(since=AT),
    )  # fmt: skip
    text = metrics.exposition(status, "")[0].decode()
    for line in (
        'eider_heal_actions_total{action="backup",outcome="failed"} 3.0',
        'eider_heal_confirmed_total{action="prune"} 2.0',
        'eider_heal_stopped{action="quarantine"} 1.0',
        'eider_heal_stopped{action="backup"} 0.0',
        "eider_healing_paused 1.0",
        "eider_healing_enabled 1.0",
    ):
        assert line in text


# The verbs --------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path).configure()
    place.database.parent.mkdir()
    place.database.write_bytes(b"live")
    return place


def test_a_pause_and_a_resume_are_told_in_words_and_in_json(place: Place) -> None:
    paused = place.eider("pause", "--for", "2h", "--reason", "moving \x1b[2J disks", "--json")
    assert paused.code == 0, paused
    since, until = (
        datetime.datetime.fromisoformat(paused.json["pause"][word]) for word in ("since", "until")
    )
    assert until - since == 2 * HOUR
    shown = place.eider("status", "--heal", "--json").good_manners()
    assert shown.json["paused"]
    assert "\x1b" not in shown.json["pause"]["reason"]
    assert "healing_paused" in {
        one["kind"] for one in place.eider("status", "--json").json["findings"]
    }
    again = place.eider("resume").good_manners()
    assert "healing goes on (it was paused)" in again.stdout
    assert "neither paused nor given up" in place.eider("resume").stdout
    assert not place.eider("status", "--heal", "--json").json["paused"]


@pytest.mark.parametrize("words", ["2", "soon", "-1h", "99999d", "0s", ""])
def test_a_pause_for_no_time_is_refused(place: Place, words: str) -> None:
    ran = place.eider("pause", f"--for={words}", "--json").good_manners()
    assert ran.code == 2, ran
    assert "90m, 2h or 1d" in ran.json["error"]["hint"]
    assert not place.eider("status", "--heal", "--json").json["paused"]


def test_a_pause_that_cannot_be_recorded_is_an_error(place: Place) -> None:
    """Nobody is to believe that it is paused when the service will never hear of it."""
    journal = place.state / "journal.jsonl"
    journal.mkdir(parents=True)
    for verb in ("pause", "resume"):
        ran = place.eider(verb, "--json").good_manners()
        assert ran.code == 2, ran
        assert str(place.state) in ran.json["error"]["message"]


def test_without_the_service_nothing_is_repaired_and_that_is_said(place: Place) -> None:
    ran = place.eider("status", "--heal").good_manners()
    assert ran.code == 3
    assert "The service is not running" in ran.stdout
    assert "eider backup" in ran.stdout
