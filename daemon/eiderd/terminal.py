"""What a person at a terminal sees: tables, progress, problems. Colour only on a terminal."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import tomli_w
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import (
    BarColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from eiderd.model import Level, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from eiderd.app import Progress
    from eiderd.catalog import Listing
    from eiderd.errors import EiderError
    from eiderd.model import Backup, Proof

_COLOURS = {
    State.VERIFIED: "green",
    State.UNVERIFIED: "yellow",
    State.SUSPECT: "magenta",
    State.CORRUPT: "red",
}
_ANSI = {State.VERIFIED: 32, State.UNVERIFIED: 33, State.SUSPECT: 35, State.CORRUPT: 31}
_LEVELS = {
    Level.NONE: "nothing holds",
    Level.CHECKSUM: "archive checksum",
    Level.ARCHIVE: "every member read back",
    Level.BLOCKS: "block checksums",
    Level.RESTORE: "opened and read by an engine",
    Level.DRILL: "restored",
}


def _out() -> Console:
    return Console(highlight=False)


def _err() -> Console:
    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    _out().print(text, soft_wrap=True)


def document(text: bytes) -> None:
    """Print the one JSON document that was asked for."""
    sys.stdout.write(text.decode() + "\n")


# Problems ---------------------------------------------------------------------------------------


def error(failure: EiderError, *, as_json: bool) -> None:
    """Print a failure: a line that names the fault, and the next thing to type."""
    if as_json:
        document = {"error": {**failure.to_json(), "exit_code": int(failure.exit_code)}}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        problem(failure.message, failure.hint)


def problem(message: str, hint: str) -> None:
    console = _err()
    lines = [printable(line) for line in message.splitlines()]
    console.print(f"[bold red]eider:[/] {escape(chr(10).join(lines))}", soft_wrap=True)
    if hint:
        console.print(f"  [bold]hint:[/] {escape(printable(hint))}", soft_wrap=True)


# Backups ----------------------------------------------------------------------------------------


def backup_made(made: Backup, *, directory: Path) -> None:
    console, proof = _out(), made.proof
    console.print(
        f"{_state(made.state)} [bold]{made.id}[/]  {decimal(made.bytes)}"
        f"  of {decimal(made.source.bytes)}, {made.consistency.passes} passes"
    )
    if proof.failure is None:
        console.print(f"  DuckDB {proof.engine} read {_evidence(proof)}")
    console.print(f"  {escape(str(directory / made.archive))}", soft_wrap=True)


def _state(state: State) -> str:
    mark = "✓" if state is State.VERIFIED else "✗"
    return f"[{_COLOURS[state]}]{mark} {state}[/]"


def _evidence(proof: Proof) -> str:
    return (
        f"{proof.rows:,} rows of {proof.tables} tables, {proof.blocks:,} blocks sound, "
        f"{proof.lookups:,} lookups through {proof.indexes_asked} of {proof.indexes} indexes, "
        f"{proof.unique_checked} keys unique"
    )


_TITLES = ("ID", "TAKEN", "AGE", "STATE", "SIZE", "ROWS", "NOTE")
_RIGHT = {"AGE", "SIZE", "ROWS"}


def backups(listing: Listing, *, directory: Path) -> None:
    """Print a line a backup. Plain columns: a library's table takes seconds for thousands."""
    if not listing.backups and not listing.unreadable:
        say(f"no backups in {escape(str(directory))} yet; take one: [bold]eider backup[/]")
        return
    now = datetime.datetime.now(tz=datetime.UTC)
    rows = [_row(backup, now=now) for backup in reversed(listing.backups)]
    rows += [(other.id, "-", "-", str(other.state), "-", "-", other.problem)
             for other in listing.unreadable]  # fmt: skip
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(_TITLES, *rows, strict=True)]
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    sys.stdout.write(_line(_TITLES, widths) + "\n")
    for row in rows:
        line = _line(row, widths)
        if colours:
            state = row[3].ljust(widths[3])
            line = line.replace(state, f"\x1b[{_ANSI[State(row[3])]}m{state}\x1b[0m", 1)
        sys.stdout.write(line + "\n")


def _row(backup: Backup, *, now: datetime.datetime) -> tuple[str, ...]:
    return (
        backup.id,
        backup.created_at.astimezone().strftime("%a %d %b %Y %H:%M"),
        _age(now - backup.created_at),
        str(backup.state),
        decimal(backup.bytes),
        f"{backup.proof.rows:,}" if backup.proof.rows else "-",
        ("pinned " if backup.pinned else "") + backup.note,
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.rjust(width) if title in _RIGHT else cell.ljust(width)
        for title, cell, width in zip(_TITLES, cells, widths, strict=True)
    ).rstrip()


def printable(text: str) -> str:
    """Return `text` with whatever could steer a terminal replaced: names can be hostile."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


_STEPS = ((86_400 * 2, 86_400, "d"), (3600 * 2, 3600, "h"), (120, 60, "min"), (0, 1, "s"))


def _age(age: datetime.timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    unit, word = next((unit, word) for least, unit, word in _STEPS if seconds >= least)
    return f"{seconds // unit} {word}"


def backup(found: Backup, *, directory: Path) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    consistency, proof, source = found.consistency, found.proof, found.source
    frozen = f"{consistency.frozen_seconds * 1000:.0f} ms frozen"
    rows = {
        "id": f"{found.id} (number {found.sequence})",
        "state": _state(found.state),
        "taken": found.created_at.astimezone().strftime("%A %d %B %Y, %H:%M:%S %Z"),
        "archive": f"{escape(str(directory / found.archive))}, {decimal(found.bytes)}",
        "sha256": found.sha256,
        "database": f"{escape(source.path)}, {decimal(source.bytes)}, made by DuckDB "
        f"{escape(source.engine)}",
        "capture": f"{consistency.method}, {consistency.passes} passes, {frozen}, "
        f"WAL {decimal(consistency.wal_bytes)}",
        "proof": f"level {int(proof.level)}, {_LEVELS[proof.level]}"
        + (f", by DuckDB {proof.engine}" if proof.engine else ""),
        "evidence": _evidence(proof),
        "failure": escape(proof.failure.message) if proof.failure else "",
        "schema": _schema(found),
        "note": escape(found.note),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    _out().print(table)
    if found.content.tables:
        _out().print(_tables(found))


def _schema(found: Backup) -> str:
    if not found.content.schema_digest:
        return ""
    version = found.content.schema_version
    return f"version {'none' if version is None else version}, {found.content.schema_digest[:16]}"


def _tables(found: Backup) -> Table:
    table = Table(box=None, header_style="bold", title_justify="left")
    for title, side in (("TABLE", "left"), ("ROWS", "right"), ("NEWEST", "left")):
        table.add_column(title, justify="right" if side == "right" else "left")
    table.add_column("FINGERPRINT", overflow="fold")
    for name, content in found.content.tables.items():
        table.add_row(escape(name), f"{content.rows:,}", content.newest or "", content.fingerprint)
    return table


def verdicts(results: Sequence[tuple[str, Proof]]) -> None:
    console = _out()
    for name, proof in results:
        if proof.failure:
            console.print(f"[red]✗[/] {escape(name)}: {proof.failure.kind}", soft_wrap=True)
            continue
        console.print(f"[green]✓[/] {escape(name)}: {_LEVELS[proof.level]}", soft_wrap=True)
        if proof.level >= Level.RESTORE:
            console.print(f"  DuckDB {proof.engine} read {_evidence(proof)}")


def toml(document: dict[str, Any]) -> None:
    sys.stdout.write(tomli_w.dumps(document))


# Progress ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Show a bar per phase on standard error, with rate and time left. Nothing when piped."""
    console = _err()
    bars = Bars(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TaskProgressColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    tasks: dict[str, TaskID] = {}

    def shown(phase: str, done: int, total: int, /) -> None:
        if phase not in tasks:
            tasks[phase] = bars.add_task(phase, total=total)
        bars.update(tasks[phase], completed=done, total=max(total, 1))

    with bars:
        yield shown
