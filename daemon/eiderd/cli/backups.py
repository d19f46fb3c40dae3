"""The verbs that take, look at and prove backups."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eiderd import catalog, proof
from eiderd.cli import documents, reports, terminal
from eiderd.cli.reports import Verdict
from eiderd.cli.root import BackupName, Json, absolute, session
from eiderd.errors import ConfigError, EiderError, ExitCode, NoSuchBackup, SourceUnavailable
from eiderd.jobs import backup as backup_job
from eiderd.model import Level, State
from eiderd.words import is_unicode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eiderd.app import App
    from eiderd.model import Backup


def backup(
    note: Annotated[str, typer.Option(help="A remark to keep with the backup.")] = "",
    prune: Annotated[
        bool, typer.Option(help="Then remove what the rules of [retention] no longer keep.")
    ] = True,
    json_: Json = False,
) -> None:
    """Take a backup of the live database and prove that it restores."""
    if not is_unicode(note):
        raise ConfigError("the note is not text in UTF-8", hint="Write the note in other words.")
    pruned, unpruned = None, None
    with session.working(quiet=json_) as app:
        made = app.backup(note=note).value
        try:
            pruned = app.prune().value if prune and made.verified else None
        except EiderError as error:  # which takes nothing from the backup
            unpruned = error
    if json_:
        documents.backup(made)
    else:
        reports.backup_made(made, directory=app.directory)
        if pruned and pruned.removed:
            reports.pruned(pruned.removed)
    problems = list(_problems(made, unpruned))
    for problem in problems:
        terminal.problem(*problem)
    if problems:
        raise typer.Exit(ExitCode.DEGRADED)
    _end([Verdict(name=made.id, proof=made.proof)])


def _problems(made: Backup, unpruned: EiderError | None) -> Iterator[tuple[str, str]]:
    """Yield what needs attention, and what to type, after a backup that was proven."""
    if made.state is State.SUSPECT:
        yield _suspicion(made)
    if made.nats_missing and made.verified:
        hint = f"See how NATS is: eider nats status; then: eider backup (this one is {made.id})"
        yield backup_job.without(made), hint
    if unpruned:
        said = f"backup {made.id} is {made.state}, but pruning failed: {unpruned.message}"
        yield said, unpruned.hint


def _suspicion(made: Backup) -> tuple[str, str]:
    reasons = "; ".join(made.content.reasons)
    hint = f"eider show {made.id}; if it is right: eider accept {made.id}"
    return f"the content of backup {made.id} is suspect: {reasons}", hint


def _directory() -> Path:
    """Return where backups stand. Raise NotPermitted when this person may not look there."""
    settings = session.settings()
    session.ensure_visible(settings, settings.backup.directory)
    return settings.backup.directory


def list_(json_: Json = False) -> None:
    """List the backups, the newest first."""
    directory = _directory()
    listing = catalog.read(directory) if json_ else catalog.briefs(directory)
    if isinstance(listing, catalog.Listing):
        documents.listing(listing)
    else:
        reports.backups(listing, directory=directory)
    raise typer.Exit(ExitCode.DEGRADED if listing.unreadable else ExitCode.DONE)


def show(backup: BackupName = catalog.LATEST, json_: Json = False) -> None:
    """Show all that is known of one backup."""
    directory = _directory()
    found = catalog.find(directory, backup)
    if json_:
        documents.backup(found)
    else:
        reports.backup(found, directory=directory)


def verify(
    backup: BackupName = catalog.LATEST,
    all_: Annotated[bool, typer.Option("--all", help="Every backup in the catalog.")] = False,
    level: Annotated[
        int,
        typer.Option(
            min=1,
            max=5,
            help="How deep: 2 reads every byte, 4 lets an engine read every row, 5 restores it.",
        ),
    ] = 4,
    json_: Json = False,
) -> None:
    """Prove a backup, or any archive of a DuckDB database, again."""
    wanted = Level(max(level, Level.ARCHIVE))
    with session.working(quiet=json_) as app:
        if all_:
            verdicts = _verify_all(app, level=wanted)
        elif path := foreign(app, backup):
            _refuse_drill(path, level=wanted)
            proven = app.verify_file(path, level=wanted).value
            verdicts = [Verdict(name=str(path), proof=proven)]
        else:
            verdicts = [_verify(app, catalog.find(app.directory, backup), level=wanted)]
    if json_ and all_:
        documents.verdicts(verdicts)
    elif json_:
        documents.verdict(verdicts[0])
    else:
        reports.verdicts(verdicts)
    _end(verdicts)


def _verify_all(app: App, *, level: Level) -> list[Verdict]:
    """Prove every backup. One whose manifest cannot be believed has failed already."""
    if level is Level.DRILL:
        raise ConfigError("one backup at a time is drilled", hint="eider verify ID --level 5")
    listing = catalog.read(app.directory)
    if not listing.backups and not listing.unreadable:
        raise NoSuchBackup(
            f"there is no backup in {app.directory}, so nothing was verified", hint="eider backup"
        )
    proven = [
        Verdict(name=backup.id, proof=backup.proof) for backup in app.verify_all(level=level).value
    ]
    return proven + [Verdict(name=other.id, problem=other.problem) for other in listing.unreadable]


def _verify(app: App, backup: Backup, *, level: Level) -> Verdict:
    if level is Level.DRILL:
        drilled = app.drill(backup.id).value or backup
        return Verdict(name=backup.id, proof=drilled.proof)
    return Verdict(name=backup.id, proof=app.verify(backup, level=level).value.proof)


def _refuse_drill(path: Path, *, level: Level) -> None:
    if level is Level.DRILL:
        raise ConfigError(
            f"{path} is none of the backups that are drilled",
            hint="Restore it into a folder of its own: eider restore FILE --to DIR",
        )


def foreign(app: App, name: str, *, folder: bool = False) -> Path | None:
    """Return the path that was meant, unless it is a backup of the catalog.

    Raise ConfigError when nothing can be there, or when it is a folder and none is wanted.
    """
    is_folder = False
    try:
        if "/" not in name and not os.path.lexists(name):
            return None
        is_folder = stat.S_ISDIR(Path(name).stat().st_mode)
    except FileNotFoundError:
        pass  # whoever reads it says so
    except ValueError as error:
        raise ConfigError(f"{name!r} is no path", hint="See: eider list") from error
    except OSError as error:
        # A path that nobody could follow is no archive; one that this user may not, is usage.
        kind = SourceUnavailable if error.errno == errno.ELOOP else ConfigError
        raise kind(
            f"cannot look at {name}: {error.strerror}", hint="See what there is: eider list"
        ) from error
    path = Path(os.path.realpath(absolute(name)))
    if is_folder and not folder:
        raise ConfigError(f"{path} is a folder, and no archive", hint="Name an archive in it.")
    if path.parent == Path(os.path.realpath(app.directory)):
        with contextlib.suppress(EiderError):
            catalog.find(app.directory, path.name)
            return None
    return path


def _end(verdicts: Sequence[Verdict]) -> None:
    """Exit with the code of the worst verdict; say on standard error why it is not good."""
    failed = [verdict for verdict in verdicts if not verdict.proof or verdict.proof.failure]
    for verdict in failed:
        terminal.problem(*_why(verdict))
    raise typer.Exit(ExitCode.VERIFICATION_FAILED if failed else ExitCode.DONE)


def _why(verdict: Verdict) -> tuple[str, str]:
    if verdict.proof is None:
        return _doubt(verdict)
    is_file = verdict.name.startswith("/")  # and none of the catalog
    return (proof.explain_archive if is_file else proof.explain)(verdict.proof)


def _doubt(verdict: Verdict) -> tuple[str, str]:
    hint = "Copy the archive elsewhere and prove it by itself: eider verify FILE"
    return f"backup {verdict.name}: {verdict.problem}", hint
