"""The main job, end to end, by command: live applications on each engine, and sick databases."""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import Place, run_eider
from tests.real import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Engines = Callable[[str], Path]

APPLICATION = Path(__file__).parents[2] / "packaging" / "demo" / "cartographus.py"
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _given_place(root: Path, database: Path, python: Path | None = None) -> Place:
    """Configure a database that stands anywhere; `python` holds its application's engine."""
    settings: dict[str, object] = {"database__path": str(database)}
    if python:
        home = python.parent.parent
        settings |= {"engine__application": home.name, "engine__others": [str(home)]}
    return Place(root).configure(**settings)


@contextlib.contextmanager
def _application(python: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    database, ledger = root / "data" / "cartographus.duckdb", root / "ledger"
    database.parent.mkdir()
    process = subprocess.Popen(
        [python, APPLICATION, "serve", "--database", database, "--ledger", ledger,
         "--seed-rows", "3000", "--pace", "0.01", "--checkpoint-every", "2000000"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        assert process.stdout.readline().startswith("ready")
        yield database, ledger
    finally:
        process.kill()
        process.communicate()


def _asked(python: Path, *words: str | Path) -> dict[str, Any]:
    command = [python, APPLICATION, *words]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def _nanoseconds(text: str) -> str:
    moment = datetime.datetime.fromisoformat(text)
    return str((moment - EPOCH) // datetime.timedelta(microseconds=1) * 1000)


@pytest.mark.parametrize("version", ["1.4.3", "1.5.6", "2.0.0"])
def test_a_live_application_is_backed_up_and_comes_back(
    engines: Engines, tmp_path: Path, version: str
) -> None:
    python = engines(version)
    with _application(python, tmp_path) as (database, ledger):
        place = _given_place(tmp_path, database, python)
        for _backup in range(2):  # the second one goes by a mirror that is there
            ran = run_eider("backup", "--json", config=place.config)
            assert (ran.code, ran.stderr) == (0, "")
    made = ran.json
    assert (made["state"], made["proof"]["level"]) == ("verified", 4)
    assert (made["proof"]["engine"], made["proof"]["tables"]) == (version, 21)
    assert made["proof"]["lookups"] > 100
    assert made["proof"]["unique_checked"] > 10
    empty = tmp_path / "empty"
    empty.mkdir()
    latest = place.backups / "backup-latest.tar.gz"
    subprocess.run(["tar", "-xzf", latest, "-C", empty], check=True)
    facts = _asked(python, "facts", "--database", empty / database.name)
    assert facts["intact"], facts
    counts = _asked(
        python, "acknowledged", "--ledger", ledger,
        "--from", _nanoseconds(made["consistency"]["captured_from"]),
        "--to", _nanoseconds(made["consistency"]["captured_to"]),
    )  # fmt: skip
    assert counts["acknowledged_before"] <= facts["commits"] <= counts["begun_before"]
    tables = made["content"]["tables"]
    assert tables["playback_events"]["rows"] == facts["playback_events"]


@pytest.mark.parametrize(
    ("version", "build"),
    [("1.5.5", images.deletes_then_bulk), ("1.4.3", images.added_column)],
)
def test_a_database_that_would_not_come_back_is_kept_and_said_so(
    engines: Engines, tmp_path: Path, version: str, build: Callable[[Path, Path], Path]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    python = engines(version)
    place = _given_place(tmp_path, build(python, folder), python)
    ran = run_eider("backup", config=place.config).good_manners()
    assert ran.code == 12
    assert "the database itself would not come back after a crash" in ran.stderr
    assert f"DuckDB {version}" in ran.stderr
    assert "CHECKPOINT" in ran.stderr
    [listed] = run_eider("list", "--json", config=place.config).json
    assert (listed["state"], listed["proof"]["level"]) == ("unverified", 3)
    assert listed["proof"]["failure"]["kind"] in {"wal_replay", "engine_died", "cannot_open"}
    assert (place.backups / listed["archive"]).stat().st_size == listed["bytes"]
    assert not (place.backups / "backup-latest.tar.gz").is_symlink()


@pytest.mark.parametrize("build", [images.index_in_log, images.bulk_into_index])
def test_a_sound_image_that_cannot_be_opened_read_only_is_verified(
    engines: Engines, tmp_path: Path, build: Callable[[Path, Path], Path]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    python = engines("1.4.3")
    place = _given_place(tmp_path, build(python, folder), python)
    ran = run_eider("backup", "--json", config=place.config)
    assert (ran.code, ran.json["state"]) == (0, "verified"), ran
    assert ran.json["proof"]["engine"] == "1.4.3"
    assert not list((place.state / "scratch").iterdir())


def test_an_image_the_application_cannot_replay_may_be_proven_by_the_newest(
    engines: Engines, tmp_path: Path
) -> None:
    """Which engine proved it is in the manifest: this one would not come back on its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    place = _given_place(tmp_path, images.deletes_then_bulk(engines("1.5.5"), folder))
    made = run_eider("backup", "--json", config=place.config).json
    assert (made["state"], made["proof"]["engine"][:2]) == ("verified", "2.")


def test_an_engine_that_is_not_there_is_named(tmp_path: Path, engines: Engines) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    database = images.plain(engines("2.0.0"), folder)
    place = _given_place(tmp_path, database, Path("/nowhere/1.4.3/bin/python"))
    ran = run_eider("backup", config=place.config).good_manners()
    assert ran.code == 2
    assert "/nowhere/1.4.3" in ran.stderr
    assert run_eider("list", "--json", config=place.config).json == []


def test_a_proof_that_needs_more_memory_gets_it_up_to_the_limit(
    engines: Engines, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    python = engines("2.0.0")
    script = """
run("CREATE TABLE facts (id BIGINT PRIMARY KEY, " + ", ".join(f"c{n} BIGINT" for n in range(25))
    + ")")
for n in range(25):
    run(f"CREATE INDEX i{n} ON facts (c{n})")
values = ", ".join(f"hash(i + {n}) % 9000000000" for n in range(25))
run(f"INSERT INTO facts SELECT i, {values} FROM range(120000) AS source(i)")
run("CHECKPOINT")
run("SET wal_autocheckpoint = '10GB'")
run(f"INSERT INTO facts SELECT i, {values} FROM range(120000, 124000) AS source(i)")
end()
"""
    place = _given_place(tmp_path, images._build(python, script, folder / "facts.duckdb"))
    scarce = run_eider(
        "backup", "--json", config=place.config, env={"EIDER_ENGINE__MEMORY_LIMIT": "64MB"}
    )
    assert scarce.json["proof"]["failure"]["kind"] == "out_of_memory"
    assert scarce.code == 12
    assert "engine.memory_limit" in scarce.stderr
    assert run_eider("backup", "--json", config=place.config).json["state"] == "verified"
