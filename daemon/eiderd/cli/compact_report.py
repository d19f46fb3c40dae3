"""What a person and a script are told of a compaction: what it would bring, and what it brought."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from rich.filesize import decimal

from eiderd.cli import documents
from eiderd.cli.terminal import BOLD, GREEN, YELLOW, paint, say
from eiderd.units import spoken
from eiderd.words import many, plain

if TYPE_CHECKING:
    from eiderd.jobs.compact import Compacted
    from eiderd.maintenance.compact_plan import Measured, Prospect
    from eiderd.model import Outcome

REFUSED_HINT: Final = "See the figures: eider compact --dry-run"


def planned(prospect: Prospect, tried: Outcome[Compacted] | None, *, dry_run: bool) -> None:
    found = tried.value.measured if tried else None
    rows = {
        "compact": prospect.database,
        "asks": prospect.asks or "",
        **(_figures(found) if found else {}),
        "backup": prospect.backup or "none",
        "stops": _stops(prospect, found),
        "held by": prospect.holder if not prospect.application else "",
    }
    for name, value in rows.items():
        if value:
            say(f"{paint(name.ljust(9), BOLD)}  {plain(value)}")
    if prospect.unfinished:
        say(
            f"{paint('!', YELLOW)} an earlier {plain(prospect.unfinished)} did not end: it is "
            "finished or undone first"
        )
    if prospect.doubt:
        say(f"{paint('!', YELLOW)} {plain(prospect.doubt)}; {plain(prospect.hint)}")
    if dry_run:
        say("nothing was done: this was a look")


def _figures(found: Measured) -> dict[str, str]:
    return {
        "now": f"{decimal(found.old_bytes)}; {found.dead_rows:,} of {found.stored_rows:,} stored "
        f"rows are deleted, {decimal(found.free_bytes)} are free blocks",
        "then": f"{decimal(found.new_bytes)}, {_change(found)}: measured on a copy",
        "the same": f"{many(found.rows, 'row')} of {many(found.tables, 'table')}, "
        f"{many(found.objects, 'object')}; DuckDB {found.engine}, storage format "
        f"{found.storage_version or 'as it was'}",
    }


def _change(found: Measured) -> str:
    return f"{found.gain:.0%} less" if found.gain >= 0 else f"{-found.gain:.0%} more"


def _stops(prospect: Prospect, found: Measured | None) -> str:
    if prospect.asks:
        return "nothing"
    name = prospect.application or "nothing"
    if not found:
        return name
    return f"{name}, for about {spoken(found.seconds)} and what it takes to stop and to start"


def done(value: Compacted) -> None:
    if value.asked:
        asked = value.asked
        say(f"{paint('✓', GREEN)} the application made its database smaller")
        say(f"  {decimal(asked.old_bytes)} before, {decimal(asked.new_bytes)} now")
        return
    ended = value.exchanged
    if ended is None:
        return
    what = f"{ended.kind} of {ended.what}"
    said = f"finished the {what} that was begun" if ended.settled else f"done: {what}"
    say(f"{paint('✓', GREEN)} {plain(said)}")
    if found := value.measured:
        say(
            f"  {decimal(found.old_bytes)} before, {decimal(found.new_bytes)} now; every object "
            f"and all {many(found.rows, 'row')} are the same"
        )
    if ended.health:
        say(f"  the application runs: {plain(ended.health.why)}")
    else:
        say("  no application was running, and none was started: start it now")
    if ended.aside:
        say(f"  set aside: {plain(ended.aside)}; to go back: eider restore --undo")
        say("  eiderd never removes it: remove it yourself when the next backup is verified")


def document(prospect: Prospect, ended: Outcome[Compacted] | None, *, dry_run: bool) -> None:
    value = ended.value if ended else None
    found = value.measured if value else None
    measured: dict[str, Any] | None = None
    if found:
        figures = {"gain": found.gain, "dead_rows": found.dead_rows}
        measured = {**dataclasses.asdict(found), **figures}
    documents.anything(
        {
            "dry_run": dry_run,
            "prospect": dataclasses.asdict(prospect),
            "ending": ended.ending if ended else None,
            "why": ended.why if ended else "",
            "measured": measured,
            "exchanged": dataclasses.asdict(value.exchanged) if value and value.exchanged else None,
            "asked": dataclasses.asdict(value.asked) if value and value.asked else None,
        }
    )
