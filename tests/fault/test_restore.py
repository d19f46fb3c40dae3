"""Restores that cannot be: refused with the reason, and everything is as it was."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import helpers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers import Place

needs_root = pytest.mark.skipif(not helpers.is_root(), reason="mounts need root")

# Holds the database, and again as soon as it is killed: a unit with Restart=always.
_STUBBORN = """
import subprocess, sys
code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
while True:
    child = subprocess.Popen([sys.executable, "-c", code, sys.argv[1]],
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    open(sys.argv[2], "w").write(str(child.pid))
    child.wait()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = helpers.given_place(tmp_path_factory.mktemp("restore"))
    place.backup()
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    return made.clone(tmp_path / "place")


def _data(place: Place) -> dict[str, bytes]:
    folder = place.database.parent
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _rows(database: Path) -> int:
    code = (
        "import duckdb, sys; connection = duckdb.connect(sys.argv[1], read_only=True); "
        "print(connection.execute('SELECT count(*) FROM facts').fetchone()[0])"
    )
    words = [sys.executable, "-c", code, str(database)]
    return int(subprocess.run(words, capture_output=True, check=True, timeout=60).stdout)


def _emptied(place: Place) -> dict[str, bytes]:
    place.wal.unlink()
    place.database.unlink()
    helpers.build_database(place.database, rows=3, wal_rows=2)
    return _data(place)


@needs_root
def test_a_disk_without_room_is_refused_with_the_figures(place: Place) -> None:
    kept = _data(place)
    with helpers.small_disk(place.database.parent, size="2m") as folder:
        for name, data in kept.items():
            (folder / name).write_bytes(data)
        ran = place.eider("restore", "--yes").good_manners()
        assert ran.code == 13, ran
        assert "it needs 2.1 MB" in ran.stderr
        assert "nothing was touched" in ran.stderr
        assert _data(place) == kept
        assert {path.name for path in folder.iterdir()} == set(kept)


@needs_root
def test_a_filesystem_that_cannot_be_written_is_refused(place: Place) -> None:
    kept = _data(place)
    with helpers.small_disk(place.database.parent, size="9m") as folder:
        for name, data in kept.items():
            (folder / name).write_bytes(data)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        ran = place.eider("restore", "--yes").good_manners()
        assert ran.code != 0
        assert "Read-only file system" in ran.stderr
        assert _data(place) == kept


@needs_root
def test_the_backups_may_lie_on_another_filesystem_than_the_data(place: Place) -> None:
    with helpers.small_disk(place.database.parent, size="9m"):
        assert place.eider("restore", "--yes").good_manners().code == 0
        assert _rows(place.database) == helpers.ROWS + helpers.WAL_ROWS


@needs_root
def test_the_restored_files_belong_to_whom_the_old_ones_did(place: Place) -> None:
    os.chown(place.database, 1234, 2345)
    place.database.chmod(0o640)
    assert place.eider("restore", "--yes").good_manners().code == 0
    for path in (place.database, place.wal):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 2345, 0o640)


@pytest.mark.parametrize("live", ["missing", "nonsense", "empty", "another"])
def test_whatever_has_become_of_the_live_database(place: Place, live: str) -> None:
    if live == "another":
        _emptied(place)
    elif live == "missing":
        place.database.unlink()
    else:
        place.database.write_bytes(b"" if live == "empty" else b"nonsense" * 999)
    assert place.eider("restore", "--yes").good_manners().code == 0
    assert _rows(place.database) == helpers.ROWS + helpers.WAL_ROWS
    if live == "another":
        assert place.eider("restore", "--undo", "--yes").good_manners().code == 0
        assert _rows(place.database) == 5


def test_an_archive_that_was_damaged_changes_nothing(place: Place) -> None:
    before = _emptied(place)
    archive = next(place.backups.glob("*.tar.gz"))
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    ran = place.eider("restore", archive.name.removeprefix("backup-")[:15], "--yes")
    assert ran.good_manners().code == 12, ran
    assert "nothing was changed" in ran.stderr
    assert _data(place) == before
    assert len(list(place.database.parent.iterdir())) == len(before)


def test_a_file_that_is_no_archive_changes_nothing(place: Place) -> None:
    before = _data(place)
    junk = place.root / "junk.tar.gz"
    junk.write_bytes(b"no archive at all" * 100)
    assert place.eider("restore", str(junk), "--yes").good_manners().code == 12
    assert place.eider("restore", str(junk) + "x", "--yes").good_manners().code == 14
    assert _data(place) == before


@pytest.mark.parametrize("words", [(), ("--json",), ("--undo",)])
def test_without_anybody_to_ask_nothing_is_done(place: Place, words: tuple[str, ...]) -> None:
    aside = place.database.with_name("app.duckdb.before-restore-20260101-000000")
    shutil.copyfile(place.database, aside)
    before = _data(place)
    ran = place.eider("restore", *words).good_manners()
    assert ran.code == 2, ran
    assert "--yes" in (ran.stderr + ran.stdout)
    assert _data(place) == before


def test_a_dry_run_says_everything_and_does_nothing(place: Place) -> None:
    before = _data(place)
    journal = (place.state / "journal.jsonl").read_text()
    plan = place.eider("restore", "--dry-run", "--json").json["plan"]
    assert (plan["onto"], plan["is_live"]) == (str(place.database), True)
    assert plan["source"]["rows"] == helpers.ROWS + helpers.WAL_ROWS
    assert [Path(old).name for old, _new in plan["set_aside"]] == ["app.duckdb", "app.duckdb.wal"]
    assert plan["needed_bytes"] > len(before["app.duckdb"])
    said = place.eider("restore", "--dry-run").good_manners().stdout
    assert "what was committed in the last" in said
    assert _data(place) == before
    assert (place.state / "journal.jsonl").read_text() == journal


def test_nothing_to_go_back_to_is_said(place: Place) -> None:
    assert place.eider("restore", "--undo", "--yes").good_manners().code == 10


@pytest.mark.parametrize(
    "words", [("--undo", "--at", "2026-01-01"), ("--undo", "--to", "x"), ("--at", "now"),
              ("--at", "2026-01-01", "20260101-000000")],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(place: Place, words: tuple[str, ...]) -> None:
    assert place.eider("restore", *words, "--yes").good_manners().code == 2


def test_a_folder_that_is_not_empty_is_refused_and_kept(place: Place) -> None:
    target = place.root / "other"
    target.mkdir()
    (target / "mine").write_text("mine")
    assert place.eider("restore", "--to", str(target)).good_manners().code == 2
    assert (target / "mine").read_text() == "mine"
    (target / "mine").unlink()
    assert place.eider("restore", "--to", str(target)).good_manners().code == 0
    assert _rows(target / "app.duckdb") == helpers.ROWS + helpers.WAL_ROWS


def test_extra_files_come_back_only_when_they_are_asked_for(place: Place) -> None:
    extra = place.root / "etc" / "deep" / "app.conf"
    extra.parent.mkdir(parents=True)
    extra.write_text("setting")
    place.configure(backup__include=[str(extra.parent.parent)])
    place.backup()
    extra.write_text("newer")
    assert place.eider("restore", "--files", "--yes").good_manners().code == 2
    for words in ((), ("--files",)):
        target = place.root / f"to{len(words)}"
        assert place.eider("restore", "--to", str(target), *words).good_manners().code == 0
        assert _rows(target / "app.duckdb") == helpers.ROWS + helpers.WAL_ROWS
        copy = target / f"files{extra}"
        assert (copy.read_text() if copy.exists() else None) == ("setting" if words else None)
    assert place.eider("restore", "--yes").good_manners().code == 0
    assert extra.read_text() == "newer"
    assert not (place.database.parent / "files").exists()


def test_a_plan_of_a_run_that_died_is_told_and_ended(place: Place) -> None:
    """What kill -9 leaves between two renames: the old set aside, the new one not in yet."""
    new, aside = place.database.parent / ".app.duckdb.eider-new", "app.duckdb.before-restore-x"
    new.mkdir(mode=0o700)
    old = _emptied(place)
    with contextlib.chdir(new):
        archive = next(place.backups.glob("backup-2*.tar.gz"))
        subprocess.run(["tar", "-xzf", archive, "app.duckdb", "app.duckdb.wal"], check=True)
    place.database.rename(place.database.with_name(aside))
    place.wal.rename(place.wal.with_name(f"{aside}.wal"))
    plan = {
        "kind": "restore", "what": "B", "live": "app.duckdb", "had_live": True,
        "wal_base": "app.duckdb", "incoming": ".app.duckdb.eider-new/app.duckdb",
        "incoming_wals": [".wal"], "aside": aside,
        "aside_wals": [["app.duckdb.wal", f"{aside}.wal"]], "live_wals": ["app.duckdb.wal"],
        "staging": ".app.duckdb.eider-new", "restart": False, "phase": "moving",
    }  # fmt: skip
    record = place.database.with_name(".app.duckdb.eider-swap.json")
    record.write_text(json.dumps(plan))
    record.chmod(0o600)
    said = place.eider("restore", "--dry-run").good_manners().stdout
    assert "an earlier restore (B) did not end" in said
    ran = place.eider("restore", "--yes").good_manners()
    assert ran.code == 0, ran
    assert "finished the restore of B" in ran.stdout
    assert _rows(place.database) == helpers.ROWS + helpers.WAL_ROWS
    assert _data(place)[aside] == old["app.duckdb"]
    assert not list(place.database.parent.glob(".*"))


# Runs eider, and dies after so many steps of the exchange.
_MORTAL = """
import os, sys
left, sys.argv = int(sys.argv[1]), sys.argv[2:]
from eiderd.outside.moves import Moves
def mortal(step):
    def do(*words):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return step(*words)
    return do
for name in "write copy own rename remove remove_folder sync_file sync_folder".split():
    setattr(Moves, name, mortal(getattr(Moves, name)))
from eiderd.__main__ import run
sys.exit(run())
"""


@pytest.mark.parametrize("steps", [0, 4, 9, 14, 17, 19, 21, 24, 30])
def test_one_that_is_killed_at_any_step_is_ended_by_the_next(place: Place, steps: int) -> None:
    old = _emptied(place)
    before = (sys.executable, "-c", _MORTAL, str(steps))
    assert place.eider("restore", "--yes", before=before).code == -9
    ran = place.eider("restore", "--yes").good_manners()
    assert ran.code == 0, ran
    assert _rows(place.database) == helpers.ROWS + helpers.WAL_ROWS
    assert not list(place.database.parent.glob(".*"))
    assert old["app.duckdb"] in _data(place).values(), "the old database is set aside"
    assert place.eider("restore", "--undo", "--yes").code == 0
    assert _rows(place.database) == 5


def _configure_ill(place: Place) -> None:
    """Make the application one that never starts, and is to run."""
    place.configure(application__kind="commands")
    with place.config.open("a") as file:
        file.write(
            "[application.commands]\nstate = ['sh', '-c', 'exit 1']\n"
            "stop = ['true']\nstart = ['false']\n"
        )


@pytest.mark.parametrize("steps", [40, 42, 45, 48, 51, 57])
def test_one_that_is_killed_while_it_goes_back_ends_with_the_old_database(
    place: Place, steps: int
) -> None:
    old = _emptied(place)
    _configure_ill(place)
    before = (sys.executable, "-c", _MORTAL, str(steps))
    assert place.eider("restore", "--yes", before=before).code == -9
    ran = place.eider("restore", "--yes").good_manners()
    assert ran.code == 14, ran
    assert "is not well" in ran.stderr or "the previous database is back" in ran.stderr
    found = _data(place)
    assert {name: found[name] for name in old} == old
    failed = [data for name, data in found.items() if ".failed-restore-" in name]
    assert len(failed) == 2, "what was restored is kept, and no half of it"
    assert not list(place.database.parent.glob(".*"))


@pytest.fixture
def stubborn(place: Place) -> Iterator[Place]:
    pid_file = place.root / "pid"
    words = [sys.executable, "-c", _STUBBORN, str(place.database), str(pid_file)]
    process = subprocess.Popen(words)
    place.configure(application__kind="commands", application__timeout="2s")
    stop = ["sh", "-c", f"kill -9 $(cat {pid_file})"]
    with place.config.open("a") as file:
        file.write(f"[application.commands]\nstop = {json.dumps(stop)}\nstart = ['true']\n")
    helpers.until(lambda: pid_file.exists() and pid_file.read_text() != "")
    try:
        yield place
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(pid_file.read_text()), 9)


def test_an_application_that_comes_back_by_itself_is_never_pulled_from_under(
    stubborn: Place,
) -> None:
    place = stubborn
    ran = place.eider("restore", "--yes").good_manners()
    assert ran.code in {0, 11, 14}, ran
    if ran.code:
        assert not [name for name in _data(place) if "restore" in name or name.startswith(".")]
    else:
        assert [name for name in _data(place) if "before-restore" in name]
