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
import re
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator

# hash() gives equal values in DuckDB 1.4.3, 1.5.5, 1.5.6 and 2.0.0, except that before 1.5 a
# GEOMETRY is a blob of another form. Change the word whenever hashed() changes.
FINGERPRINT_KIND, OLD_GEOMETRY = "duckdb-hash-1", "-geometry-blob"
# An index is asked for keys that about so many rows hold (each costs 0.4 microseconds).
MATCHES = 2_000
# What it answers is compared with a scan even if no row is missing, where that costs little.
CHEAP_VALUES = 2_000_000
# 1.4.3 now and then crashes when an aggregate outgrows the memory limit, so none is given more
# keys than this. Their hashes wait in a temporary table, which should fit in memory too.
KEYS_AT_ONCE, HASHES_AT_ONCE = 1_000_000, 10_000_000
# Types whose text, cast back, is the same value, and which an ART index can hold.
ASKABLE = re.compile(
    r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|BOOLEAN|FLOAT|DOUBLE|DECIMAL\(.*\)|VARCHAR|UUID|DATE"
    r"|TIME|TIMESTAMP(_S|_MS|_NS| WITH TIME ZONE)?|BLOB|ENUM\(.*\)",
    re.DOTALL,
)
FLAT_LIST = re.compile(r"[A-Z_ ]+(\([0-9,]+\))?\[[0-9]*\]")
NESTED = re.compile(r"(STRUCT|MAP|UNION)\(.*|.*\[[0-9]*\]|INTERVAL|VARIANT", re.DOTALL)
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

PROGRESS_SECONDS = 0.1

Connection = duckdb.DuckDBPyConnection
Result = dict[str, Any]
Pairs = list[tuple[int, str]]  # rowid and key


class Verdict(Exception):
    """The database failed its proof. Given the engine's error, only its first line is kept."""

    def __init__(self, kind: str, message: str, error: object = "") -> None:
        first_line = str(error).strip().partition("\n")[0]
        super().__init__(" ".join(f"{message} {first_line}".split())[:300])
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
        return ".".join(map(quote, (self.database, self.schema, self.name)))

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
    def counts(self) -> tuple[str, str]:
        # A bare string literal takes the column's type, and the index is used as for any constant.
        keys = f"{quote(self.index.columns[0].name)} IN ({', '.join(map(literal, self.keys))})"
        return keys, f"{keys} AND rowid IN ({', '.join(map(str, self.rowids))})"

    @property
    def by_index(self) -> str:
        keys, known = self.counts
        source = self.index.table.sql
        return f"SELECT count(*), count(*) FILTER (WHERE {known}) FROM {source} WHERE {keys}"


class Say:
    """Standard output, kept for answers: whatever else prints there goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._last = 0.0

    def progress(self, done: int, total: int, what: str) -> None:
        if time.monotonic() - self._last >= PROGRESS_SECONDS:
            self._last = time.monotonic()
            self._line({"progress": {"done": done, "total": total, "what": what}})

    def result(self, result: Result) -> None:
        self._line({"result": result})

    def _line(self, document: Result) -> None:
        self._out.write(json.dumps(document) + "\n")
        self._out.flush()


def engine() -> tuple[int, ...]:
    return tuple(map(int, duckdb.__version__.split(".")[:2]))


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def one_row(connection: Connection, sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] = connection.execute(sql).fetchall()[0]
    return row


def failure(error: duckdb.Error, otherwise: str) -> str:
    # A full scratch folder says nothing about the database.
    exhausted = isinstance(error, duckdb.OutOfMemoryException) or "No space left" in str(error)
    return "out_of_memory" if exhausted else otherwise


# --- opening -------------------------------------------------------------------------------------


def open_database(order: dict[str, Any]) -> Connection:
    path = Path(order["database"]).absolute()
    look_first(path)
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
        raise Verdict(open_failure(error), "", error) from error
    lock_down(connection)
    return connection


def look_first(path: Path) -> None:
    """See what the engine would misread in silence."""
    try:
        with path.open("rb") as file:
            magic = file.read(12)[8:]
    except OSError as error:
        raise Verdict("cannot_open", "", error) from error
    if magic != b"DUCK":  # it would take the file for SQLite's and look for an extension
        raise Verdict("not_a_database", f"{path.name} is not a DuckDB database")
    second_log = path.with_name(f"{path.name}.wal.checkpoint")
    if second_log.exists() and engine() < (1, 5):
        message = f"DuckDB {duckdb.__version__} would leave out the commits in {second_log.name}"
        raise Verdict("wal_replay", message)


def open_failure(error: duckdb.Error) -> str:
    text = str(error)
    if "replaying WAL" in text:
        return "wal_replay"
    if "Cannot open encrypted database" in text:
        return "key_needed"
    return failure(error, "not_a_database" if "not a valid DuckDB" in text else "cannot_open")


def lock_down(connection: Connection) -> None:
    connection.execute("SET TimeZone = 'UTC'")  # nested values are hashed as text too
    connection.execute(f"SET index_scan_max_count = {10 * MATCHES}")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")  # last: nothing can be set after it


# --- what there is -------------------------------------------------------------------------------


def read_tables(connection: Connection) -> list[Table]:
    found = connection.execute(
        "SELECT database_name, schema_name, table_name, estimated_size, sql FROM duckdb_tables() "
        "WHERE database_name = current_database() AND NOT internal AND NOT temporary ORDER BY ALL"
    ).fetchall()
    tables = []
    for database, schema, name, about, sql in found:
        # DESCRIBE looks at one table; duckdb_columns() would look into views as well.
        path = ".".join(map(quote, (database, schema, name)))
        columns = [Column(*row[:2]) for row in connection.execute(f"DESCRIBE {path}").fetchall()]
        stored = tuple(column for column in columns if not is_generated(column, sql))
        tables.append(Table(database, schema, name, stored, about))
    return tables


def is_generated(column: Column, table_sql: str) -> bool:
    """Generated columns are not stored, and may hold another value at every reading."""
    definitions = (f"{name} {column.type} GENERATED ALWAYS AS(" for name in spelt(column))
    return any(f"({text}" in table_sql or f", {text}" in table_sql for text in definitions)


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
    for schema, name, label, unique, parts in explicit + [
        (*row, [quote(name) for name in names]) for *row, names in implied
    ]:
        table = by_path[schema, name]
        known = {text: column for column in table.columns for text in spelt(column)}
        plain = all(part in known for part in parts)
        columns = tuple(known[part] for part in parts) if plain else ()
        indexes.append(Index(label, table, columns, unique))
    return indexes


def about_file(connection: Connection) -> Result:
    here = "WHERE database_name = current_database()"
    (version,) = one_row(
        connection, f"SELECT tags['storage_version'] FROM duckdb_databases() {here}"
    )
    size, total, free = one_row(
        connection,
        f"SELECT block_size, total_blocks, free_blocks FROM pragma_database_size() {here}",
    )
    return {"storage_version": version, "blocks": {"total": total, "free": free, "size": size}}


def schema_digest(connection: Connection) -> str:
    """Only what makes the schema: no object ids or sequence values, which differ between copies."""
    questions = (
        "'table', schema_name, sql FROM duckdb_tables()",
        "'view', schema_name, sql FROM duckdb_views()",
        """function_type, schema_name, function_name, parameters::VARCHAR, macro_definition
        FROM duckdb_functions()""",
        "'type', schema_name, type_name, logical_type, labels::VARCHAR FROM duckdb_types()",
        "'index', schema_name, sql FROM (SELECT *, false AS internal FROM duckdb_indexes())",
        """'sequence', schema_name, sequence_name, min_value, max_value, increment_by, cycle
        FROM (SELECT *, false AS internal FROM duckdb_sequences())""",
    )
    where = "WHERE database_name = current_database() AND NOT internal"
    rows = [row for q in questions for row in connection.execute(f"SELECT {q} {where}").fetchall()]
    return hashlib.sha256(json.dumps(sorted(rows, key=repr)).encode()).hexdigest()


def schema_version(connection: Connection, tables: list[Table], label: str | None) -> int | None:
    for table in tables:
        kind = {column.name: column.type for column in table.columns}.get("version", "")
        if table.label == label and kind.endswith(("INT", "INTEGER")):
            version: int | None = one_row(connection, f"SELECT max(version) FROM {table.sql}")[0]
            return version
    return None


# --- every row is read ---------------------------------------------------------------------------


def hashed(column: Column) -> list[str]:
    """hash() alone takes [[1], [2]] for [[1, 2]], NULL for [], and 30 days for a month."""
    name = quote(column.name)
    if FLAT_LIST.fullmatch(column.type):
        return [name, f"len({name})"]
    return [name, f"{name}::VARCHAR"] if NESTED.fullmatch(column.type) else [name]


def read_table(connection: Connection, table: Table, time_column: str | None) -> Result:
    """One scan. The sum of the row hashes sees duplicates; sum and xor together see any change."""
    parts = ", ".join(part for column in table.columns for part in hashed(column))
    stored = time_column in {column.name for column in table.columns}
    moment = quote(str(time_column)) if stored else "NULL"
    rows, total, mixed, newest = one_row(
        connection,
        "SELECT count(*), (sum(h) % 18446744073709551616)::UBIGINT, bit_xor(h), max(t)::VARCHAR "
        f"FROM (SELECT hash({parts}) AS h, {moment} AS t FROM {table.sql})",
    )
    fingerprint = f"{total or 0:016x}{mixed or 0:016x}"
    return {
        "rows": rows,
        "fingerprint": fingerprint,
        "newest": newest and newest.replace(" ", "T", 1),
    }


def fingerprint_kind(tables: list[Table]) -> str:
    geometry = any("GEOMETRY" in column.type for table in tables for column in table.columns)
    return FINGERPRINT_KIND + (OLD_GEOMETRY if geometry and engine() < (1, 5) else "")


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
            kind = failure(error, "unreadable")
            raise Verdict(kind, f"table {table.label}:", error) from error
        done += table.about


# --- are unique columns unique? ------------------------------------------------------------------


def check_unique(connection: Connection, indexes: list[Index]) -> int:
    """Return how many sets of columns were checked; a duplicate is a verdict."""
    unique = {(index.table, index.columns): index for index in indexes if index.unique}
    checked = [index for index in unique.values() if index.columns]
    for index in checked:
        try:
            found = duplicates(connection, index)
        except duckdb.Error as error:
            kind = failure(error, "unreadable")
            raise Verdict(kind, f"{index.name} of table {index.table.label}:", error) from error
        if found:
            message = f"{index.name} of table {index.table.label}: {found} or more keys repeat"
            raise Verdict("duplicates", message)
    return len(checked)


def duplicates(connection: Connection, index: Index) -> int:
    """Group hashes of the keys, never too many at once; look at the keys of repeated ones only."""
    names = [quote(column.name) for column in index.columns]
    key = f"hash({', '.join(names)})"
    present = " AND ".join(f"{name} IS NOT NULL" for name in names)
    source = f"FROM {index.table.sql} WHERE {present}"
    tables = index.table.about // HASHES_AT_ONCE + 1
    slices = index.table.about // tables // KEYS_AT_ONCE + 1
    found = 0
    for part in range(tables):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE hashes AS SELECT {key} AS h {source} "
            f"AND {key} % {tables} = {part}"
        )
        for place in range(slices):
            repeated = (
                f"SELECT h FROM temp.main.hashes WHERE (h >> 32) % {slices} = {place} "
                "GROUP BY h HAVING count(*) > 1"
            )
            if one_row(connection, f"SELECT count(*) FROM ({repeated})") == (0,):
                continue
            same = f"{source} AND {key} IN ({repeated} LIMIT 1000)"
            grouped = f"SELECT 1 {same} GROUP BY {', '.join(names)} HAVING count(*) > 1"
            found += one_row(connection, f"SELECT count(*) FROM ({grouped})")[0]
    return found


# --- do the indexes agree with the table? --------------------------------------------------------


def ask_indexes(connection: Connection, indexes: list[Index], lookups: int) -> tuple[int, int]:
    """Return how many indexes were asked, and for how many keys; a wrong answer is a verdict."""
    asked: list[Question] = []
    for table in dict.fromkeys(index.table for index in indexes):
        # Of two indexes over one column the engine uses one, so they count as one.
        alone = {i.columns: i for i in indexes if i.table == table and is_askable(i)}
        try:
            here = [
                question
                for index, pairs in sample(connection, table, list(alone.values()), lookups)
                for question in questions(connection, index, pairs)
            ]
            compare(connection, table, here)
        except duckdb.Error as error:
            kind = failure(error, "index_disagrees")
            raise Verdict(kind, f"an index of table {table.label}:", error) from error
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
    endings = (
        f"ORDER BY rowid DESC LIMIT {lookups - lookups // 2}",
        f"ORDER BY rowid LIMIT {lookups // 4}",
        f"USING SAMPLE {lookups // 4} ROWS",
    )
    found = [connection.execute(f"SELECT rowid FROM {table.sql} {e}").fetchall() for e in endings]
    rowids = ", ".join(str(rowid) for rows in found for (rowid,) in rows) or "NULL"
    names = [quote(index.columns[0].name) for index in indexes]
    texts = ", ".join(f"{name}::VARCHAR" for name in names)
    among = f"WHERE rowid IN ({rowids}) ORDER BY rowid DESC"
    rows = connection.execute(f"SELECT rowid, {texts} FROM {table.sql} {among}").fetchall()
    for place, (index, name) in enumerate(zip(indexes, names, strict=True), start=1):
        pairs = [(row[0], row[place]) for row in rows if row[place] is not None]
        newest = f"WHERE {name} IS NOT NULL ORDER BY rowid DESC LIMIT {lookups}"
        yield (
            index,
            pairs  # or, where the column was NULL in all of them:
            or connection.execute(
                f"SELECT rowid, {name}::VARCHAR FROM {table.sql} {newest}"
            ).fetchall(),
        )


def questions(connection: Connection, index: Index, pairs: Pairs) -> list[Question]:
    """Ask for as many keys as the engine still looks up in the index; rare keys first."""
    seen = Counter(key for _, key in pairs if "\0" not in key)
    rare_first = sorted(seen, key=lambda key: seen[key])
    if not rare_first:
        return []
    # Keys that cover the whole column make no condition, so a constant column cannot be asked.
    room = min(MATCHES, index.table.about // 2) // matches(connection, index, rare_first[0])
    # Neighbouring integers become a range, which is not looked up: then a single key must do.
    for count in dict.fromkeys((min(room, len(rare_first)), min(room, 1))):
        keys = set(rare_first[:count])
        known = tuple(rowid for rowid, key in pairs if key in keys)
        question = Question(index, tuple(sorted(keys)), known)
        if keys and uses_index(connection, question):
            return [question]
    return []


def matches(connection: Connection, index: Index, key: str) -> int:
    """How many rows hold a key, as the planner estimates from its count of distinct values."""
    question = Question(index, (key,), (0,))
    plan = one_row(connection, f"EXPLAIN (FORMAT json) {question.by_index}")[1]
    return max(1, *map(int, re.findall(r'"Estimated Cardinality": "([0-9]+)"', plan)))


def uses_index(connection: Connection, question: Question) -> bool:
    """Only a plan that has run tells: the engine decides when the scan begins."""
    plan = one_row(connection, f"EXPLAIN (ANALYZE, FORMAT json) {question.by_index}")[1]
    # A name or key cannot pose as this: within JSON text its quotes have backslashes.
    return set(re.findall(r'"(?:Scan )?Type": "([A-Za-z ]+)"', plan)) == {"Index Scan"}


def compare(connection: Connection, table: Table, asked: list[Question]) -> None:
    """Ask the indexes, then, if a row is missing or it is cheap, the rows: all in one scan."""
    answers = [one_row(connection, question.by_index) for question in asked]
    complete = all(a[1] == len(q.rowids) for a, q in zip(answers, asked, strict=True))
    if not asked or (complete and table.about * len(asked) > CHEAP_VALUES):
        return
    # Conditions inside FILTER never reach an index.
    counts = ", ".join(f"count(*) FILTER (WHERE {c})" for q in asked for c in q.counts)
    scanned = one_row(connection, f"SELECT {counts} FROM {table.sql}")
    for place, (answer, question) in enumerate(zip(answers, asked, strict=True)):
        truth = scanned[2 * place : 2 * place + 2]
        if answer != truth:
            message = (
                f"index {question.index.name} of table {table.label} finds {answer[0]} rows "
                f"instead of {truth[0]} for {len(question.keys)} keys"
            )
            raise Verdict("index_disagrees", message)


# --- the orders ----------------------------------------------------------------------------------


@contextmanager
def timed(result: Result, name: str) -> Iterator[None]:
    begin = time.monotonic()
    try:
        yield
    finally:
        result["seconds"][name] = round(time.monotonic() - begin, 3)


def nothing_yet() -> Result:
    return {
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


def prove(order: dict[str, Any], say: Say) -> Result:
    result = nothing_yet()
    try:
        examine(order, say, result)
    except Verdict as verdict:
        result |= {"kind": verdict.kind, "message": str(verdict)}
    except duckdb.Error as error:
        kind = failure(error, "unreadable")
        result |= {"kind": kind, "message": str(Verdict(kind, "", error))}
    except MemoryError:  # the limit that the parent sets, not the engine's own
        result |= {"kind": "out_of_memory", "message": "no memory left for the process"}
    return result | {"ok": result["kind"] == "ok"}


def examine(order: dict[str, Any], say: Say, result: Result) -> None:
    """Fill in the result step by step: after a verdict it still holds what was found before."""
    with timed(result, "open"):
        connection = open_database(order)
        tables = read_tables(connection)
        indexes = read_indexes(connection, tables)
        result |= about_file(connection) | {"schema_digest": schema_digest(connection)}
        result["indexes"]["found"] = len(indexes)
        result["fingerprint_kind"] = fingerprint_kind(tables)
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
