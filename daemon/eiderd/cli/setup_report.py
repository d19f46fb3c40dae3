"""How setup tells what it found, what it does, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eiderd.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, paint, say
from eiderd.errors import ExitCode
from eiderd.setup.doing import ANSWERS_FOR
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eiderd.setup.app import Plan

_SIGNS = {"warning": ("!", YELLOW), "problem": ("✗", RED)}
_MARKS = {"done": ("✓", GREEN), "to do": ("→", YELLOW)}
_MOST_LINES = 40
_CURED = {"backup", "service"}  # of what the doctor says, what the next commands put right


def found(plan: Plan) -> None:
    if plan.application:
        one = plan.application
        keeper = f"{one.name}, " if one.name else ""
        say(f"found      {plain(keeper + one.database)}")
        for file in one.found_in:
            say(paint(f"           {plain(file)}", DIM))
    for note in plan.notes:
        say(f"{paint('note', BOLD)}       {plain(note)}")


def step(row: dict[str, str]) -> None:
    sign, colour = _MARKS[row["state"]]
    say(f"{paint(sign, BOLD, colour)} {plain(row['what'])}")
    if row["state"] == "done":
        return
    say(paint(f"  {plain(row['why'])}", DIM))
    if row["kept"]:
        say(paint(f"  the old one stays as {plain(row['kept'])}", DIM))
    if row["command"]:
        say(f"  {paint(plain(row['command']), BOLD)}")
    lines = row["difference"].splitlines()
    for line in lines[:_MOST_LINES]:
        tint = {"+": GREEN, "-": RED}.get(line[:1], DIM)
        say(f"  {paint(plain(line), tint)}")
    if len(lines) > _MOST_LINES:
        more = many(len(lines) - _MOST_LINES, "line")
        say(paint(f"  and {more} more: eider setup --dry-run --json", DIM))


def end(
    rows: Sequence[dict[str, str]],
    checks: Sequence[dict[str, Any]],
    then: Sequence[str],
    *,
    dry_run: bool,
) -> None:
    for check in checks:
        if check["mark"] in _SIGNS and check["name"] not in _CURED:
            sign, colour = _SIGNS[check["mark"]]
            say(f"{paint(sign, BOLD, colour)} {check['name']}: {plain(str(check['said']))}")
            if check.get("command"):
                say(f"  {paint(plain(str(check['command'])), BOLD)}")
    left = sum(row["state"] in ("to do", "declined") for row in rows)
    changed = sum(row["state"] == "changed" for row in rows)
    if dry_run and left:
        say(f"\n{many(left, 'step')} to do; nothing was changed")
    elif left:
        say(f"\n{many(left, 'step')} declined; run eider setup again to take them")
    elif changed:
        say(f"\n{many(changed, 'change')} made")
    else:
        say("\neverything is as it should be: nothing was changed")
    if then and not dry_run:
        say("next, each by itself:" if len(then) > 1 else "next:")
        for command in then:
            say(f"  {paint(plain(command), BOLD)}")


def document(
    rows: Sequence[dict[str, str]],
    plan: Plan,
    checks: Sequence[dict[str, Any]],
    then: Sequence[str],
) -> dict[str, Any]:
    one = plan.application
    return {
        "application": one
        and {
            "kind": one.kind,
            "name": one.name,
            "database": one.database,
            "health_url": one.health_url,
            "nats_url": one.nats_url,
            "found_in": list(one.found_in),
        },
        "notes": list(plan.notes),
        "steps": list(rows),
        "changed": sum(row["state"] == "changed" for row in rows),
        "to_do": sum(row["state"] in ("to do", "declined") for row in rows),
        "checks": list(checks),
        "next": list(then),
    }


def code(rows: Sequence[dict[str, str]], checks: Sequence[dict[str, Any]]) -> int:
    """Return what setup exits with: what was declined, or is not well, needs attention."""
    declined = any(row["state"] == "declined" for row in rows)
    ill = any(check["name"] in ANSWERS_FOR and check["mark"] == "problem" for check in checks)
    return ExitCode.DEGRADED if declined or ill else ExitCode.DONE
