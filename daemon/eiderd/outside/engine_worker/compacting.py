"""Writing a database anew, without what was deleted from it: into another file, by this engine.

The schema goes over by COPY FROM DATABASE, which loses nothing that 1.4.3 to 2.0.0 can hold but the
triggers of 2.0.0. The rows go table by table, a table after those that it refers to: in one go the
engines copy a table before the one that its foreign key names, and refuse it then.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from .nouns import Connection, Result, Table, Verdict, failure, literal, one_row, quote
from .opening import Settings, copy_aside, load_spatial, look_first, open_failure
from .tables import read_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tables import Progress

_USUAL_BLOCK = 262_144
_NEW = "eider_new"
_OWN, _OTHER = "memory", "eider_own"


def compact(order: dict[str, Any], progress: Progress) -> Result:
    """Copy the database at `database` to the new file `to`, in the format that it has."""
    result: Result = {"engine": duckdb.__version__, "kind": "ok", "message": None}
    try:
        _compact(order, progress)
    except Verdict as verdict:
        result |= {"kind": verdict.kind, "message": str(verdict)}
    except duckdb.Error as error:
        kind = _kind(error)
        result |= {"kind": kind, "message": str(Verdict(kind, "", error))}
    except MemoryError:
        result |= {"kind": "out_of_memory", "message": "no memory left for the process"}
    return result


def _kind(error: duckdb.Error) -> str:
    full = "No space left" in str(error) or "not enough disk space" in str(error)
    return "no_space" if full else failure(error, "cannot_copy")


def _compact(order: dict[str, Any], progress: Progress) -> None:
    path, to = Path(order["database"]).absolute(), Path(order["to"]).absolute()
    connection, old = _attached(path, Path(order["scratch"]).absolute(), order)
    new = _NEW if old != _NEW else f"{_NEW}_"
    load_spatial(connection)
    tables = read_tables(connection)
    connection.execute(f"ATTACH {literal(str(to))} AS {quote(new)}{_format(connection)}")
    # From here on nothing else can be reached; the two files stay open.
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    connection.execute(f"COPY FROM DATABASE {quote(old)} TO {quote(new)} (SCHEMA)")
    total, done = sum(table.about for table in tables), 0
    for table in in_order(tables, _references(connection)):
        progress(done, total, table.label)
        _copy_rows(connection, table, to=new)
        done += table.about
    connection.execute(f"CHECKPOINT {quote(new)}")
    connection.execute(f"DETACH {quote(new)}")


def _attached(path: Path, scratch: Path, order: dict[str, Any]) -> tuple[Connection, str]:
    """Attach the database read-only, under its own name: what it holds may be spelt with that.

    1.x cannot do so where the WAL holds certain things; then a copy in scratch is opened.
    """
    look_first(path)
    settings: Settings = {
        "memory_limit": order["memory_limit"],
        "threads": str(order["threads"]),
        "temp_directory": str(scratch / "engine-spill"),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_persistent_secrets": "false",
    }
    connection = duckdb.connect(config=settings)
    if path.name.partition(".")[0].lower() == _OWN:
        _make_way(connection)
    before = _names(connection)
    try:
        _attach(connection, path, "(READ_ONLY)")
    except Verdict as verdict:
        if verdict.kind not in {"wal_replay", "cannot_open"}:
            raise
        _attach(connection, copy_aside(path, scratch, because=verdict), "")
    (name,) = _names(connection) - before
    connection.execute(f"USE {quote(name)}")
    return connection, name


def _make_way(connection: Connection) -> None:
    """Give up the name of the connection's own database: memory.duckdb is attached under it."""
    connection.execute(f"ATTACH ':memory:' AS {quote(_OTHER)}")
    connection.execute(f"USE {quote(_OTHER)}")
    connection.execute(f"DETACH {quote(_OWN)}")


def _attach(connection: Connection, path: Path, how: str) -> None:
    try:
        connection.execute(f"ATTACH {literal(str(path))} {how}")
    except duckdb.Error as error:
        raise Verdict(open_failure(error), "", error) from error


def _names(connection: Connection) -> set[str]:
    return {name for (name,) in connection.execute(
        "SELECT database_name FROM duckdb_databases()").fetchall()}  # fmt: skip


def _format(connection: Connection) -> str:
    """Return how a new file is made in the format of the current one. Before 1.2 there is one."""
    here = "WHERE database_name = current_database()"
    (version,) = one_row(
        connection, f"SELECT tags['storage_version'] FROM duckdb_databases() {here}"
    )
    (size,) = one_row(connection, f"SELECT block_size FROM pragma_database_size() {here}")
    words = [f"STORAGE_VERSION {literal(version.removesuffix('+'))}"] if version else []
    words += [f"BLOCK_SIZE {size}"] if size != _USUAL_BLOCK else []
    return f" ({', '.join(words)})" if words else ""


def _copy_rows(connection: Connection, table: Table, *, to: str) -> None:
    """Copy all rows in their order. Generated columns are not stored; no default is asked."""
    names = ", ".join(quote(column.name) for column in table.columns)
    target = dataclasses.replace(table, database=to).sql
    try:
        connection.execute(f"INSERT INTO {target} ({names}) SELECT {names} FROM {table.sql}")
    except duckdb.Error as error:
        raise Verdict(_kind(error), f"table {table.label}:", error) from error


References = dict[tuple[str, str], set[str]]


def _references(connection: Connection) -> References:
    """Return for each table, by schema and name, the tables of its schema that it refers to."""
    found: References = {}
    for schema, name, other in connection.execute(
        "SELECT schema_name, table_name, referenced_table FROM duckdb_constraints() "
        "WHERE database_name = current_database() AND constraint_type = 'FOREIGN KEY'"
    ).fetchall():
        found.setdefault((schema, name), set()).add(other)
    return found


def in_order(tables: list[Table], references: References) -> Iterator[Table]:
    """Yield each table after those that it refers to; itself, and circles, are let be."""
    left = {(table.schema, table.name): table for table in tables}
    while left:
        free = [
            place
            for place in left
            if not any(
                (place[0], other) in left and other != place[1]
                for other in references.get(place, ())
            )
        ]
        for place in free or list(left):
            yield left.pop(place)
