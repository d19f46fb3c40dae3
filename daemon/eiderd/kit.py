"""What the jobs use, bound to the settings: capture, archive, engines, scratch, the application."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eiderd import catalog, content, room
from eiderd.errors import ConfigError, EiderError, SourceUnavailable, VerificationFailed
from eiderd.evidence import StreamsTaken
from eiderd.jobs import mirror as mirror_job
from eiderd.jobs import verify as verify_job
from eiderd.model import State
from eiderd.outside import archive, copier, duckdb_file, engine, files, filesystem, swap
from eiderd.outside.application import MOST_FROZEN_SECONDS, application_of, hold
from eiderd.outside.application.unit import Unit
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eiderd.config import Settings
    from eiderd.evidence import Captured, Checked, Member, Opened, Packed
    from eiderd.model import Backup, Content, ContentVerdict, Outcome
    from eiderd.outside.application import Application


class Progress(Protocol):
    """Is told how far a phase has come. Units are the phase's own; only the ratio matters."""

    def __call__(self, phase: str, done: int, total: int, /) -> None: ...


def silent(_phase: str, _done: int, _total: int, /) -> None:
    """Nobody is watching."""


class Kit:
    """The tools of one configuration. `progress` is told how far each phase has come."""

    def __init__(self, settings: Settings, *, progress: Progress = silent) -> None:
        self.settings = settings
        self._progress = progress
        self.directory = settings.backup.directory
        self.briefs = catalog.Briefs(self.directory)
        self._state = settings.service.state
        self._deadline = settings.backup.deadline.total_seconds()

    def _phase(self, name: str) -> Callable[[int, int], None]:
        return functools.partial(self._progress, name)

    def _ensure_room(self) -> None:
        """Raise NoSpace when a backup does not fit."""
        room.ensure(self.needs(), critical_bytes=self.settings.disk.critical)

    def needs(self) -> tuple[room.Need, room.Need]:
        """Return what the next backup needs, and where."""
        database = self.settings.database.path
        return room.needs(
            databases=(database, Path(os.path.realpath(database))),
            logs=duckdb_file.wal_names,
            extras=extras_of(self.settings.backup.include),
            mirror=self._state / "mirror",
            directory=self.directory,
            earlier=self._newest_sound(),
            file_bytes=filesystem.file_bytes,
            look=filesystem.look,
        )

    def _newest_sound(self) -> tuple[Backup, ...]:
        """Return the newest backup that is not corrupt, if there is one. Only it is read whole."""
        for brief in reversed(self.briefs.look().backups):
            if brief.state is not State.CORRUPT:
                with contextlib.suppress(EiderError):
                    return (catalog.recorded(self.directory, brief.id),)
        return ()

    def _refuse_half_a_database(self) -> None:
        """Raise SourceUnavailable while the files of the database are exchanged only in part."""
        begun = swap.unfinished(self.settings.database.path, state=self._state)
        if begun and not swap.is_whole(begun):
            raise SourceUnavailable(
                f"a {begun.kind} of the database ({plain(begun.what)}) did not end: what stands "
                "there now, if anything, is not the database",
                hint=f"Finish or undo it first: {begun.verb}",
            )

    def _refresh(self, *, thorough: bool) -> Outcome[Captured]:
        self._refuse_half_a_database()
        double_collect = self._double_collect(thorough=thorough)
        ladder: list[mirror_job.Step] = [double_collect]
        if self.settings.application.allow_freeze:
            ladder.append(functools.partial(self._refresh_frozen, double_collect))
        if self.settings.application.allow_stop:
            ladder.append(functools.partial(self._refresh_stopped, double_collect))
        return mirror_job.run(ladder=ladder)

    def _double_collect(self, *, thorough: bool) -> functools.partial[Captured]:
        mirror = self.settings.mirror
        return functools.partial(
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

    def _missing_unit(self) -> list[str]:
        """Return what is wrong with application.unit, if systemd says that there is none."""
        if self.settings.application.kind == "systemd":
            application = self.application()
            if isinstance(application, Unit) and application.is_missing():
                return [f"application.unit: there is no {application.name()}"]
        return []

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

    def _streams(self, *, folder: Path) -> StreamsTaken:
        """Take the streams that belong into a backup into `folder`. What is missing is said."""
        section = self.settings.nats
        if not section.urls or not section.backup:
            return StreamsTaken()
        from eiderd.broker import streams as streams_app  # noqa: PLC0415  (with NATS only: it takes megabytes)

        return streams_app.captured(
            section,
            folder=folder,
            most_bytes=room.spare(self.needs(), critical_bytes=self.settings.disk.critical),
            deadline_seconds=self._deadline,
            progress=self._phase("streams"),
        )

    def _pack(
        self,
        *,
        target: Path,
        captured: Captured,
        manifest: Mapping[str, object],
        mirror: Path,
        streams: Path,
    ) -> Packed:
        owner = self.settings.database.path.stat()
        named = self.settings.backup.include
        members = [(mirror / name, name) for name in captured.files]
        aside = target.parent / "files"
        with files.copied_aside(extras_of(named), named=named, folder=aside) as copies:
            members += [(copy, f"{archive.EXTRA_FOLDER}{path}") for path, copy in copies]
            members += [
                (file, f"{archive.STREAM_FOLDER}/{file.relative_to(streams)}")
                for file in sorted(streams.rglob("*"))
                if file.is_file()
            ]
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
        into: Path | None = None,
        wanted: Mapping[str, int] | None = None,
    ) -> Checked:
        return copier.check(
            archive=archive,
            expected_sha256=sha256,
            expected_members=members,
            expected_id=id_,
            beside=beside,
            into=into,
            wanted=wanted,
            most_bytes=None if members else files.free_bytes(existing(self._state)),
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
            trimmed=wanted.trimmed,
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


def existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def extras_of(include: tuple[Path, ...]) -> list[Path]:
    """Return the files named by `backup.include`, folders walked, in a steady order."""
    found: list[Path] = []
    for path in include:
        if path.is_dir():
            walked = os.walk(path)  # passes over what goes meanwhile, as rglob does not
            inside = sorted(Path(folder, name) for folder, _, names in walked for name in names)
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
