"""Compaction by command, around an application that runs and holds its database."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import http.server
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd import config
from eiderd.app import App
from eiderd.maintenance import compact as compact_app
from eiderd.model import Ending
from eiderd.outside import lock_holder
from tests import helpers
from tests.helpers import Place, until
from tests.real import small_application
from tests.real.supervised import Run, supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eiderd.jobs.compact import Compacted
    from eiderd.model import Outcome

    Engines = Callable[[str], Path]

# What an application leaves behind that deletes a lot.
CHURN = """
import duckdb, sys
run = duckdb.connect(sys.argv[1]).execute
run("CREATE TABLE rubbish AS SELECT hash(i) AS a, hash(i + 1) AS b FROM range(600000) r(i)")
run("CHECKPOINT; DELETE FROM rubbish WHERE a % 50 <> 0; CHECKPOINT")
"""
SMALL = Path(small_application.__file__)
MORE = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute(sys.argv[2]).close()"


@pytest.fixture
def app(engines: Engines, tmp_path: Path) -> Iterator[Run]:
    with _churned(tmp_path, engines("1.4.3")) as run:
        yield run


@contextlib.contextmanager
def _churned(root: Path, python: Path) -> Iterator[Run]:
    with supervised(root, python, application=SMALL, compact__min_gain=0.1) as run:
        run.stop()
        _change(run, CHURN)
        run.do("start")
        yield run


def _change(run: Run, code: str, *words: str) -> None:
    command = [str(word) for word in (run.python, "-c", code, run.database, *words)]
    subprocess.run(command, check=True, timeout=60)


def _pid(run: Run) -> str:
    return (run.root / "pid").read_text()


def _hidden(run: Run) -> list[str]:
    return [name for name in run.data() if name.startswith(".")]


def _compacted(run: Run) -> dict[str, Any]:
    ran = run.place.eider("compact", "--yes", "--json").good_manners()
    assert ran.code == 0, ran
    document: dict[str, Any] = ran.json
    return document


def test_a_live_application_gets_a_smaller_database_with_all_that_was_in_it(app: Run) -> None:
    refused = app.place.eider("compact", "--yes").good_manners()
    assert refused.code == 10
    assert "eider backup" in refused.stderr
    app.place.backup()
    # A look stops nothing.
    pid, data, before = _pid(app), app.data(), app.acknowledged()
    looked = app.place.eider("compact", "--dry-run").good_manners()
    assert looked.code == 0, looked
    assert re.search(r"then .* MB, \d+% less: measured on a copy", looked.stdout)
    assert "stops      the application, for about" in looked.stdout
    assert (_pid(app), app.data()) == (pid, data)
    assert app.acknowledged() > before
    # And this is it.
    late, size = app.write_more(), app.database.stat().st_size
    said = _compacted(app)
    assert said["ending"] == "done"
    assert said["exchanged"]["health"]["well"] is True
    assert said["measured"]["storage_version"] == "v1.0.0+"
    assert said["measured"]["gain"] > 0.1
    assert app.runs()
    assert _pid(app) != pid
    app.write_more()
    app.stop()
    facts = app.facts()
    assert facts["intact"], facts
    assert facts["commits"] > late
    assert app.database.stat().st_size < size
    assert not _hidden(app)
    # The old one stands aside, whole, and the next backup holds the same tables.
    aside = Path(said["exchanged"]["aside"])
    assert ".before-compact-" in aside.name
    assert app.facts(aside)["intact"]
    assert app.place.backup()["content"]["verdict"] == "normal"
    doctor = app.place.eider("doctor", "--json").json
    assert any(aside.name in str(check) for check in doctor["checks"])
    undone = app.restored("--undo")
    assert undone["restored"]["what"] == aside.name
    assert app.facts()["commits"] >= late
    assert app.facts()["intact"]


def test_what_is_refused_stops_nothing_and_changes_nothing(app: Run) -> None:
    app.place.backup()
    pid = _pid(app)

    def refused(code: int, *words: str) -> str:
        ran = app.place.eider("compact", "--yes", *words).good_manners()
        assert ran.code == code, ran
        assert (_pid(app), _hidden(app)) == (pid, [])
        assert app.runs()
        return ran.stderr

    text = app.place.config.read_text()
    app.place.config.write_text(text.replace("min_gain = 0.1", "min_gain = 0.99"))
    assert re.search(r"it would save \d+\.\d%, and compact\.min_gain is 99\.0%", refused(3))
    without = re.sub(r"application = .*\nothers = .*\n", "", text)
    app.place.config.write_text(without)
    assert "engine.application" in refused(2)
    app.place.config.write_text(without.replace("[engine]\n", '[engine]\napplication = "1.4.2"\n'))
    assert "eider engine add 1.4.2" in refused(2)
    app.place.config.write_text(text)
    app.stop()
    _change(app, MORE, "CREATE TABLE tree (a INTEGER PRIMARY KEY, b INTEGER REFERENCES tree (a))")
    for row in ("(1, NULL)", "(2, 1)"):
        _change(app, MORE, f"INSERT INTO tree VALUES {row}")
    app.do("start")
    pid = _pid(app)
    assert "table tree" in refused(12)


def test_one_that_is_ill_afterwards_gets_its_database_back(app: Run) -> None:
    app.place.backup()
    late = app.write_more()
    (app.root / "ill").touch()
    ran = app.place.eider("compact", "--yes").good_manners()
    assert ran.code == 14, ran
    assert "not well with the compacted database" in ran.stderr
    assert "the previous database is back" in ran.stderr
    assert app.runs()
    app.stop()
    assert app.facts()["commits"] >= late
    assert app.facts()["intact"]
    assert [name for name in app.data() if ".failed-compact-" in name]
    assert not _hidden(app)


# Nobody else touches it meanwhile ---------------------------------------------------------------


@contextlib.contextmanager
def _stopped(run: Run) -> Iterator[subprocess.Popen[bytes]]:
    """A compaction that holds the database, while the application is down."""
    process = helpers.start("compact", "--yes", config=run.place.config)
    try:
        until(lambda: _is_held_by(run, process), what="eider holds the database", seconds=60)
        yield process
    finally:
        process.kill()
        process.communicate()


def _is_held_by(run: Run, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, process.communicate()
    found = lock_holder.holder(run.database)
    is_held = found is not None and found.pid == process.pid
    # What it works in is made last: from here on it knows what the files were like.
    return is_held and any((run.place.state / "scratch").glob("run-*"))


def test_nothing_that_was_committed_meanwhile_is_lost(app: Run) -> None:
    app.place.backup()
    with _stopped(app) as process:
        process.send_signal(signal.SIGSTOP)  # it is not to end before it is disturbed
        # An engine cannot open it, and what takes no lock is seen.
        code = "import duckdb, sys; duckdb.connect(sys.argv[1])"
        opened = subprocess.run(
            [app.python, "-c", code, str(app.database)], capture_output=True, check=False
        )
        assert b"Could not set lock" in opened.stderr
        os.utime(app.database)
        process.send_signal(signal.SIGCONT)
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 11, err
    assert b"was changed while it was compacted" in err
    assert app.runs(), "with the database that it had"
    assert not _hidden(app)
    assert not [name for name in app.data() if "before-compact" in name]
    app.stop()
    assert app.facts()["intact"]


def test_one_that_was_killed_is_ended_by_the_next(app: Run) -> None:
    app.place.backup()
    late = app.write_more()
    with _stopped(app) as process:
        process.kill()
        process.communicate()
    assert not app.runs()
    said = _compacted(app)
    assert app.runs(), "it was stopped for the compaction that died"
    assert said["ending"] == "done"
    assert not _hidden(app)
    app.stop()
    assert app.facts()["intact"]
    assert app.facts()["commits"] >= late
    assert app.facts(Path(said["exchanged"]["aside"]))["intact"]


# Where nobody manages the application ------------------------------------------------------------


@pytest.fixture(scope="module")
def churned(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with a backup, whose database is mostly free blocks."""
    place = helpers.given_place(tmp_path_factory.mktemp("churned") / "place")
    code = "import duckdb, sys; run = duckdb.connect(sys.argv[1]).execute; run(sys.argv[2])"
    sql = (
        "CREATE TABLE rubbish AS SELECT hash(i) AS a FROM range(1000000) r(i); CHECKPOINT; "
        "DROP TABLE rubbish; CHECKPOINT"
    )
    command = [sys.executable, "-c", code, str(place.database), sql]
    subprocess.run(command, check=True, timeout=60)
    place.configure(engine__application=_bundled_engine()).backup()
    return place.clone(place.root.with_name("kept"))


@pytest.fixture
def place(churned: Place) -> Place:
    """It as it was, where it was: the backup is of a database of that path."""
    root = churned.root.with_name("place")
    shutil.rmtree(root)
    return churned.clone(root).configure(engine__application=_bundled_engine())


def _bundled_engine() -> str:
    return importlib.metadata.version("duckdb")


def test_without_an_application_the_lock_decides(place: Place) -> None:
    with place.database.open("r+b") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        ran = place.eider("compact", "--yes").good_manners()
        assert ran.code == 11, ran
        assert f"PID {os.getpid()}" in ran.stderr
    mode, size = 0o640, place.database.stat().st_size
    place.database.chmod(mode)
    ran = place.eider("compact", "--yes").good_manners()
    assert ran.code == 0, ran
    assert "no application was running" in ran.stdout
    assert place.database.stat().st_size < size
    assert place.database.stat().st_mode & 0o777 == mode
    # It is as small as can be now.
    ran = place.eider("compact", "--yes", "--json").good_manners()
    assert (ran.code, ran.json["ending"]) == (3, "refused")
    lines = (place.state / "journal.jsonl").read_text().splitlines()
    journal = [json.loads(line) for line in lines]
    runs = {line["number"] for line in journal if line.get("job") == "compact"}
    outcomes = [line["outcome"] for line in journal
                if line["word"] == "ended" and line["number"] in runs]  # fmt: skip
    assert outcomes == ["failed", "done", "refused"]


def test_a_look_is_no_compaction_in_the_journal(place: Place) -> None:
    place.configure(engine__application=_bundled_engine(), compact__min_gain=0.9999)
    known = (place.state / "journal.jsonl").read_bytes()
    refused = place.eider("compact", "--dry-run").good_manners()
    assert refused.code == 3, refused
    assert "--dry-run" not in refused.stderr, "that was typed"
    place.configure()
    nothing_to_write_it = place.eider("compact", "--dry-run").good_manners()
    assert nothing_to_write_it.code == 2, nothing_to_write_it
    assert (place.state / "journal.jsonl").read_bytes() == known


def test_nobody_who_could_say_yes_is_asked(place: Place) -> None:
    before = place.database.read_bytes()
    for words in (("compact", "--json"), ("compact",)):
        ran = place.eider(*words).good_manners()
        assert ran.code == 2, ran
        assert "--yes" in ran.stdout + ran.stderr
    assert place.database.read_bytes() == before


@pytest.mark.skipif(not helpers.is_root(), reason="only root can mount a small disk")
def test_a_disk_without_room_is_refused_with_the_figures(place: Place, tmp_path: Path) -> None:
    data = place.database.parent
    kept = tmp_path / "kept"
    data.rename(kept)
    size = sum(path.stat().st_size for path in kept.iterdir()) + 900_000
    with helpers.small_disk(data, size=str(size)):
        for path in kept.iterdir():
            (data / path.name).write_bytes(path.read_bytes())
        before = place.database.read_bytes()
        ran = place.eider("compact", "--yes").good_manners()
        assert ran.code == 13, ran
        assert "no space for a compaction: it needs about" in ran.stderr
        assert place.database.read_bytes() == before
        assert {path.name for path in data.iterdir()} == {path.name for path in kept.iterdir()}


# In a window -------------------------------------------------------------------------------------


def test_by_itself_only_while_its_window_is_open_and_lasts(place: Place) -> None:
    now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
    size = place.database.stat().st_size

    def compacted(begin: datetime.datetime, end: datetime.datetime) -> Outcome[Compacted]:
        place.configure(
            compact__window=f"{begin:%H:%M}-{end:%H:%M}",
            engine__application=_bundled_engine(),
        )
        settings, _path = config.load(place.config)
        return App(settings).compact_in_window(zone=datetime.UTC)

    closed = compacted(now + hour, now + 2 * hour)
    assert (closed.ending, closed.why) == (Ending.NOTHING_TO_DO, "the window is closed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compact_app, "_seconds_until", lambda _moment: 0.01)
        late = compacted(now - hour, now + hour)
    assert late.ending is Ending.REFUSED
    assert "of the window are left" in late.why
    assert place.database.stat().st_size == size
    assert compacted(now - hour, now + hour).ending is Ending.DONE
    assert place.database.stat().st_size < size


# By a URL ----------------------------------------------------------------------------------------


def test_an_application_that_can_do_it_itself_is_asked(place: Place, tmp_path: Path) -> None:
    heard: list[tuple[str, str | None]] = []
    pages = [b"<!doctype html>", b'{"status": "success"}']

    class Application(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((self.path, self.headers["Authorization"]))
            body = pages[len(heard) - 1]
            if body.startswith(b"{"):
                os.truncate(place.database, place.database.stat().st_size - 262_144)
            kind = "application/json" if body.startswith(b"{") else "text/html"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    secret = tmp_path / "headers"
    secret.write_text("Authorization: Bearer of-a-test\n")
    secret.chmod(0o600)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/admin/compact"
        place.configure(compact__url=url, compact__url_headers=str(secret))
        looked = place.eider("compact", "--dry-run").good_manners()
        assert url in looked.stdout
        assert heard == []
        ran = place.eider("compact", "--yes").good_manners()
        assert ran.code == 14, "a page of HTML is no answer"
        said = place.eider("compact", "--yes", "--json").good_manners()
        server.shutdown()
    assert heard == [("/admin/compact", "Bearer of-a-test")] * 2
    assert (said.code, said.json["ending"]) == (0, "done")
    assert said.json["asked"]["old_bytes"] - said.json["asked"]["new_bytes"] == 262_144
    assert "of-a-test" not in (place.state / "journal.jsonl").read_text() + ran.stderr
    assert "of-a-test" not in place.eider("config", "show").stdout
