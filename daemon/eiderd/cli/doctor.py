"""The verb that looks at everything eiderd needs, and says what to type about what is not well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from eiderd.cli import documents
from eiderd.cli.root import Json, session
from eiderd.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, paint, say
from eiderd.errors import ConfigError, ExitCode
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eiderd.doctor import Check


def doctor(json_: Json = False) -> None:
    """Look at everything eiderd needs: what is installed, readable, enough, reachable."""
    from eiderd import doctor as judgement  # noqa: PLC0415  (they take long to import)
    from eiderd import examination, log  # noqa: PLC0415
    from eiderd.outside import clock, systemd  # noqa: PLC0415

    try:
        settings, file = session.load()
    except ConfigError as error:
        checks = examination.refused(error)
    else:
        log.configure_verb(level=settings.log.level, format_=settings.log.format)
        checks = examination.examine(
            settings, file, at=clock.now(), zone=clock.zone(), typed=session.typed
        )
    checks = judgement.as_typed(checks, systemd=systemd.is_here())
    well = judgement.is_all_well(checks)
    if json_:
        documents.plain_document({"well": well, "checks": [_document(check) for check in checks]})
    else:
        _show(checks)
    raise typer.Exit(ExitCode.DONE if well else ExitCode.DEGRADED)


def _document(check: Check) -> dict[str, str | float]:
    room = {"bytes": check.bytes, "age_seconds": check.age_seconds}
    return {
        "name": check.name,
        "mark": check.mark,
        "said": plain(check.said),
        "command": plain(check.command),
        **{key: value for key, value in room.items() if value is not None},
    }


_MARKS = {"well": ("✓", GREEN), "note": ("·", DIM), "warning": ("!", YELLOW), "problem": ("✗", RED)}


def _show(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks) + 2
    for check in checks:
        sign, colour = _MARKS[check.mark]
        say(f"{paint(sign, BOLD, colour)} {check.name.ljust(width)}{plain(check.said)}")
        if check.command:
            say(f"  {' ' * width}{paint(plain(check.command), BOLD)}")
    counts = {mark: sum(check.mark == mark for check in checks) for mark in _MARKS}
    if counts["problem"] or counts["warning"]:
        problems, warnings = many(counts["problem"], "problem"), many(counts["warning"], "warning")
        notes = f", {many(counts['note'], 'note')}" if counts["note"] else ""
        say(f"\n{problems}, {warnings}{notes}, {counts['well']} well")
    else:
        say(paint("\nall well", DIM))
