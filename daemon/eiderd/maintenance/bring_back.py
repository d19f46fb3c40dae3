"""Brings back an application whose database cannot be opened: only with `heal.restore = true`.

First a rescue on copies, proven by its content; what was rescued takes the database's place by the
same restore as any archive. If nothing can be vouched for, the newest verified backup does. What is
live is set aside either way, and comes back when the application is not well.

A database that cannot be reached is never replaced: only one that was read, by the application's
own engine, with memory and time enough. Nor is one that was written since, or whose application
came back: a rescue takes its time, and somebody may have been quicker.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from eiderd import catalog
from eiderd.errors import Busy, EiderError, NotADatabase
from eiderd.evidence import ApplicationState
from eiderd.healing import Ready
from eiderd.jobs.rescue import NotRescued
from eiderd.maintenance import exchange as exchange_app
from eiderd.model import Ending, Job, Outcome, RunOutcome
from eiderd.outside import (
    clock,
    copier,
    files,
    filesystem,
    maintenance,
    ruin,
    steady,
    swap,
    unchanged,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable
    from pathlib import Path

    from eiderd.app import App
    from eiderd.maintenance.restore import EnsureStill


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
    state = app.application().state()
    if state is ApplicationState.STOPPED:
        return Ready(False, "the application is stopped, as by somebody who wants it so")
    if state is ApplicationState.UNKNOWN:
        return Ready(None, "whether somebody stopped the application cannot be told")
    return Ready(True)


def run(app: App) -> Outcome[Any]:
    """Rescue, else restore. Each is a run of its own in the journal. Raise what they raise.

    Raise ConfigError where the application's engine is not known, or not there: what another one
    cannot open may be sound. Raise NotRescued where that is no reason to replace the database. Why
    no restore began is in the journal as well: whoever waits for the unit reads it there.
    """
    began = clock.now()
    try:
        outcome = _brought_back(app)
    except EiderError as error:
        _tell(app, RunOutcome.FAILED, began=began, why=error.message, hint=error.hint)
        raise
    _tell(app, RunOutcome[outcome.ending.name], began=began, why=outcome.why)
    return outcome


def _tell(
    app: App, ended: RunOutcome, *, began: datetime.datetime, why: str, hint: str = ""
) -> None:
    with app.journal.memory() as known:
        last = known.last.get(Job.RESTORE)
    if last is None or last.began_at < began:  # else the restore has told how it ended
        at = clock.now()
        app.journal.ran(Job.RESTORE, began=began, at=at, outcome=ended, why=why, hint=hint)


def _brought_back(app: App) -> Outcome[Any]:
    database = app.settings.database.path
    before = unchanged.signature(database)
    restored = functools.partial(
        _restored, app, ensure_still=functools.partial(_ensure_still, app, before)
    )
    try:
        ruin.headers(database)  # of what is no database no engine is asked
        _ensure_own_engine(app)
        rescued = app.rescue(database).value
    except NotRescued as error:
        if not error.is_about_the_database:
            raise
        return restored(catalog.LATEST, file=None, said=f"not rescued: {error.message}")
    except NotADatabase as error:
        return _replaced(app, restored, said=f"not rescued: {error.message}")
    if rescued.file is None:
        why = "the database opens as it is, so something else keeps the application down"
        return Outcome(ending=Ending.REFUSED, value=rescued, why=why)
    if rescued.is_cut_short:
        why = f"rescued to {rescued.file}; more may come of it with a higher engine.memory_limit"
        why = f"{why} or engine.deadline, so a person has to say whether that is to be used"
        return Outcome(ending=Ending.REFUSED, value=rescued, why=why)
    archive = rescued.file.with_name("rescued.tar.gz")
    try:
        _pack(app, rescued.file, archive)
        return restored(str(archive), file=archive, said=f"rescued to {rescued.file}")
    finally:
        archive.unlink(missing_ok=True)  # the rescued database itself stays


def _ensure_own_engine(app: App) -> None:
    exchange_app.own_engine(
        app.engines(),
        bounds=app.engine_bounds(),
        what_for="a database is judged, and replaced, without a person",
    )


def _ensure_still(app: App, before: str, is_stopped: bool) -> None:  # noqa: FBT001
    """Raise Busy when the database was written since `before`, or the application is back."""
    database = app.settings.database.path
    hint = "Look: eider status"
    if unchanged.signature(database) != before:
        raise Busy(f"{database} was written meanwhile, so it is not replaced", hint=hint)
    if is_stopped:  # by the restore itself
        return
    if not (ready := may(app)).met:
        raise Busy(ready.why, hint=hint)
    application = app.application()
    has_url = app.settings.application.health_url is not None
    if steady.is_back(application, database=swap.real(database), has_url=has_url):
        said = f"{application.name()} is back, so its database is not replaced"
        raise Busy(said, hint=hint)


def _replaced(app: App, restored: Callable[..., Outcome[Any]], *, said: str) -> Outcome[Any]:
    """Restore in the place of a file that is no database. Raise SourceUnavailable unless sure."""
    database = swap.real(app.settings.database.path)
    with files.kept_mounted(database.parent):
        deadline = app.settings.backup.deadline.total_seconds()
        copier.ensure_ruined(database, deadline_seconds=deadline)
        return restored(catalog.LATEST, file=None, said=said)


def _restored(
    app: App, name: str, *, file: Path | None, said: str, ensure_still: EnsureStill
) -> Outcome[Any]:
    restores = app.restores()
    source, backup = restores.source(name, file=file)
    do = functools.partial(
        restores.run, restores.plan(source), backup=backup, ensure_still=ensure_still
    )
    outcome = app.store(Job.RESTORE, do)
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
