"""An application in a container: it holds a small DuckDB database open and writes for ever.

    python contained_application.py DATABASE BUSY-FILE

While BUSY-FILE exists it never rests: a checkpoint over all of the file after each commit. A file
`ready` beside the database says that something was committed.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path

import duckdb

ROWS = 400_000  # of 16 bytes, which do not compress


def main(database: str, busy: Path) -> None:
    run = duckdb.connect(database).execute
    run("SET threads = 1")
    run("CREATE TABLE IF NOT EXISTS facts (id BIGINT, noise UBIGINT)")
    run("CREATE TABLE IF NOT EXISTS commits (number BIGINT)")
    if run("SELECT count(*) FROM facts").fetchone() == (0,):
        run(f"INSERT INTO facts SELECT i, hash(i) FROM range({ROWS}) r(i)")
        run("CHECKPOINT")
    for number in itertools.count():
        run("BEGIN")
        run("UPDATE facts SET noise = hash(noise) WHERE id % 97 = ?", [number % 97])
        run("INSERT INTO commits VALUES (?)", [number])
        run("COMMIT")
        if not number:
            Path(database).with_name("ready").touch()
        if busy.exists():
            run("CHECKPOINT")
        else:
            time.sleep(0.1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    main(sys.argv[1], Path(sys.argv[2]))
