"""Crash images: databases as they are found after a sudden end, with what is wrong with each.

Every builder runs in a process of the named engine that kills itself, so that the database and its
WAL stay as they were at that instant. Nothing here is simulated but the kill.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
from pathlib import Path

SECONDS = 120
HEADER_BYTES = 12_288
BLOCK = 262_144

_OPEN = """
import os, shutil, signal, sys
import duckdb
path = sys.argv[1]
connection = duckdb.connect(path)
run = connection.execute
run("SET threads = 1")
def end():
    os.kill(os.getpid(), signal.SIGKILL)
"""


_ASK = """
import json, sys
import duckdb
try:
    connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "1")
    print(json.dumps([connection.execute(query).fetchall()[0][0] for query in sys.argv[3:]]))
except Exception as reason:
    sys.exit(f"{type(reason).__name__}: {reason}"[:2000])
"""


class BuildError(RuntimeError):
    """The engine did not do what the image needs."""


def _build(python: Path, script: str, database: Path) -> Path:
    """Run a script that ends by killing itself, and return the database it leaves."""
    database.parent.mkdir(parents=True, exist_ok=True)
    ran = subprocess.run(
        [str(python), "-c", _OPEN + script, str(database)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if ran.returncode != -signal.SIGKILL:
        raise BuildError(f"ended with {ran.returncode} instead of a kill:\n{ran.stderr[-2000:]}")
    return database


def ask(python: Path, database: Path, *queries: str, read_only: bool = True) -> list[object]:
    """Return the first value of each query, as `python`'s engine answers.

    Raise EngineRefusedError with what the engine said, or how it died.
    """
    ran = subprocess.run(
        [str(python), "-c", _ASK, str(database), str(int(read_only)), *queries],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if ran.returncode != 0:
        raise EngineRefusedError(ran.stderr or f"engine ended with {ran.returncode}")
    answers: list[object] = json.loads(ran.stdout)
    return answers


class EngineRefusedError(RuntimeError):
    """An engine could not open or read a database. The message is the engine's."""


def plain(python: Path, folder: Path) -> Path:
    """A database of a few megabytes in which nothing is wrong, closed properly."""
    script = """
run("CREATE TABLE numbers AS SELECT i, hash(i) AS noise FROM range(400000) AS source(i)")
run("CHECKPOINT")
end()
"""
    return _build(python, script, folder / "plain.duckdb")


def deletes_then_bulk(python: Path, folder: Path) -> Path:
    """A WAL with deletes, then a bulk insert, then a small one, on a table with three indexes.

    Replaying it, 1.5.5 feeds the buffered changes of one index with the columns of another and
    fails. 169,599 rows remain after the deletes and the bulk insert, and 500 more came last.
    """
    script = """
run("CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR UNIQUE, colour BIGINT)")
run("CREATE INDEX by_name ON people (name)")
people = "INSERT INTO people SELECT i, 'name-' || i, i % 1000 FROM range({}, {}) AS source(i)"
run(people.format(0, 20_000))
run("CHECKPOINT")
run("SET wal_autocheckpoint = '10GB'")
run("DELETE FROM people WHERE id <= 400")
run(people.format(20_000, 170_000))
run(people.format(170_000, 170_500))
end()
"""
    return _build(python, script, folder / "deletes_then_bulk.duckdb")


def bulk_into_index(python: Path, folder: Path) -> Path:
    """A WAL with 150,000 rows, in one commit, for a table with an index: 170,000 rows.

    1.4.3 writes whole row groups to the file while it replays, so it cannot open its own image
    read-only; 1.5 and 2.0 can.
    """
    script = """
run("CREATE TABLE people (id BIGINT, colour BIGINT)")
run("CREATE INDEX by_colour ON people (colour)")
run("INSERT INTO people SELECT i, i % 1000 FROM range(20000) AS source(i)")
run("CHECKPOINT")
run("SET wal_autocheckpoint = '10GB'")
run("INSERT INTO people SELECT i, i % 1000 FROM range(20000, 170000) AS source(i)")
end()
"""
    return _build(python, script, folder / "bulk_into_index.duckdb")


def index_in_log(python: Path, folder: Path) -> Path:
    """A WAL with CREATE INDEX on a table that has rows.

    To replay it a 1.x engine writes the index into the database file, so it cannot open this image
    read-only at all; for writing it can.
    """
    script = """
run("CREATE TABLE people (id BIGINT, colour BIGINT)")
run("INSERT INTO people SELECT i, i % 1000 FROM range(20000) AS source(i)")
run("CHECKPOINT")
run("CREATE INDEX by_colour ON people (colour)")
end()
"""
    return _build(python, script, folder / "index_in_log.duckdb")


def added_column(python: Path, folder: Path) -> Path:
    """A WAL with ADD COLUMN on a table that has a default which needs a catalog to be bound.

    1,500 rows, 500 of them after the new column. No 1.x engine can replay it, 2.0 can.
    """
    script = """
run("CREATE TABLE events (id BIGINT, born TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")
run("INSERT INTO events (id) SELECT i FROM range(1000) AS source(i)")
run("CHECKPOINT")
run("ALTER TABLE events ADD COLUMN extra INTEGER")
run("INSERT INTO events (id, extra) SELECT i, i FROM range(1000, 1500) AS source(i)")
end()
"""
    return _build(python, script, folder / "added_column.duckdb")


def stale_index(python: Path, folder: Path) -> Path:
    """A WAL with 500 rows for a table whose only index is an explicit UNIQUE one.

    The image itself is sound. But when a 1.x engine opens it for writing and just closes it, the
    implicit checkpoint drops the WAL and does not put those rows into the index.
    """
    script = """
run("CREATE TABLE people (id BIGINT, name VARCHAR)")
run("CREATE UNIQUE INDEX by_name ON people (name)")
run("INSERT INTO people SELECT i, 'name-' || i FROM range(20000) AS source(i)")
run("CHECKPOINT")
run("INSERT INTO people SELECT i, 'name-' || i FROM range(20000, 20500) AS source(i)")
end()
"""
    return _build(python, script, folder / "stale_index.duckdb")


def touch(python: Path, database: Path) -> None:
    """Open for writing and close: what an application does that starts and stops."""
    script = "import duckdb, sys; duckdb.connect(sys.argv[1]).close()"
    subprocess.run([str(python), "-c", script, str(database)], check=True, timeout=SECONDS)


# --- The same words in another order ------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Permuted:
    """Two states of one database, and a block that differs although its first word does not.

    `turn` says which third of the rotation a state holds: the answer to `TURN` in an engine.
    """

    before: Path
    after: Path
    block: int


# The value that stands where `first` stood says how often the three values were rotated.
TURN = "SELECT (SELECT k FROM kept WHERE kept.v = t.v) FROM rotated AS t WHERE id = 1000"


def permuted_blocks(python: Path, folder: Path) -> Permuted:
    """Rotate three BIGINTs and checkpoint, until a block position is reused with the same words.

    DuckDB's checksum is an XOR over the block's words: it does not know their order. Noise keeps
    the column uncompressed, so values are words; the row group is written anew by every checkpoint,
    and the positions freed by the one before are taken again.
    """
    script = """
run("CREATE TABLE rotated AS SELECT i AS id, (hash(i) % 9223372036854775807)::BIGINT AS v "
    "FROM range(245760) AS source(i)")
run("CREATE TABLE kept AS SELECT id - 1000 AS k, v FROM rotated WHERE id IN (1000, 1001, 1002)")
run("CHECKPOINT")
for turn in range(8):
    run("UPDATE rotated SET v = o.v FROM (SELECT id, v FROM rotated "
        "WHERE id IN (1000, 1001, 1002)) AS o "
        "WHERE rotated.id IN (1000, 1001, 1002) AND o.id = 1000 + (rotated.id - 999) % 3")
    run("CHECKPOINT")
    shutil.copyfile(path, f"{path}.{turn}")
end()
"""
    database = _build(python, script, folder / "rotated.duckdb")
    states = [Path(f"{database}.{turn}") for turn in range(8)]
    for later in range(len(states)):
        for earlier in range(later):
            found = _same_word_other_content(states[earlier], states[later])
            if found is not None:
                return Permuted(states[earlier], states[later], found)
    raise BuildError("no block position was reused with the same words in another order")


def _same_word_other_content(one: Path, other: Path) -> int | None:
    before, after = one.read_bytes(), other.read_bytes()
    for offset in range(HEADER_BYTES, min(len(before), len(after)), BLOCK):
        same_word = before[offset : offset + 8] == after[offset : offset + 8] != bytes(8)
        if same_word and before[offset : offset + BLOCK] != after[offset : offset + BLOCK]:
            return (offset - HEADER_BYTES) // BLOCK
    return None
