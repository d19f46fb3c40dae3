"""What a person is shown of backups: the list, one in full, verdicts."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import sys
from typing import TYPE_CHECKING

from rich.filesize import decimal

from eiderd.cli import terminal
from eiderd.cli.terminal import BOLD, GREEN, MAGENTA, RED, YELLOW, paint, say
from eiderd.model import Level, Proof, State
from eiderd.units import short
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from eiderd.catalog import BriefListing, Listing
    from eiderd.model import Backup, Brief, Consistency, Unreadable

_COLOURS = {
    State.VERIFIED: GREEN,
    State.UNVERIFIED: YELLOW,
    State.SUSPECT: MAGENTA,
    State.CORRUPT: RED,
}
_LEVELS = {
    Level.NONE: "nothing holds",
    Level.CHECKSUM: "archive checksum",
    Level.ARCHIVE: "every member read back",
    Level.BLOCKS: "block checksums",
    Level.RESTORE: "opened and read by an engine",
    Level.DRILL: "restored",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of one archive: a proof, or the problem why there is none."""

    name: str
    proof: Proof | None = None
    problem: str = ""


def backup_made(made: Backup, *, directory: Path) -> None:
    say(
        f"{_state(made.state)} {paint(made.id, BOLD)}  {decimal(made.bytes)}"
        f"  of {decimal(made.source.bytes)}, {_passes(made.consistency.passes)}"
    )
    if made.proof.failure is None:
        say(f"  {_read_by(made.proof)}")
    for stream in made.nats:
        said = f"{many(stream.messages, 'message')}, {many(stream.consumers, 'consumer')}"
        say(f"  stream {plain(stream.stream)}: {said}")
    say(f"  {plain(str(directory / made.archive))}")


def pruned(removed: Sequence[Brief]) -> None:
    size = decimal(sum(backup.bytes for backup in removed))
    say(f"  pruned {', '.join(backup.id for backup in removed)}: {size}")


def verdicts(results: Sequence[Verdict]) -> None:
    for result in results:
        name, proof = plain(result.name), result.proof
        if proof is None:
            say(f"{paint('✗', RED)} {name}: {plain(result.problem)}")
        elif proof.failure:
            say(f"{paint('✗', RED)} {name}: {proof.failure.kind}")
        else:
            took = f" in {proof.seconds:.1f} s" if proof.level is Level.DRILL else ""
            say(f"{paint('✓', GREEN)} {name}: {_LEVELS[proof.level]}{took}")
            if proof.level >= Level.RESTORE:
                say(f"  {_read_by(proof)}")


def _state(state: State) -> str:
    mark = "✓" if state is State.VERIFIED else "✗"
    return paint(f"{mark} {state}", _COLOURS[state])


def _read_by(proof: Proof) -> str:
    return f"DuckDB {plain(proof.engine or '')} read {_evidence(proof)}"


def _evidence(proof: Proof) -> str:
    said = [
        f"{many(proof.rows, 'row')} of {many(proof.tables, 'table')}",
        f"{many(proof.blocks, 'block')} checked",
    ]
    if proof.indexes:
        asked = f"{proof.indexes_asked} of {proof.indexes} indexes"
        said.append(f"{many(proof.lookups, 'lookup')} through {asked}")
    if proof.unique_checked:
        said.append(f"{many(proof.unique_checked, 'key')} unique")
    return ", ".join(said)


# The list ---------------------------------------------------------------------------------------

_TITLES = ("ID", "TAKEN", "AGE", "STATE", "SIZE", "ROWS", "NOTE")
_RIGHT = {"AGE", "SIZE", "ROWS"}
_STATE = _TITLES.index("STATE")


def backups(listing: Listing | BriefListing, *, directory: Path) -> None:
    """Print a line a backup. Plain columns: a library's table takes seconds for thousands."""
    if not listing.backups and not listing.unreadable:
        say(f"no backups in {plain(str(directory))} yet; take one: {paint('eider backup', BOLD)}")
        return
    now = datetime.datetime.now(tz=datetime.UTC)
    every: Sequence[Backup | Brief] = listing.backups
    rows = [_row(backup, now=now) for backup in reversed(every)]
    rows += [_doubtful(other) for other in listing.unreadable]
    title, *lines = columns(_TITLES, rows, right=_RIGHT)
    if terminal.is_coloured(sys.stdout):
        states = [row[_STATE] for row in rows]
        lines = [
            line.replace(f" {state} ", f" {paint(state, _COLOURS[State(state)])} ", 1)
            for line, state in zip(lines, states, strict=True)
        ]
    say("\n".join((title, *lines)))


def _row(backup: Backup | Brief, *, now: datetime.datetime) -> tuple[str, ...]:
    return (
        backup.id,
        taken(backup),
        short((now - backup.created_at).total_seconds()),
        str(backup.state),
        decimal(backup.bytes),
        f"{backup.proof.rows:,}" if backup.proof.rows else "-",
        ("pinned " if backup.pinned else "") + backup.note,
    )


def taken(backup: Backup | Brief) -> str:
    """Return when a backup was taken, as people here read a clock."""
    local = backup.created_at.astimezone()
    return f"{_day(local.date())} {local.hour:02}:{local.minute:02}"


@functools.lru_cache(maxsize=1000)  # formatting it is a fifth of the work of a list
def _day(day: datetime.date) -> str:
    return day.strftime("%a %d %b %Y")


def _doubtful(other: Unreadable) -> tuple[str, ...]:
    return other.id, "-", "-", str(other.state), "-", "-", other.problem


def columns(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str]
) -> list[str]:
    cells = [titles, *(tuple(map(plain, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            [
                cell.rjust(width) if title in right else cell.ljust(width)
                for title, cell, width in zip(titles, row, widths, strict=True)
            ]
        ).rstrip()
        for row in cells
    ]


# One in full ------------------------------------------------------------------------------------


def backup(found: Backup, *, directory: Path) -> None:
    consistency, proof, source = found.consistency, found.proof, found.source
    engine = plain(source.engine).removeprefix("v")
    rows = {
        "id": f"{found.id} (number {found.sequence})",
        "taken": found.created_at.astimezone().strftime("%A %d %B %Y, %H:%M:%S %Z"),
        "archive": f"{directory / found.archive}, {decimal(found.bytes)}",
        "sha256": found.sha256,
        "database": f"{source.path}, {decimal(source.bytes)}, made by DuckDB {engine}",
        "capture": _capture(consistency),
        "proof": f"level {int(proof.level)}, {_LEVELS[proof.level]}"
        + (f", DuckDB {proof.engine}" if proof.engine else ""),
        "evidence": _evidence(proof),
        "failure": proof.failure.message if proof.failure else "",
        "schema": _schema(found),
        "content": _content(found),
        **_streams(found),
        "pinned": "no rule removes it" if found.pinned else "",
        "note": found.note,
    }
    say(f"{paint('state   ', BOLD)}  {_state(found.state)}")
    for name, value in rows.items():
        if value:
            say(f"{paint(name.ljust(8), BOLD)}  {plain(value)}")
    if found.content.tables:
        _tables(found)


def _capture(how: Consistency) -> str:
    said = [how.method, _passes(how.passes)]
    if how.frozen_seconds:
        held = "stopped" if how.method == "stop" else "frozen"
        said.append(f"{how.frozen_seconds * 1000:.0f} ms {held}")
    said.append(f"WAL {decimal(how.wal_bytes)}" if how.wal_bytes else "no WAL")
    return ", ".join(said)


def _passes(count: int) -> str:
    return "1 pass" if count == 1 else f"{count:,} passes"


def _streams(found: Backup) -> dict[str, str]:
    """Return a line a stream of NATS; the first has the title."""
    said = [
        f"{one.stream}, {many(one.messages, 'message')} ({one.first_seq} to {one.last_seq}), "
        f"{many(one.consumers, 'consumer')}, {decimal(one.bytes)}"
        for one in found.nats
    ] + [f"{one.stream} is not in it: {one.why}" for one in found.nats_missing]
    return {"streams" if not number else " " * number: line for number, line in enumerate(said)}


def _content(found: Backup) -> str:
    content = found.content
    if content.verdict is None:
        return ""
    said = str(content.verdict)
    if content.compared_with:
        said += f", compared with {content.compared_with}"
    return said + "".join(f"; {reason}" for reason in content.reasons)


def _schema(found: Backup) -> str:
    if not found.content.schema_digest:
        return ""
    version = found.content.schema_version
    return f"version {'none' if version is None else version}, {found.content.schema_digest[:16]}"


def _tables(found: Backup) -> None:
    rows = [
        (name, f"{table.rows:,}", table.newest or "", table.fingerprint or "")
        for name, table in found.content.tables.items()
    ]
    title, *lines = columns(("TABLE", "ROWS", "NEWEST", "FINGERPRINT"), rows, right={"ROWS"})
    say("\n".join(("", paint(title, BOLD), *lines)))
