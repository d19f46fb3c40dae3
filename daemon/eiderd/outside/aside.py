"""The names under which sets of database files stand aside, and which of them there are."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from eiderd.errors import StoreUnavailable
from eiderd.evidence import SetAside
from eiderd.outside import files
from eiderd.outside.duckdb_file import WAL_SUFFIXES

_ASIDE: Final = re.compile(r"\.([a-z][a-z-]*)-(\d{8}-\d{6})(?:-(\d+))?")


def real(database: Path) -> Path:
    """Return the file that is exchanged: where a link leads, and nothing need stand there."""
    return Path(os.path.realpath(database))


def wals(database: Path) -> list[Path]:
    """Return the WAL files that stand beside the database, and beside the link that leads to it."""
    bases = dict.fromkeys((database, real(database)))
    every = (base.with_name(base.name + suffix) for base in bases for suffix in WAL_SUFFIXES)
    found = {os.path.realpath(path.parent) + "/" + path.name: path for path in every}
    return [path for path in found.values() if os.path.lexists(path)]


def aside_name(database: Path, *, word: str, stamp: str) -> Path:
    """Return a name beside the database under which nothing stands yet."""
    live = real(database)
    for count in range(1, 1000):
        again = "" if count == 1 else f"-{count}"
        path = live.with_name(f"{live.name}.{word}-{stamp}{again}")
        if not any(path.parent.glob(f"{_escaped(path.name)}*")):
            return path
    raise StoreUnavailable(f"too many set-aside copies beside {live}", hint="Look: eider doctor")


def set_aside(database: Path) -> list[SetAside]:
    """Return the sets that stand aside, the newest last. eiderd never removes one."""
    live, found = real(database), []
    with files.reading_own(live.parent):
        for path in live.parent.glob(f"{_escaped(live.name)}.*"):
            said = _ASIDE.fullmatch(path.name.removeprefix(live.name))
            if not said or not path.is_file() or path.is_symlink():
                continue
            logs = own_wals(path)
            size = sum(one.lstat().st_size for one in (path, *logs))
            order = (said[2], int(said[3] or 1))
            found.append((order, SetAside(path=str(path), word=said[1], at=said[2], bytes=size)))
    return [one for _order, one in sorted(found, key=lambda pair: (pair[0], pair[1].path))]


def own_wals(main: Path) -> list[Path]:
    every = (main.with_name(main.name + suffix) for suffix in WAL_SUFFIXES)
    return [path for path in every if os.path.lexists(path)]


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def names_aside(aside: Path, logs: list[Path]) -> dict[Path, Path]:
    """Return under which name each WAL file is kept. A link and its target may both have some."""
    names: dict[Path, Path] = {}
    for path in logs:
        suffix = suffix_of(path)
        name = aside.with_name(aside.name + suffix)
        if name in names.values():
            name = aside.with_name(f"{aside.name}.other{suffix}")
        names[path] = name
    return names


def suffix_of(wal: Path) -> str:
    return next(end for end in reversed(WAL_SUFFIXES) if wal.name.endswith(end))
