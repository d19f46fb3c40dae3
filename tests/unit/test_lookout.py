"""The watchers as they are bound: what they see, and what it is believed after."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from eiderd import config
from eiderd.app import App
from eiderd.board import Board
from eiderd.errors import SourceUnavailable
from eiderd.frame import frame_of
from eiderd.health import Finding, Kind, Severity
from eiderd.lookout import Lookout
from eiderd.model import Job
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
        return {found.kind for found in self.lookout.look(Job.APPLICATION, at=self._at)}


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
    watched.look()
    assert watched.asked.exists() == looked


def test_of_an_application_that_nobody_described_nothing_is_asked(tmp_path: Path) -> None:
    watched = _Watched(tmp_path, application__kind="none")
    assert watched.look() == set()
    assert not watched.asked.exists()
    assert watched.board.status(at=NOW).application is None


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
    found, other = watched.lookout.look(Job.EXCHANGE, at=NOW)
    assert (found.kind, found.subject, found.command) == (Kind.WATCHER_FAILED, "exchange", hint)
    assert "may not enter /data" in found.message
    assert other is streams
