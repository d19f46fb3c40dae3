"""The only file that knows everyone: it binds each job's arguments from the settings."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from eiderd import runner
from eiderd.errors import ConfigError, EiderError, VerificationFailed
from eiderd.jobs import backup as backup_job
from eiderd.jobs import mirror as mirror_job
from eiderd.jobs import verify as verify_job
from eiderd.model import Job
from eiderd.outside import archive, clock, copier, duckdb_file, engine, files, process
from eiderd.schedule import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eiderd.config import Settings
    from eiderd.evidence import Captured, Checked, Member, Opened, Packed
    from eiderd.model import Backup, Level, Outcome, Proof


Value = TypeVar("Value")


class Progress(Protocol):
    """Is told how far a phase has come. Units are the phase's own; only the ratio matters."""

    def __call__(self, phase: str, done: int, total: int, /) -> None: ...


def silent(_phase: str, _done: int, _total: int, /) -> None:
    """Nobody is watching."""


class App:
    """eiderd with its settings: what a verb, and later the service, calls."""

    def __init__(self, settings: Settings, *, progress: Progress = silent) -> None:
        self.settings = settings
        self._progress = progress
        self.directory = settings.backup.directory
        self._state = settings.service.state
        self._deadline = settings.backup.deadline.total_seconds()

    def _phase(self, name: str) -> Callable[[int, int], None]:
        return functools.partial(self._progress, name)

    # Jobs

    def backup(self, *, note: str = "") -> Outcome[Backup]:
        """Take a backup and prove it."""
        source = self.settings.database.path
        return self._store(Job.BACKUP, functools.partial(self._backup, source=source, note=note))

    def _backup(self, *, source: Path, note: str) -> Outcome[Backup]:
        mirror = self._state / "mirror"
        try:
            with self._scratch() as scratch:
                return backup_job.run(
                    now=clock.now,
                    source=source,
                    directory=self.directory,
                    note=note,
                    refresh=lambda: self._refresh(thorough=True).value,
                    pack=functools.partial(self._pack, mirror=mirror),
                    check=self._check,
                    sync=files.sync_file,
                    open_mirror=lambda: self._open(mirror / source.name, scratch=scratch),
                    together=process.together,
                )
        finally:
            if not self.settings.mirror.keep:
                files.remove_tree(mirror)

    def verify(self, backup: Backup, *, level: Level) -> Outcome[Backup]:
        """Prove a backup of the catalog again."""
        with self._scratch_bound() as open_archive:
            return self._store(
                Job.VERIFY,
                lambda: verify_job.run(
                    now=clock.now,
                    directory=self.directory,
                    backup=backup,
                    level=level,
                    check=self._check,
                    open_archive=open_archive,
                ),
            )

    def verify_file(self, path: Path, *, level: Level) -> Outcome[Proof]:
        """Prove an archive that stands anywhere, by whatever describes it there."""
        with self._scratch_bound() as open_archive:
            return runner.run(
                Job.VERIFY,
                lane=Lane.WATCH,
                state=self._state,
                directory=self.directory,
                do=lambda: verify_job.run_file(
                    now=clock.now,
                    archive=path,
                    sha256=_sidecar_sha256(path),
                    level=level,
                    check=functools.partial(self._check, beside=_record_beside(path)),
                    open_archive=open_archive,
                ),
            )

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

    def _store(self, job: Job, do: Callable[[], Outcome[Value]]) -> Outcome[Value]:
        """Run a job that writes backups, under the lock."""
        return runner.run(job, lane=Lane.STORE, state=self._state, directory=self.directory, do=do)

    # What the jobs use

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
        return mirror_job.run(ladder=(double_collect,))

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


_MOST_BESIDE = 16 << 20  # bytes of a description that stands beside an archive


def _sidecar_sha256(archive: Path) -> str | None:
    """Return the SHA-256 that stands beside an archive, as `sha256sum` writes it, if one does.

    Raise VerificationFailed when what stands there says none.
    """
    sidecar = archive.with_name(f"{archive.name}.sha256")
    if not os.path.lexists(sidecar):
        return None
    with contextlib.suppress(OSError, EiderError, UnicodeDecodeError):
        said = files.read_regular(sidecar, most=_MOST_BESIDE).decode("ascii")
        if found := re.match(r"\\?([0-9a-fA-F]{64})\b", said):
            return found[1].lower()
    raise VerificationFailed(
        f"{sidecar} stands beside the archive and holds no SHA-256",
        hint="Look at it; if it is not of this archive, copy the archive elsewhere.",
    )


def _record_beside(archive: Path) -> dict[str, Any] | None:
    """Return what Cartographus's own `metadata.json` beside an archive says of it, if anything."""
    with contextlib.suppress(OSError, EiderError, ValueError, RecursionError):
        record = json.loads(
            files.read_regular(archive.with_name("metadata.json"), most=_MOST_BESIDE)
        )
        backups = record.get("backups") if isinstance(record, dict) else None
        for entry in backups if isinstance(backups, list) else ():
            if isinstance(entry, dict) and Path(str(entry.get("file_path"))).name == archive.name:
                return entry
    return None
