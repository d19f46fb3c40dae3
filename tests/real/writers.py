"""Applications that never rest, and the judge of what was captured from them.

    python writers.py write NAME --database PATH --ledger PATH [--seconds S] [--megabytes M]
    python writers.py check NAME --database PATH

Standard library and duckdb only: it runs in the side environment of any engine version.

Every commit is numbered and keeps facts that span tables, so that a copy mixing two instants cannot
hide: `left_side` and `right_side` carry amounts that cancel, every row is sealed by its own
values, and `tally` holds for each table the row count, the sum of amounts, the XOR of all seals
and the commit number, all written in the same transaction as the rows; `journal` has one row per
commit.
The ledger gets `begin N time_ns` before and `done N time_ns` after commit N.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

Connection = Any  # duckdb's own annotation differs between the four versions this runs on

SIDES = ("left_side", "right_side")
INDEXED = "indexed_side"
ROTATION = "rotation"
ROW_BYTES = 27  # measured: what one sealed row takes on disk after compression
INDEXED_ROW_BYTES = 100  # the same with its keys and three indexes
GOOD, WRONG, UNOPENED = "good", "wrong content", "cannot be opened"

# One row. Amounts are mirrored by sign; noise does not compress, so tables have real size.
ROWS = """
    SELECT i AS id, {sign} * CAST(hash(i, {stamp}) % 1000000 AS BIGINT) AS amount,
           {stamp} AS stamp,
           CAST(hash(i, {stamp}, {sign}) % 9223372036854775807 AS BIGINT) AS noise
    FROM range({low}, {high}) AS source(i)
"""
SEAL = "xor(xor(noise, id), xor(stamp, amount))"
MEASURE = "SELECT count(*), coalesce(sum(amount), 0), coalesce(bit_xor(seal), 0) FROM {table}"


@dataclass
class Book:
    """What the writer remembers of its own database."""

    connection: Connection
    ledger: int
    number: int = 0
    low: int = 0  # ids below were deleted
    high: int = 0  # the next id to insert
    target_rows: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(20))

    def sign(self, text: str) -> None:
        os.write(self.ledger, f"{text} {time.time_ns()}\n".encode())

    def run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return list(self.connection.execute(sql, list(values)).fetchall())


# --- One commit ---------------------------------------------------------------------------------


@contextmanager
def commit(book: Book) -> Iterator[int]:
    """Number a transaction, sign the ledger around it, and put the number in every tally row."""
    number = book.number + 1
    book.sign(f"begin {number}")
    book.run("BEGIN")
    yield number
    book.run("INSERT INTO journal VALUES (?, ?)", [number, number * number])
    book.run("UPDATE tally SET commit_number = ?", [number])
    book.run("COMMIT")
    book.number = number
    book.sign(f"done {number}")


@contextmanager
def recorded(book: Book, table: str, low: int, high: int) -> Iterator[None]:
    """Carry what happens to the rows of an id range over into the table's tally."""
    before = measure(book, table, low, high)
    yield
    after = measure(book, table, low, high)
    book.run(
        "UPDATE tally SET row_count = row_count + ?, total = total + ?, "
        "seals = xor(seals, ?) WHERE table_name = ?",
        [after[0] - before[0], after[1] - before[1], after[2] ^ before[2], table],
    )


def measure(book: Book, table: str, low: int, high: int) -> tuple[int, int, int]:
    where = f"{MEASURE.format(table=table)} WHERE id >= ? AND id < ?"
    rows, total, seals = book.run(where, [low, high])[0]
    return int(rows), int(total), int(seals)


def insert(book: Book, table: str, low: int, high: int, stamp: int) -> None:
    book.run(f"INSERT INTO {table} {sealed(table, low, high, stamp)}")


def sealed(table: str, low: int, high: int, stamp: int) -> str:
    sign = -1 if table == "right_side" else 1
    rows = ROWS.format(sign=sign, low=low, high=high, stamp=stamp)
    keys = ", 'name-' || id AS name, stamp % 100 AS colour" if table == INDEXED else ""
    return f"SELECT id, amount, stamp, noise, {SEAL} AS seal{keys} FROM ({rows})"


def restamp(book: Book, table: str, low: int, high: int, stamp: int) -> None:
    """Change rows in place: the two sides still cancel, the seals follow."""
    grown = "(CASE WHEN amount < 0 THEN -1 ELSE 1 END)"
    book.run(
        f"UPDATE {table} SET amount = amount + {grown}, stamp = ?, "
        f"seal = xor(xor(noise, id), xor(CAST(? AS BIGINT), amount + {grown})) "
        "WHERE id >= ? AND id < ? AND amount <> 0",
        [stamp, stamp, low, high],
    )


# --- Seeding ------------------------------------------------------------------------------------


def seed(book: Book, megabytes: float, tables: Sequence[str]) -> None:
    """Create the tables and fill them, as commit 1, and put all of it into the main file."""
    row_bytes = INDEXED_ROW_BYTES if INDEXED in tables else ROW_BYTES
    book.target_rows = int(megabytes * 1e6 / row_bytes / len(tables))
    book.run("CREATE TABLE journal (number BIGINT, square BIGINT)")
    book.run(
        "CREATE TABLE tally (table_name VARCHAR, commit_number BIGINT, "
        "row_count BIGINT, total BIGINT, seals BIGINT)"
    )
    for table in tables:
        columns = "id BIGINT, amount BIGINT, stamp BIGINT, noise BIGINT, seal BIGINT"
        if table == INDEXED:
            columns = columns.replace("id BIGINT", "id BIGINT PRIMARY KEY")
            columns += ", name VARCHAR UNIQUE, colour BIGINT"
        book.run(f"CREATE TABLE {table} ({columns})")
    if INDEXED in tables:
        book.run(f"CREATE INDEX by_colour ON {INDEXED} (colour)")
    with commit(book) as number:
        for table in tables:
            add_table(book, table, number)
            with recorded(book, table, 0, book.target_rows):
                insert(book, table, 0, book.target_rows, number)
    book.high = book.target_rows
    book.run("CHECKPOINT")


def add_table(book: Book, table: str, number: int) -> None:
    book.run("INSERT INTO tally VALUES (?, ?, 0, 0, 0)", [table, number])


# --- Writers: each function makes one commit ----------------------------------------------------


def mixed(book: Book) -> None:
    """Insert at the end, change somewhere, remove at the beginning; both sides alike."""
    with commit(book) as number:
        what = book.chance.random()
        if what < 0.4 and book.high - book.low < 1.3 * book.target_rows:
            add_rows(book, SIDES, book.chance.randrange(10, 4000), number)
        elif what < 0.6:
            remove_oldest(book, SIDES, book.chance.randrange(10, 6000))
        else:
            low = book.chance.randrange(book.low, book.high)
            size = book.chance.choice((10, 1000, 1000, 20000))
            change_rows(book, SIDES, low, low + size, number)


def bulk(book: Book) -> None:
    """Insert hundreds of thousands of rows: blocks reach the file before the commit does."""
    size = book.chance.randrange(130_000, 260_000)
    if book.chance.random() < 0.3:
        change_mind(book, size)
    with commit(book) as number:
        add_rows(book, SIDES, size, number)
    while book.high - book.low > book.target_rows + size:
        with commit(book):
            remove_oldest(book, SIDES, size)


def change_mind(book: Book, size: int) -> None:
    """Roll back a bulk insert: its blocks were written, and are free again without any commit."""
    book.run("BEGIN")
    for table in SIDES:
        insert(book, table, book.high, book.high + size, -1)
    book.run("ROLLBACK")


def churn(book: Book) -> None:
    """Create and drop large tables, so that their blocks are reused at once with other content."""
    wanted = f"scratch_{book.number % 2}"
    with commit(book) as number:
        exists = book.run("SELECT count(*) FROM tally WHERE table_name = ?", [wanted])[0][0]
        if exists and number % 3:
            drop_table(book, wanted)
        elif not exists:
            create_table(book, wanted, book.chance.randrange(125_000, 260_000), number)
        else:
            drop_table(book, wanted)
            create_table(book, wanted, book.chance.randrange(125_000, 260_000), number)
        low = book.chance.randrange(book.low, book.high)
        change_rows(book, SIDES, low, low + 500, number)


def create_table(book: Book, table: str, size: int, number: int) -> None:
    book.run(f"CREATE TABLE {table} AS {sealed(table, 0, size, number)}")
    add_table(book, table, number)
    rows, total, seals = measure(book, table, 0, size)
    book.run(
        "UPDATE tally SET row_count = ?, total = ?, seals = ? WHERE table_name = ?",
        [rows, total, seals, table],
    )


def drop_table(book: Book, table: str) -> None:
    book.run(f"DROP TABLE {table}")
    book.run("DELETE FROM tally WHERE table_name = ?", [table])


def indexed(book: Book) -> None:
    """Delete, update and insert where a primary key, a unique and an ART index must follow."""
    tables = (INDEXED,)
    with commit(book) as number:
        what = book.chance.random()
        if what < 0.4:
            add_rows(book, tables, book.chance.randrange(10, 2000), number)
        elif what < 0.7:
            remove_oldest(book, tables, book.chance.randrange(10, 2000))
        else:
            low = book.chance.randrange(book.low, book.high)
            high = min(book.high, low + book.chance.choice((10, 100, 1000)))
            with recorded(book, INDEXED, low, high):
                book.run(
                    f"UPDATE {INDEXED} SET colour = (colour + 1) % 100 WHERE id >= ? AND id < ?",
                    [low, high],
                )
            change_rows(book, tables, low, high, number)


def rotation(book: Book) -> None:
    """Rotate three values and checkpoint: blocks get the same words in another order.

    The engine's block checksum does not see that, so a copy that trusts it keeps an old block.
    """
    first = not book.run("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'rotated'")[0][0]
    with commit(book) as number:
        if first:
            book.run(
                "CREATE TABLE rotated AS SELECT i AS id, "
                "CAST(hash(i) % 9223372036854775807 AS BIGINT) AS word "
                "FROM range(245760) AS source(i)"
            )
            book.run(
                f"CREATE TABLE {ROTATION} AS SELECT id - 1000 AS turn, word, {number} AS since "
                "FROM rotated WHERE id BETWEEN 1000 AND 1002"
            )
        else:
            book.run(
                "UPDATE rotated SET word = other.word FROM (SELECT id, word FROM rotated "
                "WHERE id BETWEEN 1000 AND 1002) AS other WHERE rotated.id BETWEEN 1000 AND 1002 "
                "AND other.id = 1000 + (rotated.id - 999) % 3"
            )
    book.run("CHECKPOINT")


def add_rows(book: Book, tables: Sequence[str], size: int, number: int) -> None:
    for table in tables:
        with recorded(book, table, book.high, book.high + size):
            insert(book, table, book.high, book.high + size, number)
    book.high += size


def remove_oldest(book: Book, tables: Sequence[str], size: int) -> None:
    high = min(book.low + size, book.high - book.target_rows // 2)
    if high <= book.low:
        return
    for table in tables:
        with recorded(book, table, book.low, high):
            book.run(f"DELETE FROM {table} WHERE id >= ? AND id < ?", [book.low, high])
    book.low = high


def change_rows(book: Book, tables: Sequence[str], low: int, high: int, number: int) -> None:
    for table in tables:
        with recorded(book, table, low, high):
            restamp(book, table, low, high, number)


@dataclass(frozen=True)
class Workload:
    """How one writer behaves: its tables, its settings, its commit, and when it falls silent."""

    step: Callable[[Book], None]
    settings: tuple[str, ...] = ()
    tables: tuple[str, ...] = SIDES
    busy_seconds: float | None = None


WORKLOADS = {
    "default": Workload(mixed),
    "checkpoints": Workload(mixed, settings=("SET wal_autocheckpoint = '300KB'",)),
    "bulk": Workload(bulk),
    # Dropped blocks can be reused after the next checkpoint, so there must be many.
    "churn": Workload(churn, settings=("SET wal_autocheckpoint = '200KB'",)),
    "indexed": Workload(indexed, settings=("SET wal_autocheckpoint = '2MB'",), tables=(INDEXED,)),
    "idle": Workload(mixed, busy_seconds=0.5),
    "rotation": Workload(rotation),
}


def write(name: str, database: Path, ledger: Path, seconds: float, megabytes: float) -> None:
    """Write until the time is over, or until killed, which is the usual end."""
    workload = WORKLOADS[name]
    connection = duckdb.connect(str(database))
    # One thread: the capture under test needs the other core, as it would on a small server.
    connection.execute("SET threads = 1")
    for setting in workload.settings:
        connection.execute(setting)
    signed = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    book = Book(connection, signed)
    seed(book, megabytes, workload.tables)
    print("ready", flush=True)  # noqa: T201
    busy = seconds if workload.busy_seconds is None else min(seconds, workload.busy_seconds)
    until = time.monotonic() + busy
    while time.monotonic() < until:
        workload.step(book)
    if workload.busy_seconds is not None:
        book.sign(f"idle {book.number}")
        time.sleep(max(0.0, min(seconds - busy, 86_400.0)))
    connection.close()


# --- The judge ----------------------------------------------------------------------------------


def check(name: str, database: Path) -> dict[str, object]:
    """Read every row of a copy and say whether all of it belongs to one instant."""
    try:
        connection = duckdb.connect(str(database), read_only=True)
        connection.execute("SET threads = 2")
    except Exception as reason:  # noqa: BLE001  (every refusal is an answer)
        return {"verdict": UNOPENED, "commits": 0, "why": short(reason)}
    book = Book(connection, -1)
    try:
        faults = list(faults_of(book, WORKLOADS[name]))
        commits = int(book.run("SELECT max(number) FROM journal")[0][0] or 0)
    except Exception as reason:  # noqa: BLE001
        return {"verdict": WRONG, "commits": 0, "why": f"cannot be read: {short(reason)}"}
    verdict = WRONG if faults else GOOD
    return {"verdict": verdict, "commits": commits, "why": "; ".join(faults[:5])}


def short(reason: Exception) -> str:
    return " ".join(f"{type(reason).__name__}: {reason}".split())[:400]


def faults_of(book: Book, workload: Workload) -> Iterator[str]:
    yield from journal_faults(book)
    tallies = book.run("SELECT table_name, row_count, total, seals FROM tally ORDER BY ALL")
    for table, *recorded_facts in tallies:
        yield from table_faults(book, str(table), recorded_facts)
    present = {row[0] for row in book.run("SELECT table_name FROM duckdb_tables()")}
    expected = {row[0] for row in tallies} | {"journal", "tally"}
    if ROTATION in present:
        expected |= {ROTATION, "rotated"}
        yield from rotation_faults(book)
    if present != expected:
        yield f"tables {sorted(present)} instead of {sorted(expected)}"
    missing = set(workload.tables) - present
    if missing:
        yield f"missing tables {sorted(missing)}"
    if workload.tables == SIDES:
        yield from side_faults(book)
    if INDEXED in present:
        yield from index_faults(book)


def journal_faults(book: Book) -> Iterator[str]:
    count, newest, squares = book.run(
        "SELECT count(DISTINCT number), max(number), "
        "count(*) FILTER (square <> number * number) FROM journal"
    )[0]
    numbers = book.run("SELECT min(commit_number), max(commit_number) FROM tally")[0]
    if count != newest or squares:
        yield f"journal: {count} distinct numbers up to {newest}, {squares} wrong squares"
    if numbers != (newest, newest):
        yield f"tally has commits {numbers}, journal {newest}"


def table_faults(book: Book, table: str, expected: Sequence[int]) -> Iterator[str]:
    found = [int(value) for value in book.run(MEASURE.format(table=table))[0]]
    if found != [int(value) for value in expected]:
        yield f"{table}: rows, total, seals {found} instead of {list(expected)}"
    broken = book.run(f"SELECT count(*) FROM {table} WHERE seal <> {SEAL}")[0][0]
    if broken:
        yield f"{table}: {broken} rows with a broken seal"


def side_faults(book: Book) -> Iterator[str]:
    """The two sides hold the same ids with opposite amounts."""
    lonely = book.run(
        "SELECT count(*) FROM left_side AS l FULL JOIN right_side AS r USING (id) "
        "WHERE l.amount IS NULL OR r.amount IS NULL OR l.amount + r.amount <> 0 "
        "OR l.stamp <> r.stamp"
    )[0][0]
    if lonely:
        yield f"{lonely} rows of the two sides do not cancel"


def rotation_faults(book: Book) -> Iterator[str]:
    """The commit number says how often the three values were rotated."""
    since, newest = book.run(
        f"SELECT min(since), (SELECT max(number) FROM journal) FROM {ROTATION}"
    )[0]
    turns = book.run(
        f"SELECT (turn - id + 1000) % 3 FROM rotated JOIN {ROTATION} USING (word) "
        "WHERE id BETWEEN 1000 AND 1002"
    )
    found = sorted((int(turn) + 3) % 3 for (turn,) in turns)
    if found != [(newest - since) % 3] * 3:
        yield f"rotated: turns {found} after {newest - since} commits"


def index_faults(book: Book) -> Iterator[str]:
    """What the indexes find is what a scan finds, also for keys that must not be there."""
    low, high = book.run(f"SELECT min(id), max(id) FROM {INDEXED}")[0]
    chance = random.Random(low * high)
    for key in [chance.randrange(max(0, low - 500), high + 500) for _ in range(60)]:
        # xor, because the optimizer turns `id + 0 = key` back into what an index answers.
        scanned = book.run(f"SELECT seal FROM {INDEXED} WHERE xor(id, 0) = {key}")
        # Literals, not parameters: only then do all versions choose the index.
        by_key = book.run(f"SELECT seal FROM {INDEXED} WHERE id = {key}")
        by_name = book.run(f"SELECT seal FROM {INDEXED} WHERE name = 'name-{key}'")
        if not scanned == by_key == by_name:
            yield f"key {key}: scan {scanned}, primary key {by_key}, unique {by_name}"
    yield from colour_faults(book)


def colour_faults(book: Book) -> Iterator[str]:
    counts = dict(book.run(f"SELECT colour, count(*) FROM {INDEXED} GROUP BY colour"))
    # Otherwise the engine prefers to scan when a colour is common.
    book.run("SET index_scan_percentage = 1.0")
    book.run("SET index_scan_max_count = 100000000")
    for colour in range(100):
        found = book.run(f"SELECT count(seal) FROM {INDEXED} WHERE colour = {colour}")[0][0]
        if found != counts.get(colour, 0):
            yield f"colour {colour}: index finds {found}, scan {counts.get(colour, 0)}"


# --- Command line -------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="write to a database, or judge a copy of it")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("write", "check"):
        one = verbs.add_parser(verb)
        one.add_argument("name", choices=sorted(WORKLOADS))
        one.add_argument("--database", type=Path, required=True)
    writing = verbs.choices["write"]
    writing.add_argument("--ledger", type=Path, required=True)
    writing.add_argument("--seconds", type=float, default=3600.0)
    writing.add_argument("--megabytes", type=float, default=40.0)
    given = parser.parse_args()
    if given.verb == "write":
        write(given.name, given.database, given.ledger, given.seconds, given.megabytes)
    else:
        print(json.dumps(check(given.name, given.database)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
