"""What there is in a database, and a reading of every row of it."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import duckdb

from .nouns import (
    Column,
    Connection,
    Index,
    Result,
    Table,
    Verdict,
    engine,
    failure,
    one_row,
    quote,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[int, int, str], None]

# hash() gives equal values in DuckDB 1.4.3, 1.5.5, 1.5.6 and 2.0.0, except that before 1.5 a
# GEOMETRY is a blob of another form. Change the word whenever hashed() or its use changes.
FINGERPRINT_KIND, OLD_GEOMETRY = "duckdb-hash-2", "-geometry-blob"
# Dictionaries of strings are decoded beside the engine's memory limit, for every column of a scan
# and every thread: 204 columns at once took 450 MB, in a process that has 250 MB with 24.
COLUMNS_AT_ONCE = 24
FLAT_LIST = re.compile(r"[A-Z_ ]+(\([0-9,]+\))?\[[0-9]*\]")
NESTED = re.compile(r"(STRUCT|MAP|UNION)\(.*|.*\[[0-9]*\]|INTERVAL|VARIANT", re.DOTALL)
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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


# --- every row is read ---


def hashed(column: Column) -> list[str]:
    """hash() alone takes [[1], [2]] for [[1, 2]], NULL for [], and 30 days for a month."""
    name = quote(column.name)
    if FLAT_LIST.fullmatch(column.type):
        return [name, f"len({name})"]
    return [name, f"{name}::VARCHAR"] if NESTED.fullmatch(column.type) else [name]


def read_table(
    connection: Connection, table: Table, key: tuple[Column, ...], time_column: str | None
) -> Result:
    """Read all of a table, a group of its columns at a time; `key` ties the groups together."""
    rows, fingerprints = 0, []
    for group in column_groups(table, key):
        rows, fingerprint = fingerprint_of(connection, table, group)
        fingerprints.append(fingerprint)
    newest = None
    if time_column in {column.name for column in table.columns}:
        moment = quote(str(time_column))
        (newest,) = one_row(connection, f"SELECT max({moment})::VARCHAR FROM {table.sql}")
    return {
        "rows": rows,
        "fingerprint": combined(fingerprints),
        "newest": newest and newest.replace(" ", "T", 1),
    }


def column_groups(table: Table, key: tuple[Column, ...]) -> list[tuple[Column, ...]]:
    """Split a wide table's columns. Each group has the key, so that no rows can swap parts."""
    columns = table.columns
    if len(columns) <= COLUMNS_AT_ONCE:
        return [columns]
    key = key or columns[:2]
    others = [column for column in columns if column not in key]
    starts = range(0, len(others), COLUMNS_AT_ONCE)
    return [(*key, *others[start : start + COLUMNS_AT_ONCE]) for start in starts]


def fingerprint_of(
    connection: Connection, table: Table, columns: tuple[Column, ...]
) -> tuple[int, str]:
    """One scan. The sum of the row hashes sees duplicates; sum and xor together see any change."""
    parts = ", ".join(part for column in columns for part in hashed(column))
    rows, total, mixed = one_row(
        connection,
        "SELECT count(*), (sum(h) % 18446744073709551616)::UBIGINT, bit_xor(h) "
        f"FROM (SELECT hash({parts}) AS h FROM {table.sql})",
    )
    return rows, f"{total or 0:016x}{mixed or 0:016x}"


def combined(fingerprints: list[str]) -> str:
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()[:32]


def fingerprint_kind(tables: list[Table]) -> str:
    geometry = any("GEOMETRY" in column.type for table in tables for column in table.columns)
    return FINGERPRINT_KIND + (OLD_GEOMETRY if geometry and engine() < (1, 5) else "")


def read_everything(
    connection: Connection,
    tables: list[Table],
    indexes: list[Index],
    order: dict[str, Any],
    progress: Progress,
) -> Iterator[tuple[str, Result]]:
    total, done = sum(table.about for table in tables), 0
    keys = {index.table: index.columns for index in reversed(indexes) if index.unique}
    for table in tables:
        progress(done, total, table.label)
        try:
            time_column = order.get("time_columns", {}).get(table.label)
            key = keys.get(table, ())
            yield table.label, read_table(connection, table, key, time_column)
        except duckdb.Error as error:
            kind = failure(error, "unreadable")
            raise Verdict(kind, f"table {table.label}:", error) from error
        done += table.about
