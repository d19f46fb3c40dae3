"""Do the indexes agree with the table? Some keys of each, looked up and compared with scans."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from .nouns import Connection, Index, Table, Verdict, failure, literal, one_row, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# An index is asked for keys that about so many rows hold (each costs 0.4 microseconds).
MATCHES = 2_000
# What it answers is compared with a scan even if no row is missing, where that costs little.
CHEAP_VALUES = 2_000_000
# Types whose text, cast back, is the same value, and which an ART index can hold.
ASKABLE = re.compile(
    r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|BOOLEAN|FLOAT|DOUBLE|DECIMAL\(.*\)|VARCHAR|UUID|DATE"
    r"|TIME|TIMESTAMP(_S|_MS|_NS| WITH TIME ZONE)?|BLOB|ENUM\(.*\)",
    re.DOTALL,
)

Pairs = list[tuple[int, str]]  # rowid and key


@dataclass(frozen=True)
class Question:
    """Some keys of one index, and rows of the table known to hold them."""

    index: Index
    keys: tuple[str, ...]
    rowids: tuple[int, ...]

    @property
    def counts(self) -> tuple[str, str]:
        # A bare string literal takes the column's type, and the index is used as for any constant.
        keys = f"{quote(self.index.columns[0].name)} IN ({', '.join(map(literal, self.keys))})"
        return keys, f"{keys} AND rowid IN ({', '.join(map(str, self.rowids))})"

    @property
    def by_index(self) -> str:
        keys, known = self.counts
        source = self.index.table.sql
        return f"SELECT count(*), count(*) FILTER (WHERE {known}) FROM {source} WHERE {keys}"


def ask_indexes(
    connection: Connection,
    indexes: list[Index],
    lookups: int,
    *,
    reopen: Callable[[], Connection | None] = lambda: None,
) -> tuple[int, int]:
    """Return how many indexes were asked, and for how many keys; a wrong answer is a verdict.

    The pages of an index stay in memory once they were read, so many or large ones may not fit
    together: then they are asked fewer at a time, each time on a connection that `reopen` makes
    (None: it cannot). What does not fit even alone is not asked, and not counted.
    """
    asked: list[Question] = []
    for table in dict.fromkeys(index.table for index in indexes):
        # Of two indexes over one column the engine uses one, so they count as one.
        alone = {i.columns: i for i in indexes if i.table == table and is_askable(i)}
        todo, fresh = [list(alone.values())], False
        while todo:
            some = todo.pop()
            try:
                asked += ask_together(connection, table, some, lookups)
                fresh = False
            except duckdb.OutOfMemoryException:
                anew = reopen()
                if anew is None:
                    return summed(asked)
                half = len(some) // 2
                todo += (
                    [some] if not fresh else [part for part in (some[half:], some[:half]) if half]
                )
                connection, fresh = anew, True
    return summed(asked)


def summed(asked: list[Question]) -> tuple[int, int]:
    return len(asked), sum(len(question.keys) for question in asked)


def ask_together(
    connection: Connection, table: Table, indexes: list[Index], lookups: int
) -> list[Question]:
    try:
        asked = [
            question
            for index, pairs in sample(connection, table, indexes, lookups)
            for question in questions(connection, index, pairs)
        ]
        compare(connection, table, asked)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        kind = failure(error, "index_disagrees")
        raise Verdict(kind, f"an index of table {table.label}:", error) from error
    return asked


def is_askable(index: Index) -> bool:
    # A column may be called rowid, and would hide the real one.
    hidden = any(column.name.lower() == "rowid" for column in index.table.columns)
    return len(index.columns) == 1 and not hidden and bool(ASKABLE.fullmatch(index.columns[0].type))


def sample(
    connection: Connection, table: Table, indexes: list[Index], lookups: int
) -> Iterator[tuple[Index, Pairs]]:
    """Rows read without any index: the newest (a WAL replay adds those), the first, and others."""
    if not indexes:
        return
    endings = (
        f"ORDER BY rowid DESC LIMIT {lookups - lookups // 2}",
        f"ORDER BY rowid LIMIT {lookups // 4}",
        f"USING SAMPLE {lookups // 4} ROWS",
    )
    found = [connection.execute(f"SELECT rowid FROM {table.sql} {e}").fetchall() for e in endings]
    rowids = ", ".join(str(rowid) for rows in found for (rowid,) in rows) or "NULL"
    names = [quote(index.columns[0].name) for index in indexes]
    texts = ", ".join(f"{name}::VARCHAR" for name in names)
    among = f"WHERE rowid IN ({rowids}) ORDER BY rowid DESC"
    rows = connection.execute(f"SELECT rowid, {texts} FROM {table.sql} {among}").fetchall()
    for place, (index, name) in enumerate(zip(indexes, names, strict=True), start=1):
        pairs = [(row[0], row[place]) for row in rows if row[place] is not None]
        newest = f"WHERE {name} IS NOT NULL ORDER BY rowid DESC LIMIT {lookups}"
        yield (
            index,
            pairs  # or, where the column was NULL in all of them:
            or connection.execute(
                f"SELECT rowid, {name}::VARCHAR FROM {table.sql} {newest}"
            ).fetchall(),
        )


def questions(connection: Connection, index: Index, pairs: Pairs) -> list[Question]:
    """Ask for as many keys as the engine still looks up in the index; rare keys first."""
    seen = Counter(key for _, key in pairs if "\0" not in key)
    rare_first = sorted(seen, key=lambda key: seen[key])
    if not rare_first:
        return []
    # Keys that cover the whole column make no condition, so a constant column cannot be asked.
    room = min(MATCHES, index.table.about // 2) // matches(connection, index, rare_first[0])
    # Neighbouring integers become a range, which is not looked up: then a single key must do.
    for count in dict.fromkeys((min(room, len(rare_first)), min(room, 1))):
        keys = set(rare_first[:count])
        known = tuple(rowid for rowid, key in pairs if key in keys)
        question = Question(index, tuple(sorted(keys)), known)
        if keys and uses_index(connection, question):
            return [question]
    return []


def matches(connection: Connection, index: Index, key: str) -> int:
    """How many rows hold a key, as the planner estimates from its count of distinct values."""
    question = Question(index, (key,), (0,))
    plan = one_row(connection, f"EXPLAIN (FORMAT json) {question.by_index}")[1]
    return max(1, *map(int, re.findall(r'"Estimated Cardinality": "([0-9]+)"', plan)))


def uses_index(connection: Connection, question: Question) -> bool:
    """Only a plan that has run tells: the engine decides when the scan begins."""
    plan = one_row(connection, f"EXPLAIN (ANALYZE, FORMAT json) {question.by_index}")[1]
    # A name or key cannot pose as this: within JSON text its quotes have backslashes.
    return set(re.findall(r'"(?:Scan )?Type": "([A-Za-z ]+)"', plan)) == {"Index Scan"}


def compare(connection: Connection, table: Table, asked: list[Question]) -> None:
    """Ask the indexes, then, if a row is missing or it is cheap, the rows: all in one scan."""
    answers = [one_row(connection, question.by_index) for question in asked]
    complete = all(a[1] == len(q.rowids) for a, q in zip(answers, asked, strict=True))
    if not asked or (complete and table.about * len(asked) > CHEAP_VALUES):
        return
    # Conditions inside FILTER never reach an index.
    counts = ", ".join(f"count(*) FILTER (WHERE {c})" for q in asked for c in q.counts)
    scanned = one_row(connection, f"SELECT {counts} FROM {table.sql}")
    for place, (answer, question) in enumerate(zip(answers, asked, strict=True)):
        truth = scanned[2 * place : 2 * place + 2]
        if answer != truth:
            message = (
                f"index {question.index.name} of table {table.label} finds {answer[0]} rows "
                f"instead of {truth[0]} for {len(question.keys)} keys"
            )
            raise Verdict("index_disagrees", message)
