"""The only file that knows everyone: it binds each job's arguments from the settings."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from eiderd import beside, catalog, content, rescuing, restore_app, room
from eiderd.errors import ConfigError, EiderError, VerificationFailed
from eiderd.jobs import accept as accept_job
from eiderd.jobs import backup as backup_job
from eiderd.jobs import mirror as mirror_job
from eiderd.jobs import pin as pin_job
from eiderd.jobs import prune as prune_job
from eiderd.jobs import verify as verify_job
from eiderd.journal import Journal
from eiderd.model import Job
from eiderd.outside import archive, clock, copier, duckdb_file, engine, files, filesystem, process
from eiderd.outside.application import MOST_FROZEN_SECONDS, application_of, hold
from eiderd.retention import Rules
from eiderd.runner import Runner

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterator, Mapping

    from eiderd.config import Settings
    from eiderd.evidence import Captured, Checked, Member, Opened, Packed
    from eiderd.jobs.rescue import Rescued
    from eiderd.jobs.restore import Restored
    from eiderd.model import Backup, Content, ContentVerdict, Level, Outcome, Proof
    from eiderd.outside.application import Application
    from eiderd.restoring import Plan
    from eiderd.retention import Pruned


Value = TypeVar("Value")


class Progress(Protocol):
    """Is told how far a phase has come. Units are the phase's own; only the ratio matters."""

    def __call__(self, phase: str, done: int, total: int, /) -> None: ...


_PATIENCE_SECONDS = 10.0  # of a person, while another run holds the store


def journal_of(settings: Settings) -> Journal:
    return Journal(settings.service.state / "journal.jsonl", pid=os.getpid(), who=process.who)


def silent(_phase: str, _done: int, _total: int, /) -> None:
    """Nobody is watching."""


class App:
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
        self.settings = settings
        self._progress = progress
        self.directory = settings.backup.directory
        self.briefs = catalog.Briefs(self.directory)
        self._state = settings.service.state
        self._deadline = settings.backup.deadline.total_seconds()
        self.journal = journal or journal_of(settings)
        self.briefs = catalog.Briefs(self.directory)
        self._runner = Runner(
            journal=self.journal,
            state=self._state,
            briefs=self.briefs,
            patience_seconds=patience_seconds,
            is_ending=is_ending,
        )

    def _phase(self, name: str) -> Callable[[int, int], None]:
        return functools.partial(self._progress, name)

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
            if not os.access(_existing(folder), os.W_OK | os.X_OK):
                found.append(f"{key}: {folder} cannot be written by this user")
        for version, interpreter in self.engines().others.items():
            if not interpreter.exists():
                found.append(f"engine.others: there is no {interpreter} for {version}")
        try:
            _extras(self.settings.backup.include)
        except ConfigError as error:
            found.append(error.message)
        return found

    # What the jobs use

    def _ensure_room(self) -> None:
        """Raise NoSpace when a backup does not fit."""
        room.ensure(self.needs(), critical_bytes=self.settings.disk.critical)

    def needs(self) -> tuple[room.Need, room.Need]:
        """Return what the next backup needs, and where."""
        database = self.settings.database.path
        return room.needs(
            databases=(database, Path(os.path.realpath(database))),
            logs=duckdb_file.wal_names,
            extras=_extras(self.settings.backup.include),
            mirror=self._state / "mirror",
            directory=self.directory,
            earlier=catalog.read(self.directory).backups,
            file_bytes=filesystem.file_bytes,
            look=filesystem.look,
        )

    def _refresh(self, *, thorough: bool) -> Outcome[Captured]:
        mirror = self.settings.mirror
        double_collect = functools.partial(
            copier.refresh,
            source=self.settings.database.path,
            mirror=self._state / "mirror",
            passes=mirror.passes,
            timeout_seconds=mirror.timeout.total_seconds(),
            rate_limit=mirror.rate_limit,
            thorough=thorough,
            deadline_seconds=self._deadline,
            progress=self._phase("copy"),
        )
        ladder: list[mirror_job.Step] = [double_collect]
        if self.settings.application.allow_freeze:
            ladder.append(functools.partial(self._refresh_frozen, double_collect))
        if self.settings.application.allow_stop:
            ladder.append(functools.partial(self._refresh_stopped, double_collect))
        return mirror_job.run(ladder=ladder)

    def _refresh_frozen(self, refresh: Callable[..., Captured]) -> Captured:
        words = self._application_words()
        with hold.kept(words, hold="freeze", seconds=MOST_FROZEN_SECONDS) as keeper:
            return refresh(keeper=keeper)

    def _refresh_stopped(self, refresh: Callable[..., Captured]) -> Captured:
        words = self._application_words()
        with (
            hold.kept(words, hold="stop", seconds=self._deadline) as keeper,
            keeper.held() as still,
        ):
            captured = refresh()
        return dataclasses.replace(captured, method="stop", frozen_seconds=still.seconds)

    def application(self) -> Application:
        """Return the application that the settings describe."""
        return application_of(**self._application_words())

    def _application_words(self) -> dict[str, Any]:
        wanted = self.settings.application
        return {
            "kind": wanted.kind,
            "unit": wanted.unit,
            "container": wanted.container,
            "commands": wanted.commands,
            "health_url": wanted.health_url,
            "database": self.settings.database.path,
            "timeout_seconds": wanted.timeout.total_seconds(),
        }

    def _pack(
        self, *, target: Path, captured: Captured, manifest: Mapping[str, object], mirror: Path
    ) -> Packed:
        owner = self.settings.database.path.stat()
        extras = _extras(self.settings.backup.include)
        members = [(mirror / name, name) for name in captured.files]
        with files.copied_aside(extras, folder=target.parent / "files") as copies:
            members += [(copy, f"{archive.EXTRA_FOLDER}{path}") for path, copy in copies]
            return copier.pack(
                target=target,
                members=members,
                owner=(owner.st_uid, owner.st_gid, owner.st_mode & 0o777),
                modified=captured.instant[1] // 1_000_000_000,
                manifest=manifest,
                deadline_seconds=self._deadline,
                progress=self._phase("archive"),
            )

    def _check(
        self,
        *,
        archive: Path,
        sha256: str | None,
        members: tuple[Member, ...] | None,
        id_: str | None,
        beside: Mapping[str, Any] | None = None,
    ) -> Checked:
        return copier.check(
            archive=archive,
            expected_sha256=sha256,
            expected_members=members,
            expected_id=id_,
            beside=beside,
            most_bytes=None if members else files.free_bytes(_existing(self._state)),
            deadline_seconds=self._deadline,
            progress=self._phase("check"),
        )

    def _open(self, database: Path, *, scratch: Path) -> Opened:
        chosen = self.engines()
        return engine.open_and_read(
            database=database,
            interpreter=chosen.interpreter(),
            scratch=scratch,
            bounds=self.engine_bounds(),
            time_columns=self.settings.content.time_columns,
            schema_table=self.settings.schema_.table,
            progress=self._phase("open and read"),
        )

    def _compare(
        self, *, old: Content | None, new: Content
    ) -> tuple[ContentVerdict, tuple[str, ...]]:
        wanted = self.settings.content
        return content.compare(
            old=old,
            new=new,
            max_row_loss=wanted.max_row_loss,
            min_rows=wanted.min_rows,
            timed=wanted.time_columns,
        )

    def engines(self) -> engine.Engines:
        folders = map(self.settings.engine_folder, self.settings.engine.others)
        return engine.Engines(
            others={folder.name: folder / "bin" / "python" for folder in folders},
            application=self.settings.engine.application,
        )

    def engine_bounds(self) -> engine.Bounds:
        limits = self.settings.engine
        return engine.Bounds(
            memory_limit=limits.memory_limit,
            threads=limits.threads,
            deadline_seconds=limits.deadline.total_seconds(),
        )

    # Scratch

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder of this run's own. What a killed run left there is removed with it."""
        with files.scratch(self._state / "scratch") as folder:
            yield folder

    @contextlib.contextmanager
    def _scratch_bound(self) -> Iterator[verify_job.OpenArchive]:
        with self._scratch() as scratch:

            def open_archive(*, archive: Path, checked: Checked) -> Opened:
                if checked.database is None:  # levels 1 to 3 refuse such an archive
                    raise VerificationFailed(f"{archive} holds no database")
                database = copier.unpack(
                    archive=archive,
                    folder=files.private_folder(scratch / "unpacked"),
                    database=checked.database,
                    members=checked.members,
                    deadline_seconds=self._deadline,
                    progress=self._phase("unpack"),
                )
                return self._open(database, scratch=scratch)

            yield open_archive


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _extras(include: tuple[Path, ...]) -> list[Path]:
    """Return the files named by `backup.include`, folders walked, in a steady order."""
    found: list[Path] = []
    for path in include:
        if path.is_dir():
            inside = sorted(path.rglob("*"))
            found += [file for file in inside if file.is_file() and not file.is_symlink()]
        elif path.is_file():
            found.append(path)
        else:
            raise ConfigError(
                f"backup.include names {path}, which is no file and no folder",
                hint="Correct the path, or take it out of backup.include.",
            )
    for file in found:
        if not str(file).isprintable():
            raise ConfigError(
                f"backup.include holds a file whose name cannot be written down: {str(file)!r}",
                hint="Rename it, or include its neighbours one by one.",
            )
    return found
