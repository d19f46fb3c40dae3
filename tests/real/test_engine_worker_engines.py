"""The worker under other engines: what only 1.x leaves behind, and what all must agree upon."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.outside import engine

if TYPE_CHECKING:
    from collections.abc import Callable

    Engines = Callable[[str], Path]

ALL = ("1.4.3", "1.5.5", "1.5.6", "2.0.0")

RUN = """
import duckdb, json, os, sys
connection = duckdb.connect(sys.argv[1])
for statement in json.loads(sys.argv[2]):
    connection.execute(statement)
if sys.argv[3] == "crash":
    os._exit(0)
connection.close()
"""

UNIQUE = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, code VARCHAR, n INTEGER)",
    "CREATE UNIQUE INDEX code_once ON t (code)",
    "INSERT INTO t SELECT i, 'c' || i, i % 500 FROM range(5000) r(i)",
    "CHECKPOINT",
    "INSERT INTO t SELECT i, 'c' || i, i % 500 FROM range(5000, 5050) r(i)",
]


def execute(python: Path, database: Path, *statements: str, crash: bool = False) -> Path:
    end = "crash" if crash else "close"
    command = [str(python), "-c", RUN, str(database), json.dumps(statements), end]
    subprocess.run(command, check=True, timeout=60)
    return database


def prove(python: Path, database: Path) -> dict[str, Any]:
    scratch = database.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    order = {
        "do": "prove",
        "database": str(database),
        "scratch": str(scratch),
        "memory_limit": "200MB",
        "threads": 2,
        "lookups": 32,
    }
    ran = subprocess.run(
        engine.command(Path(python)),
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])["result"]
    return result


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("writer", ["1.4.3", "1.5.5", "1.5.6"])
def test_a_stale_index_is_found_by_its_own_engine_and_the_newest(
    engines: Engines, tmp_path: Path, writer: str
) -> None:
    database = execute(engines(writer), tmp_path / "x.duckdb", *UNIQUE, crash=True)
    before = prove(engines(writer), database)
    assert before["kind"] == "ok"
    assert before["indexes"]["asked"] == 2
    execute(engines(writer), database)  # opened, and just closed
    for version in (writer, "2.0.0"):
        result = prove(engines(version), database)
        assert result["kind"] == "index_disagrees", version
        assert "index code_once of table t" in result["message"]


@pytest.mark.parametrize("writer", ["1.4.3", "1.5.5", "1.5.6"])
def test_a_duplicate_that_a_stale_index_let_in_is_found(
    engines: Engines, tmp_path: Path, writer: str
) -> None:
    database = execute(engines(writer), tmp_path / "x.duckdb", *UNIQUE, crash=True)
    execute(engines(writer), database)
    again = "INSERT INTO t VALUES (9999, 'c5010', 3)"
    execute(engines(writer), database, again, "CHECKPOINT")
    result = prove(engines(writer), database)
    assert result["kind"] == "duplicates"
    assert "code_once" in result["message"]


def test_all_engines_say_the_same_of_one_file(engines: Engines, tmp_path: Path) -> None:
    database = execute(
        engines("1.4.3"),
        tmp_path / "x.duckdb",
        "CREATE TYPE mood AS ENUM ('sad', 'happy')",
        "CREATE SEQUENCE s START 7",
        'CREATE SCHEMA "o s"',
        """CREATE TABLE t (id INTEGER PRIMARY KEY, u UUID UNIQUE, d DOUBLE, m DECIMAL(9, 2),
        moment TIMESTAMPTZ DEFAULT current_timestamp, b BLOB, feeling mood, l INTEGER[][],
        s STRUCT(a VARCHAR, b DATE), k MAP(VARCHAR, TIMESTAMP), i INTERVAL, j JSON, h HUGEINT,
        bits BIT, f FLOAT[3], z TIMETZ, un UNION(n INTEGER, w VARCHAR), CHECK (id >= 0))""",
        """INSERT INTO t SELECT i, uuid(), i / 7, i / 3, TIMESTAMPTZ '2024-01-01 00:00:00+00',
        ('x' || i)::BLOB, 'happy', [[i], [NULL, 2]], {'a': 'it''s', 'b': DATE '2024-02-29'},
        MAP {'k': TIMESTAMP '2024-01-01'}, to_days(i::INTEGER), '{"a": 1}', i, '101',
        [1, 2, i], '12:00:00+02', i::INTEGER FROM range(500) r(i)""",
        'CREATE TABLE "o s"."a""b" (c INTEGER)',
        "CREATE INDEX by_d ON t (d)",
        "CREATE VIEW v AS SELECT id, feeling FROM t WHERE id > 3",
        "CREATE MACRO twice(x) AS x * 2",
        "CHECKPOINT",
    )
    results = [prove(engines(version), database) for version in ALL]
    assert [result["message"] for result in results] == [None] * len(ALL)
    assert [result["engine"] for result in results] == list(ALL)
    for key in ("tables", "rows", "schema_digest", "fingerprint_kind", "unique"):
        assert all(result[key] == results[0][key] for result in results), key
    assert [result["indexes"]["asked"] for result in results] == [3] * len(ALL)


def test_a_wal_that_its_engine_cannot_replay(engines: Engines, tmp_path: Path) -> None:
    database = execute(
        engines("1.4.3"),
        tmp_path / "x.duckdb",
        "CREATE TABLE t (id INTEGER, made TIMESTAMP DEFAULT current_timestamp)",
        "CHECKPOINT",
        "ALTER TABLE t ADD COLUMN x INTEGER",
        "INSERT INTO t (id) VALUES (1)",
        crash=True,
    )
    result = prove(engines("1.4.3"), database)
    assert result["kind"] == "wal_replay"
    assert "Failure while replaying WAL file" in result["message"]
    assert prove(engines("2.0.0"), database)["rows"] == 1


def test_a_newer_format_cannot_be_opened(engines: Engines, tmp_path: Path) -> None:
    database = execute(engines("2.0.0"), tmp_path / "x.duckdb", "CREATE TABLE t (a INTEGER)")
    assert prove(engines("1.4.3"), database)["kind"] == "cannot_open"


@pytest.mark.parametrize("writer", ["1.5.6", "2.0.0"])
def test_commits_made_during_a_checkpoint_are_read(
    engines: Engines, tmp_path: Path, writer: str
) -> None:
    database = given_second_log(engines(writer), tmp_path)
    before = files_of(tmp_path)
    result = prove(engines(writer), database)
    assert (result["kind"], result["tables"]["t"]["rows"]) == ("ok", 1001)
    assert files_of(tmp_path) == before


def test_1_4_refuses_a_second_log_that_it_would_leave_out(engines: Engines, tmp_path: Path) -> None:
    database = given_second_log(engines("1.5.6"), tmp_path)
    result = prove(engines("1.4.3"), database)
    assert result["kind"] == "wal_replay"
    assert "x.duckdb.wal.checkpoint" in result["message"]


def given_second_log(python: Path, folder: Path) -> Path:
    """A crash in a checkpoint, while one commit went to the second log."""
    code = """
import duckdb, os, sys, threading, time
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE TABLE t (a INTEGER)")
connection.execute("CHECKPOINT")
connection.execute("INSERT INTO t SELECT range FROM range(1000)")
connection.execute("SET debug_checkpoint_abort = 'before_header'")
connection.execute("SET debug_checkpoint_sleep_ms = 1000")
def checkpoint():
    try:
        connection.cursor().execute("CHECKPOINT")
    except duckdb.Error:
        pass
thread = threading.Thread(target=checkpoint)
thread.start()
time.sleep(0.3)
try:
    connection.cursor().execute("INSERT INTO t VALUES (-1)")
except duckdb.Error:
    pass
thread.join()
os._exit(0)
"""
    database = folder / "x.duckdb"
    subprocess.run([python, "-c", code, str(database)], check=True, timeout=60)
    assert (folder / "x.duckdb.wal.checkpoint").stat().st_size > 0
    return database
