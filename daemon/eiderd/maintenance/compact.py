"""Binds the compaction: which engine writes, where the copies stand, who holds the database."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from eiderd import catalog, room
from eiderd.config import Settings
from eiderd.errors import (
    Busy,
    NoSuchBackup,
    StoreUnavailable,
    VerificationFailed,
)
from eiderd.evidence import Captured
from eiderd.jobs import compact as job
from eiderd.jobs.compact import Compacted, Copying
from eiderd.maintenance import around as exchanges
from eiderd.maintenance import compact_plan as compacting
from eiderd.maintenance import exchange as exchange_app
from eiderd.maintenance import window
from eiderd.maintenance.compact_plan import Measured, Prospect
from eiderd.maintenance.exchange import Bound
from eiderd.maintenance.reading import OpenAndRead
from eiderd.model import Ending, Outcome
from eiderd.outside import (
    clock,
    compact,
    duckdb_file,
    engine,
    files,
    filesystem,
    moves,
    post,
    process,
    swap,
)
from eiderd.outside.application import Application

if TYPE_CHECKING:
    import datetime
    from pathlib import Path

    from eiderd.evidence import Survey
    from eiderd.model import Backup

_MARGIN: Final = 1.05  # the second copy may be this much larger than the first
_WHAT: Final = "a compaction"


class _Held(Bound):
    """An exchange for a copy: nobody can have changed the database since that was made."""

    def __init__(self, database: Path, work: swap.Swap, *, holding: contextlib.ExitStack) -> None:
        super().__init__(database, work)
        self._holding = holding
        self.exchange = self._held_exchange

    def _held_exchange(self) -> None:
        with self._holding:
            self._work.exchange()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """Compactions for one configuration."""

    settings: Settings
    application: Callable[[], Application]
    engines: engine.Engines
    bounds: engine.Bounds
    refresh: Callable[[], Captured]
    open_and_read: OpenAndRead
    progress: Callable[[str, int, int], None]

    # Looking

    def recent(self) -> Backup:
        """Return the newest verified backup of this database. Raise NoSuchBackup: too old, none."""
        return compacting.ensure_recent(
            catalog.newest_verified(self.settings.backup.directory),
            of=str(self._database),
            now=clock.now(),
            within=self.settings.compact.backup_within,
        )

    def prospect(self) -> Prospect:
        """Return what a compaction would meet, without reading the database."""
        begun = swap.unfinished(self._database, state=self.settings.service.state)
        newest = catalog.briefs(self.settings.backup.directory).newest_verified
        doubt = hint = ""
        try:
            self.recent()
        except NoSuchBackup as error:
            doubt, hint = error.message, error.hint
        return Prospect(
            database=str(self._database),
            application=exchange_app.stopped_name(self.application()),
            holder=exchange_app.holder_of(self._database),
            backup=newest.id if newest else None,
            doubt=doubt,
            hint=hint,
            unfinished=f"{begun.kind} of {begun.what}" if begun else "",
            asks=self.settings.compact.url,
        )

    def measure(self) -> Outcome[Compacted]:
        """Make a compact copy of the mirror, compare it, and remove it. Nothing is stopped."""
        return job.measure(rehearse=self._rehearsed, min_gain=self.settings.compact.min_gain)

    # Doing

    def run(
        self, *, tried: Measured | None = None, until: datetime.datetime | None = None
    ) -> Outcome[Compacted]:
        """Compact the database; what an earlier run left unfinished is put right first.

        `tried` is what `measure` found just before; `until` is when the window closes. Raise
        NoSuchBackup, VerificationFailed, NoSpace, Busy, ApplicationFailed, ConfigError,
        StoreUnavailable: then all is as it was before.
        """
        folder = swap.real(self._database).parent
        with files.locked(folder, hint=f"Wait for it to end: fuser -v {folder}"):
            application = self.application()
            around = exchange_app.around_of(application, self.settings)
            if (begun := exchange_app.unfinished(self.settings)) is not None:
                ended = exchanges.resume(around=around, work=begun)
                if isinstance(ended, Outcome):
                    value = Compacted(exchanged=ended.value)
                    return Outcome(ending=ended.ending, value=value, why=ended.why)
            if exchange_app.remembered(application, self.settings).was_stopped():
                around.start_again()  # a run that died had stopped it
            self.recent()
            self._ensure_writable(folder)
            swap.sweep(self._database)
            left = functools.partial(_seconds_until, until) if until else None
            return job.run(
                around=around,
                rehearse=functools.partial(self._affordable, tried),
                min_gain=self.settings.compact.min_gain,
                seconds_left=left,
                stand_in=self._stand_in,
                discard=functools.partial(exchange_app.discard, self.settings),
            )

    def in_window(self, *, zone: datetime.tzinfo) -> Outcome[Compacted]:
        """Compact the database if the window is open: a run may have waited until it is over."""
        wanted = self.settings.compact.window
        closes = wanted and window.closes(wanted, now=clock.now(), zone=zone)
        if not closes:
            return Outcome(
                ending=Ending.NOTHING_TO_DO, value=Compacted(), why="the window is closed"
            )
        return self.ask() if self.settings.compact.url else self.run(until=closes)

    def ask(self) -> Outcome[Compacted]:
        """Ask the application to compact its database itself. Raise what `run` raises."""
        self.recent()
        wanted = self.settings.compact
        post_ = functools.partial(
            post.post,
            wanted.url or "",
            headers=post.headers_from(wanted.url_headers),
            seconds=self.settings.engine.deadline.total_seconds(),
        )
        return job.ask(post=post_, size=self._size)

    # What these use

    def _size(self) -> int:
        return sum(map(filesystem.file_bytes, [self._database, *swap.wals(self._database)]))

    @property
    def _database(self) -> Path:
        return self.settings.database.path

    @property
    def _mirrored(self) -> Path:
        return self.settings.service.state / "mirror" / self._database.name

    def _affordable(self, tried: Measured | None) -> Measured:
        found = tried or self._rehearsed()
        folder = swap.real(self._database).parent
        logs = sum(path.lstat().st_size for path in swap.wals(self._database))
        needed = int(found.new_bytes * _MARGIN) + logs
        need = room.Need(folder=folder, bytes=needed, disk=filesystem.look(folder))
        room.ensure((need,), critical_bytes=self.settings.disk.critical, what=_WHAT)
        return found

    def _rehearsed(self) -> Measured:
        interpreter = self._interpreter()
        state = files.private_folder(self.settings.service.state)
        size = self._size()
        missing = max(0, size - filesystem.file_bytes(self._mirrored))
        need = room.Need(folder=state, bytes=size + missing, disk=filesystem.look(state))
        room.ensure((need,), critical_bytes=self.settings.disk.critical, what=_WHAT)
        with files.scratch(state / "scratch") as scratch:
            to = files.private_folder(scratch / "compact") / self._database.name
            return job.copied(now=clock.now, copying=self._copying(to, scratch, interpreter))

    def _stand_in(self, *, restart: bool, accept: Callable[[Measured], None]) -> Bound:
        """Make the copy beside the database, which is held until the files are exchanged."""
        live, interpreter = swap.real(self._database), self._interpreter()
        to = files.private_folder(swap.staging(self._database)) / live.name
        with contextlib.ExitStack() as holding:
            holding.enter_context(moves.held(live))
            before = _signature(self._database)
            with files.scratch(self.settings.service.state / "scratch") as scratch:
                found = job.copied(now=clock.now, copying=self._copying(to, scratch, interpreter))
            accept(found)
            steps = moves.Moves()
            work = exchange_app.for_compaction(self._database, to, restart=restart, steps=steps)
            if _signature(self._database) != before:
                raise Busy(
                    f"{live} was changed while it was compacted, by a process that takes no lock",
                    hint=f"See who uses it: fuser -v {live}",
                )
            return _Held(self._database, work, holding=holding.pop_all())
        raise AssertionError("the stack suppresses nothing")

    def _copying(self, to: Path, scratch: Path, interpreter: Path) -> Copying:
        def inside(name: str) -> Path:
            return files.private_folder(scratch / name)

        def survey(database: Path, name: str) -> Survey:
            return compact.survey(
                database=database, interpreter=interpreter, scratch=inside(name), bounds=self.bounds
            )

        mirrored, read = self._mirrored, self.open_and_read
        return Copying(
            refresh=self.refresh,
            survey_old=lambda: survey(mirrored, "survey-old"),
            read_old=lambda: read(mirrored, scratch=inside("read-old")),
            write=lambda: self._written(to, inside("write"), interpreter),
            survey_new=lambda: survey(to, "survey-new"),
            read_new=lambda: read(to, scratch=inside("read-new")),
            together=process.together,
        )

    def _written(self, to: Path, scratch: Path, interpreter: Path) -> int:
        compact.compact(
            database=self._mirrored,
            to=to,
            interpreter=interpreter,
            scratch=scratch,
            bounds=self.bounds,
            progress=functools.partial(self.progress, "write anew"),
        )
        was, is_ = map(_storage_version, (self._mirrored, to))
        if was != is_ or swap.wals(to):
            raise VerificationFailed(
                f"the engine made a file of storage format {is_} out of one of {was}, or left a "
                "WAL beside it; nothing was changed",
                hint="Check engine.application: is it what the application runs?",
            )
        with files.writing_to(to.parent):
            files.sync_file(to)
            return to.stat().st_size

    def _interpreter(self) -> Path:
        """Return the application's own engine: nobody else writes what the application is given."""
        what_for = "a database is written anew"
        return exchange_app.own_engine(self.engines, bounds=self.bounds, what_for=what_for)

    def _ensure_writable(self, folder: Path) -> None:
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            raise StoreUnavailable(
                f"may not write in {folder}, where the database stands",
                hint="Run it as root: sudo eider compact",
            )


def _seconds_until(moment: datetime.datetime) -> float:
    return (moment - clock.now()).total_seconds()


def _storage_version(database: Path) -> int:
    with files.reading_from(database), database.open("rb") as file:
        pages = file.read(duckdb_file.HEADER_BYTES)
    return duckdb_file.read_headers(pages, of=database).storage_version


def _signature(database: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Return what changes when anybody writes to the database or to a WAL of it."""
    seen = ((path, path.stat()) for path in (swap.real(database), *swap.wals(database)))
    return tuple((str(path), at.st_ino, at.st_size, at.st_mtime_ns) for path, at in seen)
