"""Which folder may not be or lie in which: what eiderd empties must hold nothing that is to stay.

Paths are compared as they really are, links resolved, whether they exist already or not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OF_THE_STATE = ("mirror", "scratch")
_STAGING = ".staging"


def contradictions(
    *,
    database: Path | None,
    backups: Path | None,
    state: Path | None,
    engines: Path | None = None,
    include: Sequence[Path] = (),
) -> Iterator[str]:
    """Yield a line for each pair that cannot both be meant. None stands for what is unknown."""
    if backups and state and _real(backups) == _real(state):
        yield f"backup.directory and service.state are one folder ({backups}): each needs its own"
    yield from _beside_the_database(database, backups, state)
    if state:
        own = [state / name for name in _OF_THE_STATE]
        yield from _inside("database.path", database, own, of="service.state")
        yield from _inside("backup.directory", backups, own, of="service.state")
    if engines:
        yield from _inside("database.path", database, [engines], of="engine.directory")
        yield from _inside("backup.directory", backups, [engines], of="engine.directory")
    if backups:
        own = [backups / _STAGING]
        yield from _inside("database.path", database, own, of="backup.directory")
        yield from _inside("service.state", state, own, of="backup.directory")

    for path in include:
        for key, folder in (("backup.directory", backups), ("service.state", state)):
            if folder and _real(folder).is_relative_to(_real(path)):
                yield f"backup.include ({path}) holds {key} ({folder}): each would hold the last"


def _beside_the_database(
    database: Path | None, backups: Path | None, state: Path | None
) -> Iterator[str]:
    if not database:
        return
    # Of a link, the folder it stands in and the one it leads to: a WAL may be in either.
    is_folder = os.path.isdir(database)  # noqa: PTH112  (one that may not be looked at is none)
    data = _spellings(database) if is_folder else {path.parent for path in _spellings(database)}
    for key, folder in (("backup.directory", backups), ("service.state", state)):
        if folder and any(_real(folder).is_relative_to(other) for other in data):
            yield (
                f"database.path ({database}) is a folder, and {key} ({folder}) is in it: "
                "name the file of the database"
                if is_folder
                else f"{key} ({folder}) is the folder of the database or lies in it: "
                "whatever loses one would lose both"
            )


def _inside(key: str, path: Path | None, own: list[Path], *, of: str) -> Iterator[str]:
    if not path:
        return
    for folder in own:
        if any(spelling.is_relative_to(_real(folder)) for spelling in _spellings(path)):
            yield f"{key} ({path}) lies in {folder}, which eiderd keeps within {of} and may empty"


def _spellings(path: Path) -> set[Path]:
    """Return where the path itself stands, and where it leads if it is a link."""
    return {_real(path.parent) / path.name, _real(path)}


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
