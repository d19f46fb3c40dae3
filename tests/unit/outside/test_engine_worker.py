"""The worker opens a database, reads every row and says what it found; it changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from eiderd.outside import engine
from eiderd.outside.engine_worker import indexes, nouns, opening, tables, unique

TYPES = {
    "TINYINT": ["1", "-1"],
    "SMALLINT": ["1", "300"],
    "INTEGER": ["1", "70000"],
    "BIGINT": ["1", "5000000000"],
    "HUGEINT": ["1", "-170141183460469231731687303715884105727"],
    "UTINYINT": ["1", "255"],
    "USMALLINT": ["1", "65535"],
    "UINTEGER": ["1", "4294967295"],
    "UBIGINT": ["1", "18446744073709551615"],
    "UHUGEINT": ["1", "340282366920938463463374607431768211455"],
    "BIGNUM": ["'1'", "'123456789012345678901234567890123456789012345'"],
    "BOOLEAN": ["true", "false"],
    "FLOAT": ["0.5", "'inf'"],
    "DOUBLE": ["0.1", "'nan'"],
    "DECIMAL(4, 1)": ["1.5", "-999.9"],
    "DECIMAL(38, 10)": ["1.5", "12345678901234567890.5"],
    "VARCHAR": ["''", "'it''s ' || chr(0) || ' ünïcode 🦆'", "repeat('x', 5000)"],
    "BLOB": ["''::BLOB", r"'\x00\xFF'::BLOB"],
    "BIT": ["'101'", "'0101'"],
    "UUID": ["'12345678-1234-1234-1234-123456789012'", "uuid()"],
    "DATE": ["'2024-02-29'", "'infinity'", "'0044-03-15 (BC)'"],
    "TIME": ["'12:00:00'", "'23:59:59.999999'"],
    "TIME_NS": ["'12:00:00'", "'23:59:59.999999999'"],
    "TIMETZ": ["'12:00:00+02'", "'10:00:00+00'"],
    "TIMESTAMP": ["'2024-01-01'", "'-infinity'"],
    "TIMESTAMP_S": ["'2024-01-01'", "'1969-07-20 20:17:40'"],
    "TIMESTAMP_MS": ["'2024-01-01'", "'1969-07-20 20:17:40.123'"],
    "TIMESTAMP_NS": ["'2024-01-01'", "'1969-07-20 20:17:40.123456789'"],
    "TIMESTAMPTZ": ["'2024-01-01 00:00:00+00'", "'2024-01-01 00:00:00+05'"],
    "INTERVAL": ["'30 days'", "'1 month'"],
    "ENUM('sad', 'hap''py')": ["'sad'", "'hap''py'"],
    "JSON": ["'{}'", "'[1, {\"a\": null}]'"],
    "INTEGER[]": ["[]", "[NULL]", "[1, 2]", "[1, 2, NULL]"],
    "VARCHAR[][]": ["[]", "[[]]", "[NULL]", "[['a'], ['b']]", "[['a', 'b']]"],
    "DECIMAL(9, 3)[2]": ["[1, 2]", "[2, 1]"],
    "FLOAT[2][2]": ["[[1, 2], [3, 4]]", "[[1, 2], [4, 3]]"],
    "STRUCT(a INTEGER[], b INTEGER[])": ["{'a': [1], 'b': [2]}", "{'a': [1, 2], 'b': []}"],
    'STRUCT("a b" VARCHAR, c STRUCT(d INTEGER))': ["{'a b': 'x', 'c': NULL}"],
    "MAP(VARCHAR, INTEGER)": ["MAP {}", "MAP {'a': 1}", "MAP {'a': NULL}"],
    "UNION(number INTEGER, other INTEGER)": ["union_value(number := 1)", "union_value(other := 1)"],
    "VARIANT": ["1::VARIANT", "'1'::VARIANT", "[[1], [2]]::VARIANT", "[[1, 2]]::VARIANT"],
    "GEOMETRY": ["'POINT (1 2)'", "'LINESTRING (0 0, 1 1)'"],
}


def given_database(path: Path, *statements: str) -> Path:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("CHECKPOINT")
    return path


def given_crash(path: Path, *statements: str) -> Path:
    """As given_database, but the process dies: what it committed stays in the WAL."""
    code = (
        "import duckdb, json, os, sys\n"
        "connection = duckdb.connect(sys.argv[1])\n"
        "for statement in json.loads(sys.argv[2]): connection.execute(statement)\n"
        "os._exit(0)"
    )
    command = [sys.executable, "-c", code, str(path), json.dumps(statements)]
    subprocess.run(command, check=True, timeout=60)
    return path


def run_worker(order: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    ran = subprocess.run(
        engine.command(Path(sys.executable)),
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()], ran.returncode


def prove(database: Path, **more: object) -> dict[str, Any]:
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
    lines, code = run_worker(order | more)
    assert code == 0
    assert all(set(line) == {"progress"} for line in lines[:-1])
    result: dict[str, Any] = lines[-1]["result"]
    assert result["ok"] == (result["kind"] == "ok") == (result["message"] is None)
    return result


def fingerprint(folder: Path, *statements: str) -> str:
    path = folder / f"{len(list(folder.iterdir()))}.duckdb"
    print_of: str = prove(given_database(path, *statements))["tables"]["t"]["fingerprint"]
    return print_of


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_says_its_version() -> None:
    assert run_worker({"do": "version"}) == ([{"result": {"engine": duckdb.__version__}}], 0)


def test_an_unknown_order_is_no_result() -> None:
    lines, code = run_worker({"do": "improve"})
    assert lines == []
    assert code != 0


# --- what is read --------------------------------------------------------------------------------


def test_reads_every_type(tmp_path: Path) -> None:
    statements = []
    for number, (kind, values) in enumerate(TYPES.items()):
        statements.append(f"CREATE TABLE t{number} (value {kind})")
        rows = ", ".join(f"({value})" for value in [*values, "NULL"])
        statements.append(f"INSERT INTO t{number} VALUES {rows}")
    statements.append("CREATE TABLE empty (value INTEGER, other VARCHAR[])")
    result = prove(given_database(tmp_path / "x.duckdb", *statements))
    assert (result["kind"], result["message"]) == ("ok", None)
    counts = {f"t{n}": len(values) + 1 for n, values in enumerate(TYPES.values())} | {"empty": 0}
    assert {name: table["rows"] for name, table in result["tables"].items()} == counts
    assert result["rows"] == sum(counts.values())
    assert all(len(table["fingerprint"]) == 32 for table in result["tables"].values())
    assert result["fingerprint_kind"] == "duckdb-hash-2"


def test_the_fingerprint_differs_for_every_value_of_every_type(tmp_path: Path) -> None:
    statements, expected = [], {}
    for number, (kind, values) in enumerate(TYPES.items()):
        for place, value in enumerate([*values, "NULL"]):
            statements.append(f"CREATE TABLE t{number}_{place} (value {kind})")
            statements.append(f"INSERT INTO t{number}_{place} VALUES ({value})")
        expected[number] = kind, len(values) + 1
    tables = prove(given_database(tmp_path / "x.duckdb", *statements))["tables"]
    for number, (kind, count) in expected.items():
        prints = {tables[f"t{number}_{place}"]["fingerprint"] for place in range(count)}
        assert len(prints) == count, kind


def test_the_fingerprint_ignores_order_and_counts_duplicates(tmp_path: Path) -> None:
    make = "CREATE TABLE t (a INTEGER, b VARCHAR)"
    rows = "INSERT INTO t SELECT i, 'b' || i FROM range(5000) r(i)"
    plain = fingerprint(tmp_path, make, rows)
    backwards = fingerprint(tmp_path, make, f"{rows} ORDER BY i DESC")
    doubled = fingerprint(tmp_path, make, rows, "INSERT INTO t VALUES (7, 'b7')")
    # The xor alone would forgive a pair.
    paired = fingerprint(tmp_path, make, rows, "INSERT INTO t VALUES (-1, 'x'), (-1, 'x')")
    swapped = fingerprint(
        tmp_path,
        make,
        rows,
        "UPDATE t SET b = CASE a WHEN 7 THEN 'b8' ELSE 'b7' END WHERE a IN (7, 8)",
    )
    assert plain == backwards
    assert len({plain, doubled, paired, swapped}) == 4


def test_rows_in_the_wal_are_read(tmp_path: Path) -> None:
    database = given_crash(
        tmp_path / "x.duckdb",
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "INSERT INTO t SELECT range FROM range(100)",
        "CHECKPOINT",
        "INSERT INTO t SELECT range + 100 FROM range(11)",
    )
    assert (tmp_path / "x.duckdb.wal").exists()
    assert prove(database)["tables"]["t"]["rows"] == 111


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    names = ['a"b; drop table "t', "it's", "sp ace", "üñí🦆", "select", "a.b", "x\ny", "rowid"]
    statements = []
    for schema in ("main", "x", 'o"s', "temp"):  # x: as the database
        quoted = 'x."' + schema.replace('"', '""') + '"'
        statements.append(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        for name in names:
            word = '"' + name.replace('"', '""') + '"'
            table = f"{quoted}.{word}"
            statements.append(f"CREATE TABLE {table} ({word} INTEGER UNIQUE, other{word} VARCHAR)")
            statements.append(f"INSERT INTO {table} SELECT i, 'v' || i FROM range(50) r(i)")
            statements.append(f"CREATE INDEX {word} ON {table} (other{word})")
    statements = [s.replace('other"', '"other ') for s in statements]
    result = prove(given_database(tmp_path / "x.duckdb", *statements))
    assert (result["kind"], result["message"]) == ("ok", None)
    assert len(result["tables"]) == 4 * len(names)
    assert result["rows"] == 50 * len(result["tables"])
    assert {'"a""b; drop table ""t"', "it's", 'x."a.b"', '"a.b"'} <= set(result["tables"])
    # All but those of the tables with a column called rowid.
    assert result["indexes"]["found"] == 8 * len(names)
    assert result["indexes"]["asked"] == 8 * (len(names) - 1)


def test_no_view_macro_or_generated_column_is_evaluated(tmp_path: Path) -> None:
    database = given_database(
        tmp_path / "x.duckdb",
        "CREATE TABLE t (word VARCHAR, chance DOUBLE GENERATED ALWAYS AS (random()))",
        "INSERT INTO t VALUES ('x')",
        "CREATE TABLE gone (a INTEGER)",
        "CREATE VIEW v AS SELECT a, error('evaluated') AS b FROM gone",
        "DROP TABLE gone",
        "CREATE MACRO m() AS error('evaluated')",
        "CREATE MACRO many() AS TABLE SELECT * FROM read_csv('/etc/passwd')",
    )
    result = prove(database)
    assert result["kind"] == "ok", result["message"]
    assert list(result["tables"]) == ["t"]
    assert prove(database)["tables"] == result["tables"]  # no chance in it


def test_a_name_that_ends_like_a_generated_column_is_read(tmp_path: Path) -> None:
    make = 'CREATE TABLE t (a INTEGER, xa INTEGER GENERATED ALWAYS AS (a), "x, a" INTEGER)'
    one = fingerprint(tmp_path, make, "INSERT INTO t VALUES (1, 2)")
    assert one != fingerprint(tmp_path, make, "INSERT INTO t VALUES (7, 2)")
    assert one != fingerprint(tmp_path, make, "INSERT INTO t VALUES (1, 7)")


def test_the_newest_moment_and_the_schema_version(tmp_path: Path) -> None:
    database = given_database(
        tmp_path / "x.duckdb",
        "CREATE TABLE played (started TIMESTAMP, zoned TIMESTAMPTZ)",
        "INSERT INTO played VALUES ('2024-01-01 12:30:00', '2024-01-01 12:30:00+02'), (NULL, NULL)",
        "CREATE TABLE never (started TIMESTAMP)",
        "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY)",
        "INSERT INTO schema_migrations VALUES (3), (12)",
        "CREATE TABLE words (version VARCHAR)",
    )
    times = {"played": "started", "never": "started", "words": "missing", "absent": "x"}
    result = prove(database, time_columns=times, schema_table="schema_migrations")
    newest = {name: table["newest"] for name, table in result["tables"].items()}
    assert newest["played"] == "2024-01-01T12:30:00"
    assert set(newest.values()) == {"2024-01-01T12:30:00", None}
    assert result["schema_version"] == 12
    assert prove(database, schema_table="words")["schema_version"] is None
    assert prove(database, schema_table="absent")["schema_version"] is None
    zoned = prove(database, time_columns={"played": "zoned"})["tables"]["played"]["newest"]
    assert zoned == "2024-01-01T10:30:00+00"


def test_the_schema_digest_follows_the_schema_and_not_the_data(tmp_path: Path) -> None:
    make = ("CREATE TABLE t (a INTEGER, b VARCHAR)", "CREATE SEQUENCE s")
    changes = {
        "plain": (),
        "again": ("INSERT INTO t VALUES (nextval('s'), 'x')",),
        "column": ("ALTER TABLE t ADD COLUMN c INTEGER",),
        "type": ("ALTER TABLE t ALTER a TYPE BIGINT",),
        "default": ("ALTER TABLE t ALTER a SET DEFAULT 7",),
        "not null": ("ALTER TABLE t ALTER a SET NOT NULL",),
        "index": ("CREATE INDEX i ON t (a)",),
        "view": ("CREATE VIEW v AS SELECT a FROM t",),
        "macro": ("CREATE MACRO m(x) AS x + 1",),
        "other macro": ("CREATE MACRO m(x) AS x + 2",),
        "enum": ("CREATE TYPE e AS ENUM ('a')",),
        "other enum": ("CREATE TYPE e AS ENUM ('b')",),
        "sequence": ("CREATE SEQUENCE s2",),
        "schema": ("CREATE SCHEMA o", "CREATE TABLE o.t (a INTEGER)"),
    }
    digests = {
        name: prove(given_database(tmp_path / f"{name}.duckdb", *make, *more))["schema_digest"]
        for name, more in changes.items()
    }
    assert digests.pop("again") == digests["plain"]
    assert len(set(digests.values())) == len(digests)


def test_says_what_the_file_is(tmp_path: Path) -> None:
    database = given_database(
        tmp_path / "x.duckdb", "CREATE TABLE t AS SELECT range AS i FROM range(100000)"
    )
    result = prove(database)
    assert result["engine"] == duckdb.__version__
    assert result["storage_version"].startswith("v")
    size = database.stat().st_size
    assert result["blocks"] == {"total": (size - 12288) // 262144, "free": 0, "size": 262144}
    assert set(result["seconds"]) == {"open", "scan", "unique", "indexes"}


def test_progress_counts_rows(tmp_path: Path) -> None:
    tables = [f"CREATE TABLE t{n} AS SELECT range AS i FROM range({100 * n})" for n in range(1, 4)]
    given_database(tmp_path / "x.duckdb", *tables)
    order = {
        "do": "prove",
        "database": str(tmp_path / "x.duckdb"),
        "scratch": str(tmp_path),
        "memory_limit": "200MB",
        "threads": 1,
    }
    lines, _ = run_worker(order)
    first = lines[0]["progress"]
    assert first == {"done": 0, "total": 600, "what": "t1"}
    assert [list(line) for line in lines].count(["result"]) == 1


# --- nothing is changed --------------------------------------------------------------------------


def test_files_stay_as_they_were_and_scratch_is_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "scratch").mkdir(parents=True)
    database = given_crash(
        folder / "x.duckdb",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, word VARCHAR UNIQUE)",
        "INSERT INTO t SELECT i, 'w' || i FROM range(20000) r(i)",
        "CHECKPOINT",
        "INSERT INTO t VALUES (-1, 'late')",
        "DELETE FROM t WHERE id = 5",
    )
    before = snapshot(folder)
    assert set(before) == {"x.duckdb", "x.duckdb.wal"}
    assert prove(database)["kind"] == "ok"
    assert snapshot(folder) == before
    assert list((folder / "scratch").iterdir()) == []


def test_the_engine_is_locked_in(tmp_path: Path) -> None:
    database = given_database(tmp_path / "x.duckdb", "CREATE TABLE t (a INTEGER)")
    (tmp_path / "secret.csv").write_text("a\n1\n")
    scratch = tmp_path / "scratch"
    order = {"database": database, "scratch": scratch, "memory_limit": "100MB", "threads": 1}
    with opening.Session(order).connection as connection:
        spill = connection.execute("SELECT current_setting('temp_directory')").fetchall()
        assert spill == [(str(scratch / "engine-spill"),)]
        for statement in (
            "CREATE TABLE u (a INTEGER)",
            f"FROM '{tmp_path}/secret.csv'",
            f"COPY t TO '{tmp_path}/out.csv'",
            f"ATTACH '{tmp_path}/other.duckdb'",
            "SET enable_external_access = true",
            "SET memory_limit = '10GB'",
            "INSTALL spatial",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)


def test_only_answers_reach_standard_output() -> None:
    code = (
        "import os; from eiderd.outside.engine_worker.worker import Say\n"
        "say = Say(); print('noise'); os.write(1, b'more'); say.result({})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert ran.stdout == b'{"result": {}}\n'


def test_works_where_only_reading_is_allowed(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder = tmp_path / "data"
    folder.mkdir()
    database = given_crash(
        folder / "x.duckdb", "CREATE TABLE t (a INTEGER)", "INSERT INTO t VALUES (1)"
    )
    (folder / "scratch").mkdir()
    folder.chmod(0o500)
    try:
        assert prove(database)["rows"] == 1
    finally:
        folder.chmod(0o700)


# --- verdicts ------------------------------------------------------------------------------------


def test_an_encrypted_file_needs_its_key(tmp_path: Path) -> None:
    given_database(
        tmp_path / "plain.duckdb",
        "SET force_mbedtls_unsafe = 'true'",
        f"ATTACH '{tmp_path}/x.duckdb' AS e (ENCRYPTION_KEY 'secret')",
        "CREATE TABLE e.t AS SELECT range AS i FROM range(10)",
    )
    assert prove(tmp_path / "x.duckdb")["kind"] == "key_needed"


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100_000), b"DUCK" * 5000])
def test_other_files_are_not_databases(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.duckdb").write_bytes(content)
    assert prove(tmp_path / "x.duckdb")["kind"] in {"not_a_database", "cannot_open"}


def test_a_sqlite_file_is_not_a_database(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.duckdb")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert prove(tmp_path / "x.duckdb")["kind"] == "not_a_database"


def test_a_missing_file_cannot_be_opened_and_is_not_made(tmp_path: Path) -> None:
    assert prove(tmp_path / "x.duckdb")["kind"] == "cannot_open"
    assert not (tmp_path / "x.duckdb").exists()


def test_a_damaged_header_cannot_be_opened(tmp_path: Path) -> None:
    database = given_database(tmp_path / "x.duckdb", "CREATE TABLE t (a INTEGER)")
    flip(database, 4096 + 20, 8192 + 20)
    assert prove(database)["kind"] == "cannot_open"


def test_a_wal_of_another_database_is_a_replay_failure(tmp_path: Path) -> None:
    given_crash(tmp_path / "a.duckdb", "CREATE TABLE t (a INTEGER)", "INSERT INTO t VALUES (1)")
    database = given_database(tmp_path / "x.duckdb", "CREATE TABLE t (a INTEGER)")
    (tmp_path / "a.duckdb.wal").rename(tmp_path / "x.duckdb.wal")
    result = prove(database)
    assert result["kind"] == "wal_replay"
    assert "replaying WAL" in result["message"]


def flip(path: Path, *offsets: int) -> None:
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_block_is_unreadable_and_its_table_is_named(tmp_path: Path) -> None:
    database = given_database(
        tmp_path / "x.duckdb",
        "CREATE TABLE before AS SELECT range AS i FROM range(10)",
        "CREATE TABLE noise AS SELECT uuid() AS u, i FROM range(200000) r(i)",
    )
    blocks = (database.stat().st_size - 12288) // 262144
    flip(database, 12288 + (blocks // 2) * 262144 + 100_000)
    result = prove(database)
    assert result["kind"] == "unreadable"
    assert result["message"].startswith("table noise:")
    assert "\n" not in result["message"]
    assert len(result["message"]) <= 300
    assert result["tables"]["before"]["rows"] == 10  # what was found before is kept


def test_a_database_without_tables_proves_nothing(tmp_path: Path) -> None:
    database = given_database(tmp_path / "x.duckdb", "CREATE VIEW v AS SELECT 1 AS a")
    assert prove(database)["kind"] == "nothing_checked"


def test_too_little_memory_is_not_the_databases_fault(tmp_path: Path) -> None:
    database = given_database(
        tmp_path / "x.duckdb",
        "CREATE TABLE t AS SELECT i, repeat('x', 100000) || i AS s FROM range(300) r(i)",
    )
    assert prove(database, memory_limit="1MB")["kind"] == "out_of_memory"


# --- indexes and unique columns ------------------------------------------------------------------


def test_indexes_are_asked_and_counted(tmp_path: Path) -> None:
    database = given_database(
        tmp_path / "x.duckdb",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, word VARCHAR UNIQUE, few INTEGER, same VARCHAR, "
        "rare UUID, never DATE, moment TIMESTAMP_NS, price DECIMAL(9, 2), UNIQUE (few, id))",
        "INSERT INTO t SELECT i, 'it''s ' || i, i % 7, 'x', CASE WHEN i = 9 THEN uuid() END, NULL, "
        "TIMESTAMP_NS '2024-01-01' + to_seconds(i), i / 8 FROM range(3000) r(i)",
        *(
            f"CREATE INDEX by_{name} ON t ({name})"
            for name in ("few", "same", "rare", "never", "moment", "price")
        ),
        "CREATE INDEX pair ON t (few, word)",
        "CREATE INDEX shout ON t ((upper(word)))",
        "CREATE UNIQUE INDEX unique_rare ON t (rare)",
    )
    result = prove(database)
    assert (result["kind"], result["message"]) == ("ok", None)
    assert result["indexes"]["found"] == 12
    # Not: one value for all, no value at all, two columns, an expression, the same column again.
    assert result["indexes"]["asked"] == 6
    assert 3 * 20 < result["indexes"]["lookups"] <= 6 * 32
    assert result["unique"]["checked"] == 4


def test_an_index_over_any_of_these_types_is_asked(tmp_path: Path) -> None:
    values = {
        "TINYINT": "i % 120",
        "USMALLINT": "i",
        "BIGINT": "-i * 5000000000",
        "HUGEINT": "i::HUGEINT * 100000000000000000000",
        "FLOAT": "i / 3",
        "DOUBLE": "-i / 7",
        "DECIMAL(30, 4)": "i / 3",
        "VARCHAR": "'ü''\"' || i",
        "UUID": "uuid()",
        "DATE": "DATE '1900-01-01' - i::INTEGER * 1000",
        "TIME": "TIME '00:00:00' + to_microseconds(i)",
        "TIMESTAMP": "TIMESTAMP '1960-01-01' + to_microseconds(i)",
        "TIMESTAMP_S": "TIMESTAMP '2024-01-01' + to_seconds(i)",
        "TIMESTAMP_MS": "TIMESTAMP '2024-01-01' + to_milliseconds(i)",
        "TIMESTAMPTZ": "TIMESTAMPTZ '2024-01-01 00:00:00+05' + to_microseconds(i)",
        "BLOB": "('x' || i)::BLOB || '\\x00\\xFF'::BLOB",
        "ENUM('a', 'b', 'c''d')": "['a', 'b', 'c''d'][i % 3 + 1]",
        "BOOLEAN": "i % 2 = 0",
    }
    statements = []
    for number, (kind, value) in enumerate(values.items()):
        statements += [
            f"CREATE TABLE t{number} (value {kind})",
            f"INSERT INTO t{number} SELECT {value} FROM range(600) r(i)",
            f"CREATE INDEX i{number} ON t{number} (value)",
        ]
    result = prove(given_database(tmp_path / "x.duckdb", *statements))
    assert (result["kind"], result["message"]) == ("ok", None)
    assert result["indexes"]["asked"] == len(values)


def test_composite_indexes_are_not_asked(tmp_path: Path) -> None:
    database = given_database(
        tmp_path / "x.duckdb",
        "CREATE TABLE t (a INTEGER, b INTEGER)",
        "INSERT INTO t SELECT i, i FROM range(100) r(i)",
        "CREATE INDEX ab ON t (a, b)",
    )
    assert prove(database)["indexes"] == {"found": 1, "asked": 0, "lookups": 0}


def index_over(connection: duckdb.DuckDBPyConnection, *names: str) -> nouns.Index:
    (table,) = tables.read_tables(connection)
    columns = {column.name: column for column in table.columns}
    return nouns.Index("made_up", table, tuple(columns[name] for name in names), unique=True)


@pytest.mark.parametrize("at_once", [1_000_000, 300])
def test_duplicates_are_counted(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    # Small figures stand for millions: then the keys are looked at in parts and slices.
    monkeypatch.setattr(unique, "KEYS_AT_ONCE", at_once)
    monkeypatch.setattr(unique, "HASHES_AT_ONCE", 4 * at_once)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b VARCHAR, c INTEGER)")
        connection.execute("INSERT INTO t SELECT i, 'b' || i % 100, NULL FROM range(5000) r(i)")
        assert unique.duplicates(connection, index_over(connection, "a", "b")) == 0
        connection.execute("INSERT INTO t VALUES (17, 'b17', 0), (18, 'b18', 0), (18, 'b18', 0)")
        assert unique.duplicates(connection, index_over(connection, "a", "b")) == 2
        assert unique.duplicates(connection, index_over(connection, "b")) == 100
        # NULL equals nothing, so it may repeat.
        assert unique.duplicates(connection, index_over(connection, "c")) == 1
        assert unique.duplicates(connection, index_over(connection, "c", "a")) == 1


def test_a_duplicate_is_a_verdict_with_the_name_of_the_index() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a FROM range(2)")
        with pytest.raises(nouns.Verdict, match="made_up of table t: 1") as verdict:
            unique.check_unique(connection, [index_over(connection, "a")])
    assert verdict.value.kind == "duplicates"


def test_an_index_that_misses_a_row_is_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT i AS a FROM range(1000) r(i)")
        connection.execute("CREATE INDEX by_a ON t (a)")
        index = index_over(connection, "a")
        assert indexes.ask_indexes(connection, [index], 32)[0] == 1
        honest = indexes.Question.by_index.fget  # type: ignore[attr-defined]
        # An index that has lost the newest row, as after an implicit checkpoint by 1.4 or 1.5.
        stale = property(lambda question: honest(question) + " AND a <> 999")
        monkeypatch.setattr(indexes.Question, "by_index", stale)
        monkeypatch.setattr(indexes, "uses_index", lambda *_: True)
        with pytest.raises(nouns.Verdict, match=r"made_up of table t finds \d+ rows instead"):
            indexes.ask_indexes(connection, [index], 32)


def test_a_plan_without_an_index_is_not_an_answer() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT i AS a FROM range(1000) r(i)")
        assert indexes.ask_indexes(connection, [index_over(connection, "a")], 32) == (0, 0)


def test_indexes_that_do_not_fit_in_memory_together_are_asked_in_turn(tmp_path: Path) -> None:
    columns = ", ".join(f"c{n} BIGINT" for n in range(12))
    values = ", ".join(f"hash(i + {n}) % 9000000" for n in range(12))
    database = given_database(
        tmp_path / "x.duckdb",
        f"CREATE TABLE t (id BIGINT PRIMARY KEY, {columns})",
        f"INSERT INTO t SELECT i, {values} FROM range(150000) r(i)",
        *(f"CREATE INDEX i{n} ON t (c{n})" for n in range(12)),
    )
    plenty = prove(database)["indexes"]
    assert plenty["asked"] == 13
    scarce = prove(database, memory_limit="32MB")
    assert (scarce["kind"], scarce["indexes"]["asked"]) == ("ok", 13)
