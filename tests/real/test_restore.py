"""Restore, roll back and undo, by command, around an application that runs."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import helpers
from tests.helpers import Entry, run_eider, until
from tests.real.supervised import Run, kill_with_children, supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Engines = Callable[[str], Path]


@pytest.fixture
def app(engines: Engines, tmp_path: Path) -> Iterator[Run]:
    with supervised(tmp_path, engines("1.4.3")) as run:
        yield run


@pytest.mark.parametrize("version", ["1.4.3", "2.0.0"])
def test_a_live_application_goes_back_to_its_backup_and_again_to_where_it_was(
    engines: Engines, tmp_path: Path, version: str
) -> None:
    with supervised(tmp_path, engines(version)) as app:
        made = app.place.backup()
        late = app.write_more()
        said = app.restored()
        assert said["restored"]["health"]["well"] is True
        assert said["restored"]["proof"]["engine"] == version
        assert said["restored"]["proof"]["rows"] == made["proof"]["rows"]
        assert said["plan"]["application"] == "the application"
        assert app.runs()
        assert app.first_acknowledged() < late, "it goes on from the backup"
        app.stop()
        aside = Path(said["restored"]["aside"])
        facts = app.facts(aside)
        assert facts["intact"], facts
        assert facts["commits"] >= late, "what was live is whole where it was set aside"
        # Stopped by hand before: it stays stopped.
        undone = app.restored("--undo")
        assert undone["restored"]["health"] is None
        assert not app.runs()
        assert app.facts()["commits"] == facts["commits"]
        assert app.facts()["intact"]
        assert app.place.eider("backup").code == 0


def test_what_comes_back_is_exactly_the_backup(app: Run) -> None:
    app.place.backup()
    app.write_more()
    app.stop()
    empty = app.root / "by-hand"
    empty.mkdir()
    latest = app.place.backups / "backup-latest.tar.gz"
    subprocess.run(["tar", "-xzf", latest, "-C", empty], check=True)
    app.restored()
    elsewhere = app.root / "elsewhere"
    app.restored("--to", str(elsewhere))
    for name in ("app.duckdb", "app.duckdb.wal"):
        by_hand = (empty / name).read_bytes() if (empty / name).exists() else None
        for folder in (app.place.database.parent, elsewhere):
            found = (folder / name).read_bytes() if (folder / name).exists() else None
            assert found == by_hand
    assert app.facts()["intact"]
    assert {name.partition(".before-restore-")[0] for name in app.data()} == {
        "app.duckdb", "app.duckdb.wal",
    }  # fmt: skip


def test_an_application_that_is_ill_afterwards_gets_its_database_back(app: Run) -> None:
    app.place.backup()
    late = app.write_more()
    (app.root / "ill").touch()
    ran = app.place.eider("restore", "--yes").good_manners()
    assert ran.code == 14, ran
    assert "the previous database is back" in ran.stderr
    assert "the application runs again" in ran.stderr
    assert app.runs()
    app.stop()
    facts = app.facts()
    assert facts["intact"]
    assert facts["commits"] >= late
    failed = [name for name in app.data() if ".failed-restore-" in name]
    assert failed, "what was restored is kept, to be looked at"
    journal = (app.place.state / "journal.jsonl").read_text()
    assert '"outcome":"failed"' in journal
    assert "the previous database is back" in journal
    assert not [name for name in app.data() if name.startswith(".")]


def test_no_wal_of_the_old_database_survives(app: Run) -> None:
    app.place.backup()
    app.stop()
    database = app.place.database
    for suffix in (".wal", ".wal.checkpoint", ".wal.recovery"):
        database.with_name(database.name + suffix).write_bytes(b"stale")
    database.unlink()  # and this is when people need it
    app.restored()
    assert app.facts()["intact"]
    live = {name for name in app.data() if "before-restore" not in name}
    assert live <= {"app.duckdb", "app.duckdb.wal"}
    aside = [path for path in database.parent.iterdir() if "before-restore" in path.name]
    assert [path.read_bytes() for path in aside] == [b"stale"] * 3


def test_somebody_else_who_holds_the_database_is_named_and_left_alone(app: Run) -> None:
    app.place.backup()
    app.stop()
    before = app.facts()["commits"]
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    with subprocess.Popen(
        [app.python, "-c", code, str(app.place.database)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        app.place.configure()
        ran = app.place.eider("restore", "--yes").good_manners()
        other.communicate("\n")
    assert ran.code == 11, ran
    assert f"PID {other.pid}" in ran.stderr
    assert app.facts()["commits"] == before
    assert not [name for name in app.data() if "restore" in name or name.startswith(".")]


def test_the_backup_of_a_time_and_archives_of_others(app: Run) -> None:
    first = app.place.backup()["id"]
    between = time.strftime("%Y-%m-%dT%H:%M:%S")
    time.sleep(1.1)  # ids and times have whole seconds
    app.place.backup()
    app.stop()
    said = app.restored("--at", between)
    assert said["restored"]["what"] == first
    commits = app.facts()["commits"]
    app.do("start")
    app.write_more()
    app.stop()
    entries = helpers.read_archive(app.place.archive(first))
    bare = [entry for entry in entries if entry.name.startswith("app.duckdb")]
    theirs = [
        Entry(entry.name.replace("app", "database/cartographus", 1), entry.data) for entry in bare
    ]
    for number, content in enumerate((theirs, bare)):
        archive = helpers.write_archive(app.root / f"foreign-{number}.tar.gz", content)
        said = app.restored(str(archive))
        assert said["restored"]["what"] == str(archive)
        facts = app.facts()
        assert facts["intact"], facts
        assert facts["commits"] == commits


@pytest.mark.parametrize("version", ["1.4.3", "1.5.6"])
def test_behind_a_link_the_wal_comes_where_the_engine_looks_for_it(
    engines: Engines, tmp_path: Path, version: str
) -> None:
    with supervised(tmp_path, engines(version)) as app:
        app.stop()
        code = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('CHECKPOINT').close()"
        subprocess.run([str(app.python), "-c", code, str(app.place.database)], check=True)
        assert app.data() == {"app.duckdb"}
        real = app.root / "disk" / "real.duckdb"
        real.parent.mkdir()
        app.place.database.rename(real)
        app.place.database.symlink_to(real)
        app.do("start")
        app.write_more()
        made = app.place.backup()
        assert made["consistency"]["wal_bytes"]
        app.stop()
        app.restored()
        assert app.place.database.is_symlink()
        assert real.is_file()
        rows = app.facts()["playback_events"]
        assert rows == made["content"]["tables"]["playback_events"]["rows"]


def test_a_restore_that_was_killed_anywhere_is_ended_by_the_next(app: Run) -> None:
    app.place.backup()
    late = app.write_more()
    # Killed while the application is down, which is where it stays.
    (app.root / "wait").touch()
    process = helpers.start("restore", "--yes", config=app.place.config)
    until(lambda: not app.runs() or process.poll() is not None, what="the application stops")
    kill_with_children(process)
    assert process.returncode == -signal.SIGKILL
    (app.root / "wait").unlink()
    ran = run_eider("restore", "--yes", config=app.place.config).good_manners()
    assert ran.code == 0, ran
    assert not [name for name in app.data() if name.startswith(".")]
    assert app.runs(), "it was stopped for the restore"
    app.stop()
    facts = app.facts()
    assert facts["intact"]
    aside = [path for path in app.place.database.parent.iterdir() if path.suffix != ".wal"
             and "before-restore" in path.name]  # fmt: skip
    assert any(app.facts(path)["commits"] >= late for path in aside)
