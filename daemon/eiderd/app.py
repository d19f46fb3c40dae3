"""The only file that knows everyone: it binds each job's arguments from the settings."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from typing import TYPE_CHECKING

from eiderd import beside, catalog, staging
from eiderd.broker import look as broker
from eiderd.errors import ConfigError, EiderError
from eiderd.jobs import accept as accept_job
from eiderd.jobs import backup as backup_job
from eiderd.jobs import ballast as ballast_job
from eiderd.jobs import clean as clean_job
from eiderd.jobs import drill as drill_job
from eiderd.jobs import pin as pin_job
from eiderd.jobs import prune as prune_job
from eiderd.jobs import quarantine as quarantine_job
from eiderd.jobs import verify as verify_job
from eiderd.journal import Journal
from eiderd.kit import Kit, Progress, existing, extras_of, silent
from eiderd.maintenance import compact as compact_app
from eiderd.maintenance import drill as drilling
from eiderd.maintenance import rescue as rescuing
from eiderd.maintenance import restore as restore_app
from eiderd.model import Job, Level
from eiderd.outside import clock, files, filesystem, leftovers, process, rights, ruin
from eiderd.retention import Rules
from eiderd.runner import Runner
from eiderd.schema import app as schema_app

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eiderd.broker.migrating import Migration
    from eiderd.broker.streams import StreamMover, Streams
    from eiderd.config import Settings
    from eiderd.evidence import Captured
    from eiderd.healing import Pause
    from eiderd.jobs.clean import Cleaned, Leftover
    from eiderd.jobs.compact import Compacted
    from eiderd.jobs.ensure import Ensured
    from eiderd.jobs.migrate import Moved
    from eiderd.jobs.nats_restore import Returned
    from eiderd.jobs.quarantine import Quarantined
    from eiderd.jobs.rescue import Rescued
    from eiderd.jobs.restore import Restored
    from eiderd.maintenance.restore_plan import Plan
    from eiderd.model import Backup, Outcome, Proof
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
        self.store, self.spare = self._runner.store, self._runner.spare  # of what binds itself

    # Jobs

    def backup(
        self, *, note: str = "", planned_at: datetime.datetime | None = None
    ) -> Outcome[Backup]:
        """Take a backup and prove it."""
        do = functools.partial(self._backup, source=self.settings.database.path, note=note)
        return self._runner.store(Job.BACKUP, do, planned_at=planned_at)

    def _backup(self, *, source: Path, note: str) -> Outcome[Backup]:
        with self._mirror() as mirror, self._scratch() as scratch:
            return backup_job.run(
                now=clock.now,
                source=source,
                directory=self.directory,
                note=note,
                ensure_room=self._ensure_room,
                capture_streams=functools.partial(self._streams, folder=scratch / "nats"),
                refresh=self._captured,
                pack=functools.partial(self._pack, mirror=mirror, streams=scratch / "nats"),
                check=self._check,
                sync=files.sync_file,
                open_mirror=lambda: self._open(mirror / source.name, scratch=scratch),
                together=process.together,
                compare=self._compare,
            )

    @contextlib.contextmanager
    def _mirror(self) -> Iterator[Path]:
        mirror = self._state / "mirror"
        try:
            yield mirror
        finally:
            if not self.settings.mirror.keep:
                files.remove_tree(mirror)

    def _captured(self) -> Captured:
        captured = self._refresh(thorough=True).value
        if captured.frozen_seconds:
            self.journal.froze(seconds=captured.frozen_seconds)
        return captured

    def verify(self, backup: Backup, *, level: Level) -> Outcome[Backup]:
        """Prove a backup of the catalog again."""
        do = functools.partial(self._verify, backup=backup, level=level)
        return self._runner.store(Job.VERIFY, do)

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

    def drill(
        self, id_: str | None = None, *, planned_at: datetime.datetime | None = None
    ) -> Outcome[Backup | None]:
        """Restore a backup, or the next in turn, for practice, and see how long that takes."""
        do = functools.partial(
            drill_job.run,
            directory=self.directory,
            id_=id_,
            rehearse=drilling.Rehearsal(settings=self.settings, restores=self.restores()),
            verify=functools.partial(self._verify, level=Level.RESTORE),
            record=self.journal.drilled,
        )
        return self._runner.store(Job.DRILL, do, planned_at=planned_at)

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
        before = clock.reading()  # the clock may be set while this waits for the store
        do = functools.partial(
            prune_job.run,
            now=clock.now,
            directory=self.directory,
            look=self.briefs.look,
            rules=self.rules(),
            zone=clock.zone(),
            clock_jumped=lambda: self.journal.is_clock_doubtful(clock.reading(), since=before),
            dry_run=dry_run,
            record=self.journal.pruned,
        )
        return do() if dry_run else self._runner.store(Job.PRUNE, do, planned_at=planned_at)

    def quarantine(self, name: str, *, dry_run: bool = False) -> Outcome[Quarantined]:
        """Move a backup that is proven to be corrupt aside. `dry_run` only looks: no lock."""
        do = functools.partial(
            quarantine_job.run,
            directory=self.directory,
            name=name,
            verify=functools.partial(self._verify, level=Level.RESTORE),
            dry_run=dry_run,
        )
        return do() if dry_run else self._runner.store(Job.QUARANTINE, do)

    def clean(self, *, ballast: bool = False) -> Outcome[Cleaned]:
        """Remove what runs that died left behind, and release the ballast if that is wanted."""
        scratch = self._state / "scratch"
        do = functools.partial(
            clean_job.run,
            before=self.leftovers(),
            find=self.leftovers,
            sweep=functools.partial(leftovers.sweep, scratch),
            ballast=self.directory / ballast_job.NAME if ballast else None,
            ballast_at=filesystem.ballast_at,
            release=filesystem.release_ballast,
        )
        return self._runner.store(Job.CLEAN, do)

    def pause(self, wanted: Pause) -> None:
        """Let nothing be repaired. Raise what keeps it from the journal: nobody would know it."""
        files.private_folder(self._state)
        self.journal.paused(wanted)
        self._ensure_journaled()

    def resume(self) -> None:
        """Let repairs go on, each with all its tries anew. Raise as `pause` does."""
        files.private_folder(self._state)
        self.journal.resumed(at=clock.now())
        self._ensure_journaled()

    def _ensure_journaled(self) -> None:
        if self.journal.trouble:
            raise self.journal.trouble

    def ballast(self) -> tuple[Leftover, ...]:
        """Return the ballast, if it is there and eiderd's own."""
        path = self.directory / ballast_job.NAME
        there = filesystem.ballast_at(path)
        return (clean_job.Leftover(path=path, bytes=there.bytes),) if there and there.ours else ()

    def leftovers(self) -> tuple[Leftover, ...]:
        """Return what runs that died left. What is staged belongs to a run while there is one."""
        found = leftovers.found(self._state / "scratch", locked=True)
        if all(run.job is Job.CLEAN for run in self.journal.running()):
            found += leftovers.found(staging.folder(self.directory), locked=False)
        return tuple(clean_job.Leftover(path=path, bytes=size) for path, size in found)

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

    def compactions(self) -> compact_app.Compaction:
        """Return what compacts the database."""
        return compact_app.Compaction(
            settings=self.settings,
            application=self.application,
            engines=self.engines(),
            bounds=self.engine_bounds(),
            refresh=self._captured,
            open_and_read=self._open,
            progress=self._progress,
        )

    def compact(
        self, do: Callable[[], Outcome[Compacted]], *, planned_at: datetime.datetime | None = None
    ) -> Outcome[Compacted]:
        """Do what a compaction does, with the mirror in its hands."""
        done = self._mirror()(do)
        return self._runner.store(Job.COMPACT, done, planned_at=planned_at)

    def measure(self) -> Outcome[Compacted]:
        """Measure what a compaction would bring. This is a look: it is not in the journal."""
        return self._runner.measure(Job.COMPACT, self._mirror()(self.compactions().measure))

    def compact_in_window(
        self, *, zone: datetime.tzinfo, planned_at: datetime.datetime | None = None
    ) -> Outcome[Compacted]:
        """Compact the database if [compact] says that this is the time."""
        do = functools.partial(self.compactions().in_window, zone=zone)
        return self.compact(do, planned_at=planned_at)

    def schema_look(self) -> schema_app.SchemaLook:
        """Return what looks at the schema, in the mirror."""
        return schema_app.SchemaLook(
            settings=self.settings,
            engines=self.engines(),
            bounds=self.engine_bounds(),
            collect=self._double_collect,
            needs=self.needs,
            newest=lambda: newest.id if (newest := self.briefs.look().newest_verified) else "",
            recorded=functools.partial(catalog.recorded, self.directory),
            spare=self._runner.spare,
            progress=self._progress,
        )

    def stream_mover(self) -> StreamMover:
        """Return what moves streams of NATS."""
        from eiderd.broker.streams import StreamMover  # noqa: PLC0415  (with NATS only: megabytes)

        return StreamMover(settings=self.settings, check=self._check, progress=self._progress)

    def nats_restore(self, streams: Streams) -> Outcome[tuple[Returned, ...]]:
        """Make the streams on their server that are not there."""
        do = functools.partial(self.stream_mover().restore, streams)
        return self._runner.store(Job.NATS_RESTORE, do, alone=False)

    def nats_migrate(self, migration: Migration) -> Outcome[tuple[Moved, ...]]:
        """Move streams from one server to another."""
        do = dataclasses.replace(migration, progress=self._progress).run
        return self._runner.store(Job.MIGRATE, do, alone=False)

    def nats_ensure(self, *, drift: bool = False, dry_run: bool = False) -> Outcome[Ensured]:
        """Create the expected streams and consumers that are missing. `dry_run` only looks."""
        do = functools.partial(broker.ensure, self.settings.nats, drift=drift, dry_run=dry_run)
        return do() if dry_run else self._runner.store(Job.ENSURE, do, alone=False)

    def rules(self) -> Rules:
        """Return what [retention] says."""
        return Rules(**self.settings.retention.model_dump())

    def problems(self) -> list[str]:
        """Return what a well-formed configuration still lacks on this machine."""
        found: list[str] = []
        path = self.settings.database.path
        try:
            ruin.headers(path)
        except EiderError as error:
            found.append(f"database.path: {error.message}")
        for key, folder in (("backup.directory", self.directory), ("service.state", self._state)):
            if not os.access(existing(folder), os.W_OK | os.X_OK):
                found.append(f"{key}: {rights.me()} cannot write in {folder}")
        for version, interpreter in self.engines().others.items():
            if not interpreter.exists():
                found.append(f"engine.others: there is no {interpreter} for {version}")
        try:
            extras_of(self.settings.backup.include)
        except ConfigError as error:
            found.append(error.message)
        return [*found, *self._missing_unit()]
