"""An application by itself, in a unit or a container: it holds a database open, writes for ever.

    python busy_application.py DATABASE BUSY-FILE [ROWS]

While BUSY-FILE exists it never rests: a checkpoint after each commit, over all of the file. A file
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

ROWS = 1_500_000  # of 16 bytes, which do not compress


def main(database: str, busy: Path, rows: int = ROWS) -> None:
    run = duckdb.connect(database).execute
    run("SET threads = 1")
    run("CREATE TABLE IF NOT EXISTS facts (id BIGINT, noise UBIGINT, more UBIGINT)")
    run("CREATE TABLE IF NOT EXISTS commits (number BIGINT)")
    if run("SELECT count(*) FROM facts").fetchone() == (0,):
        run(f"INSERT INTO facts SELECT i, hash(i), hash(i + 1) FROM range({rows}) r(i)")
        run("CHECKPOINT")
    for number in itertools.count():
        never_rests = busy.exists()
        run("BEGIN")
        run("UPDATE facts SET noise = hash(noise) WHERE id % 7919 = ?", [number % 7919])
        run("INSERT INTO commits VALUES (?)", [number])
        run("COMMIT")
        if not number:
            Path(database).with_name("ready").touch()
        if never_rests:
            run("CHECKPOINT")
        else:
            time.sleep(0.1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
