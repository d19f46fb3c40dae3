"""What the worker speaks of: tables, columns, indexes, verdicts; and how names become SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

Connection = duckdb.DuckDBPyConnection
Result = dict[str, Any]


class Verdict(Exception):
    """The database failed its proof. Given the engine's error, only its first line is kept."""

    def __init__(self, kind: str, message: str, error: object = "") -> None:
        first_line = str(error).strip().partition("\n")[0]
        super().__init__(" ".join(f"{message} {first_line}".split())[:300])
        self.kind = kind


@dataclass(frozen=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True)
class Table:
    database: str
    schema: str
    name: str
    columns: tuple[Column, ...]  # the stored ones
    about: int  # rows, as the engine estimates them

    @property
    def sql(self) -> str:
        # All three parts: with two, a schema called like the database would be ambiguous.
        return ".".join(map(quote, (self.database, self.schema, self.name)))

    @property
    def label(self) -> str:
        # A dot inside a name is quoted, so that no two tables share a label.
        parts = [self.name] if self.schema == "main" else [self.schema, self.name]
        return ".".join(quote(part) if set(part) & set('."') else part for part in parts)


@dataclass(frozen=True)
class Index:
    name: str
    table: Table
    columns: tuple[Column, ...]  # none: it is over expressions
    unique: bool


def engine() -> tuple[int, ...]:
    return tuple(map(int, duckdb.__version__.split(".")[:2]))


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def one_row(connection: Connection, sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] = connection.execute(sql).fetchall()[0]
    return row


def failure(error: duckdb.Error, otherwise: str) -> str:
    # A full scratch folder says nothing about the database.
    exhausted = isinstance(error, duckdb.OutOfMemoryException) or "No space left" in str(error)
    return "out_of_memory" if exhausted else otherwise
