"""Databases of the tests: each kind is built once, and whoever needs one gets a copy."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

SECONDS = 60
NAME = "built.duckdb"

_BUILD = """
import os, sys
import duckdb
connection = duckdb.connect(sys.argv[1])
run = connection.execute
run("SET threads = 1")
run("CREATE TABLE facts (id INTEGER PRIMARY KEY, word VARCHAR, noise UBIGINT)")
run(f"INSERT INTO facts SELECT i, 'word ' || i, hash(i) FROM range({int(sys.argv[2])}) r(i)")
run("CREATE INDEX words ON facts (word)")
run("CHECKPOINT")
run("SET wal_autocheckpoint = '1GB'")
if int(sys.argv[3]):
    first, last = int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3])
    run(f"INSERT INTO facts SELECT i, 'late ' || i, hash(i) FROM range({first}, {last}) r(i)")
    os._exit(0)  # as a crash: the WAL stays
connection.close()
"""


def copy_database(path: Path, *, rows: int, wal_rows: int, python: str) -> None:
    """Put a database at `path`, with `wal_rows` of its rows only in the WAL."""
    for file in _built(rows, wal_rows, python).iterdir():
        shutil.copyfile(file, path.with_name(path.name + file.name.removeprefix(NAME)))


@functools.cache
def _built(rows: int, wal_rows: int, python: str) -> Path:
    """Return the folder of a database like that."""
    folder = Path(tempfile.mkdtemp(prefix="eider-built-"))
    atexit.register(shutil.rmtree, folder)
    subprocess.run(
        [python, "-c", _BUILD, str(folder / NAME), str(rows), str(wal_rows)],
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )
    return folder
