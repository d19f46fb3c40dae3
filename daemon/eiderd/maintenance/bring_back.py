"""Brings back an application whose database cannot be opened: only with `heal.restore = true`.

First a rescue on copies, proven by its content; what was rescued takes the database's place by the
same restore as any archive. If nothing can be vouched for, the newest verified backup does. What is
live is set aside either way, and comes back when the application is not well.

A database that cannot be reached is never replaced: only one that was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eiderd import catalog
from eiderd.errors import NotADatabase
from eiderd.evidence import ApplicationState
from eiderd.healing import Ready
from eiderd.jobs.rescue import NotRescued
from eiderd.model import Ending, Outcome
from eiderd.outside import clock, copier, files, filesystem, maintenance, swap

if TYPE_CHECKING:
    from pathlib import Path

    from eiderd.app import App


def may(app: App) -> Ready:
    """Say whether this process could stop the application and put files in their place."""
    if app.settings.application.kind == "none":
        return Ready(False, "application.kind does not say who stops and starts it")
    database = app.settings.database.path
    folder = database.parent
    if not filesystem.file_bytes(database):
        return Ready(False, f"{database} is not there, or empty, as where a mount is missing")
    if maintenance.is_needed(folder) and not maintenance.may_write(folder, task="restore"):
        return Ready(False, f"eiderd may not write to {folder}; to let it: eider setup")
    if app.application().state() is ApplicationState.STOPPED:
        return Ready(False, "the application is stopped, as by somebody who wants it so")
    return Ready(True)


def run(app: App) -> Outcome[Any]:
    """Rescue, else restore. Each is a run of its own in the journal. Raise what they raise."""
    try:
        rescued = app.rescue(app.settings.database.path).value
    except NotRescued as error:
        return _restored(app, catalog.LATEST, file=None, said=f"not rescued: {error.message}")
    except NotADatabase as error:
        return _replaced(app, said=f"not rescued: {error.message}")
    if rescued.file is None:
        why = "the database opens as it is, so something else keeps the application down"
        return Outcome(ending=Ending.REFUSED, value=rescued, why=why)
    archive = rescued.file.with_name("rescued.tar.gz")
    try:
        _pack(app, rescued.file, archive)
        return _restored(app, str(archive), file=archive, said=f"rescued to {rescued.file}")
    finally:
        archive.unlink(missing_ok=True)  # the rescued database itself stays


def _replaced(app: App, *, said: str) -> Outcome[Any]:
    """Restore in the place of a file that is no database. Raise SourceUnavailable unless sure."""
    database = swap.real(app.settings.database.path)
    with files.kept_mounted(database.parent):
        deadline = app.settings.backup.deadline.total_seconds()
        copier.ensure_ruined(database, deadline_seconds=deadline)
        return _restored(app, catalog.LATEST, file=None, said=said)


def _restored(app: App, name: str, *, file: Path | None, said: str) -> Outcome[Any]:
    restores = app.restores()
    source, backup = restores.source(name, file=file)
    outcome = app.restore(restores.plan(source), backup=backup)
    return Outcome(ending=outcome.ending, value=outcome.value, why=f"{said}; {outcome.why}")


def _pack(app: App, database: Path, target: Path) -> None:
    """Make an archive of the rescued database, as a restore reads any."""
    about = database.stat()
    with files.writing_to(target.parent):
        copier.pack(
            target=target,
            members=[(database, app.settings.database.path.name)],
            owner=(about.st_uid, about.st_gid, about.st_mode & 0o777),
            modified=int(about.st_mtime),
            manifest={"rescued_at": clock.now().isoformat()},
            deadline_seconds=app.settings.backup.deadline.total_seconds(),
            progress=lambda _done, _total: None,
        )
