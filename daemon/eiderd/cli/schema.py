"""The verb that shows the schema: versions, migrations, what changed; or one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from eiderd.cli import documents
from eiderd.cli.reports import columns
from eiderd.cli.root import Json, session
from eiderd.cli.terminal import BOLD, DIM, RED, paint, say
from eiderd.errors import ExitCode
from eiderd.schema.facts import Replay, Table
from eiderd.units import spoken
from eiderd.words import many, plain

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from eiderd.health import Finding
    from eiderd.schema.app import Shown
    from eiderd.schema.facts import Described, Facts
    from eiderd.schema.report import Report
    from eiderd.watch.schema import Change

_NEWEST = 10
_WIDTH = 13
_TABLES = {
    Table.EMPTY: "unknown: {table} is empty",
    Table.MISSING: "unknown: there is no table {table}",
    Table.ODD: "unknown: {table} has no whole number called version",
    Table.UNREAD: "unknown: the database could not be opened",
}


def schema(
    table: Annotated[str | None, typer.Option(help="Describe this table.")] = None,
    json_: Json = False,
) -> None:
    """Show versions, migrations and changes of the schema, or a table, without the live file."""
    from eiderd.outside import clock  # noqa: PLC0415  (they take long to import)
    from eiderd.schema.report import report  # noqa: PLC0415

    at = clock.now()
    with session.working(quiet=json_) as app:
        found = report(app, at=at, table=table)
        name = app.settings.schema_.table
    if found.shown.table:
        described = found.shown.table
        documents.plain_document(_table_document(found.shown, described)) if json_ else (
            _show_table(found.shown, described, at=at)
        )
        return
    if json_:
        documents.anything(_document(found))
    else:
        _show(found, table=name)
        _mirror(found.shown, at=at)
        _history(found.shown.facts)
        _changes(found.changes)
        _findings(found.findings)
    raise typer.Exit(ExitCode.DEGRADED if found.is_bad else ExitCode.DONE)


# The whole ----------------------------------------------------------------------------------------


def _show(found: Report, *, table: str) -> None:
    facts, row = found.shown.facts, found.row
    seen = facts.seen
    if seen.version is None:
        version = _TABLES.get(seen.table, "unknown").format(table=plain(table))
    else:
        version = f"version {seen.version}, {many(seen.migration_count, 'migration')}"
    _line("schema", version)
    if seen.digest:
        indexes = "no explicit index" if not seen.indexes else f"{seen.indexes:,} explicit index"
        indexes += "es" if seen.indexes > 1 else ""
        _line("", f"{many(seen.tables, 'table')}, {indexes}, digest {seen.digest[:16]}")
    _line("application", plain(facts.application or "unknown: see application.version_url"))
    if row:
        wants = [f"schema {row.schema_}"]
        wants += [f"DuckDB {row.duckdb}"] if row.duckdb else []
        wants += [f"NATS {row.nats} or newer"] if row.nats else []
        _line("", f"{row.application} goes with {', '.join(wants)}")
    _line(
        "database",
        f"made by DuckDB {_number(facts.created_by)}"
        + (f", readable from {_number(seen.storage.rstrip('+'))} on" if seen.storage else ""),
    )
    if found.nats:
        _line("NATS", f"server {plain(found.nats)}")
    _line("WAL", _wal(facts))


def _number(version: str) -> str:
    return plain(version).removeprefix("v")


def _wal(facts: Facts) -> str:
    seen = facts.seen
    engine = f"DuckDB {plain(seen.asked)}" if seen.asked else "an engine"
    size = f"{facts.wal_bytes:,} bytes"
    if seen.replay is Replay.YES:
        if not facts.wal_bytes:
            return "none: all of it is in the database"
        return f"{size}, {engine} would replay it"
    said = "would NOT replay it" if seen.replay is Replay.NO else "was not asked to the end"
    return f"{size}, {engine} {said}: {plain(seen.why)}"


def _mirror(shown: Shown, *, at: datetime.datetime) -> None:
    seconds = (at - shown.mirrored_at).total_seconds()
    age = f"{spoken(seconds)} old" if seconds >= 1 else "of this moment"
    old = f"; it could not be brought up to date: {plain(shown.why_old)}" if shown.why_old else ""
    _line("mirror", f"{age}{old}")


def _history(facts: Facts) -> None:
    newest = facts.seen.migrations[:_NEWEST]
    if not newest:
        return
    rows = [
        (str(one.version), one.applied_at, one.name, "failed" if one.failed else "")
        for one in newest
    ]
    title, *lines = columns(("VERSION", "APPLIED", "NAME", ""), rows, right={"VERSION"})
    say("\n".join(("", paint(title, BOLD), *lines)))
    if more := facts.seen.migration_count - len(newest):
        say(paint(f"and {many(more, 'older one')}", DIM))


def _changes(changes: Sequence[Change]) -> None:
    if not changes:
        return
    rows = [
        (one.before, one.after, f"{one.at.astimezone():%Y-%m-%d %H:%M}", _versions(one))
        for one in reversed(changes[-_NEWEST:])
    ]
    title, *lines = columns(("CHANGED SINCE", "SEEN IN", "AT", "VERSION"), rows, right=())
    say("\n".join(("", paint(title, BOLD), *lines)))


def _versions(change: Change) -> str:
    old, new = (
        "none" if one is None else str(one) for one in (change.old_version, change.new_version)
    )
    return f"{old}, unchanged" if old == new else f"{old} -> {new}"


def _findings(findings: Sequence[Finding]) -> None:
    for found in findings:
        say(f"\n{paint(str(found.severity), BOLD, RED)}  {plain(found.message)}")
        say(f"    {paint(plain(found.command), BOLD)}")


def _line(name: str, said: str) -> None:
    say(f"{paint(name.ljust(_WIDTH), BOLD)}{said}")


def _document(found: Report) -> dict[str, Any]:
    shown, row = found.shown, found.row
    facts = shown.facts
    return {
        "mirror": {"at": shown.mirrored_at, "why_old": plain(shown.why_old)},
        "schema": facts.seen,
        "application": {"version": facts.application, "heard_at": facts.heard_at},
        "created_by": facts.created_by,
        "wal_bytes": facts.wal_bytes,
        "nats": found.nats,
        "compatible": row.model_dump(by_alias=True) if row else None,
        "tables": list(shown.tables),
        "changes": list(found.changes),
        "findings": list(found.findings),
    }


# One table ----------------------------------------------------------------------------------------


def _show_table(shown: Shown, table: Described, *, at: datetime.datetime) -> None:
    say(f"{paint(plain(table.name), BOLD)}, {many(table.rows, 'row')}")
    rows = [
        (one.name, one.type, "" if one.nullable else "not null", one.default)
        for one in table.columns
    ]
    title, *lines = columns(("COLUMN", "TYPE", "", "DEFAULT"), rows, right=())
    say("\n".join(("", paint(title, BOLD), *lines)))
    for name, several in (("CONSTRAINTS", table.constraints), ("INDEXES", table.indexes)):
        if several:
            say("\n".join(("", paint(name, BOLD), *map(plain, several))))
    say("")
    _mirror(shown, at=at)


def _table_document(shown: Shown, table: Described) -> dict[str, Any]:
    return {
        "mirror": {"at": shown.mirrored_at.isoformat(), "why_old": plain(shown.why_old)},
        "table": table.name,
        "rows": table.rows,
        "columns": [
            {
                "name": one.name,
                "type": one.type,
                "nullable": one.nullable,
                "default": one.default or None,
            }
            for one in table.columns
        ],
        "constraints": list(table.constraints),
        "indexes": list(table.indexes),
    }
