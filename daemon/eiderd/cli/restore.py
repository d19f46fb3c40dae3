"""The verb that puts a database back, and back again."""

from __future__ import annotations

import datetime
from pathlib import Path  # noqa: TC003  (typer reads it)
from typing import TYPE_CHECKING, Annotated

import typer

from eiderd import catalog
from eiderd.cli import backups, completion, restore_report, terminal
from eiderd.cli.root import Json, absolute, session
from eiderd.errors import ConfigError

if TYPE_CHECKING:
    from eiderd.app import App
    from eiderd.jobs.restore import Restored
    from eiderd.maintenance.restore_plan import Plan
    from eiderd.model import Backup, Outcome

Wanted = Annotated[
    str,
    typer.Argument(
        metavar="[BACKUP]",
        help="An id, `latest`, or the path of any archive.",
        autocompletion=completion.backup,
    ),
]


def restore(  # noqa: PLR0917  (typer calls it)
    backup: Wanted = catalog.LATEST,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The newest verified one of this time or before: 2026-11-22T14:30.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=absolute,
            help="Unpack and prove it there; the live database stays.",
            show_default=False,
        ),
    ] = None,
    files: Annotated[
        bool, typer.Option("--files", help="With --to: the extra files of the archive, too.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Go back to what the last restore set aside.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Put the database back as it was at a backup. What is live now is set aside, not lost."""
    moment = _moment(at)
    _refuse_contradictions(backup, at=at, to=to, undo=undo)
    if files and not to:
        raise ConfigError(
            "extra files are put nowhere by themselves", hint="Name a folder: --files --to DIR"
        )
    with session.working(quiet=True, as_root=True) as looking:
        plan, found = _plan(looking, backup, at=moment, to=to, undo=undo)
    if not json_:
        restore_report.planned(plan, dry_run=dry_run)
    if dry_run:
        if json_:
            restore_report.plan_document(plan)
        return
    if plan.is_live and not yes:
        terminal.ask(quiet=json_)
    with session.working(quiet=json_, as_root=True) as app:
        ended = _done(app, plan, found, extras=files)
    if json_:
        restore_report.done_document(plan, ended.value)
    else:
        restore_report.done(ended.value)


def _plan(
    app: App, name: str, *, at: datetime.datetime | None, to: Path | None, undo: bool
) -> tuple[Plan, Backup | None]:
    restores = app.restores()
    if undo:
        return restores.plan_undo(), None
    file = None if at else backups.foreign(app, name)
    source, found = restores.source(name, at=at, file=file)
    return restores.plan(source, to=to), found


def _done(app: App, plan: Plan, found: Backup | None, *, extras: bool) -> Outcome[Restored]:
    if plan.is_live:
        return app.restore(plan, backup=found)
    return app.restore_to(plan, backup=found, extras=extras)


def _refuse_contradictions(name: str, *, at: str | None, to: Path | None, undo: bool) -> None:
    asked = [word for word, is_there in (("--undo", undo), ("--at", at)) if is_there]
    if name != catalog.LATEST:
        asked.append(name)
    if len(asked) > 1 or (undo and to):
        what = " and ".join([*asked, *(["--to"] if undo and to else [])])
        raise ConfigError(f"{what} cannot both be meant", hint="See: eider restore --help")


def _moment(text: str | None) -> datetime.datetime | None:
    """Return the time that was typed: of this machine's zone, if it does not say another."""
    if text is None:
        return None
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{text!r} is no time", hint="Write it as 2026-11-22T14:30 or 2026-11-22T14:30+01:00."
        ) from error
