"""eiderd in a simulated world: its service without threads and web, its app without a database."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.base import BaseScheduler

from eiderd import catalog, clockwork
from eiderd.app import App
from eiderd.evidence import Captured, Checked, Member, Opened, Packed, TableContent
from eiderd.model import Backup, Ending, Job, Level, Outcome
from eiderd.service import Service

if TYPE_CHECKING:
    from eiderd.config import Settings
    from eiderd.health import Finding
    from eiderd.journal import Journal
    from eiderd.schedule import Entry
    from eiderd.status import Status
    from tests.years.world import World

CAPTURED = Captured(
    method="double-collect", passes=2, seconds=0.1, frozen_seconds=0.0, first_pass=None,
    instant=(0, 0), iteration=7, engine="v1.4.3", storage_version=64, encrypted=False,
    block_size=262144, bytes=12288, wal_bytes=0, unsound=0, changed=(), wal_changed={},
    files=("app.duckdb",),
)  # fmt: skip
MEMBERS = (Member(name="app.duckdb", bytes=12288, sha256="00"),)
CHECKED = Checked(
    passed=3, damage=None, message="", sha256="ab", members=MEMBERS, database="app.duckdb",
    blocks=1, blocks_unsound=0, encrypted=False, origin="eiderd",
)  # fmt: skip
OPENED = Opened(
    engine="2.0.0", damage=None, message="", rows=1, indexes=0, indexes_asked=0, lookups=0,
    tables={"facts": TableContent(rows=1, fingerprint="f")}, unique_checked=0, schema_digest="d",
    schema_version=None, storage_version=None, fingerprint_kind="k", blocks_free=0, extensions=(),
    seconds=0.1, peak_bytes=1,
)  # fmt: skip


class Killed(BaseException):
    """The process is no more. Whatever it does from here on, it has not done."""


class Driven(BaseScheduler):  # type: ignore[misc]
    """APScheduler with its own decisions, but no thread: it turns when it is told to."""

    def __init__(self, timetable: Sequence[Entry]) -> None:
        real = clockwork.threads(timetable)
        lanes = {str(entry.lane): DebugExecutor() for entry in timetable}
        super().__init__(executors=lanes, job_defaults=real._job_defaults, timezone=datetime.UTC)
        self._at_work = False

    def shutdown(self, *, wait: bool = True) -> None:
        super().shutdown(wait=wait)

    def wakeup(self) -> None:
        if not self._at_work:
            self._at_work = True
            try:
                self._process_jobs()
            finally:
                self._at_work = False


class Nobody:
    """There is no systemd."""

    def notify(self, said: str) -> None: ...


class _Web:
    address = ("127.0.0.1", 1)

    def begin(self) -> None: ...

    def end(self, *, seconds: float) -> None: ...

    def alive(self) -> bool:
        return True


class Life(Service):
    """One life of the service, from `_begin` to `_end`; its main loop is the test's."""

    def __init__(self, world: World) -> None:
        super().__init__(world.place.config)
        self._world = world
        self._at_the_end = contextlib.ExitStack()
        self.settings = self._settings
        self.fresh_briefs = catalog.Briefs(world.place.backups)

    def _web_of(self, settings: Settings) -> Any:  # noqa: ANN401
        return _Web()

    def _app_of(self, settings: Settings) -> App:
        return Simulated(settings, world=self._world, journal=self._journal, by_itself=True)

    def come_to_life(self) -> None:
        self._begin(self._at_the_end)

    def turn(self) -> None:
        """Do what the main loop does each second, and let the clockwork's thread turn."""
        assert self._tick()
        self._clockwork.wake()
        if not self._world.killed:
            assert self._tick()  # so that what it finds about itself is of now

    def go(self) -> None:
        self._at_the_end.close()

    def shown(self) -> Status:
        return self._look()

    @property
    def beat_at(self) -> float:
        return self._clockwork._beat_at

    @property
    def journal_in_use(self) -> Journal:
        return self._journal

    def findings(self) -> tuple[Finding, ...]:
        return self._board.findings()

    def frozen(self) -> set[str]:
        return {str(cause) for cause in self._board.stock.frozen}


class Simulated(App):
    """The app whose runs the world counts, and decides about."""

    def __init__(
        self, settings: Settings, *, world: World, journal: Journal, by_itself: bool = False
    ) -> None:
        super().__init__(settings, journal=journal)
        self.world = world
        self._by_itself = by_itself

    def backup(
        self, *, note: str = "", planned_at: datetime.datetime | None = None
    ) -> Outcome[Backup]:
        world = self.world
        with world.counted(Job.BACKUP) as ended:
            world.backups_begun += 1
            world.planned(Job.BACKUP, planned_at)
            world.kill_in, world.kill_next = world.kill_next, None
            ended.append(super().backup(note=note, planned_at=planned_at))
            world.has_backed_up(ended[0].value)
        return ended[0]

    def prune(
        self, *, dry_run: bool = False, planned_at: datetime.datetime | None = None
    ) -> Outcome[Any]:
        with self.world.counted(Job.PRUNE) as ended:
            stays = self.world.about_to_prune(by_itself=self._by_itself)
            ended.append(super().prune())
            self.world.has_pruned(stays)
            self.world.kill_in = None
        return ended[0]

    def verify_all(
        self, *, level: Level, planned_at: datetime.datetime | None = None
    ) -> Outcome[tuple[Backup, ...]]:
        with self.world.counted(Job.VERIFY) as ended:
            self.world.planned(Job.VERIFY, planned_at)
            ended.append(super().verify_all(level=level, planned_at=planned_at))
            self.world.has_scrubbed()
        return ended[0]

    def pin(self, name: str, *, note: str | None = None) -> Outcome[Backup]:
        with self.world.counted(Job.PIN) as ended:
            ended.append(super().pin(name, note=note))
        return ended[0]

    def unpin(self, name: str) -> Outcome[Backup]:
        with self.world.counted(Job.UNPIN) as ended:
            ended.append(super().unpin(name))
        return ended[0]

    def accept(self, name: str) -> Outcome[Backup]:
        with self.world.counted(Job.ACCEPT) as ended:
            ended.append(super().accept(name))
        return ended[0]

    # What a backup uses

    def _ensure_room(self) -> None:
        if self.world.trouble:
            raise self.world.trouble()

    def _refresh(self, *, thorough: bool) -> Outcome[Captured]:
        return Outcome(ending=Ending.DONE, value=self.world.captured())

    def _pack(
        self,
        *,
        target: Path,
        captured: Captured,
        manifest: Mapping[str, object],
        mirror: Path,
        streams: Path,
    ) -> Packed:
        size = self.world.rng.randint(100, 2000)
        target.write_bytes(b"x" * size)
        return Packed(bytes=size, sha256="ab", members=MEMBERS)

    def _check(self, *, archive: Path, **_words: object) -> Checked:
        return self.world.checked(archive)

    def _open(self, database: Path, *, scratch: Path) -> Opened:
        return self.world.opened()
