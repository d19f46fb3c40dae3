"""The schema's watcher on true engines: what it sees, what it finds, that it touches nothing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.outside import engine
from tests.helpers import SECONDS, Place, given_place
from tests.real import images
from tests.running import Running, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Engines = Callable[[str], Path]

ALL = ("1.4.3", "1.5.5", "1.5.6", "2.0.0")
GIGABYTE = 10**9
MIGRATIONS = [
    """CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL,
    description TEXT, applied_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
    "CREATE TABLE parts (id INTEGER PRIMARY KEY, name VARCHAR DEFAULT 'x', CHECK (id > 0))",
    "CREATE INDEX by_name ON parts (name)",
    "CREATE VIEW seen AS SELECT * FROM parts",
]

_RUN = """
import json, os, sys
import duckdb
connection = duckdb.connect(sys.argv[1])
for statement in json.loads(sys.argv[2]):
    connection.execute(statement)
connection.execute("CHECKPOINT")
connection.close()
"""
_HOLD = """
import sys
import duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("SET wal_autocheckpoint = '1GB'")
connection.execute("INSERT INTO facts VALUES (-1, 'live', 0)")
print("open", flush=True)
sys.stdin.read()
"""


def _execute(database: Path, *statements: str, python: Path | str = sys.executable) -> None:
    command = [str(python), "-c", _RUN, str(database), json.dumps(statements)]
    subprocess.run(command, check=True, timeout=SECONDS, capture_output=True)


def _migration(number: int) -> str:
    return (
        "INSERT INTO schema_migrations (version, name, applied_at) "
        f"VALUES ({number}, 'step {number}', '2026-01-{number:02} 10:00:00+00')"
    )


def _ask(python: Path, database: Path, **more: Any) -> dict[str, Any]:
    scratch = database.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    words: dict[str, Any] = {"schema_table": "schema_migrations", "spare_bytes": GIGABYTE}
    return engine.ask_schema(
        database=database,
        interpreter=python,
        scratch=scratch,
        bounds=engine.Bounds(memory_limit=GIGABYTE, threads=1, deadline_seconds=60),
        **(words | more),
    )


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# What an engine says ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ALL)
def test_an_engine_says_which_schema_it_is(engines: Engines, version: str, tmp_path: Path) -> None:
    python, database = engines(version), tmp_path / "data" / "app.duckdb"
    database.parent.mkdir()
    _execute(database, *MIGRATIONS, *map(_migration, (1, 2, 3)), python=python)
    before = _bytes(database.parent)
    said = _ask(python, database, table="parts")
    assert _bytes(database.parent) == before
    assert (said["kind"], said["engine"]) == ("ok", version)
    assert said["tables"] == ["parts", "schema_migrations"]
    assert said["indexes"] == 1
    migrations = said["migrations"]
    assert (migrations["count"], migrations["version"]) == (3, 3)
    assert migrations["rows"][0] == [3, "step 3", "2026-01-03 10:00:00+00", False]
    table = said["table"]
    assert [column["name"] for column in table["columns"]] == ["id", "name"]
    assert [column["nullable"] for column in table["columns"]] == [False, True]
    assert table["columns"][1]["default"] == "'x'"
    assert {constraint["kind"] for constraint in table["constraints"]} == {"CHECK", "PRIMARY KEY"}
    assert [index["name"] for index in table["indexes"]] == ["by_name"]


def test_the_digest_changes_with_columns_and_indexes_and_not_with_rows(tmp_path: Path) -> None:
    database = tmp_path / "app.duckdb"
    python, digests = Path(sys.executable), []
    _execute(database, *MIGRATIONS)
    for statement in (
        "SELECT 1",
        "INSERT INTO parts VALUES (1, 'a')",
        "DROP INDEX by_name",
        "ALTER TABLE parts ADD COLUMN extra INTEGER",
    ):
        _execute(database, statement)
        digests.append(_ask(python, database)["digest"])
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ("CREATE TABLE other (version INTEGER)", {"there": False}),
        ("CREATE TABLE schema_migrations (version VARCHAR)", None),
        ("CREATE TABLE schema_migrations (name VARCHAR)", None),
        (
            "CREATE TABLE schema_migrations (version BIGINT)",
            {"there": True, "count": 0, "version": None, "rows": []},
        ),
        (
            "CREATE TABLE schema_migrations AS SELECT 7::BIGINT AS version, true AS dirty",
            {"there": True, "count": 1, "version": 7, "rows": [[7, None, None, True]]},
        ),
        (
            "CREATE TABLE schema_migrations AS SELECT 7 AS version, false AS success, 'a' AS name",
            {"there": True, "count": 1, "version": 7, "rows": [[7, "a", None, True]]},
        ),
    ],
)
def test_tables_of_migrations_as_others_make_them(
    table: str, wanted: dict[str, Any] | None, tmp_path: Path
) -> None:
    _execute(tmp_path / "app.duckdb", table)
    assert _ask(Path(sys.executable), tmp_path / "app.duckdb")["migrations"] == wanted


@pytest.mark.parametrize("version", ["1.4.3", "1.5.5", "1.5.6"])
def test_a_wal_with_an_added_column_would_not_replay(
    engines: Engines, version: str, tmp_path: Path
) -> None:
    database = images.added_column(engines(version), tmp_path)
    before = _bytes(tmp_path)
    said = _ask(engines(version), database, spare_bytes=0)  # no copy is needed to know
    assert said["kind"] == "wal_replay"
    assert "no default database" in said["message"]
    assert _ask(engines("2.0.0"), database)["kind"] == "ok"
    assert _bytes(tmp_path) == before
    assert not (tmp_path / "scratch" / "spare").exists()


@pytest.mark.parametrize("version", ["1.4.3", "1.5.5"])
def test_an_engine_that_wants_to_write_is_given_a_copy_unless_that_is_too_large(
    engines: Engines, version: str, tmp_path: Path
) -> None:
    database = images.index_in_log(engines(version), tmp_path)
    before = _bytes(tmp_path)
    assert _ask(engines(version), database)["kind"] == "ok"
    assert _bytes(tmp_path) == before
    said = _ask(engines(version), database, spare_bytes=1000)
    # Where the filesystem shares blocks, a copy takes no room and is always made.
    assert said["kind"] in {"ok", "untried"}
    if said["kind"] == "untried":
        assert "too large to be tried on a copy" in said["message"]


OFTEN: dict[str, Any] = {
    "mirror__interval": "1s",
    "application__version": "1.50.1",
    "schema__compatibility": "cartographus",
    "engine__application": "2.0.0",
}


# The verb -----------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = given_place(tmp_path, rows=2_000, wal_rows=0)
    _execute(place.database, *MIGRATIONS, _migration(22))
    return place.configure(
        application__version="1.50.1", schema__compatibility="cartographus",
        engine__application="2.0.0",
    )  # fmt: skip


@contextlib.contextmanager
def _held_open(database: Path) -> Iterator[None]:
    """Be an application that has the database open, with a commit that stands in the WAL."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(database)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_the_schema_of_a_live_database_is_shown_and_nothing_of_it_is_touched(place: Place) -> None:
    with _held_open(place.database):
        before = {path: path.stat() for path in place.database.parent.iterdir()}
        ran = place.eider("schema", "--json")
        assert ran.code == 0, ran
        said = ran.good_manners().json
        table = place.eider("schema", "--table", "facts", "--json").json
        after = {path: path.stat() for path in place.database.parent.iterdir()}
    assert [(one.st_ino, one.st_mtime_ns, one.st_size) for one in before.values()] == [
        (one.st_ino, one.st_mtime_ns, one.st_size) for one in after.values()
    ]
    assert said["schema"]["version"] == 22
    assert said["schema"]["migrations"][0]["name"] == "step 22"
    assert said["schema"]["replay"] == "yes"
    assert said["compatible"]["schema"] == 22
    assert said["application"]["version"] == "1.50.1"
    assert said["findings"] == []
    assert table["rows"] == 2_001  # with what only the WAL has
    assert table["constraints"] == ["PRIMARY KEY(id)"]


def test_a_mismatch_is_seen_twice_told_and_ends_with_3(place: Place) -> None:
    _execute(place.database, _migration(23))
    ran = place.eider("schema", "--json")
    assert ran.code == 3
    (found,) = ran.json["findings"]
    assert found["kind"] == "schema_ahead"
    shown = place.eider("schema").good_manners()
    assert shown.code == 3
    assert "Install version 1.51.x" in shown.stdout
    assert "version 23, 2 migrations" in shown.stdout


def test_changes_between_backups_are_shown(place: Place) -> None:
    first = place.backup()["id"]
    _execute(place.database, "DROP VIEW seen")
    second = place.backup()["id"]
    time.sleep(1.1)  # a look must be later than the backup, by the second in its name
    _execute(place.database, "CREATE VIEW again AS SELECT 1 AS one", _migration(23))
    (place.state / "mirror" / ".app.duckdb.mark").unlink()  # older than a minute, or none
    said = place.eider("schema", "--json").json
    seen = [(one["before"], one["after"], one["new_version"]) for one in said["changes"]]
    assert seen == [(first, second, 22), (second, "now", 23)]
    assert "unchanged" in place.eider("schema").stdout


def test_a_table_that_is_not_there_is_refused_with_those_that_are(place: Place) -> None:
    ran = place.eider("schema", "--table", "part\x1b[31m", "--json")
    assert ran.code == 2
    error = ran.good_manners().json["error"]
    assert "facts, parts, schema_migrations" in error["hint"]


def test_names_of_a_database_cannot_steer_a_terminal(place: Place) -> None:
    evil = 'a"b\x1b[2J; DROP TABLE facts; --'
    quoted = evil.replace('"', '""')
    _execute(
        place.database,
        f'CREATE TABLE "{quoted}" ("{quoted}" INTEGER DEFAULT 1)',
        "UPDATE schema_migrations SET name = 'x' || chr(27) || '[2J'",
    )
    assert place.eider("schema").good_manners().code == 0
    label = '"' + quoted + '"'
    ran = place.eider("schema", "--table", label)
    assert ran.code == 0, ran
    ran.good_manners()


def test_while_the_store_is_busy_an_old_mirror_is_shown_and_its_age_told(place: Place) -> None:
    assert place.eider("schema").code == 0
    mark = place.state / "mirror" / ".app.duckdb.mark"
    os.utime(mark, (time.time() - 600, time.time() - 600))
    with _lock_on(place.state):
        said = place.eider("schema", "--json").json
        assert "another eider is at work" in said["mirror"]["why_old"]
        shown = place.eider("schema").stdout
    assert "10 minutes old; it could not be brought up to date" in shown
    mark.unlink()
    with _lock_on(place.state):
        ran = place.eider("schema")
    assert ran.code == 11
    assert "there is no mirror" in ran.stderr


@contextlib.contextmanager
def _lock_on(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_without_a_mirror_to_keep_none_is_left(place: Place) -> None:
    place.configure(mirror__keep=False)
    ran = place.eider("schema", "--table", "parts", "--json")
    assert ran.code == 0, ran
    assert not (place.state / "mirror").exists()
    assert list((place.state / "scratch").iterdir()) == []


# The service --------------------------------------------------------------------------------------

BACKED_UP = 'eider_job_runs_total{job_name="backup",outcome="%s"}'
LOOKED = 'eider_job_runs_total{job_name="mirror",outcome="done"}'


def _until_backed_up(service: Running, outcome: str = "done") -> None:
    service.until(lambda: service.metrics()[BACKED_UP % outcome] >= 1, what="a backup")


def test_a_finding_appears_within_two_intervals_and_clears(place: Place) -> None:
    with running(place, **OFTEN) as service:
        _until_backed_up(service)
        service.until(lambda: service.metrics()["eider_wal_replays"] == 1, what="a look")
        assert not service.kinds() & {"schema_ahead", "watcher_failed"}
        _execute(place.database, _migration(23))
        service.until(lambda: "schema_ahead" in service.kinds(), seconds=10, what="ahead")
        assert "schema_ahead" in {one["kind"] for one in place.eider("status", "--json").json[
            "findings"]}  # fmt: skip
        _execute(place.database, "DELETE FROM schema_migrations WHERE version = 23")
        service.until(lambda: "schema_ahead" not in service.kinds(), seconds=10, what="cleared")
        words = [(line.get("word"), line.get("kind")) for line in service.lines()]
        assert words.count(("finding_raised", "schema_ahead")) == 1
        assert words.count(("finding_cleared", "schema_ahead")) == 1


def test_a_wal_that_would_not_replay_is_found_told_and_over(
    engines: Engines, tmp_path: Path
) -> None:
    """As Cartographus has it during an upgrade: ADD COLUMN under DuckDB 1.4.3."""
    place = Place(tmp_path / "place")
    image = images.added_column(engines("1.4.3"), tmp_path / "image")
    place.database.parent.mkdir(parents=True)
    for suffix in ("", ".wal"):
        shutil.copy(f"{image}{suffix}", f"{place.database}{suffix}")
    settings: Any = {"mirror__interval": "1s", "engine__application": "1.4.3",
                     "engine__others": [str(engines("1.4.3").parent.parent)]}  # fmt: skip
    place.configure(**settings)
    with running(place, **settings) as service:
        _until_backed_up(service, "unproven")
        service.until(lambda: "wal_would_not_replay" in service.kinds(), what="found")
        assert service.get("/readyz")[0] == 503
        (found,) = (one for one in service.ready()["findings"]
                    if one["kind"] == "wal_would_not_replay")  # fmt: skip
        assert found["command"] == "eider backup"
        assert "DuckDB 1.4.3, which the application runs, cannot replay" in found["message"]
        assert str(place.state) not in found["message"]
        assert service.metrics()["eider_wal_replays"] == 0
        # The application checkpoints: all of it is in the file, and the WAL is empty.
        clean = images.plain(engines("1.4.3"), tmp_path / "clean")
        Path(f"{place.database}.wal").unlink()
        shutil.copy(clean, place.database)
        service.until(lambda: "wal_would_not_replay" not in service.kinds(), what="over")
        assert service.metrics()["eider_wal_replays"] == 1


def test_a_database_that_nobody_writes_to_starts_no_child(place: Place) -> None:
    with running(place, mirror__interval="1s") as service:
        _until_backed_up(service)
        looked = "eider_schema_looked_timestamp_seconds"
        service.until(lambda: service.metrics()[looked] > 0, what="a look")
        turns = service.metrics()[LOOKED]
        service.until(lambda: service.metrics()[LOOKED] >= turns + 3, what="three turns")
        before = service.metrics()
        service.until(lambda: service.metrics()[LOOKED] >= before[LOOKED] + 3, what="three more")
        after = service.metrics()
    assert after[looked] == before[looked]
    name = "eider_mirror_refreshed_timestamp_seconds"
    assert after[name] == before[name]


def test_what_was_found_is_there_again_after_a_restart(place: Place) -> None:
    _execute(place.database, _migration(23))
    with running(place, **OFTEN) as service:
        _until_backed_up(service)
        service.until(lambda: "schema_ahead" in service.kinds(), what="ahead")
    with running(place, **(OFTEN | {"mirror__interval": "1h"})) as service:
        assert "schema_ahead" in service.kinds()


def test_without_a_mirror_the_newest_backup_tells_the_schema(place: Place) -> None:
    _execute(place.database, _migration(23))
    with running(
        place, mirror__keep=False, application__version="1.50.1",
        schema__compatibility="cartographus",
    ) as service:  # fmt: skip
        _until_backed_up(service)
        service.until(lambda: "schema_ahead" in service.kinds(), what="ahead")
        assert not (place.state / "mirror").exists()


def test_with_no_interval_the_schema_is_looked_at_after_each_backup(place: Place) -> None:
    _execute(place.database, _migration(23))
    with running(
        place, mirror__interval="never", application__version="1.50.1",
        schema__compatibility="cartographus", engine__application="2.0.0",
    ) as service:  # fmt: skip
        _until_backed_up(service)
        service.until(lambda: "schema_ahead" in service.kinds(), what="ahead")
