"""The verbs of healing: let it rest, let it go on, and do by hand what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import TypeAdapter

from eiderd.cli import documents, terminal
from eiderd.cli.keep import Kept
from eiderd.cli.root import Json, session
from eiderd.errors import ConfigError, VerificationFailed
from eiderd.healing import Pause
from eiderd.model import Ending
from eiderd.units import Duration
from eiderd.words import is_unicode, plain

if TYPE_CHECKING:
    import datetime

    from eiderd.jobs.clean import Cleaned
    from eiderd.jobs.quarantine import Quarantined
    from eiderd.model import Outcome

_LONGEST_REASON = 200


def pause(
    for_: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="Go on by itself after this: 90m, 2h, 1d."),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why: whoever looks at the status reads it.")
    ] = "",
    json_: Json = False,
) -> None:
    """Let eiderd repair nothing by itself. Backups and checks go on."""
    from eiderd.outside import clock  # noqa: PLC0415

    if not is_unicode(reason) or len(reason) > _LONGEST_REASON:
        raise ConfigError(
            f"the reason is not text of at most {_LONGEST_REASON} characters in UTF-8",
            hint="Say it in fewer words.",
        )
    now = clock.now()
    wanted = Pause(since=now, until=_until(for_, now=now), reason=plain(reason))
    with session.working(quiet=True) as app:
        app.pause(wanted)
    if json_:
        documents.anything({"paused": True, "pause": wanted})
        return
    until = (
        f"until {wanted.until.astimezone(clock.zone()):%a %d %b %H:%M}"
        if wanted.until
        else ("until: eider resume")
    )
    terminal.say(f"{terminal.paint('✓', terminal.GREEN)} healing is paused {until}")


def _until(text: str | None, *, now: datetime.datetime) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        return now + TypeAdapter(Duration).validate_python(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no time for a pause", hint="Write it as 90m, 2h or 1d."
        ) from error


def resume(json_: Json = False) -> None:
    """Let eiderd repair again, also what it gave up: every repair has all its tries anew."""
    from eiderd.outside import clock  # noqa: PLC0415

    with session.working(quiet=True) as app:
        now = clock.now()
        with app.journal.memory() as known:
            heal = known.heal
            paused = heal.pause is not None and heal.pause.holds(now)
            given_up = sorted(heal.stopped)
        app.resume()
    if json_:
        documents.anything({"paused": False, "was_paused": paused, "given_up": given_up})
    elif not paused and not given_up:
        terminal.say("healing was neither paused nor given up; all tries count anew")
    else:
        what = ", ".join(["paused"] * paused + [f"given up: {job}" for job in given_up])
        terminal.say(f"{terminal.paint('✓', terminal.GREEN)} healing goes on (it was {what})")


def quarantine(
    backup: Kept,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Move nothing, say what would be.")
    ] = False,
    json_: Json = False,
) -> None:
    """Move a backup whose archive is corrupt out of the way, once a proof has failed again."""
    with session.working(quiet=json_) as app:
        outcome = app.quarantine(backup, dry_run=dry_run)
    if outcome.ending is Ending.REFUSED:
        raise VerificationFailed(
            outcome.why, hint=f"If it may go: eider unpin {outcome.value.backup.id}"
        )
    if json_:
        _document(outcome, dry_run=dry_run)
    else:
        _tell(outcome, dry_run=dry_run)


def _tell(outcome: Outcome[Quarantined], *, dry_run: bool) -> None:
    found = outcome.value
    if outcome.ending is Ending.NOTHING_TO_DO:
        terminal.say(f"nothing to do: {outcome.why}")
        return
    if dry_run:
        terminal.say(f"unless it is proven after all, {found.backup.id} would be moved:")
    else:
        terminal.say(f"{terminal.paint('✓', terminal.GREEN)} moved {found.backup.id}")
    for name in found.files:
        terminal.say(f"  {plain(str(found.folder / name))}")
    if not dry_run:
        terminal.say("  nothing was deleted; take another one: eider backup")


def _document(outcome: Outcome[Quarantined], *, dry_run: bool) -> None:
    found = outcome.value
    documents.anything(
        {
            "id": found.backup.id,
            "state": found.backup.state,
            "moved": outcome.ending is Ending.DONE and not dry_run,
            "dry_run": dry_run,
            "folder": plain(str(found.folder)),
            "files": found.files,
            "why": outcome.why,
        }
    )


def clean(
    ballast: Annotated[
        bool,
        typer.Option("--ballast", help="Release the ballast, too; it is made again when it fits."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing, say what would be.")
    ] = False,
    json_: Json = False,
) -> None:
    """Remove what runs that died left behind: staged archives and scratch of eiderd's own."""
    from eiderd.jobs.clean import Cleaned  # noqa: PLC0415

    with session.working(quiet=json_) as app:
        if dry_run:
            there = app.leftovers() + (app.ballast() if ballast else ())
            value, why = Cleaned(removed=there), ""
        else:
            outcome = app.clean(ballast=ballast)
            value, why = outcome.value, outcome.why
    if json_:
        documents.anything(
            {
                "dry_run": dry_run,
                "bytes": value.bytes,
                "removed": [
                    {"path": plain(str(one.path)), "bytes": one.bytes} for one in value.removed
                ],
                "why": why,
            }
        )
        return
    _tell_cleaned(value, dry_run=dry_run)


def _tell_cleaned(value: Cleaned, *, dry_run: bool) -> None:
    from rich.filesize import decimal  # noqa: PLC0415

    if not value.removed:
        terminal.say("nothing to do: nothing is left over")
        return
    for one in value.removed:
        terminal.say(f"  {plain(str(one.path))}  {decimal(one.bytes)}")
    done = "would be freed" if dry_run else "freed"
    terminal.say(f"{terminal.paint('✓', terminal.GREEN)} {decimal(value.bytes)} {done}")
