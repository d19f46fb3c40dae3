"""The verb that writes the database anew, without what was deleted from it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated

import typer

from eiderd.cli import compact_report, terminal
from eiderd.cli.root import Json, session
from eiderd.cli.terminal import problem
from eiderd.errors import ExitCode, NoSuchBackup
from eiderd.model import Ending

if TYPE_CHECKING:
    from eiderd.jobs.compact import Compacted
    from eiderd.maintenance.compact_plan import Prospect
    from eiderd.model import Outcome


def compact(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure what it would bring, and stop nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Write the database anew, without what was deleted from it. The application is stopped."""
    with session.working(quiet=True, as_root=True) as looking:
        prospect = looking.compactions().prospect()
    if prospect.doubt and not (dry_run or prospect.unfinished):
        raise NoSuchBackup(prospect.doubt, hint=prospect.hint)
    tried = None
    if dry_run or not yes:
        if not dry_run and json_:
            terminal.ask(quiet=True)  # which refuses, before anything takes long
        tried = _tried(prospect, quiet=json_)
        if not json_:
            compact_report.planned(prospect, tried, dry_run=dry_run)
    if not dry_run and not _is_refused(tried):
        if not yes:
            terminal.ask(quiet=json_)
        tried = _done(tried, prospect, quiet=json_)
    _tell(prospect, tried, dry_run=dry_run, json_=json_)


def _tried(prospect: Prospect, *, quiet: bool) -> Outcome[Compacted] | None:
    """Return what a copy of the mirror has shown. None: nothing is to be tried first."""
    if prospect.asks or prospect.unfinished:
        return None
    with session.working(quiet=quiet, as_root=True) as app:
        return app.measure()


def _done(
    tried: Outcome[Compacted] | None, prospect: Prospect, *, quiet: bool
) -> Outcome[Compacted]:
    with session.working(quiet=quiet, as_root=True) as app:
        compaction = app.compactions()
        if prospect.asks and not prospect.unfinished:
            return app.compact(compaction.ask)
        known = tried.value.measured if tried else None
        return app.compact(functools.partial(compaction.run, tried=known))


def _is_refused(tried: Outcome[Compacted] | None) -> bool:
    return tried is not None and tried.ending is Ending.REFUSED


def _tell(
    prospect: Prospect, ended: Outcome[Compacted] | None, *, dry_run: bool, json_: bool
) -> None:
    if json_:
        compact_report.document(prospect, ended, dry_run=dry_run)
    elif ended and not dry_run and ended.ending is Ending.DONE:
        compact_report.done(ended.value)
    if ended and ended.ending is Ending.REFUSED:
        if not json_:
            hint = "" if dry_run else compact_report.REFUSED_HINT
            problem(f"nothing was changed: {ended.why}", hint)
        raise typer.Exit(ExitCode.DEGRADED)
