"""Folding a WAL into its database, on a copy: the one thing that the engine is let write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from .nouns import Result, Verdict, failure
from .opening import Settings, connect, load_spatial, lock_down, look_first


def fold(order: dict[str, Any]) -> Result:
    """Open the copy at `database` for writing, replay its WAL, CHECKPOINT, close.

    The CHECKPOINT is explicit because the implicit one, when a connection is closed, leaves indexes
    of 1.x behind. After a failure nothing is closed, for the same reason.
    """
    result: Result = {"engine": duckdb.__version__, "kind": "ok", "message": None}
    try:
        _fold(Path(order["database"]).absolute(), order)
    except Verdict as verdict:
        result |= {"kind": verdict.kind, "message": str(verdict)}
    except duckdb.Error as error:
        kind = failure(error, "cannot_open")
        result |= {"kind": kind, "message": str(Verdict(kind, "", error))}
    except MemoryError:
        result |= {"kind": "out_of_memory", "message": "no memory left for the process"}
    return result


def _fold(path: Path, order: dict[str, Any]) -> None:
    look_first(path)
    settings: Settings = {
        "memory_limit": order["memory_limit"],
        "threads": str(order["threads"]),
        "temp_directory": str(Path(order["scratch"]).absolute() / "engine-spill"),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_persistent_secrets": "false",
    }
    connection = connect(path, settings, read_only=False)
    load_spatial(connection)
    lock_down(connection)
    connection.execute("CHECKPOINT")
    connection.close()
