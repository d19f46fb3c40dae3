"""What a restore is going to do, told before it does it. Pure."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING

from eiderd.errors import NoSpace, NoSuchBackup
from eiderd.model import Level, State
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eiderd.evidence import Exchange
    from eiderd.model import Backup, Brief

RESTORE, UNDO, ROLL_BACK, COMPACT = "restore", "undo", "roll back", "compact"
_SPARE_BYTES = 1 << 20  # for folders, and the plan itself


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is restored: a backup of the catalog, another archive, or what was set aside.

    `engine` is the one that proved it, `rows` how many it read then; None and 0: nobody did yet.
    `wal_bytes` are counted in `bytes`.
    """

    kind: str
    what: str
    path: str
    at: datetime.datetime | None = None
    bytes: int = 0
    wal_bytes: int = 0
    state: State | None = None
    engine: str | None = None
    rows: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is going to happen. `onto` is the live database, or a file in a folder of its own.

    `application` is what is stopped and started again, empty: nothing is; `holder` is who holds
    the database now. `set_aside` pairs each file with the name that it gets, which
    has `stamp` in it. `lost_seconds` is how
    old the restored content is: commits that are younger are not in it.
    """

    source: Source
    onto: str
    is_live: bool
    application: str = ""
    holder: str = ""
    needed_bytes: int = 0
    free_bytes: int = 0
    set_aside: tuple[tuple[str, str], ...] = ()
    stamp: str = ""
    lost_seconds: float | None = None
    warnings: tuple[str, ...] = ()


def source_of(backup: Backup, *, archive: str) -> Source:
    logs = backup.consistency.wal_bytes
    proven = backup.proof.level >= Level.RESTORE
    return Source(
        kind=RESTORE,
        what=backup.id,
        path=archive,
        at=backup.created_at,
        bytes=backup.source.bytes + logs,
        wal_bytes=logs,
        state=backup.state,
        engine=backup.proof.engine if proven else None,
        rows=backup.proof.rows if proven else 0,
    )


def warnings(source: Source, *, unfinished: Exchange | None) -> tuple[str, ...]:
    """Return what a person should know before saying yes."""
    said = []
    if unfinished:
        said.append(
            f"an earlier {unfinished.kind} ({plain(unfinished.what)}) did not end: it is finished "
            "or undone first, and if it is finished, that is all"
        )
    if source.state is State.SUSPECT:
        said.append("its content is suspect: it differs from the backup before it")
    elif source.state and source.state is not State.VERIFIED:
        said.append(f"it is {source.state}: it is restored only if it can be proven now")
    return tuple(said)


def newest_at(backups: Iterable[Brief], *, at: datetime.datetime) -> Brief:
    """Return the newest verified backup that is not younger than `at`. Raise NoSuchBackup."""
    known = [backup for backup in backups if backup.verified]
    found = [backup for backup in known if backup.created_at <= at]
    if not found:
        said = f"there is no verified backup from {at.astimezone():%Y-%m-%d %H:%M:%S} or before"
        oldest = min(known, key=lambda backup: backup.created_at, default=None)
        raise NoSuchBackup(
            said, hint=f"The oldest is {oldest.id}: eider list" if oldest else "eider list"
        )
    return max(found, key=lambda backup: (backup.created_at, backup.sequence))


def needed(*, incoming: int, incoming_wals: int, old_wals: int) -> int:
    """Return how many bytes a restore takes beside the database: WAL files are copied once more.

    A roll back copies them, too, where the copies of the restore are gone by then: it fits as well.
    """
    return incoming + incoming_wals + old_wals + _SPARE_BYTES


def ensure_room(*, needed_bytes: int, free_bytes: int, folder: str, sizes: tuple[str, str]) -> None:
    """Raise NoSpace when it does not fit. `sizes` are both, spelled for a person."""
    if needed_bytes > free_bytes:
        raise NoSpace(
            f"no space to restore: it needs {sizes[0]} in {plain(folder)}, where {sizes[1]} are "
            "free; nothing was touched",
            hint="Free some space, or look at the data elsewhere: eider restore --to DIR",
        )
