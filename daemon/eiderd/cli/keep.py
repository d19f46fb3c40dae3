"""The verbs that decide which backups stay."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from eiderd import catalog
from eiderd.cli import completion, documents, retention_report, terminal
from eiderd.cli.root import Json, session
from eiderd.errors import ConfigError, EiderError, ExitCode, VerificationFailed
from eiderd.model import Ending
from eiderd.words import is_unicode

if TYPE_CHECKING:
    from pathlib import Path

    from eiderd.model import Backup, Outcome

Kept = Annotated[
    str,
    typer.Argument(metavar="BACKUP", help="An id, or `latest`.", autocompletion=completion.backup),
]


def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing, say what would be.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Remove nothing, say of each backup why.")
    ] = False,
    json_: Json = False,
) -> None:
    """Remove the backups that the rules of [retention] no longer keep."""
    only_look = dry_run or explain
    with session.working(quiet=json_) as app:
        outcome = app.prune(dry_run=only_look)
    if json_:
        documents.pruned(outcome, dry_run=only_look)
    elif explain:
        retention_report.explained(outcome.value.plan)
    else:
        retention_report.pruned(outcome, dry_run=only_look)
    if outcome.ending is Ending.REFUSED:
        terminal.problem(
            f"nothing is pruned: {outcome.why}", retention_report.hint(outcome.value.plan)
        )
        raise typer.Exit(ExitCode.DEGRADED)


def pin(
    backup: Kept,
    note: Annotated[
        str | None, typer.Option(help="A remark to keep with it, in place of its own.")
    ] = None,
    json_: Json = False,
) -> None:
    """Keep a backup whatever the rules say."""
    if note is not None and not is_unicode(note):
        raise ConfigError("the note is not text in UTF-8", hint="Write the note in other words.")
    with session.working(quiet=json_) as app:
        outcome = app.pin(backup, note=note)
    _tell(outcome, done="pinned", json_=json_)


def unpin(backup: Kept, json_: Json = False) -> None:
    """Let the rules decide about a backup again."""
    with session.working(quiet=json_) as app:
        outcome = app.unpin(backup)
    _tell(outcome, done="unpinned", json_=json_)


def accept(backup: Kept, json_: Json = False) -> None:
    """Say that the content of a suspect backup is right: it counts as verified."""
    with session.working(quiet=json_) as app:
        outcome = app.accept(backup)
        if outcome.ending is Ending.REFUSED:
            raise VerificationFailed(
                outcome.why, hint=f"Prove it first: eider verify {outcome.value.id}"
            )
        pinned = _pinned_for(outcome, app.directory)
    _tell(outcome, done="accepted", json_=json_)
    if pinned and not json_:
        terminal.say(f"  {pinned} stays pinned; when it may go: eider unpin {pinned}")


def _pinned_for(outcome: Outcome[Backup], directory: Path) -> str | None:
    """Return the last good backup, which was pinned when this one was found suspect."""
    before = outcome.value.content.compared_with
    if outcome.ending is Ending.DONE and before:
        with contextlib.suppress(EiderError):
            return before if catalog.find(directory, before).pinned else None
    return None


def _tell(outcome: Outcome[Backup], *, done: str, json_: bool) -> None:
    if json_:
        documents.backup(outcome.value)
    elif outcome.ending is Ending.NOTHING_TO_DO:
        terminal.say(f"nothing to do: {outcome.why}")
    else:
        terminal.say(f"{terminal.paint('✓', terminal.GREEN)} {done} {outcome.value.id}")
