"""What a look at the schema finds: versions, migrations, a digest, whether the WAL replays. Pure.

A look belongs to one state of the database. A mirror that was kept up by the first words of its
blocks alone may, seldom, hold a wrong block: such a look is not `thorough`, and nobody is to be
alarmed by a single one.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Replay(enum.StrEnum):
    """Whether an engine could bring the database back if its application ended now."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Table(enum.StrEnum):
    """What is known of the table of migrations."""

    FILLED = "filled"
    EMPTY = "empty"
    MISSING = "missing"
    ODD = "odd"  # it has no whole number called version
    UNREAD = "unread"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One row of the table of migrations. `failed`: it says of itself that it did not end."""

    version: int
    name: str = ""
    applied_at: str = ""
    failed: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an engine said. `engine` read the schema, `asked` is the one that was to replay the WAL.

    `by_application` says that `asked` is the version that the application runs. `storage` names the
    oldest engine that can read the file, as in "v1.2.0+". `migrations` has the newest ones first.
    """

    engine: str = ""
    asked: str = ""
    by_application: bool = False
    replay: Replay = Replay.UNKNOWN
    why: str = ""
    storage: str | None = None
    table: Table = Table.UNREAD
    version: int | None = None
    migrations: tuple[Migration, ...] = ()
    migration_count: int = 0
    digest: str | None = None
    tables: int = 0
    indexes: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One look. `created_by` is the engine that the file's header names.

    `application` is its version as it was last heard, at `heard_at`.
    """

    at: datetime.datetime
    thorough: bool
    seen: Seen
    created_by: str = ""
    wal_bytes: int = 0
    application: str | None = None
    heard_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """The application was one version and is another since about `at`."""

    old: str
    new: str
    at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that is remembered. `question` says which state of the database `latest` belongs to.

    `nats` is the version of the NATS server when it was last reached.
    """

    question: str = ""
    refreshed_at: datetime.datetime | None = None
    latest: Facts | None = None
    previous: Facts | None = None
    upgrade: Upgrade | None = None
    nats: str | None = None

    def named(self, facts: Facts, *, application: str | None, at: datetime.datetime) -> Facts:
        """Return a look with the application's version; if it is silent, as it was last heard."""
        if application:
            return dataclasses.replace(facts, application=application, heard_at=at)
        last = self.latest
        return dataclasses.replace(
            facts,
            application=last.application if last else None,
            heard_at=last.heard_at if last else None,
        )

    def and_then(self, facts: Facts, *, question: str) -> Known:
        """Return what is known after another look."""
        upgrade = self.upgrade
        last = self.latest
        if last and last.application and facts.application not in (None, last.application):
            upgrade = Upgrade(old=last.application, new=str(facts.application), at=facts.at)
        return dataclasses.replace(
            self, question=question, latest=facts, previous=last, upgrade=upgrade
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table. `default` is SQL; empty when there is none."""

    name: str
    type: str
    nullable: bool
    default: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One table. `constraints` and `indexes` are SQL."""

    name: str
    rows: int
    columns: tuple[Column, ...]
    constraints: tuple[str, ...]
    indexes: tuple[str, ...]


# From an engine's answer --------------------------------------------------------------------------

# Anything else says nothing about the WAL: a key is missing, the memory or the time was too short.
_WOULD_NOT: Final = frozenset({"wal_replay", "cannot_open", "engine_died"})


def seen(answer: Mapping[str, Any], *, by_application: bool) -> Seen:
    """Return what an engine's answer amounts to."""
    kind, engine = answer["kind"], str(answer["engine"])
    if kind != "ok":
        return Seen(
            asked=engine,
            by_application=by_application,
            replay=Replay.NO if kind in _WOULD_NOT else Replay.UNKNOWN,
            why=str(answer.get("message") or kind),
        )
    told = answer["migrations"]
    version = told.get("version") if told else None
    return Seen(
        engine=engine,
        asked=engine,
        by_application=by_application,
        replay=Replay.YES,
        storage=answer["storage"],
        table=_table(told),
        version=None if version is None else int(version),
        migrations=tuple(_migration(row) for row in (told or {}).get("rows", ())),
        migration_count=(told or {}).get("count", 0),
        digest=answer["digest"],
        tables=len(answer["tables"]),
        indexes=answer["indexes"],
    )


def beside(first: Seen, other: Seen) -> Seen:
    """Given an engine that could not open a database and one that perhaps could, return both.

    The first says whether it would come back, the other which schema it has.
    """
    return dataclasses.replace(
        other,
        asked=first.asked,
        by_application=first.by_application,
        replay=first.replay,
        why=first.why,
    )


def _table(told: Mapping[str, Any] | None) -> Table:
    if told is None:
        return Table.ODD
    if not told["there"]:
        return Table.MISSING
    return Table.EMPTY if told["version"] is None else Table.FILLED


def _migration(row: list[Any]) -> Migration:
    version, name, applied_at, failed = row
    return Migration(
        version=int(version),
        name=str(name or ""),
        applied_at=str(applied_at or ""),
        failed=bool(failed),
    )


def described(told: Mapping[str, Any]) -> Described:
    """Return the table that an engine described."""
    return Described(
        name=told["name"],
        rows=told["rows"],
        columns=tuple(
            Column(
                name=column["name"],
                type=column["type"],
                nullable=column["nullable"],
                default=column["default"] or "",
            )
            for column in told["columns"]
        ),
        constraints=tuple(constraint["sql"] for constraint in told["constraints"]),
        indexes=tuple(index["sql"] or index["name"] for index in told["indexes"]),
    )
