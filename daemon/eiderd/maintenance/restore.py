"""Binds the restore: from which archive onto which path, with which engine, around whom."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from rich.filesize import decimal

from eiderd import beside, catalog
from eiderd.config import Settings
from eiderd.errors import ConfigError, NoSuchBackup
from eiderd.jobs import restore as job
from eiderd.maintenance import exchange as exchange_app
from eiderd.maintenance import restore_plan as restoring
from eiderd.maintenance.exchange import Bound
from eiderd.maintenance.reading import Check, OpenAndRead
from eiderd.model import Backup, Ending, Outcome
from eiderd.outside import clock, copier, duckdb_file, files, moves, swap
from eiderd.outside.application import Application

if TYPE_CHECKING:
    from eiderd.evidence import Checked
    from eiderd.jobs.restore import Restored
    from eiderd.maintenance.restore_plan import Plan, Source
    from eiderd.model import Proof

# Of a path to a database behind a link, where WAL files stand beside the link: until 1.4.
_BESIDE_LINKS: Final = ((1, 0), (1, 1), (1, 2), (1, 3), (1, 4))

EnsureStill: TypeAlias = Callable[[bool], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Restores for one configuration."""

    settings: Settings
    application: Callable[[], Application]
    check: Check
    open_and_read: OpenAndRead
    progress: Callable[[str, int, int], None]

    # Looking

    def source(
        self, name: str, *, at: datetime.datetime | None = None, file: Path | None = None
    ) -> tuple[Source, Backup | None]:
        """Return what is meant. An archive that is not of the catalog is only looked at later."""
        directory = self.settings.backup.directory
        if file:
            with files.reading_archive(file):
                size = file.stat().st_size
            return restoring.Source(
                kind=restoring.RESTORE, what=str(file), path=str(file), bytes=size
            ), None
        if at:
            name = restoring.newest_at(catalog.briefs(directory).backups, at=at).id
        backup = catalog.find(directory, name)
        return restoring.source_of(backup, archive=str(directory / backup.archive)), backup

    def plan(self, source: Source, *, to: Path | None = None) -> Plan:
        """Return what a restore is going to do. Raise what refuses it before anything is read."""
        stamp = exchange_app.stamp()
        if to:
            target = to / self._database.name
            old_wals, unfinished = 0, None
            aside: tuple[tuple[str, str], ...] = ()
        else:
            target = self._database
            unfinished = swap.unfinished(target, state=self.settings.service.state)
            old_wals = sum(path.lstat().st_size for path in swap.wals(target))
            aside = self._names_aside(stamp)
        folder = target.parent if to else swap.real(target).parent
        return restoring.Plan(
            source=source,
            onto=str(target),
            is_live=to is None,
            application="" if to else exchange_app.stopped_name(self.application()),
            holder="" if to else exchange_app.holder_of(self._database),
            needed_bytes=restoring.needed(
                incoming=source.bytes, incoming_wals=source.wal_bytes, old_wals=old_wals
            ),
            free_bytes=files.free_bytes(_existing(folder)),
            set_aside=aside,
            stamp=stamp,
            lost_seconds=(clock.now() - source.at).total_seconds() if source.at else None,
            warnings=restoring.warnings(source, unfinished=unfinished),
        )

    def plan_undo(self) -> Plan:
        """Return what going back to the newest set-aside database is going to do."""
        found = [one for one in swap.set_aside(self._database) if one.word.startswith("before-")]
        if not found:
            raise NoSuchBackup(
                f"nothing that was set aside stands beside {self._database}",
                hint="See what there is: eider list",
            )
        newest = found[-1]
        at = datetime.datetime.strptime(newest.at, exchange_app.STAMP).replace(tzinfo=datetime.UTC)
        source = restoring.Source(
            kind=restoring.UNDO, what=Path(newest.path).name, path=newest.path, at=at,
        )  # fmt: skip
        return dataclasses.replace(self.plan(source), lost_seconds=None)

    # Doing

    def run(
        self,
        plan: Plan,
        *,
        backup: Backup | None = None,
        ensure_still: EnsureStill = lambda _stopped: None,
    ) -> Outcome[Restored]:
        """Do what the plan says; what an earlier run left unfinished is put right first.

        `ensure_still` raises when it is not wanted any more: asked before anything is done, before
        the application is stopped, and with True when it is. Raise VerificationFailed, NoSpace,
        Busy, ApplicationFailed, StoreUnavailable: then all is as it was before.
        """
        source = plan.source
        folder = swap.real(self._database).parent
        with files.locked(folder, hint=f"Wait for it to end: fuser -v {folder}"):
            ensure_still(False)
            application = self.application()
            around = exchange_app.around_of(application, self.settings)
            stopped = exchange_app.remembered(application, self.settings).was_stopped()
            if (begun := exchange_app.unfinished(self.settings)) is not None:
                ended = job.resume(around=around, work=begun)
                if isinstance(ended, Outcome):
                    return ended
                stopped = stopped or ended
            swap.sweep(self._database)
            if source.kind == restoring.UNDO:
                incoming = Path(source.path)
                prepare: Callable[[], Proof | None] = lambda: None  # noqa: E731
            else:
                incoming = swap.staging(self._database) / self._staged_name
                prepare = functools.partial(self._stage, source, backup, ensure_still)
            return job.run(
                around=around,
                was_stopped_for_it=stopped,
                prepare=prepare,
                work=functools.partial(self._work, source, incoming, plan.stamp, ensure_still),
                discard=functools.partial(exchange_app.discard, self.settings),
            )

    def to_folder(
        self, plan: Plan, *, backup: Backup | None = None, extras: bool = False
    ) -> Outcome[Restored]:
        """Unpack and prove into a folder of its own, `extras` with the extra files of the archive.

        Nothing else is touched.
        """
        folder = Path(plan.onto).parent
        _make_empty(folder)
        try:
            database, verdict = self._staged(plan.source, backup, folder=folder, extras=extras)
        except BaseException:
            _empty(folder)
            raise
        value = job.Restored(
            kind=restoring.RESTORE, what=plan.source.what, database=str(database), proof=verdict
        )
        return Outcome(ending=Ending.DONE, value=value, why=f"restore of {plan.source.what}")

    # What these use

    @property
    def _database(self) -> Path:
        return self.settings.database.path

    @property
    def _staged_name(self) -> str:
        return swap.real(self._database).name

    def _stage(self, source: Source, backup: Backup | None, ensure_still: EnsureStill) -> Proof:
        folder = files.private_folder(swap.staging(self._database))
        database, verdict = self._staged(source, backup, folder=folder)
        steps = moves.Moves()
        for path in sorted(folder.iterdir()):
            name = self._staged_name + path.name.removeprefix(database.name)
            if path.name != name:
                steps.rename(path, folder / name)
            exchange_app.give_to_owner(
                folder / name, database=self._database, verb="restore", steps=steps
            )
        steps.sync_folder(folder)
        ensure_still(False)
        return verdict

    def _staged(
        self, source: Source, backup: Backup | None, *, folder: Path, extras: bool = False
    ) -> tuple[Path, Proof]:
        archive = Path(source.path)
        scratch = self.settings.service.state / "scratch"
        with files.scratch(scratch) as inside:
            return job.stage(
                now=clock.now,
                check=functools.partial(self._check, archive, backup, folder),
                unpack=functools.partial(self._unpack, archive, folder, extras),
                open_=functools.partial(self.open_and_read, scratch=inside),
                expected_rows=source.rows,
            )

    def _check(self, archive: Path, backup: Backup | None, folder: Path) -> Checked:
        """Check an archive. Of a backup, whose members are known, the database is unpacked, too."""
        if backup:
            name = Path(backup.source.path).name
            sizes = {member.name: member.bytes for member in backup.members}
            wanted = {one: sizes[one] for one in _set_of(name) if one in sizes}
            self._ensure_room(name, sizes, folder=folder)
            return self.check(
                archive=archive,
                sha256=backup.sha256,
                members=backup.members,
                id_=backup.id,
                into=folder,
                wanted=wanted,
            )
        return self.check(
            archive=archive,
            sha256=beside.sidecar_sha256(archive),
            members=None,
            id_=None,
            beside=beside.record(archive),
        )

    def _unpack(self, archive: Path, folder: Path, extras: bool, checked: Checked) -> Path:  # noqa: FBT001
        if checked.database is None:
            raise ConfigError(f"{archive} holds no database", hint="eider verify FILE")
        name, sizes = checked.database, {one.name: one.bytes for one in checked.members}
        deadline = self.settings.backup.deadline.total_seconds()
        progress = functools.partial(self.progress, "unpack")
        if extras:
            copier.unpack_extras(
                archive=archive,
                folder=folder,
                members=checked.members,
                deadline_seconds=deadline,
                progress=functools.partial(self.progress, "extra files"),
            )
        if (folder / name).exists():  # unpacked while it was checked
            return folder / name
        self._ensure_room(name, sizes, folder=folder)
        return copier.unpack(
            archive=archive,
            folder=folder,
            database=name,
            members=checked.members,
            deadline_seconds=deadline,
            progress=progress,
        )

    def _ensure_room(self, name: str, sizes: Mapping[str, int], *, folder: Path) -> None:
        logs = sum(sizes.get(wal, 0) for wal in duckdb_file.wal_names(name))
        old = sum(path.lstat().st_size for path in swap.wals(self._database))
        needed = restoring.needed(
            incoming=sizes.get(name, 0) + logs, incoming_wals=logs, old_wals=old
        )
        free = files.free_bytes(folder)
        restoring.ensure_room(
            needed_bytes=needed,
            free_bytes=free,
            folder=str(folder),
            sizes=(decimal(needed), decimal(free)),
        )

    def _work(
        self,
        source: Source,
        incoming: Path,
        stamp: str,
        ensure_still: EnsureStill,
        restart: bool,  # noqa: FBT001
    ) -> Bound:
        ensure_still(True)
        exchange = swap.plan(
            database=self._database,
            incoming=incoming,
            wal_base=self._wal_base(incoming),
            kind=source.kind,
            what=source.what,
            stamp=stamp,
            restart=restart,
            staged=source.kind != restoring.UNDO,
        )
        return Bound(self._database, swap.Swap(self._database, exchange))

    def _wal_base(self, incoming: Path) -> Path:
        """Return beside which path the application's engine looks for the WAL files."""
        link, real = self._database, swap.real(self._database)
        if real == Path(os.path.realpath(link.parent)) / link.name:
            return real
        if version := self.settings.engine.application:
            number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
            return link if number in _BESIDE_LINKS else real
        for path in swap.wals(link):
            return link if path.parent == link.parent else real
        if not any(incoming.parent.glob(f"{incoming.name}.wal*")):
            return real
        raise ConfigError(
            f"{link} is a link: where its WAL file belongs depends on the engine",
            hint="Set engine.application to the DuckDB version of the application.",
        )

    def _names_aside(self, stamp: str) -> tuple[tuple[str, str], ...]:
        live = swap.real(self._database)
        aside = swap.aside_name(live, word=swap.BEFORE_RESTORE, stamp=stamp)
        here = [live] if os.path.lexists(live) else []
        pairs = dict.fromkeys(here, aside) | swap.names_aside(aside, swap.wals(self._database))
        return tuple((str(old), new.name) for old, new in pairs.items())


def _set_of(name: str) -> tuple[str, ...]:
    """Return the names under which a database and its WAL files stand in an archive of ours."""
    return (name, *duckdb_file.wal_names(name))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _make_empty(folder: Path) -> None:
    with files.writing_to(folder):
        folder.mkdir(mode=files.PRIVATE_FOLDER, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty", hint="Name a new folder: --to DIR")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        files.remove_tree(path)
