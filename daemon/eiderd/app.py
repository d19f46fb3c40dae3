"""The only file that knows everyone: it binds each job's arguments from the settings."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from eiderd import beside, catalog, rescuing, restore_app
from eiderd.errors import ConfigError, EiderError
from eiderd.jobs import accept as accept_job
from eiderd.jobs import backup as backup_job
from eiderd.jobs import pin as pin_job
from eiderd.jobs import prune as prune_job
from eiderd.jobs import verify as verify_job
from eiderd.journal import Journal
from eiderd.kit import Kit, Progress, existing, extras_of, silent
from eiderd.model import Job
from eiderd.outside import clock, duckdb_file, files, process
from eiderd.retention import Rules
from eiderd.runner import Runner

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable
    from pathlib import Path

    from eiderd.config import Settings
    from eiderd.jobs.rescue import Rescued
    from eiderd.jobs.restore import Restored
    from eiderd.model import Backup, Level, Outcome, Proof
    from eiderd.restoring import Plan
    from eiderd.retention import Pruned


_PATIENCE_SECONDS = 10.0  # of a person, while another run holds the store


def journal_of(settings: Settings) -> Journal:
    return Journal(settings.service.state / "journal.jsonl", pid=os.getpid(), who=process.who)


class App(Kit):
    """eiderd with its settings: what a verb, and later the service, calls."""

    def __init__(
        self,
        settings: Settings,
        *,
        progress: Progress = silent,
        journal: Journal | None = None,
        patience_seconds: float = _PATIENCE_SECONDS,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(settings, progress=progress)
        self.journal = journal or journal_of(settings)
        self._runner = Runner(
            journal=self.journal,
            state=self._state,
            briefs=self.briefs,
            patience_seconds=patience_seconds,
            is_ending=is_ending,
        )

    # Jobs

    def backup(
        self, *, note: str = "", planned_at: datetime.datetime | None = None
    ) -> Outcome[Backup]:
        """Take a backup and prove it."""
        do = functools.partial(self._backup, source=self.settings.database.path, note=note)
        return self._runner.store(Job.BACKUP, do, planned_at=planned_at)

    def _backup(self, *, source: Path, note: str) -> Outcome[Backup]:
        mirror = self._state / "mirror"
        try:
            with self._scratch() as scratch:
                return backup_job.run(
                    now=clock.now,
                    source=source,
                    directory=self.directory,
                    note=note,
                    ensure_room=self._ensure_room,
                    refresh=lambda: self._refresh(thorough=True).value,
                    pack=functools.partial(self._pack, mirror=mirror),
                    check=self._check,
                    sync=files.sync_file,
                    open_mirror=lambda: self._open(mirror / source.name, scratch=scratch),
                    together=process.together,
                    compare=self._compare,
                )
        finally:
            if not self.settings.mirror.keep:
                files.remove_tree(mirror)

    def verify(self, backup: Backup, *, level: Level) -> Outcome[Backup]:
        """Prove a backup of the catalog again."""
        return self._runner.store(
            Job.VERIFY, functools.partial(self._verify, backup=backup, level=level)
        )

    def _verify(self, *, backup: Backup, level: Level) -> Outcome[Backup]:
        with self._scratch_bound() as open_archive:
            return verify_job.run(
                now=clock.now,
                directory=self.directory,
                backup=backup,
                level=level,
                check=self._check,
                open_archive=open_archive,
                compare=self._compare,
            )

    def verify_all(
        self, *, level: Level, planned_at: datetime.datetime | None = None
    ) -> Outcome[tuple[Backup, ...]]:
        """Prove every backup of the catalog again, in one run."""

        def do() -> Outcome[tuple[Backup, ...]]:
            return verify_job.run_all(
                backups=catalog.read(self.directory).backups,
                verify=functools.partial(self._verify, level=level),
            )

        return self._runner.store(Job.VERIFY, do, planned_at=planned_at)

    def verify_file(self, path: Path, *, level: Level) -> Outcome[Proof]:
        """Prove an archive that stands anywhere, by whatever describes it there."""
        with self._scratch_bound() as open_archive:
            return self._runner.look(
                Job.VERIFY,
                lambda: verify_job.run_file(
                    now=clock.now,
                    archive=path,
                    sha256=beside.sidecar_sha256(path),
                    level=level,
                    check=functools.partial(self._check, beside=beside.record(path)),
                    open_archive=open_archive,
                ),
            )

    def prune(
        self, *, dry_run: bool = False, planned_at: datetime.datetime | None = None
    ) -> Outcome[Pruned]:
        """Remove what the rules no longer keep. `dry_run` only looks: no lock, no journal."""
        do = functools.partial(
            prune_job.run,
            now=clock.now,
            directory=self.directory,
            look=self.briefs.look,
            rules=self.rules(),
            zone=clock.zone(),
            clock_jumped=self.journal.is_clock_doubtful(clock.reading()),
            dry_run=dry_run,
            record=self.journal.pruned,
        )
        return do() if dry_run else self._runner.store(Job.PRUNE, do, planned_at=planned_at)

    def pin(self, name: str, *, note: str | None = None) -> Outcome[Backup]:
        """Let no rule remove a backup."""
        do = functools.partial(
            pin_job.run, directory=self.directory, name=name, pinned=True, note=note
        )
        return self._runner.store(Job.PIN, do)

    def unpin(self, name: str) -> Outcome[Backup]:
        """Let the rules decide about a backup again."""
        do = functools.partial(pin_job.run, directory=self.directory, name=name, pinned=False)
        return self._runner.store(Job.UNPIN, do)

    def accept(self, name: str) -> Outcome[Backup]:
        """Let a suspect backup count: a person says that its content is right."""
        do = functools.partial(accept_job.run, directory=self.directory, name=name)
        return self._runner.store(Job.ACCEPT, do)

    def rescue(self, source: Path, *, to: Path | None = None) -> Outcome[Rescued]:
        """Bring a database back, on copies; the rescued one goes to `to`."""
        rescue = rescuing.Rescue(
            source=source,
            to=to,
            settings=self.settings,
            engines=self.engines(),
            bounds=self.engine_bounds(),
            open_and_read=self._open,
            compare=self._compare,
            progress=self._progress,
        )
        return self._runner.store(Job.RESCUE, rescue.run)

    def restores(self) -> restore_app.Restore:
        """Return what plans a restore."""
        return restore_app.Restore(
            settings=self.settings,
            application=self.application,
            check=self._check,
            open_and_read=self._open,
            progress=self._progress,
        )

    def restore(self, plan: Plan, *, backup: Backup | None = None) -> Outcome[Restored]:
        """Do what a plan says: restore onto the live database, or go back to what was set aside."""
        do = functools.partial(self.restores().run, plan, backup=backup)
        return self._runner.store(Job.RESTORE, do)

    def restore_to(
        self, plan: Plan, *, backup: Backup | None = None, extras: bool = False
    ) -> Outcome[Restored]:
        """Unpack and prove what a plan says into a folder of its own."""
        do = functools.partial(self.restores().to_folder, plan, backup=backup, extras=extras)
        return self._runner.look(Job.RESTORE, do)

    def rules(self) -> Rules:
        """Return what [retention] says."""
        return Rules(**self.settings.retention.model_dump())

    def problems(self) -> list[str]:
        """Return what a well-formed configuration still lacks on this machine."""
        found: list[str] = []
        path = self.settings.database.path
        try:
            with files.reading_from(path), os.fdopen(files.open_regular(path), "rb") as file:
                duckdb_file.read_headers(file.read(duckdb_file.HEADER_BYTES), of=path)
        except EiderError as error:
            found.append(f"database.path: {error.message}")
        for key, folder in (("backup.directory", self.directory), ("service.state", self._state)):
            if not os.access(existing(folder), os.W_OK | os.X_OK):
                found.append(f"{key}: {folder} cannot be written by this user")
        for version, interpreter in self.engines().others.items():
            if not interpreter.exists():
                found.append(f"engine.others: there is no {interpreter} for {version}")
        try:
            extras_of(self.settings.backup.include)
        except ConfigError as error:
            found.append(error.message)
        return found
