"""One short question: which schema is this, and would its WAL replay? No row but of migrations."""

from __future__ import annotations

from typing import Any

import duckdb

from .nouns import Column, Connection, Result, Table, Verdict, failure, one_row, quote
from .opening import Session
from .tables import about_file, read_tables, schema_digest

MOST_MIGRATIONS = 200
_LONGEST = 200
# Who calls the columns of such a table what: the first that is there is taken.
_NAMES = ("name", "description", "script")
_TIMES = ("applied_at", "installed_on", "executed_at", "created_at")
_FAILED = ("dirty",)  # true: it began and did not end
_SUCCEEDED = ("success",)


def ask_schema(order: dict[str, Any]) -> Result:
    result: Result = {"engine": duckdb.__version__, "kind": "ok", "message": None}
    try:
        connection = Session(order).connection
        _answer(connection, order, result)
    except Verdict as verdict:
        result |= {"kind": verdict.kind, "message": str(verdict)}
    except duckdb.Error as error:
        kind = failure(error, "unreadable")
        result |= {"kind": kind, "message": str(Verdict(kind, "", error))}
    except MemoryError:
        result |= {"kind": "out_of_memory", "message": "no memory left for the process"}
    return result


def _answer(connection: Connection, order: dict[str, Any], result: Result) -> None:
    tables = read_tables(connection)
    here = "WHERE database_name = current_database()"
    (indexes,) = one_row(connection, f"SELECT count(*) FROM duckdb_indexes() {here}")
    result |= {
        "storage": about_file(connection)["storage_version"],
        "digest": schema_digest(connection),
        "tables": [table.label for table in tables],
        "indexes": indexes,
        "migrations": _migrations(connection, _named(tables, order["schema_table"])),
    }
    if order.get("table"):
        table = _named(tables, order["table"])
        result["table"] = _described(connection, table) if table else None


def _named(tables: list[Table], label: str) -> Table | None:
    return next((table for table in tables if table.label == label), None)


# The migrations ----------------------------------------------------------------------------------


def _migrations(connection: Connection, table: Table | None) -> Result | None:
    """Return the newest rows of the table of migrations; None when it has no version to go by."""
    if table is None:
        return {"there": False}
    columns = {column.name: column for column in table.columns}
    version = columns.get("version")
    if version is None or not version.type.endswith(("INT", "INTEGER")):
        return None
    count, highest = one_row(connection, f"SELECT count(*), max(version) FROM {table.sql}")
    shown = ", ".join(
        (
            "version",
            _text(_first(columns, _NAMES)),
            _text(_first(columns, _TIMES)),
            _truth(_first(columns, _FAILED), _first(columns, _SUCCEEDED)),
        )
    )
    rows = connection.execute(
        f"SELECT {shown} FROM {table.sql} WHERE version IS NOT NULL "
        f"ORDER BY version DESC LIMIT {MOST_MIGRATIONS}"
    ).fetchall()
    return {"there": True, "count": count, "version": highest, "rows": [list(row) for row in rows]}


def _first(columns: dict[str, Column], names: tuple[str, ...]) -> Column | None:
    return next((columns[name] for name in names if name in columns), None)


def _text(column: Column | None) -> str:
    return f"left({quote(column.name)}::VARCHAR, {_LONGEST})" if column else "NULL"


def _truth(failed: Column | None, succeeded: Column | None) -> str:
    """Say, in SQL, whether a migration failed, as far as the table has a word for it."""
    for column, wanted in ((failed, "true"), (succeeded, "false")):
        if column and column.type == "BOOLEAN":
            return f"coalesce({quote(column.name)} = {wanted}, false)"
    return "false"


# One table ---------------------------------------------------------------------------------------


def _described(connection: Connection, table: Table) -> Result:
    (rows,) = one_row(connection, f"SELECT count(*) FROM {table.sql}")
    columns = connection.execute(f"DESCRIBE {table.sql}").fetchall()
    where = "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
    names = [table.schema, table.name]
    constraints = connection.execute(
        f"SELECT constraint_type, constraint_text FROM duckdb_constraints() {where} "
        "AND constraint_type <> 'NOT NULL' ORDER BY constraint_index",
        names,
    ).fetchall()
    indexes = connection.execute(
        f"SELECT index_name, is_unique, sql FROM duckdb_indexes() {where} ORDER BY index_name",
        names,
    ).fetchall()
    return {
        "name": table.label,
        "rows": rows,
        "columns": [
            {"name": name, "type": type_, "nullable": null == "YES", "default": default}
            for name, type_, null, _key, default, *_rest in columns
        ],
        "constraints": [{"kind": kind, "sql": sql} for kind, sql in constraints],
        "indexes": [
            {"name": name, "unique": unique, "sql": sql or ""} for name, unique, sql in indexes
        ],
    }
