"""Whether an engine works at all: it makes a small database, and reads it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from .nouns import Connection, Result, one_row
from .opening import spatial_files

_ROWS = 1000


def try_out(order: dict[str, Any]) -> Result:
    """Do it in `scratch`; without one, in memory alone."""
    result: Result = {"engine": duckdb.__version__, "message": None, "spatial": None}
    path = Path(order["scratch"]) / "trial.duckdb" if order.get("scratch") else None
    try:
        rows = _in_a_file(path) if path else _made(duckdb.connect())
    except duckdb.Error as error:
        return result | {"message": str(error).partition("\n")[0][:300]}
    if order.get("spatial"):
        result["spatial"] = _has_spatial()
    return result if rows == _ROWS else result | {"message": f"it read {rows} of {_ROWS} rows"}


def _has_spatial() -> bool:
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for place in spatial_files():
        try:
            connection.execute(f"LOAD {place}")
        except duckdb.Error:
            continue
        return True
    return False


def _in_a_file(path: Path) -> int:
    with duckdb.connect(str(path)) as connection:
        _made(connection)
        connection.execute("CHECKPOINT")
    with duckdb.connect(str(path), read_only=True) as connection:
        return _rows(connection)


def _made(connection: Connection) -> int:
    connection.execute(f"CREATE TABLE trial AS SELECT i FROM range({_ROWS}) AS source(i)")
    return _rows(connection)


def _rows(connection: Connection) -> int:
    (rows,) = one_row(connection, "SELECT count(*) FROM trial")
    return int(rows)
