"""What there is in a database besides its rows: every object, and what fills the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import duckdb

from .nouns import Connection, Result, Verdict, failure, quote
from .opening import Session
from .tables import about_file, read_tables

# Numbers that an engine gives anew, or that say what was and not what is: the next value of a
# sequence stands in its sql alone.
_PASSING: Final = {
    "database_name", "internal", "temporary", "estimated_size", "constraint_index", "is_bound",
    "data_type_id", "start_value", "last_value", "type_size",
}  # fmt: skip
_OF_ENGINE: Final = {"databases", "dependencies"}  # not objects in a database


def survey(order: dict[str, Any]) -> Result:
    """List what the database at `database` holds, by kind, each object with all that is said of it.

    The kinds are all that this engine knows, also those that nobody here has heard of.
    """
    result: Result = {"engine": duckdb.__version__, "kind": "ok", "message": None}
    try:
        connection = Session(order).connection
        result |= about_file(connection)
        result["stored_rows"] = sum(table.about for table in read_tables(connection))
        result["objects"] = {kind: _objects(connection, kind) for kind in _kinds(connection)}
    except Verdict as verdict:
        result |= {"kind": verdict.kind, "message": str(verdict)}
    except duckdb.Error as error:
        kind = failure(error, "unreadable")
        result |= {"kind": kind, "message": str(Verdict(kind, "", error))}
    except MemoryError:
        result |= {"kind": "out_of_memory", "message": "no memory left for the process"}
    return result | {"file": Path(order["database"]).name}


def _kinds(connection: Connection) -> list[str]:
    """Return "tables", "views" and so on: the engine has a function of that name for each."""
    functions = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table' "
        "AND function_name LIKE 'duckdb\\_%' ESCAPE '\\' AND len(parameters) = 0 ORDER BY ALL"
    ).fetchall()
    kinds = []
    for (name,) in functions:
        kind = name.removeprefix("duckdb_")
        if kind not in _OF_ENGINE and {"database_name", "schema_name"} <= set(
            _columns(connection, kind)
        ):
            kinds.append(kind)
    return kinds


def _columns(connection: Connection, kind: str) -> list[str]:
    rows = connection.execute(f"DESCRIBE SELECT * FROM {quote(f'duckdb_{kind}')}()").fetchall()
    return [row[0] for row in rows]


def _objects(connection: Connection, kind: str) -> list[dict[str, str | None]]:
    columns = _columns(connection, kind)
    said = [name for name in columns if name not in _PASSING and not name.endswith("oid")]
    ours = "".join(f" AND NOT {name}" for name in ("internal", "temporary") if name in columns)
    texts = ", ".join(f"{quote(name)}::VARCHAR" for name in said)
    rows = connection.execute(
        f"SELECT {texts} FROM {quote(f'duckdb_{kind}')}() "
        f"WHERE database_name = current_database(){ours} ORDER BY ALL"
    ).fetchall()
    return [dict(zip(said, row, strict=True)) for row in rows]
