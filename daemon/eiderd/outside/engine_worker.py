"""The child that opens a database: the only file of eiderd that imports duckdb.

Run by path (`PYTHON engine_worker.py`) with the interpreter of any environment that has the wanted
DuckDB; imports nothing of eiderd. It may crash, hang or be killed: the parent deals with that.

in      one JSON order on standard input: {"do": "version"}, or {"do": "prove", "database",
        "scratch", "memory_limit", "threads", "time_columns", "schema_table", "lookups"}
out     JSON lines on standard output: {"progress": {"done", "total", "what"}} counted in rows,
        then one {"result": ...}
verdict what the engine says about the database is the result's `kind`, never a traceback
laws    the database is opened read-only and only `scratch` is written; names come from the
        database, so each is quoted; views, macros and generated columns are never evaluated
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

# hash() gives equal values in DuckDB 1.4.3, 1.5.5, 1.5.6 and 2.0.0. Change this word whenever
# hashed() changes: only fingerprints of one kind may be compared.
FINGERPRINT_KIND = "duckdb-hash-1"
# An index is asked for keys that about so many rows hold (0.4 microseconds each).
MATCHES = 2_000
# Each index answer is compared with a scan as well where that costs little.
CHEAP_VALUES = 2_000_000
# Suspected duplicates are looked for in slices: 10 million keys at once would not fit in 200 MB.
SLICES = 16
# Types whose text, cast back, is the same value, and which an ART index can hold.
ASKABLE = re.compile(
    r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|BOOLEAN|FLOAT|DOUBLE|DECIMAL\(.*\)|VARCHAR|UUID|DATE"
    r"|TIME|TIMESTAMP(_S|_MS|_NS| WITH TIME ZONE)?|BLOB|ENUM\(.*\)",
    re.DOTALL,
)
FLAT_LIST = re.compile(r"[A-Z_ ]+(\([0-9,]+\))?\[[0-9]*\]")
NESTED = re.compile(r"(STRUCT|MAP|UNION)\(.*|.*\[[0-9]*\]|INTERVAL", re.DOTALL)
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Connection = duckdb.DuckDBPyConnection
Result = dict[str, Any]
Pairs = list[tuple[int, str]]  # rowid and key


class Verdict(Exception):
    """The database failed its proof."""

    def __init__(self, kind: str, message: object) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True)
class Table:
    database: str
    schema: str
    name: str
    columns: tuple[Column, ...]  # the stored ones
    about: int  # rows, as the engine estimates them

    @property
    def sql(self) -> str:
        # All three parts: with two, a schema called like the database would be ambiguous.
        return f"{quote(self.database)}.{quote(self.schema)}.{quote(self.name)}"

    @property
    def label(self) -> str:
        # A dot inside a name is quoted, so that no two tables share a label.
        parts = [self.name] if self.schema == "main" else [self.schema, self.name]
        return ".".join(quote(part) if set(part) & set('."') else part for part in parts)


@dataclass(frozen=True)
class Index:
    name: str
    table: Table
    columns: tuple[Column, ...]  # none: it is over expressions
    unique: bool


@dataclass(frozen=True)
class Question:
    """Some keys of one index, and rows of the table known to hold them."""

    index: Index
    keys: tuple[str, ...]
    rowids: tuple[int, ...]

    @property
    def condition(self) -> str:
        # A bare string literal takes the column's type, and the index is used as for any constant.
        return f"{quote(self.index.columns[0].name)} IN ({', '.join(map(literal, self.keys))})"

    @property
    def known(self) -> str:
        return f"rowid IN ({', '.join(map(str, self.rowids))})"


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def one_line(message: object) -> str:
    lines = str(message).strip().splitlines() or [type(message).__name__]
    return lines[0].strip()[:300]


class Say:
    """Standard output, kept for answers: whatever else prints there goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._last = 0.0

    def progress(self, done: int, total: int, what: str) -> None:
        if time.monotonic() - self._last >= 0.1:
            self._last = time.monotonic()
            self._line({"progress": {"done": done, "total": max(done, total), "what": what}})

    def result(self, result: Result) -> None:
        self._line({"result": result})

    def _line(self, document: Result) -> None:
        self._out.write(json.dumps(document) + "\n")
        self._out.flush()


# --- opening -------------------------------------------------------------------------------------


def open_database(order: dict[str, Any]) -> Connection:
    path = Path(order["database"]).absolute()
    if not has_magic(path):
        raise Verdict("not_a_database", f"{path.name} is not a DuckDB database")
    settings = {
        "memory_limit": order["memory_limit"],
        "threads": str(order["threads"]),
        "temp_directory": str(Path(order["scratch"]).absolute() / "engine-spill"),
        "max_temp_directory_size": f"{4 * path.stat().st_size + (64 << 20)}B",
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_persistent_secrets": "false",
    }
    try:
        connection = duckdb.connect(str(path), read_only=True, config=settings)
    except duckdb.Error as error:
        raise Verdict(open_failure(error), error) from error
    lock_down(connection)
    return connection


def has_magic(path: Path) -> bool:
    """Look first: the engine would take other files for SQLite and ask for an extension."""
    try:
        with path.open("rb") as file:
            return file.read(12)[8:] == b"DUCK"
    except OSError as error:
        raise Verdict("cannot_open", error) from error


def open_failure(error: duckdb.Error) -> str:
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return "out_of_memory"
    if "replaying WAL" in text:
        return "wal_replay"
    if "Cannot open encrypted database" in text:
        return "key_needed"
    return "not_a_database" if "not a valid DuckDB database file" in text else "cannot_open"


def lock_down(connection: Connection) -> None:
    connection.execute("SET TimeZone = 'UTC'")  # nested values are hashed as text too
    connection.execute("SET python_enable_replacements = false")
    connection.execute(f"SET index_scan_max_count = {5 * MATCHES}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")  # last: nothing can be set after it


# --- what there is -------------------------------------------------------------------------------


def read_tables(connection: Connection) -> list[Table]:
    found = connection.execute(
        "SELECT database_name, schema_name, table_name, estimated_size, sql FROM duckdb_tables() "
        "WHERE database_name = current_database() AND NOT internal AND NOT temporary ORDER BY ALL"
    ).fetchall()
    return [
        Table(database, schema, name, stored_columns(connection, (database, schema, name), sql), n)
        for database, schema, name, n, sql in found
    ]


def stored_columns(
    connection: Connection, path: tuple[str, str, str], sql: str
) -> tuple[Column, ...]:
    """DESCRIBE looks at one table; duckdb_columns() would look into views as well."""
    described = connection.execute("DESCRIBE " + ".".join(map(quote, path))).fetchall()
    columns = [Column(name, kind) for name, kind, *_ in described]
    return tuple(column for column in columns if not is_generated(column, sql))


def is_generated(column: Column, table_sql: str) -> bool:
    """Generated columns are not stored, and computing one may fail on a sound table."""
    return any(f"{name} {column.type} GENERATED ALWAYS AS(" in table_sql for name in spelt(column))


def spelt(column: Column) -> list[str]:
    """How the engine may write this name in SQL."""
    plain = [column.name] if PLAIN_NAME.fullmatch(column.name) else []
    return [quote(column.name), *plain]


def read_indexes(connection: Connection, tables: list[Table]) -> list[Index]:
    explicit = connection.execute(
        "SELECT schema_name, table_name, index_name, is_unique, expressions::VARCHAR[] "
        "FROM duckdb_indexes() WHERE database_name = current_database() ORDER BY ALL"
    ).fetchall()
    implied = connection.execute(
        "SELECT schema_name, table_name, constraint_text, true, constraint_column_names "
        "FROM duckdb_constraints() WHERE database_name = current_database() "
        "AND constraint_type IN ('PRIMARY KEY', 'UNIQUE') ORDER BY ALL"
    ).fetchall()
    by_path = {(table.schema, table.name): table for table in tables}
    indexes = []
    for rows, spellings in ((explicit, spelt), (implied, lambda column: [column.name])):
        for schema, name, index, unique, parts in rows:
            table = by_path[schema, name]
            known = {text: column for column in table.columns for text in spellings(column)}
            columns = tuple(known[part] for part in parts if part in known)
            indexes.append(
                Index(index, table, columns if len(columns) == len(parts) else (), unique)
            )
    return indexes


def schema_digest(connection: Connection) -> str:
    """Only what makes the schema: no object ids, no sequence values, which differ between copies."""
    here = "WHERE database_name = current_database()"
    questions = (
        f"SELECT 'table', schema_name, sql FROM duckdb_tables() {here} AND NOT internal",
        f"SELECT 'index', schema_name, sql FROM duckdb_indexes() {here}",
        f"SELECT 'view', schema_name, sql FROM duckdb_views() {here} AND NOT internal",
        "SELECT 'sequence', schema_name, sequence_name, min_value, max_value, increment_by, cycle "
        f"FROM duckdb_sequences() {here}",
        "SELECT function_type, schema_name, function_name, parameters::VARCHAR, macro_definition "
        f"FROM duckdb_functions() {here} AND NOT internal",
        "SELECT 'type', schema_name, type_name, logical_type, labels::VARCHAR "
        f"FROM duckdb_types() {here} AND NOT internal",
    )
    found = [row for sql in questions for row in connection.execute(sql).fetchall()]
    return hashlib.sha256(json.dumps(sorted(found, key=repr)).encode()).hexdigest()


def schema_version(connection: Connection, tables: list[Table], label: str | None) -> int | None:
    for table in tables:
        types = {column.name: column.type for column in table.columns}
        if table.label == label and types.get("version", "").endswith(("INT", "INTEGER")):
            (version,) = fetch_row(connection, f"SELECT max(version) FROM {table.sql}")
            return None if version is None else int(version)
    return None


def fetch_row(connection: Connection, sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(sql).fetchone()
    assert row is not None, "an aggregate always gives one row"
    return row


# --- every row is read ---------------------------------------------------------------------------


def hashed(column: Column) -> list[str]:
    """hash() alone takes [[1], [2]] for [[1, 2]], NULL for [], and 30 days for a month."""
    name = quote(column.name)
    if FLAT_LIST.fullmatch(column.type):
        return [name, f"len({name})"]
    return [name, f"{name}::VARCHAR"] if NESTED.fullmatch(column.type) else [name]


def read_table(connection: Connection, table: Table, time_column: str | None) -> Result:
    """One scan. The sum of the row hashes sees duplicates, sum and xor together see any change."""
    parts = ", ".join(part for column in table.columns for part in hashed(column))
    stored = time_column is not None and time_column in {column.name for column in table.columns}
    moment = quote(time_column) if stored and time_column else "NULL"
    rows, total, mixed, newest = fetch_row(
        connection,
        "SELECT count(*), (sum(h) % 18446744073709551616)::UBIGINT, bit_xor(h), max(t)::VARCHAR "
        f"FROM (SELECT hash({parts}) AS h, {moment} AS t FROM {table.sql})",
    )
    fingerprint = f"{total or 0:016x}{mixed or 0:016x}"
    return {"rows": rows, "fingerprint": fingerprint, "newest": newest and iso(newest)}


def iso(text: str) -> str:
    return text.replace(" ", "T", 1)


def read_everything(
    connection: Connection, tables: list[Table], order: dict[str, Any], say: Say
) -> Iterator[tuple[str, Result]]:
    total, done = sum(table.about for table in tables), 0
    for table in tables:
        say.progress(done, total, table.label)
        try:
            time_column = order.get("time_columns", {}).get(table.label)
            yield table.label, read_table(connection, table, time_column)
        except duckdb.Error as error:
            raise Verdict(failure(error, "unreadable"), f"table {table.label}: {error}") from error
        done += table.about


def failure(error: duckdb.Error, otherwise: str) -> str:
    return "out_of_memory" if isinstance(error, duckdb.OutOfMemoryException) else otherwise


# --- do the indexes agree with the table? --------------------------------------------------------


def ask_indexes(connection: Connection, indexes: list[Index], lookups: int) -> tuple[int, int]:
    """Return how many indexes could be asked, and for how many keys; a wrong answer is a verdict."""
    asked: list[Question] = []
    for table in dict.fromkeys(index.table for index in indexes):
        # Of two indexes over one column the engine uses one, so that one is asked.
        alone = {i.columns[0].name: i for i in indexes if i.table == table and is_askable(i)}
        here: list[Question] = []
        try:
            for index, pairs in sample(connection, table, list(alone.values()), lookups):
                here += questions(connection, index, pairs)
            compare(connection, here)
        except duckdb.Error as error:
            message = f"indexes of table {table.label}: {error}"
            raise Verdict(failure(error, "index_disagrees"), message) from error
        asked += here
    return len(asked), sum(len(question.keys) for question in asked)


def is_askable(index: Index) -> bool:
    # A column may be called rowid, and would hide the real one.
    hidden = any(column.name.lower() == "rowid" for column in index.table.columns)
    return len(index.columns) == 1 and not hidden and bool(ASKABLE.fullmatch(index.columns[0].type))


def sample(
    connection: Connection, table: Table, indexes: list[Index], lookups: int
) -> Iterator[tuple[Index, Pairs]]:
    """Rows read without any index: the newest (a WAL replay adds those), the first, and others."""
    if not indexes:
        return
    rowids = [
        rowid
        for ending in (
            f"ORDER BY rowid DESC LIMIT {lookups - lookups // 2}",
            f"ORDER BY rowid LIMIT {lookups // 4}",
            f"USING SAMPLE {lookups // 4} ROWS",
        )
        for (rowid,) in connection.execute(f"SELECT rowid FROM {table.sql} {ending}").fetchall()
    ]
    names = [quote(index.columns[0].name) for index in indexes]
    texts = ", ".join(f"{name}::VARCHAR" for name in names)
    among = f"rowid IN ({', '.join(map(str, rowids)) or 'NULL'})"
    rows = connection.execute(
        f"SELECT rowid, {texts} FROM {table.sql} WHERE {among} ORDER BY rowid DESC"
    ).fetchall()
    for place, (index, name) in enumerate(zip(indexes, names, strict=True), start=1):
        pairs = [(row[0], row[place]) for row in rows if row[place] is not None]
        yield index, pairs or newest_keys(connection, table, name, lookups)


def newest_keys(connection: Connection, table: Table, name: str, lookups: int) -> Pairs:
    """For a column that is NULL in every sampled row."""
    return connection.execute(
        f"SELECT rowid, {name}::VARCHAR FROM {table.sql} WHERE {name} IS NOT NULL "
        f"ORDER BY rowid DESC LIMIT {lookups}"
    ).fetchall()


def questions(connection: Connection, index: Index, pairs: Pairs) -> list[Question]:
    """Ask for as many keys as the engine still looks up in the index; rare keys first."""
    seen = Counter(key for _, key in pairs if "\0" not in key)
    if not seen:
        return []
    rare_first = sorted(seen, key=lambda key: seen[key])
    # Keys that cover the whole column make no condition, so a constant column cannot be asked.
    room = min(MATCHES, index.table.about // 2) // matches(connection, index, rare_first[0])
    # Neighbouring integers become a range, which is not looked up: then a single key must do.
    for count in dict.fromkeys((min(room, len(rare_first)), min(room, 1))):
        keys = set(rare_first[:count])
        rowids = tuple(rowid for rowid, key in pairs if key in keys)
        question = Question(index, tuple(sorted(keys)), rowids)
        if keys and uses_index(connection, question):
            return [question]
    return []


def matches(connection: Connection, index: Index, key: str) -> int:
    """How many rows hold a key, as the planner estimates from its count of distinct values."""
    plan = explain(connection, "FORMAT json", Question(index, (key,), (0,)))
    return max(1, *map(int, find(plan, "Estimated Cardinality")))


def uses_index(connection: Connection, question: Question) -> bool:
    """Only a plan that has run says it: the engine decides when the scan begins."""
    plan = explain(connection, "ANALYZE, FORMAT json", question)
    return {*find(plan, "Type"), *find(plan, "Scan Type")} == {"Index Scan"}


def explain(connection: Connection, how: str, question: Question) -> Any:
    return json.loads(fetch_row(connection, f"EXPLAIN ({how}) {by_index(question)}")[1])


def find(plan: Any, key: str) -> Iterator[str]:
    if isinstance(plan, dict):
        yield from (value for name, value in plan.items() if name == key)
    for inner in (
        plan.values() if isinstance(plan, dict) else plan if isinstance(plan, list) else ()
    ):
        yield from find(inner, key)


def by_index(question: Question) -> str:
    return (
        f"SELECT count(*), count(*) FILTER (WHERE {question.known}) "
        f"FROM {question.index.table.sql} WHERE {question.condition}"
    )


def compare(connection: Connection, asked: list[Question]) -> None:
    """Given questions to one table, ask the indexes, and the rows themselves: all in one scan."""
    if not asked:
        return
    table = asked[0].index.table
    answers = [fetch_row(connection, by_index(question)) for question in asked]
    missed = any(a[1] < len(q.rowids) for a, q in zip(answers, asked, strict=True))
    if not missed and table.about * len(asked) > CHEAP_VALUES:
        return
    # Conditions inside FILTER never reach an index.
    counts = ", ".join(
        f"count(*) FILTER (WHERE {q.condition}), count(*) FILTER (WHERE {q.condition} AND {q.known})"
        for q in asked
    )
    flat = fetch_row(connection, f"SELECT {counts} FROM {table.sql}")
    for place, (answer, question) in enumerate(zip(answers, asked, strict=True)):
        if answer != flat[2 * place : 2 * place + 2]:
            raise Verdict(
                "index_disagrees",
                f"index {question.index.name} of table {table.label} finds {answer[0]} of "
                f"{flat[2 * place]} rows for {len(question.keys)} keys",
            )


# --- are unique columns unique? ------------------------------------------------------------------


def check_unique(connection: Connection, indexes: list[Index]) -> int:
    """Return how many sets of columns were checked; a duplicate is a verdict."""
    unique = {(i.table, i.columns): i for i in indexes if i.unique and i.columns}
    for index in unique.values():
        try:
            found = duplicates(connection, index)
        except duckdb.Error as error:
            message = f"unique index {index.name} of table {index.table.label}: {error}"
            raise Verdict(failure(error, "unreadable"), message) from error
        if found:
            message = (
                f"{index.name} of table {index.table.label}: {found} keys occur more than once"
            )
            raise Verdict("duplicates", message)
    return len(unique)


def duplicates(connection: Connection, index: Index) -> int:
    """Counting distinct hashes is quick and spills; the exact count follows only on a suspicion."""
    columns = ", ".join(quote(column.name) for column in index.columns)
    present = " AND ".join(f"{quote(column.name)} IS NOT NULL" for column in index.columns)
    source = f"FROM {index.table.sql} WHERE {present}"
    repeated, *_ = fetch_row(
        connection,
        f"SELECT count(h) - count(DISTINCT h) FROM (SELECT hash({columns}) AS h {source})",
    )
    if not repeated:
        return 0
    slices = (
        f"SELECT count(*) FROM (SELECT 1 {source} AND hash({columns}) % {SLICES} = {part} "
        f"GROUP BY {columns} HAVING count(*) > 1)"
        for part in range(SLICES)
    )
    return sum(int(fetch_row(connection, sql)[0]) for sql in slices)


# --- the orders ----------------------------------------------------------------------------------


@contextmanager
def timed(result: Result, name: str) -> Iterator[None]:
    begin = time.monotonic()
    try:
        yield
    finally:
        result["seconds"][name] = round(time.monotonic() - begin, 3)


def prove(order: dict[str, Any], say: Say) -> Result:
    result: Result = {
        "ok": False,
        "engine": duckdb.__version__,
        "kind": "ok",
        "message": None,
        "tables": {},
        "rows": 0,
        "indexes": {"found": 0, "asked": 0, "lookups": 0},
        "unique": {"checked": 0},
        "schema_digest": None,
        "schema_version": None,
        "storage_version": None,
        "blocks": {"total": 0, "free": 0, "size": 0},
        "fingerprint_kind": FINGERPRINT_KIND,
        "extensions": [],
        "seconds": {},
    }
    try:
        examine(order, say, result)
    except Verdict as verdict:
        result |= {"kind": verdict.kind, "message": one_line(verdict)}
    except duckdb.Error as error:
        result |= {"kind": failure(error, "unreadable"), "message": one_line(error)}
    return result | {"ok": result["kind"] == "ok"}


def examine(order: dict[str, Any], say: Say, result: Result) -> None:
    """Fill in the result step by step: after a verdict it still holds what was found before."""
    with timed(result, "open"):
        connection = open_database(order)
        tables = read_tables(connection)
        indexes = read_indexes(connection, tables)
        result |= about_file(connection) | {"schema_digest": schema_digest(connection)}
        result["indexes"]["found"] = len(indexes)
    if not tables:
        raise Verdict("nothing_checked", "the database has no tables")
    with timed(result, "scan"):
        for label, content in read_everything(connection, tables, order, say):
            result["tables"][label] = content
            result["rows"] += content["rows"]
        result["schema_version"] = schema_version(connection, tables, order.get("schema_table"))
    with timed(result, "unique"):
        result["unique"]["checked"] = check_unique(connection, indexes)
    with timed(result, "indexes"):
        asked, lookups = ask_indexes(connection, indexes, order.get("lookups", 32))
        result["indexes"] |= {"asked": asked, "lookups": lookups}


def about_file(connection: Connection) -> Result:
    tags, *_ = fetch_row(
        connection,
        "SELECT tags['storage_version'] FROM duckdb_databases() "
        "WHERE database_name = current_database()",
    )
    size, total, free = fetch_row(
        connection,
        "SELECT block_size, total_blocks, free_blocks FROM pragma_database_size() "
        "WHERE database_name = current_database()",
    )
    return {
        "storage_version": tags,
        "blocks": {"total": total, "free": free, "size": size},
    }


def main() -> None:
    say = Say()
    order = json.load(sys.stdin)
    if order["do"] == "version":
        say.result({"engine": duckdb.__version__})
    elif order["do"] == "prove":
        say.result(prove(order, say))
    else:
        sys.exit(f"unknown order: {order['do']}")


if __name__ == "__main__":
    main()
