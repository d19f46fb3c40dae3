"""The child that opens a database: this folder is the only code of eiderd that imports duckdb.

It runs in the interpreter of any environment that has the wanted DuckDB, and imports nothing of
eiderd but this folder. It may crash, hang or be killed: the parent deals with that.

in      one JSON order on standard input: {"do": "version"}, or {"do": "prove", "database",
        "scratch", "memory_limit", "threads", "time_columns", "schema_table", "lookups"}, or
        {"do": "fold", "database", "scratch", "memory_limit", "threads"}, or {"do": "try",
        "scratch"}, or {"do": "schema", "database", "scratch", "memory_limit", "threads",
        "schema_table", "spare_bytes", "table"}, or {"do": "compact", "database", "to", "scratch",
        "memory_limit", "threads"}, or {"do": "survey", "database", "scratch", "memory_limit",
        "threads"}
out     JSON lines on standard output: {"progress": {"done", "total", "what"}} counted in rows,
        then one {"result": ...}
verdict what the engine says about the database is the result's `kind`, never a traceback
laws    the database is opened read-only and only `scratch` is written, but by `fold`, whose
        database is a copy, and by `compact`, whose `to` is new; names come from the database, so
        each is quoted; views, macros and generated columns are never evaluated
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb

from .compacting import compact
from .folding import fold
from .indexes import ask_indexes
from .nouns import Result, Verdict, failure
from .opening import Session
from .rtrees import ask_rtrees
from .schema import ask_schema
from .survey import survey
from .tables import (
    FINGERPRINT_KIND,
    about_file,
    fingerprint_kind,
    read_everything,
    read_indexes,
    read_tables,
    schema_digest,
    schema_version,
)
from .trial import try_out
from .unique import check_unique

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRESS_SECONDS = 0.1


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
        session = Session(order)
        connection, result["extensions"] = session.connection, session.extensions
        tables = read_tables(connection)
        indexes = read_indexes(connection, tables)
        result |= about_file(connection) | {"schema_digest": schema_digest(connection)}
        result["indexes"]["found"] = len(indexes)
        result["fingerprint_kind"] = fingerprint_kind(tables)
    if not tables:
        raise Verdict("nothing_checked", "the database has no tables")
    with timed(result, "scan"):
        for label, content in read_everything(connection, tables, indexes, order, say.progress):
            result["tables"][label] = content
            result["rows"] += content["rows"]
        result["schema_version"] = schema_version(connection, tables, order.get("schema_table"))
    with timed(result, "unique"):
        result["unique"]["checked"] = check_unique(connection, indexes)
    with timed(result, "indexes"):
        asked, lookups = ask_indexes(
            connection, indexes, order.get("lookups", 32), reopen=session.reopen
        )
        if session.extensions:
            rtrees, places = ask_rtrees(session.connection, tables)
            asked, lookups = asked + rtrees, lookups + places
        result["indexes"] |= {"asked": asked, "lookups": lookups}


def main() -> None:
    say = Say()
    order = json.load(sys.stdin)
    if order["do"] == "version":
        say.result({"engine": duckdb.__version__})
    elif order["do"] == "prove":
        say.result(prove(order, say))
    elif order["do"] == "fold":
        say.result(fold(order))
    elif order["do"] == "schema":
        say.result(ask_schema(order))
    elif order["do"] == "try":
        say.result(try_out(order))
    elif order["do"] == "compact":
        say.result(compact(order, say.progress))
    elif order["do"] == "survey":
        say.result(survey(order))
    else:
        sys.exit(f"unknown order: {order['do']}")
    # At once: closing a spare copy would write a checkpoint that nobody reads.
    sys.stderr.flush()
    os._exit(0)
