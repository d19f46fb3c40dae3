"""The plan of an exchange of database files: a file beside the database, until that has ended.

The folder belongs to others, and root may have to end what the service's user began, or the other
way round. So whose plan is believed, and which files one may name, is decided here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import StoreUnavailable
from eiderd.evidence import Exchange
from eiderd.outside import files, ownership, rights
from eiderd.outside.aside import aside_name, names_aside, own_wals, real, wals
from eiderd.outside.duckdb_file import WAL_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

BEFORE_RESTORE: Final = "before-restore"
MOVING, IN = "moving", "in"
_MOST_BYTES: Final = 1 << 20
_FORMAT: Final = 2  # 1 had no `before`


def staging(database: Path) -> Path:
    """Return where a new set is made ready: a private folder beside the database."""
    return real(database).with_name(f".{real(database).name}.eider-new")


def place_of(database: Path) -> Path:
    """Return where the plan stands."""
    return real(database).with_name(f".{real(database).name}.eider-swap.json")


def sweep(database: Path) -> None:
    """Remove what a run that died before it had a plan left beside the database."""
    with files.writing_to(real(database).parent):
        files.remove_tree(staging(database))
        place_of(database).with_name(f"{place_of(database).name}.new").unlink(missing_ok=True)


def plan(
    *,
    database: Path,
    incoming: Path,
    wal_base: Path,
    kind: str,
    what: str,
    stamp: str,
    restart: bool,
    word: str = BEFORE_RESTORE,
    staged: bool = True,
) -> Exchange:
    """Return what is to happen: the set of `incoming` takes the place of the live one.

    `wal_base` is the path beside which engines look for the live WAL; `restart` says that the
    application is to be started afterwards; `staged`, that `incoming` stands in `staging` and is
    not needed any more in the end. Paths in it are relative to the database's folder.
    """
    live, now_live = real(database), wals(database)
    aside = aside_name(database, word=word, stamp=stamp)
    logs = names_aside(aside, now_live)
    return Exchange(
        kind=kind,
        what=what,
        live=live.name,
        had_live=os.path.lexists(live),
        wal_base=_short(wal_base, live),
        incoming=_short(incoming, live),
        incoming_wals=tuple(one.name.removeprefix(incoming.name) for one in own_wals(incoming)),
        aside=aside.name,
        aside_wals=tuple((_short(old, live), name.name) for old, name in logs.items()),
        live_wals=tuple(dict.fromkeys(_short(path, live) for path in _log_places(database))),
        staging=_short(staging(database), live) if staged else None,
        restart=restart,
        phase=MOVING,
    )


def _short(path: Path, live: Path) -> str:
    return os.path.relpath(Path(os.path.realpath(path.parent)) / path.name, live.parent)


def _log_places(database: Path) -> Iterator[Path]:
    """Yield where a WAL of the live database could stand: also beside a link that leads to it."""
    for base in (database, real(database)):
        yield from (base.with_name(base.name + end) for end in WAL_SUFFIXES)


def is_whole(plan: Exchange) -> bool:
    """Say whether what stands as the live database now is all of one set: the new one."""
    return plan.phase == IN


# One that was left ------------------------------------------------------------------------------


def unfinished(database: Path, *, state: Path) -> Exchange | None:
    """Return the plan of a run that did not end, if there is one.

    `state` is eiderd's folder: whose that is, is eiderd. Raise StoreUnavailable for a plan that is
    not eiderd's own, SourceUnavailable when this process may not enter the database's folder.
    """
    path = place_of(database)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if isinstance(error, PermissionError) and (shut := rights.shut(path)):
            raise rights.unknown(database, shut=shut) from error
        raise _unbelievable(path, error.strerror or str(error)) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        plain = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and not found.st_mode & 0o022
        if not plain or found.st_uid not in {0, os.geteuid(), ownership.owner_of(state)}:
            raise _unbelievable(path, "it belongs to somebody else")
        data = file.read(_MOST_BYTES)
    try:
        return _read(data, path=path, database=database)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unbelievable(path, "it cannot be read") from error


def _read(data: bytes, *, path: Path, database: Path) -> Exchange:
    said: dict[str, Any] = json.loads(data)
    if said.get("format", _FORMAT) > _FORMAT:
        raise _unbelievable(path, f"a newer eiderd began it (format {said['format']})")
    found = _told(said, path=path)
    if said.get("before") is not None:
        before = _told(said["before"], path=path)
        if before.before is not None or before.phase != IN:
            raise _unbelievable(path, "what it takes back was not done")
        found = dataclasses.replace(found, before=before)
    if not all(_is_confined(one, database) for one in (found, found.before) if one):
        raise _unbelievable(path, "it names files that are not this database's")
    return found


def _told(said: dict[str, Any], *, path: Path) -> Exchange:
    said["aside_wals"] = tuple((old, new) for old, new in said["aside_wals"])
    for key in ("incoming_wals", "live_wals"):
        said[key] = tuple(said[key])
    if said["phase"] not in (MOVING, IN):
        raise _unbelievable(path, "how far it came is not known")
    return Exchange(**said)


def _is_confined(found: Exchange, database: Path) -> bool:
    """Say whether a plan moves nothing but what an exchange of this database may move.

    It may have been written with fewer rights than it is carried out with.
    """
    live, folder = real(database), _short(staging(database), real(database))
    logs = {_short(path, live) for path in _log_places(database)}
    incoming = found.incoming.removeprefix(f"{folder}/")
    names = (incoming, found.aside, *(name for _old, name in found.aside_wals))
    return (
        found.live == live.name
        and found.staging in (None, folder)
        and all(name not in ("", ".", "..") and "/" not in name for name in names)
        and found.wal_base in {_short(database, live), live.name}
        and logs.issuperset([*found.live_wals, *(old for old, _name in found.aside_wals)])
        and set(found.incoming_wals) <= set(WAL_SUFFIXES)
    )


def _unbelievable(path: Path, why: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path} says that an exchange of database files did not end, but {why}",
        hint=f"Look at it and at what stands beside it: ls -la {path.parent}",
    )
