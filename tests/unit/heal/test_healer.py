"""What a repair needs, and what a person is told of healing."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pytest

from eiderd import config
from eiderd.app import App
from eiderd.board import Board, Stock
from eiderd.frame import frame_of
from eiderd.healer import Healer
from eiderd.healing import Decision, Pause, Verdict
from eiderd.health import Finding, Kind, Severity
from eiderd.journal import Journal
from eiderd.lookout import Lookout
from eiderd.model import Job, RunOutcome, State
from eiderd.status import Frozen
from tests import statuses
from tests.helpers import Place

NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)


@dataclasses.dataclass
class Scene:
    """An app on real folders, and a board on which a test puts what it wants found."""

    place: Place
    app: App
    board: Board
    healer: Healer

    def found(
        self,
        kind: Kind,
        subject: str = "",
        *,
        source: str = "freshness",
        severity: Severity = Severity.WARNING,
    ) -> None:
        """Let the check find it in two looks."""
        about = Finding(
            kind=kind, subject=subject, severity=severity, message="So it is.", command="c"
        )
        for minutes in (2, 1):
            self.board.report(source, [about], at=NOON - minutes * MINUTE)

    def decide(self, job: Job) -> Decision:
        decisions = self.healer.decide(self.app, at=NOON)
        return next(one for one in decisions if one.job is job)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    place = Place(tmp_path).configure(
        heal__restore=True, application__kind="commands",
        application__commands={"state": ["true"], "start": ["true"], "stop": ["true"]},
    )  # fmt: skip
    place.database.parent.mkdir()
    place.database.write_bytes(b"live")
    place.backups.mkdir()
    settings = config.load(place.config)[0]
    journal = Journal(tmp_path / "journal.jsonl", pid=1, who=lambda pid: f"{pid}:1:boot")
    app = App(settings, journal=journal)
    frame = frame_of(settings, zone=datetime.UTC, at=NOON)
    board = Board(frame=frame, journal=journal, records=True)
    return Scene(place, app, board, Healer(board))


def _stock(scene: Scene, *states: State, **more: Any) -> None:
    backups = tuple(
        statuses.brief(number, at=NOON - (9 - number) * MINUTE, state=state, **more)
        for number, state in enumerate(states)
    )
    scene.board.stock = Stock(backups=backups)


def test_a_failed_backup_is_taken_again(scene: Scene) -> None:
    scene.found(Kind.JOB_FAILED, "backup")
    assert scene.decide(Job.BACKUP).verdict is Verdict.ACT


def test_but_not_without_a_database_nor_room_nor_of_doubtful_content(scene: Scene) -> None:
    scene.found(Kind.JOB_FAILED, "backup")
    _stock(scene, State.VERIFIED, State.SUSPECT)
    assert "suspect" in scene.decide(Job.BACKUP).why
    _stock(scene, State.VERIFIED)
    scene.place.database.unlink()
    assert "not there" in scene.decide(Job.BACKUP).why
    with scene.place.database.open("wb") as file:
        file.truncate(1 << 42)
    assert "no space" in scene.decide(Job.BACKUP).why
    assert scene.decide(Job.BACKUP).verdict is Verdict.WAIT


def test_a_database_that_is_being_exchanged_is_left_alone(scene: Scene) -> None:
    scene.found(Kind.JOB_FAILED, "backup")
    scene.found(Kind.EXCHANGE_UNFINISHED, "app", source="exchange")
    assert scene.decide(Job.BACKUP).verdict is Verdict.WAIT
    assert "So it is." in scene.decide(Job.BACKUP).why


def test_a_stream_that_was_to_be_replaced_is_not_created_empty(scene: Scene) -> None:
    scene.found(Kind.STREAM_MISSING, "ORDERS", source="nats")
    assert scene.decide(Job.ENSURE).verdict is Verdict.ACT
    scene.found(Kind.NATS_REPLACE_UNFINISHED, "ORDERS", source="exchange")
    assert scene.decide(Job.ENSURE).verdict is Verdict.WAIT


def test_an_exact_copy_that_cannot_be_proven_is_not_taken_again(scene: Scene) -> None:
    run = scene.app.journal.begin(Job.BACKUP, at=NOON, planned_at=None)
    scene.app.journal.end(run, at=NOON, seconds=1, outcome=RunOutcome.UNPROVEN)
    scene.found(Kind.NO_VERIFIED_BACKUP)
    assert "could not be proven" in scene.decide(Job.BACKUP).why


def test_only_what_the_catalog_says_is_corrupt_and_nobody_pinned_is_moved(scene: Scene) -> None:
    _stock(scene, State.CORRUPT)
    id_ = scene.board.stock.backups[0].id
    scene.found(Kind.CORRUPT_BACKUP, id_, source="content")
    assert scene.decide(Job.QUARANTINE).verdict is Verdict.ACT
    assert scene.decide(Job.QUARANTINE).command == f"eider quarantine {id_}"
    _stock(scene, State.CORRUPT, pinned=True)
    assert "pinned" in scene.decide(Job.QUARANTINE).why
    _stock(scene, State.VERIFIED)
    assert "not known" in scene.decide(Job.QUARANTINE).why


def test_nothing_is_pruned_while_that_is_frozen_or_nothing_is_due(scene: Scene) -> None:
    scene.found(Kind.DISK_LOW, "data+backups", source="disk")
    assert "keep every backup" in scene.decide(Job.PRUNE).why
    scene.board.stock = Stock(removable=2, frozen=(Frozen.CLOCK,))
    assert "the clock jumped" in scene.decide(Job.PRUNE).why
    scene.board.stock = Stock(removable=2)
    assert scene.decide(Job.PRUNE).verdict is Verdict.ACT


def test_there_is_nothing_to_clean_until_a_run_died(scene: Scene) -> None:
    scene.found(Kind.DISK_LOW, "state", source="disk")
    assert "nothing is left over" in scene.decide(Job.CLEAN).why
    left = scene.place.state / "scratch" / "run-dead"
    left.mkdir(parents=True)
    (left / "copy").write_bytes(bytes(9000))
    assert scene.decide(Job.CLEAN).verdict is Verdict.ACT


def test_streams_are_created_only_where_nats_answers(scene: Scene) -> None:
    scene.found(Kind.STREAM_MISSING, "EVENTS", source="nats")
    assert scene.decide(Job.ENSURE).verdict is Verdict.ACT
    scene.found(Kind.NATS_DOWN, source="nats of another look")
    assert scene.decide(Job.ENSURE).verdict is Verdict.WAIT
    assert "So it is." in scene.decide(Job.ENSURE).why


def test_a_restore_needs_the_word_that_the_database_is_what_is_wrong(scene: Scene) -> None:
    scene.found(Kind.APPLICATION_DOWN, "app", source="application")
    assert "nothing says" in scene.decide(Job.RESTORE).why
    scene.found(Kind.WAL_WOULD_NOT_REPLAY, source="schema", severity=Severity.CRITICAL)
    assert "no verified backup" in scene.decide(Job.RESTORE).why
    _stock(scene, State.VERIFIED)
    assert scene.decide(Job.RESTORE).verdict is Verdict.ACT
    off = scene.app.settings.heal.model_copy(update={"restore": False})
    scene.app.settings = scene.app.settings.model_copy(update={"heal": off})
    assert scene.decide(Job.RESTORE).verdict is Verdict.OFF


def test_the_word_of_an_engine_that_is_not_the_applications_is_not_enough(scene: Scene) -> None:
    """The application may have a newer one, which opens what that one cannot."""
    _stock(scene, State.VERIFIED)
    scene.found(Kind.APPLICATION_DOWN, "app", source="application")
    scene.found(Kind.WAL_WOULD_NOT_REPLAY, source="schema", severity=Severity.WARNING)
    decision = scene.decide(Job.RESTORE)
    assert decision.verdict is Verdict.WAIT
    assert "engine.application" in decision.why
    scene.found(Kind.NOT_A_DATABASE, source="exchange", severity=Severity.CRITICAL)
    assert scene.decide(Job.RESTORE).verdict is Verdict.ACT


def test_what_cannot_be_counted_is_not_tried_but_room_is_made(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eiderd.errors import NoSpace  # noqa: PLC0415

    scene.found(Kind.JOB_FAILED, "backup")
    scene.found(Kind.DISK_CRITICAL, "backups", source="disk")
    scene.board.stock = Stock(removable=2)
    monkeypatch.setattr(scene.app.journal, "trouble", NoSpace("full", hint="df"))
    assert scene.decide(Job.PRUNE).verdict is Verdict.ACT
    assert "could not be counted" in scene.decide(Job.BACKUP).why


def test_a_run_of_anybody_is_waited_for(scene: Scene) -> None:
    scene.found(Kind.JOB_FAILED, "backup")
    run = scene.app.journal.begin(Job.COMPACT, at=NOON, planned_at=None)
    assert "the job compact" in scene.decide(Job.BACKUP).why
    scene.app.journal.end(run, at=NOON, seconds=1, outcome=RunOutcome.DONE)
    assert scene.decide(Job.BACKUP).verdict is Verdict.ACT


def test_a_pause_keeps_the_ballast_where_it_is(scene: Scene) -> None:
    lookout = Lookout(app=scene.app, board=scene.board)
    assert "could not be looked at" in lookout.ballast().why
    scene.app.journal.paused(Pause(since=NOON))
    assert lookout.ballast().why == "healing is paused"


# What is said -----------------------------------------------------------------------------------


def test_giving_up_is_a_finding_with_what_was_found_and_what_to_type(scene: Scene) -> None:
    scene.found(Kind.JOB_FAILED, "backup")
    for minutes in range(60, 60 - 5, -1):
        at = NOON - minutes * MINUTE
        scene.app.journal.healing(Job.BACKUP, (Kind.JOB_FAILED, "backup"), at=at, why="w")
        scene.app.journal.healed(Job.BACKUP, at=at, outcome=RunOutcome.FAILED, why="no\x1broom")
    (found,) = scene.healer.look(scene.app, at=NOON)
    assert (found.kind, found.subject) == (Kind.HEALING_STOPPED, "backup")
    assert found.command == "eider backup"
    assert "So it is." in found.message
    assert "\x1b" not in found.message
    assert scene.healer.wanted is None
    scene.board.report("freshness", [], at=NOON)
    assert scene.healer.look(scene.app, at=NOON) == (), "the check says that it is over"
    with scene.app.journal.memory() as known:
        assert known.heal.confirmed == {Job.BACKUP: 1}
        assert known.heal.stopped == {}


def test_what_a_check_cannot_see_did_not_help(scene: Scene) -> None:
    missing = (Kind.STREAM_MISSING, "EVENTS")
    scene.app.journal.healing(Job.ENSURE, missing, at=NOON - 5 * MINUTE, why="w")
    scene.app.journal.healed(Job.ENSURE, at=NOON - 4 * MINUTE, outcome=RunOutcome.FAILED, why="no")
    scene.app.journal.stopped(Job.ENSURE, at=NOON - 4 * MINUTE)
    scene.found(Kind.NATS_DOWN, source="nats")  # so nothing is said of streams
    scene.healer.look(scene.app, at=NOON)
    with scene.app.journal.memory() as known:
        assert known.heal.confirmed == {}
        assert set(known.heal.stopped) == {Job.ENSURE}
    scene.board.report("nats", [], at=NOON)
    scene.healer.look(scene.app, at=NOON)
    with scene.app.journal.memory() as known:
        assert known.heal.confirmed == {Job.ENSURE: 1}
        assert known.heal.stopped == {}


def test_what_was_given_up_is_still_said_by_the_next_service(scene: Scene) -> None:
    scene.app.journal.stopped(Job.BACKUP, at=NOON)
    (found,) = scene.healer.look(scene.app, at=NOON)
    assert found.kind is Kind.HEALING_STOPPED, "no check has looked yet"


def test_a_pause_is_a_notice_until_it_ends(scene: Scene) -> None:
    scene.app.journal.paused(Pause(since=NOON, until=NOON + 90 * MINUTE, reason="moving \x1b[2J"))
    (found,) = scene.healer.look(scene.app, at=NOON)
    assert (found.kind, found.severity) == (Kind.HEALING_PAUSED, Severity.NOTICE)
    assert "90 minutes more" in found.message
    assert "\x1b" not in found.message
    assert found.command == "eider resume"
    assert scene.healer.look(scene.app, at=NOON + 90 * MINUTE) == ()


def test_decisions_are_journaled_when_they_change_and_not_each_minute(scene: Scene) -> None:
    scene.found(Kind.JOB_FAILED, "backup")
    journal = scene.place.root / "journal.jsonl"
    counts = []
    for minutes in range(4):
        scene.healer.look(scene.app, at=NOON + minutes * MINUTE)
        counts.append(journal.read_text().count('"decided"'))
    assert counts == [1, 1, 1, 1]
