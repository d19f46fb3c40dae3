"""When the mirror is followed, by whom it is given way to, and what is remembered."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd import config
from eiderd.app import App
from eiderd.errors import Busy, ChildFailed, Interrupted
from eiderd.model import Ending, Job, Outcome
from eiderd.outside import clock, files, mark, process
from eiderd.runner import Runner
from eiderd.schema import app as schema_app
from eiderd.schema.facts import Facts, Known, Replay, Seen, Table
from tests.helpers import Place, given_place, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WRITE = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("SET wal_autocheckpoint = '1GB'")
connection.execute("INSERT INTO facts VALUES (-1, 'late', 0)")
os._exit(0)
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return given_place(tmp_path, rows=1_000, wal_rows=10)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what children were started to do, in order."""
    done: list[str] = []
    run = process.run

    def counted(*words: Any, order: dict[str, Any], **more: Any) -> process.Answer:
        name = f"{order['do']} thoroughly" if order.get("thorough") else str(order["do"])
        done.append(name)
        return run(*words, order=order, **more)

    monkeypatch.setattr(process, "run", counted)
    return done


def _app(place: Place, **settings: Any) -> App:
    return App(config.load(place.configure(**settings).config)[0])


def _write(place: Place) -> None:
    subprocess.run([sys.executable, "-c", _WRITE, str(place.database)], check=True, timeout=60)


def _follow(app: App, known: Known, *, unsure: bool = False) -> Outcome[Known]:
    return app.schema_look().follow(known, unsure=unsure, at=clock.now())


def _given_known(app: App) -> Known:
    """Return what is known after a backup, a look at what it left, and one at what is live."""
    assert app.backup().ending is Ending.DONE
    known = _follow(app, _follow(app, Known()).value).value
    assert known.latest is not None
    return known


def test_a_database_that_was_not_written_starts_no_child(place: Place, children: list[str]) -> None:
    app = _app(place)
    known = _given_known(app)
    children.clear()
    outcome = _follow(app, known)
    assert (children, outcome.ending) == ([], Ending.NOTHING_TO_DO)
    assert outcome.value == known
    _write(place)
    outcome = _follow(app, known)
    assert (children, outcome.ending) == (["refresh", "schema"], Ending.DONE)
    assert outcome.value.previous == known.latest


def test_what_a_backup_has_compared_is_looked_at_as_it_is(
    place: Place, children: list[str]
) -> None:
    app = _app(place)
    app.backup()
    children.clear()
    known = _follow(app, Known()).value
    assert children == ["schema"]
    assert known.latest is not None
    assert known.latest.thorough
    assert (known.latest.seen.replay, known.latest.seen.table) == (Replay.YES, Table.MISSING)
    # Whether the live one was written meanwhile is not known: the next turn looks there.
    _follow(app, known)
    assert children == ["schema", "refresh", "schema"]


def test_a_suspicion_is_confirmed_by_a_thorough_look_though_nothing_was_written(
    place: Place, children: list[str]
) -> None:
    app = _app(place)
    known = _given_known(app)
    children.clear()
    known = _follow(app, known, unsure=True).value
    assert children == ["refresh thoroughly", "schema"]
    assert known.latest is not None
    assert known.latest.thorough


def test_with_no_interval_only_backups_are_looked_into(place: Place, children: list[str]) -> None:
    app = _app(place, mirror__interval="never")
    app.backup()
    known = _follow(app, Known()).value
    children.clear()
    _write(place)
    assert _follow(app, known).ending is Ending.NOTHING_TO_DO
    assert children == []
    app.backup()
    children.clear()
    assert _follow(app, known).ending is Ending.DONE
    assert children == ["schema"]


def test_without_a_mirror_the_manifest_of_the_newest_backup_is_read(
    place: Place, children: list[str]
) -> None:
    app = _app(place, mirror__keep=False)
    app.backup()
    children.clear()
    outcome = _follow(app, Known())
    again = _follow(app, outcome.value, unsure=True)
    assert (children, outcome.ending, again.ending) == ([], Ending.DONE, Ending.NOTHING_TO_DO)
    facts = outcome.value.latest
    assert facts is not None
    assert (facts.thorough, facts.seen.digest is not None) == (True, True)


def test_nothing_is_mirrored_before_the_first_backup(place: Place, children: list[str]) -> None:
    outcome = _follow(_app(place), Known())
    assert (outcome.ending, outcome.value, children) == (Ending.NOTHING_TO_DO, Known(), [])


def test_a_look_leaves_nothing_in_scratch(place: Place) -> None:
    app = _app(place)
    _given_known(app)
    assert list((place.state / "scratch").iterdir()) == []


# The application's version ------------------------------------------------------------------------


def test_another_version_of_the_application_counts_as_a_look(
    place: Place, children: list[str]
) -> None:
    known = _given_known(_app(place, application__version="1.50.0"))
    children.clear()
    known = _follow(_app(place, application__version="2.0.0"), known).value
    assert children == []
    assert known.latest is not None
    assert known.upgrade is not None
    assert (known.latest.application, known.latest.thorough) == ("2.0.0", False)
    assert (known.upgrade.old, known.upgrade.new) == ("1.50.0", "2.0.0")
    assert _follow(_app(place), known).value.latest == known.latest  # it says nothing now


# Who waits for whom -------------------------------------------------------------------------------


def _runner(app: App, *, is_ending: Callable[[], bool] = lambda: False) -> Runner:
    return Runner(
        journal=app.journal, state=app.settings.service.state, briefs=app.briefs,
        patience_seconds=10, is_ending=is_ending,
    )  # fmt: skip


def test_a_busy_store_is_left_alone(place: Place, children: list[str]) -> None:
    app = _app(place)
    known = _given_known(app)
    _write(place)
    children.clear()
    run = app.journal.begin(Job.PRUNE, at=clock.now(), planned_at=None)
    outcome = _follow(app, known)
    assert (outcome.ending, outcome.why, children) == (
        Ending.NOTHING_TO_DO, "prune is at work", [],
    )  # fmt: skip
    _ended(app, run)
    assert _follow(app, known).ending is Ending.DONE


def _ended(app: App, run: Any) -> None:  # noqa: ANN401
    from eiderd.model import RunOutcome  # noqa: PLC0415

    app.journal.end(run, at=clock.now(), seconds=0, outcome=RunOutcome.DONE)


def test_whoever_wants_into_the_store_is_given_way_at_once(place: Place) -> None:
    app = _app(place)
    entered, done = threading.Event(), threading.Event()

    def work() -> Outcome[None]:
        entered.set()
        return Outcome(ending=Ending.DONE, value=None)

    def run() -> None:
        _runner(app).store(Job.PRUNE, work)
        done.set()

    with _runner(app).spare() as give_way:
        give_way()
        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: bool(app.journal.running()), what="the run that waits")
        assert not entered.is_set()
        with pytest.raises(Busy, match="prune is at work"):
            give_way()
    until(done.is_set, what="its turn")
    thread.join()


def test_a_run_that_begins_while_the_lock_is_taken_goes_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, locked = _app(place), files.locked

    @contextlib.contextmanager
    def slowly(*folders: Path, **more: Any) -> Iterator[None]:
        with locked(*folders, **more):
            app.journal.begin(Job.BACKUP, at=clock.now(), planned_at=None)
            yield

    monkeypatch.setattr(files, "locked", slowly)
    with pytest.raises(Busy, match="backup is at work"), _runner(app).spare():
        pytest.fail("it went first")


def test_a_refresh_that_gives_way_ends_its_child_and_is_made_up_for(
    place: Place, children: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copying is told of a run that wants in while it is under way."""
    app = _app(place)
    known = _given_known(app)
    _write(place)
    run = process.run

    def busy_soon(*words: Any, progress: Callable[[Any], None], **more: Any) -> process.Answer:
        def told(said: Any) -> None:  # noqa: ANN401
            if not app.journal.running():
                began.append(app.journal.begin(Job.BACKUP, at=clock.now(), planned_at=None))
            progress(said)

        if more["order"]["do"] == "refresh":
            told({"done": 1, "total": 2})
        return run(*words, progress=progress, **more)

    began: list[Any] = []
    monkeypatch.setattr(process, "run", busy_soon)
    outcome = _follow(app, known)
    assert (outcome.ending, outcome.why) == (Ending.NOTHING_TO_DO, "backup is at work")
    assert outcome.value.latest == known.latest
    monkeypatch.setattr(process, "run", run)
    _ended(app, began[0])
    assert _follow(app, known).ending is Ending.DONE
    assert children  # the fixture's own count is not of interest here


def test_what_fails_while_eiderd_ends_was_interrupted(place: Place) -> None:
    app = _app(place)
    with pytest.raises(Interrupted), _runner(app, is_ending=lambda: True).spare():
        raise ChildFailed("a child process was killed by SIGKILL", how="SIGKILL")
    with pytest.raises(ChildFailed), _runner(app).spare():
        raise ChildFailed("a child process was killed by SIGKILL", how="SIGKILL")


# What is remembered -------------------------------------------------------------------------------


def test_what_is_known_survives_a_restart(tmp_path: Path) -> None:
    at = datetime.datetime(2026, 3, 4, 12, 0, 0, 123456, tzinfo=datetime.UTC)
    seen = Seen(engine="1.4.3", version=22, replay=Replay.NO, why="broken \x1b")
    facts = Facts(at=at, thorough=True, seen=seen, application="1.50.1", heard_at=at)
    known = Known(refreshed_at=at).and_then(facts, question="a").and_then(facts, question="b")
    schema_app.remember(tmp_path, known)
    assert schema_app.recall(tmp_path) == known
    assert (tmp_path / "schema.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"latest": 7}', b"\xff", b"null"])
def test_what_cannot_be_read_was_never_known(text: bytes, tmp_path: Path) -> None:
    assert schema_app.recall(tmp_path) == Known()
    (tmp_path / "schema.json").write_bytes(text)
    assert schema_app.recall(tmp_path) == Known()


def test_a_newer_eiderd_may_have_known_more(tmp_path: Path) -> None:
    schema_app.remember(tmp_path, Known(question="x"))
    document = json.loads((tmp_path / "schema.json").read_text())
    (tmp_path / "schema.json").write_text(json.dumps({**document, "moon": "full"}))
    assert schema_app.recall(tmp_path).question == "x"


# The mark of the mirror ---------------------------------------------------------------------------


def test_a_mirror_that_is_being_written_has_no_stamp(tmp_path: Path) -> None:
    assert mark.stamp(tmp_path, name="x") is None
    work = mark.Mark.begin(tmp_path, name="x")
    assert mark.stamp(tmp_path, name="x") is None
    work.whole(unsound=(), thorough=True)
    first = mark.stamp(tmp_path, name="x")
    assert first is not None
    assert mark.was_thorough(tmp_path, name="x")
    os.utime(tmp_path / ".x.mark", (1, 1))
    mark.Mark.begin(tmp_path, name="x").whole(unsound=(), thorough=False)
    assert mark.stamp(tmp_path, name="x") != first
    assert not mark.was_thorough(tmp_path, name="x")


def test_a_mirror_that_changes_under_a_look_is_not_believed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = _app(place)
    app.backup()
    stamps = iter([(1, 10**18 * 2), (1, 10**18 * 2), (2, 10**18 * 2 + 1)])
    monkeypatch.setattr(mark, "stamp", lambda _mirror, *, name: next(stamps))
    monkeypatch.setattr(schema_app, "FRESH_SECONDS", 10.0**12)
    with pytest.raises(Busy, match="meanwhile"):
        app.schema_look().now(at=clock.now())
