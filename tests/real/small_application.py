"""A small application: one table, a commit now and then, and what a copy of it must hold.

For tests in which the size of Cartographus's schema does not matter. The same command line:
`serve --database FILE --ledger FILE ...` until SIGTERM, and `facts --database FILE`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import duckdb


def serve(database: str, ledger: str, pace: float) -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    connection = duckdb.connect(database)
    run = connection.execute
    run("CREATE TABLE IF NOT EXISTS commits (number INTEGER PRIMARY KEY, word VARCHAR UNIQUE)")
    run("CREATE INDEX IF NOT EXISTS by_word ON commits (word)")
    (last,) = run("SELECT coalesce(max(number), 0) FROM commits").fetchall()[0]
    with Path(ledger).open("a", encoding="utf-8", buffering=1) as written:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not ended:
            last += 1
            run("INSERT INTO commits VALUES (?, ?)", [last, f"word {last}"])
            written.write(f"done {last}\n")
            time.sleep(pace)
    os._exit(0)  # as many do: the WAL stays


def facts(database: str) -> None:
    run = duckdb.connect(database, read_only=True).execute
    count, last = run("SELECT count(*), max(number) FROM commits").fetchall()[0]
    (found,) = run("SELECT count(*) FROM commits WHERE word = 'word 1'").fetchall()[0]
    said = {"commits": last, "intact": count == last and found == 1}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve", "facts"])
    parser.add_argument("--database", required=True)
    parser.add_argument("--ledger", default="")
    parser.add_argument("--seed-rows")
    parser.add_argument("--pace", type=float, default=0.01)
    words = parser.parse_args()
    if words.verb == "serve":
        serve(words.database, words.ledger, words.pace)
    else:
        facts(words.database)
