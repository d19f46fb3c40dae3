"""`eider doctor`, by command: it writes nothing, hangs on nothing, and finds what was put there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eiderd import config, doctor, examination
from eiderd.outside import clock, looks
from tests.helpers import SECONDS, Place, given_place, is_root

NOBODY = 65534
HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"


def _checks(place: Place) -> dict[str, dict[str, str]]:
    ran = place.eider("doctor", "--json")
    assert ran.code == 3, ran
    ran.good_manners()
    return {check["name"]: check for check in ran.json["checks"]}


def _bad(checks: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, check in checks.items() if check["mark"] != "well"}


def _state_of(root: Path) -> dict[str, tuple[int, int, int]]:
    def mark(path: Path) -> tuple[int, int, int]:
        seen = path.lstat()
        return seen.st_ino, seen.st_size, seen.st_mtime_ns

    return {str(path): mark(path) for path in root.rglob("*")}


# What a test place lacks: a service, retention rules, a second disk.
USUAL = {"same disk", "service", "no retention rules"}


def test_it_finds_everything_well_and_writes_nothing(tmp_path: Path) -> None:
    place = given_place(tmp_path)
    place.backup()
    before = _state_of(tmp_path)
    checks = _checks(place)
    assert _state_of(tmp_path) == before
    assert _bad(checks) == USUAL
    for check in checks.values():
        assert bool(check["command"]) == (check["mark"] != "well")


def test_before_anything_was_made_nothing_is_made(tmp_path: Path) -> None:
    place = given_place(tmp_path)
    checks = _checks(place)
    assert _bad(checks) == USUAL | {"backup"}
    assert not place.state.exists()
    assert not place.backups.exists()


def test_it_names_who_holds_the_database(tmp_path: Path) -> None:
    place = given_place(tmp_path, wal_rows=0)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, place.database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as application:
        assert application.stdout
        assert application.stdout.readline() == "open\n"
        said = _checks(place)["lock"]["said"]
        application.kill()
    assert f"PID {application.pid}" in said
    assert said.startswith("held by")


def test_it_finds_what_is_wrong_each_with_its_remedy(tmp_path: Path) -> None:
    place = given_place(tmp_path)
    place.backup()
    place.configure(engine__application="1.5.5", engine__others=["1.5.5"])
    (place.backups / ".staging" / "20200101-000000").mkdir(parents=True)
    place.backups.chmod(0o755)
    place.config.chmod(0o666)
    aside = place.database.with_name(f"{place.database.name}.before-restore-20260101-000000")
    aside.write_bytes(bytes(5_000_000))
    plan = place.database.with_name(f".{place.database.name}.eider-swap.json")
    plan.write_text("{}")
    place.wal.rename(place.wal.with_name(f"{place.wal.name}.checkpoint"))
    checks = _checks(place)
    found = {"configuration", "wal", "set aside", "backups", "backups leftovers", "engine",
             "exchange", "application's engine"}  # fmt: skip
    assert _bad(checks) == USUAL | found
    assert "5.0 MB" in checks["set aside"]["said"]
    assert checks["backups"]["command"] == f"chmod 0700 {place.backups}"
    assert checks["engine"]["command"] == "eider engine add 1.5.5"


@pytest.mark.parametrize("what", ["gone", "no database", "a folder"])
def test_a_database_that_is_none_is_a_problem(tmp_path: Path, what: str) -> None:
    place = given_place(tmp_path, wal_rows=0)
    place.database.unlink()
    if what == "no database":
        place.database.write_bytes(bytes(100_000))
    elif what == "a folder":
        place.database.mkdir()
    check = _checks(place)["database"]
    assert check["mark"] == "problem"
    assert check["command"]


@pytest.mark.skipif(is_root(), reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_a_problem(tmp_path: Path) -> None:
    place = given_place(tmp_path)
    place.backup()
    place.database.chmod(0)
    place.backups.chmod(0o500)
    try:
        checks = _checks(place)
    finally:
        place.backups.chmod(0o700)
    assert {"database", "backups"} <= _bad(checks)


@pytest.mark.skipif(not is_root(), reason="only root can look as another user")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_root_is_told_what_the_service_may_not_write(tmp_path: Path, mode: int) -> None:
    place = given_place(tmp_path)
    place.backup()
    place.backups.chmod(mode)
    os.chown(place.state, NOBODY, NOBODY)
    check = _checks(place)["backups"]
    assert (check["mark"], check["command"]) == ("problem", f"chown nobody {place.backups}")
    assert check["said"] == f"nobody cannot write in {place.backups}"
    place.configure(backup__directory=str(tmp_path / "not-yet"))
    check = _checks(place)["backups"]
    assert (check["mark"], check["said"]) == (
        "problem", f"nobody cannot write in the folder in which {tmp_path}/not-yet will be made",
    )  # fmt: skip


def test_a_configuration_that_cannot_be_meant_is_its_first_finding(tmp_path: Path) -> None:
    place = given_place(tmp_path).configure(engine__threads=0)
    checks = _checks(place)
    assert checks["configuration"]["mark"] == "problem"
    assert "engine.threads" in checks["configuration"]["said"]


def test_tools_that_are_missing_are_named_and_nothing_is_tried_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = given_place(tmp_path)
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    checks = _examined(place)
    assert checks["tools"].mark is doctor.Mark.PROBLEM
    assert "setpriv" in checks["tools"].said
    assert "database" not in checks


def test_a_disk_that_does_not_answer_is_asked_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = given_place(tmp_path)
    monkeypatch.setattr(looks, "_COMMAND", ("sleep", "1000"))
    for ask in (looks.database, looks.folder):
        defaults = ask.__kwdefaults__
        assert defaults
        monkeypatch.setitem(defaults, "deadline_seconds", 0.3)

    def never(*_args: object, **_words: Any) -> None:
        raise AssertionError("a disk that hangs was asked by the doctor's own process")

    monkeypatch.setattr(examination, "look_around", never)
    monkeypatch.setattr("eiderd.app.App.problems", never)
    monkeypatch.setattr("eiderd.app.App.needs", never)
    checks = _examined(place)
    for name in ("database", "state", "backups"):
        assert "does not answer within 0.3 s" in checks[name].said
    assert checks["engine"].mark is doctor.Mark.WELL


def _examined(place: Place) -> dict[str, doctor.Check]:
    settings, path = config.load(place.config)
    checks = examination.examine(settings, path, at=clock.now(), zone=clock.zone())
    assert not doctor.is_all_well(checks)
    return {check.name: check for check in checks}


def test_a_hostile_name_does_not_steer_the_terminal(tmp_path: Path) -> None:
    place = given_place(tmp_path)
    left = place.backups / ".staging" / "\x1b[31mred\u202e"
    left.mkdir(parents=True)
    ran = place.eider("doctor")
    ran.good_manners()
    assert "\u202e" not in ran.stdout
    assert os.linesep in ran.stdout


def test_what_it_tells_to_remove_is_removed_by_what_it_says(tmp_path: Path) -> None:
    place = given_place(tmp_path / "it's here")
    place.backup()
    before = _state_of(tmp_path)
    for folder in (
        place.backups / "quarantine" / "20260101-000000",
        place.state / "rescued" / "20260101-000000",
        place.state / "streams-set-aside" / "EVENTS-20260101-000000",
    ):
        folder.mkdir(parents=True)
        (folder / "kept").write_bytes(bytes(1_000_000))
        os.utime(folder, (1_000_000_000, 1_000_000_000))
    aside = place.database.with_name(f"{place.database.name}.before-compact-20260101-000000")
    for suffix in ("", ".wal", ".other.wal"):
        aside.with_name(aside.name + suffix).write_bytes(bytes(2_000_000))
    ran = place.eider("doctor", "--json")
    notes = [check for check in ran.json["checks"] if check["mark"] == "note"]
    assert [(note["name"], note["bytes"] // 1_000_000) for note in notes] == [
        ("set aside", 6),
        ("rescued", 1),
        ("stream set aside", 1),
        ("quarantine", 1),
    ]
    assert all(note["age_seconds"] > 86_400 for note in notes)
    for note in notes:
        subprocess.run(["sh", "-c", note["command"]], check=True, timeout=SECONDS)
    made = {str(path) for path in tmp_path.rglob("*")} - set(before)
    assert {Path(path).name for path in made} == {"quarantine", "rescued", "streams-set-aside"}
    assert not place.wal.exists() or str(place.wal) in before
