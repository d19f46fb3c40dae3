"""The watchers as they are bound: what they see, and what it is believed after."""

from __future__ import annotations

import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eiderd import config, evidence, lookout
from eiderd.app import App
from eiderd.board import Board, Stock
from eiderd.errors import SourceUnavailable, StoreUnavailable
from eiderd.frame import frame_of
from eiderd.health import Finding, Kind, Severity
from eiderd.lookout import Lookout
from eiderd.model import Job
from eiderd.outside import filesystem
from eiderd.rounds import Rounds
from tests.helpers import Place

NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)


class _Watched:
    """The watchers of one configuration, of an application whose life is a file."""

    def __init__(self, root: Path, *, records: bool = True, **settings: object) -> None:
        self.runs = root / "runs"
        self.runs.touch()
        state = ["sh", "-c", f"echo x >> {root}/asked; test -e {self.runs} || exit 1"]
        self.asked = root / "asked"
        place = Place(root)
        place.database.parent.mkdir(parents=True)
        place.database.write_bytes(b"x")
        place.configure(
            **{
                "application__kind": "commands",
                "application__commands": {"state": state, "stop": ["true"], "start": ["true"]},
                **settings,
            }
        )
        loaded, _path = config.load(place.config)
        self.app = App(loaded)
        frame = frame_of(loaded, zone=datetime.UTC, at=NOW)
        self.board = Board(frame=frame, journal=self.app.journal, records=records)
        self.lookout = Lookout(app=self.app, board=self.board)
        self._at = NOW

    def look(self) -> set[Kind]:
        """Look once more, a minute later."""
        self._at += MINUTE
        found = self.lookout.look(Job.APPLICATION, at=self._at)
        assert found is not None
        return {one.kind for one in found}


def test_an_application_that_failed_is_found_at_the_second_look_and_over_at_the_next(
    tmp_path: Path,
) -> None:
    watched = _Watched(tmp_path)
    assert watched.look() == set()
    watched.runs.unlink()
    assert watched.look() == set()
    assert watched.look() == {Kind.APPLICATION_DOWN}
    assert watched.board.status(at=NOW).application is not None
    watched.runs.touch()
    assert watched.look() == set()


def test_the_first_look_of_the_service_is_not_believed_alone(tmp_path: Path) -> None:
    """At boot the application may still be starting."""
    watched = _Watched(tmp_path)
    watched.runs.unlink()
    assert watched.look() == set()


def test_whoever_asks_once_is_told_at_once(tmp_path: Path) -> None:
    watched = _Watched(tmp_path, records=False)
    watched.runs.unlink()
    assert watched.look() == {Kind.APPLICATION_DOWN}


@pytest.mark.parametrize(
    ("job", "allow_stop", "looked"),
    [(Job.RESTORE, False, False), (Job.BACKUP, True, False), (Job.BACKUP, False, True)],
)
def test_what_eiderd_does_to_the_application_itself_is_not_looked_at(
    tmp_path: Path, *, job: Job, allow_stop: bool, looked: bool
) -> None:
    watched = _Watched(tmp_path, application__allow_stop=allow_stop)
    watched.app.journal.begin(job, at=NOW, planned_at=None)
    down = Finding(kind=Kind.APPLICATION_DOWN, severity=Severity.WARNING, message="x", command="x")
    watched.board.report("application", [down], at=NOW)
    rounds = Rounds(
        app=watched.app, lookout=watched.lookout, board=watched.board, zone=datetime.UTC
    )
    rounds.watch(Job.APPLICATION)
    assert watched.asked.exists() == looked
    assert (down in watched.board.findings()) != looked, "what cannot be told now is not over"
    assert (watched.board.looked["application"] > NOW) == looked


def test_of_an_application_that_nobody_described_nothing_is_asked(tmp_path: Path) -> None:
    watched = _Watched(tmp_path, application__kind="none")
    assert watched.look() == set()
    assert not watched.asked.exists()
    assert watched.board.status(at=NOW).application is None


def test_what_was_found_before_the_service_began_is_found_by_its_first_look(tmp_path: Path) -> None:
    """Else that look would say that all is well, and that what was tried in vain had helped."""
    watched = _Watched(tmp_path)
    watched.app.settings.service.state.mkdir(parents=True)  # else nothing is journaled
    watched.runs.unlink()
    watched.look()
    watched.board.report("application", watched.lookout.look(Job.APPLICATION, at=NOW) or (), at=NOW)
    later = Lookout(app=App(watched.app.settings), board=watched.board)
    (found,) = later.look(Job.APPLICATION, at=NOW) or ()
    assert found.kind is Kind.APPLICATION_DOWN


# That a run which died had stopped it -------------------------------------------------------------


def _given_note(watched: _Watched) -> Path:
    note = watched.app.settings.service.state / "stopped-for-restore"
    note.parent.mkdir(parents=True)
    note.write_bytes(b"eiderd stopped the application for a restore\n")
    return note


def test_that_it_was_stopped_for_a_restore_is_forgotten_when_it_runs(tmp_path: Path) -> None:
    watched = _Watched(tmp_path)
    note = _given_note(watched)
    watched.runs.unlink()
    watched.look()
    assert note.exists(), "nothing has started it since"
    watched.runs.touch()
    watched.look()
    assert not note.exists()


def test_but_not_while_a_restore_may_be_about_to_stop_it(tmp_path: Path) -> None:
    watched = _Watched(tmp_path)
    note = _given_note(watched)
    with watched.app.spare():
        watched.look()
    assert note.exists()


def test_nor_by_who_only_asks_how_things_are(tmp_path: Path) -> None:
    watched = _Watched(tmp_path, records=False)
    note = _given_note(watched)
    watched.look()
    assert note.exists()


def test_a_ballast_that_cannot_be_kept_is_a_finding_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = _Watched(tmp_path, disk__ballast="1MB")
    app, board = watched.app, watched.board
    rounds = Rounds(app=app, lookout=watched.lookout, board=board, zone=datetime.UTC)
    app.directory.mkdir(parents=True)
    (entry,) = (one for one in board.frame.timetable if one.job is Job.DISK)
    assert Job.BALLAST in entry.then

    def refused(_path: Path, **_words: object) -> None:
        raise StoreUnavailable("read-only", hint="mount")

    with monkeypatch.context() as patched:
        patched.setattr("eiderd.outside.filesystem.make_ballast", refused)
        rounds(entry)
    (found,) = (one for one in board.findings() if one.kind is Kind.JOB_FAILED)
    assert (found.subject, found.command) == ("ballast", "mount")
    assert "read-only" in found.message
    rounds(entry)
    assert not [one for one in board.findings() if one.kind is Kind.JOB_FAILED]
    ballast = app.directory / ".ballast"
    ballast.unlink()
    ballast.write_text("mine")
    rounds(entry)
    (found,) = (one for one in board.findings() if one.kind is Kind.JOB_FAILED)
    assert "is not eiderd's: remove it" in found.message
    assert ballast.read_text() == "mine"


# A folder that eiderd may not enter --------------------------------------------------------------


def test_a_shut_folder_is_what_is_told_and_not_an_exchange_that_did_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hint = "Let it: setfacl -m u:eiderd:rx /data"
    shut = SourceUnavailable("eiderd may not enter /data", hint=hint)
    streams = Finding(
        kind=Kind.NATS_REPLACE_UNFINISHED, severity=Severity.CRITICAL, message="x", command="x"
    )

    def unfinished(_database: Path, **_words: object) -> None:
        raise shut

    watched = _Watched(tmp_path)
    monkeypatch.setattr("eiderd.lookout.swap.unfinished", unfinished)
    monkeypatch.setattr("eiderd.lookout.unfinished.look", lambda *_, **__: (streams,))
    found, other = watched.lookout.look(Job.EXCHANGE, at=NOW) or () or ()
    assert (found.kind, found.subject, found.command) == (Kind.WATCHER_FAILED, "exchange", hint)
    assert "may not enter /data" in found.message
    assert other is streams


# A disk that hangs -------------------------------------------------------------------------------


def _hang_data_disk(watched: _Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk of the database answer nobody: who asks it in this process is a failure."""
    look, size = filesystem.look, filesystem.file_bytes
    data = watched.app.settings.database.path.parent

    def look_in_a_child(folder: Path) -> evidence.Filesystem:
        if folder == data:
            raise StoreUnavailable("it does not answer", hint="dmesg")
        return look(folder)

    def file_bytes(path: Path) -> int:
        assert path.parent != data, "this hangs, and nothing can end it"
        return size(path)

    monkeypatch.setattr("eiderd.lookout.filesystem.look", look_in_a_child)
    monkeypatch.setattr("eiderd.lookout.filesystem.file_bytes", file_bytes)


def test_a_data_disk_that_hangs_from_the_beginning_hides_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = _Watched(tmp_path)
    watched.app.directory.mkdir(parents=True)
    (watched.app.directory / "backup-20261122-110000.json").write_text("{")
    watched.lookout.look(Job.FRESHNESS, at=NOW)
    assert len(watched.board.stock.unreadable) == 1
    assert watched.board.stock.database_bytes == 1
    watched.board.stock = Stock()
    _hang_data_disk(watched, monkeypatch)
    watched.lookout.look(Job.FRESHNESS, at=NOW)
    assert len(watched.board.stock.unreadable) == 1
    assert watched.board.stock.database_bytes == 0


def test_whoever_asks_how_things_are_asks_the_disks_first() -> None:
    """What hangs with a disk then knows of it, and that it was late costs only once."""
    assert lookout.WATCHERS[0] is Job.DISK


# What is remembered between looks ----------------------------------------------------------------


def test_two_looks_at_once_tell_the_same_of_the_newest_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes before the first has put on the board what it has read."""
    watched = _Watched(tmp_path)
    recorded = SimpleNamespace(
        content=SimpleNamespace(tables={"t": SimpleNamespace(rows=99)}),
        consistency=SimpleNamespace(frozen_seconds=0.5),
    )
    monkeypatch.setattr("eiderd.lookout.catalog.recorded", lambda *_: recorded)
    newest: Any = SimpleNamespace(id="20261122-120000")
    first = watched.lookout._recorded(newest)
    assert watched.lookout._recorded(newest) == first == ({"t": 99}, 0.5)


def test_the_journal_stays_short_while_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eiderd.journal._LONGEST", 10_000)
    watched = _Watched(tmp_path)
    state = watched.app.settings.service.state
    state.mkdir(parents=True)
    for number in range(40):
        watched.lookout.look(Job.DISK, at=NOW + number * datetime.timedelta(hours=1, seconds=1))
    assert (state / "journal.jsonl").stat().st_size < 20_000
    with App(watched.app.settings).journal.memory() as known:
        assert dict(known.samples).keys() == {"data", "backups", "state"}
