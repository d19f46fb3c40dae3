"""What a person and a script are told of a restore: what it is going to do, and what it did."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from eiderd.cli import documents
from eiderd.cli.terminal import BOLD, GREEN, YELLOW, paint, say
from eiderd.maintenance.restore_plan import UNDO
from eiderd.units import spoken
from eiderd.words import plain

if TYPE_CHECKING:
    from eiderd.jobs.restore import Restored
    from eiderd.maintenance.restore_plan import Plan


def planned(plan: Plan, *, dry_run: bool) -> None:
    source = plan.source
    rows = {
        "restore": source.what,
        "taken": _taken(plan),
        "proven": _proven(plan),
        "from": source.path,
        "onto": plan.onto,
        "stops": plan.application or ("nothing" if plan.is_live else ""),
        "held by": plan.holder,
        "space": _space(plan),
        "lost": _lost(plan),
    }
    for name, value in rows.items():
        if value:
            say(f"{paint(name.ljust(9), BOLD)}  {plain(value)}")
    for number, (old, new) in enumerate(plan.set_aside):
        title = "" if number else "set aside"
        say(f"{paint(title.ljust(9), BOLD)}  {plain(Path(old).name)} as {plain(new)}")
    for warning in plan.warnings:
        say(f"{paint('!', YELLOW)} {plain(warning)}")
    if dry_run:
        say("nothing was done: this was a look")


def _taken(plan: Plan) -> str:
    at = plan.source.at
    if not at:
        return ""
    word = "set aside" if plan.source.kind == UNDO else ""
    return f"{word} {at.astimezone():%A %d %B %Y, %H:%M:%S}".strip()


def _proven(plan: Plan) -> str:
    source = plan.source
    if not source.engine:
        return "when it is unpacked" if source.kind != UNDO else ""
    return f"by DuckDB {source.engine}, {source.rows:,} rows; again when it is unpacked"


def _space(plan: Plan) -> str:
    least = "at least " if not plan.source.at else ""
    if plan.source.kind == UNDO:
        return ""
    return f"needs {least}{decimal(plan.needed_bytes)}, {decimal(plan.free_bytes)} are free"


def _lost(plan: Plan) -> str:
    if plan.lost_seconds is None or not plan.is_live:
        return ""
    return f"what was committed in the last {spoken(plan.lost_seconds)}"


def done(found: Restored) -> None:
    what = f"{found.kind} of {found.what}"
    said = f"finished the {what} that was begun" if found.settled else f"done: {what}"
    say(f"{paint('✓', GREEN)} {plain(said)}")
    say(f"  {plain(found.database)}")
    if found.proof and found.proof.engine:
        engine = plain(found.proof.engine)
        say(f"  DuckDB {engine} read {found.proof.rows:,} rows of {found.proof.tables} tables")
    if found.health:
        say(f"  the application runs: {plain(found.health.why)}")
    elif found.aside:
        say("  no application was running, and none was started: start it now")
    if found.aside:
        say(f"  set aside: {plain(found.aside)}; to go back: eider restore --undo")


def plan_document(plan: Plan) -> None:
    documents.anything({"dry_run": True, "plan": _plain(dataclasses.asdict(plan))})


def done_document(plan: Plan, found: Restored) -> None:
    documents.anything(
        {
            "dry_run": False,
            "plan": _plain(dataclasses.asdict(plan)),
            "restored": _plain(dataclasses.asdict(found)),
        }
    )


def _plain(value: Any) -> Any:  # noqa: ANN401  (whatever a document holds)
    """Paths may hold what is no Unicode."""
    if type(value) is str:
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
