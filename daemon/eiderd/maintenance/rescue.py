"""Binds the rescue: where its copies stand, which engines try, what the result is judged by."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd import catalog, room
from eiderd.comparison import Compare
from eiderd.config import Settings
from eiderd.errors import ConfigError, EiderError, VerificationFailed
from eiderd.jobs import rescue as job
from eiderd.maintenance.reading import OpenAndRead
from eiderd.outside import clock, copier, duckdb_file, engine, files, filesystem
from eiderd.outside import rescue as copies

if TYPE_CHECKING:
    from eiderd.evidence import Opened
    from eiderd.jobs.rescue import Rescued, Step
    from eiderd.model import Outcome

FOLDER: Final = "rescued"  # of the state
_COPIES: Final = 3  # the image, the one that is tried, the best so far


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """One rescue of the database at `source`. `to` is for the result, None: <state>/rescued/TIME.

    Nothing is written but there and in scratch.
    """

    source: Path
    to: Path | None
    settings: Settings
    engines: engine.Engines
    bounds: engine.Bounds
    open_and_read: OpenAndRead
    compare: Compare
    progress: Callable[[str, int, int], None]

    def run(self) -> Outcome[Rescued]:
        """Return what was rescued. Raise NotRescued, NoSpace, ConfigError, SourceUnavailable."""
        state = self.settings.service.state
        to = self.to or state / FOLDER / clock.now().strftime("%Y%m%d-%H%M%S")
        _refuse_bad_place(to, databases=(self.settings.database.path, self.source))
        copies.ensure_free(to, name=self.source.name)
        ensure_room(self.source, state=state, to=to, settings=self.settings)
        with files.scratch(state / "scratch") as scratch:
            self._capture(scratch / "image")
            interpreters = self._interpreters()
            return job.run(
                engines=tuple(interpreters),
                backup=catalog.newest_verified(self.settings.backup.directory),
                attempt=lambda step: self._attempt(step, interpreters, scratch=scratch),
                keep=lambda: copies.keep(scratch / "copy", scratch / "kept"),
                deliver=lambda: copies.deliver(scratch / "kept", to, name=self.source.name),
                compare=self.compare,
            )

    def _capture(self, image: Path) -> None:
        """Copy the database and its WAL files as they are at one instant: it may be a live one."""
        mirror = self.settings.mirror
        copier.refresh(
            source=self.source,
            mirror=image,
            passes=mirror.passes,
            timeout_seconds=mirror.timeout.total_seconds(),
            rate_limit=mirror.rate_limit,
            thorough=True,
            deadline_seconds=self.settings.backup.deadline.total_seconds(),
            progress=functools.partial(self.progress, "copy"),
        )

    def _interpreters(self) -> dict[str, Path]:
        """Return the engines that work, by version, the application's first, the newest last."""
        first = self.engines.interpreter()
        every = dict.fromkeys((first, *self.engines.others.values(), Path(sys.executable)))
        found: dict[str, Path] = {}
        for interpreter in every:
            try:
                version = engine.version(interpreter=interpreter, bounds=self.bounds)
            except EiderError:
                if interpreter == first:
                    raise
                continue
            found.setdefault(version, interpreter)
        return found

    def _attempt(self, step: Step, interpreters: dict[str, Path], *, scratch: Path) -> Opened:
        self.progress(f"try {step.said}", 0, 1)
        image = scratch / "image" / self.source.name
        how = job.How
        copy = copies.fresh_copy(
            image,
            scratch / "copy",
            wal=step.how not in {how.WITHOUT_WAL, how.OLDER_HEADER_WITHOUT_WAL},
            older_header=step.how.goes_back,
        )
        if step.engine:
            damage, said = copies.fold(
                database=copy,
                interpreter=interpreters[step.engine],
                scratch=scratch,
                bounds=self.bounds,
            )
            if damage:
                raise job.NotFolded(_shortened(said, scratch) or str(damage), damage=damage)
            if copies.storage_version(copy) > copies.storage_version(image):
                raise VerificationFailed(f"DuckDB {step.engine} made a newer storage format of it")
        opened = self.open_and_read(copy, scratch=scratch)
        spare = scratch / "spare"
        files.remove_tree(spare)  # what the reading engine made, if it had to
        return dataclasses.replace(opened, message=_shortened(opened.message, scratch))


def _shortened(message: str, scratch: Path) -> str:
    """Leave out the folder in which the copy stood: nobody will find it there."""
    for folder in ("copy", "spare"):
        message = message.replace(f"{scratch / folder}/", "")
    return message


def _refuse_bad_place(to: Path, *, databases: Iterable[Path]) -> None:
    real = os.path.realpath(to)
    for path in databases:
        if real in {os.path.realpath(path.parent), str(Path(os.path.realpath(path)).parent)}:
            raise ConfigError(
                f"{to} is the folder of a database: eiderd writes nothing there",
                hint="Name another folder with --to.",
            )


def ensure_room(source: Path, *, state: Path, to: Path, settings: Settings) -> None:
    """Raise NoSpace when the copies do not fit beside the reserve."""
    files_of = [source, *(source.with_name(name) for name in duckdb_file.wal_names(source.name))]
    size = sum(map(filesystem.file_bytes, files_of))
    needs = (
        room.Need(folder=state, bytes=_COPIES * size, disk=filesystem.look(state)),
        room.Need(folder=to, bytes=size, disk=filesystem.look(to)),
    )
    room.ensure(needs, critical_bytes=settings.disk.critical, what="a rescue")
