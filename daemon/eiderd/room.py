"""Whether a backup fits, asked before anything is copied. Pure.

A reserve stays free whatever happens: the application may write to the same disk, and an engine
that finds it full in the middle of a checkpoint can lose its database.
"""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal

from eiderd.errors import NoSpace
from eiderd.evidence import Filesystem
from eiderd.model import State
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from eiderd.model import Backup

_MARGIN: Final = 1.1  # the next archive may compress this much worse than the last
_RESERVE_SHARE: Final = 20  # one part in so many, five percent


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a backup writes into a folder, and the filesystem that holds it."""

    folder: Path
    bytes: int
    disk: Filesystem


def reserve(total_bytes: int, *, critical_bytes: int) -> int:
    """Return how many bytes of a filesystem must stay free: critical, on a small disk 5 percent."""
    return min(critical_bytes, total_bytes // _RESERVE_SHARE)


def needs(
    *,
    databases: Collection[Path],
    logs: Callable[[str], Iterable[str]],
    extras: Iterable[Path],
    mirror: Path,
    directory: Path,
    earlier: Sequence[Backup],
    file_bytes: Callable[[Path], int],
    look: Callable[[Path], Filesystem],
) -> tuple[Need, Need]:
    """Return what the next backup needs in the state folder and in the backup folder.

    `databases` has the path of the database and the one it leads to, if it is a link: the files
    that `logs` names may stand beside either. `earlier` are the backups there are, oldest first.
    """
    state_disk, backup_disk = look(mirror.parent), look(directory)
    source = next(iter(databases))
    wals = {path.with_name(name) for path in databases for name in logs(path.name)}
    log_bytes = dict.fromkeys((path.name for path in wals), 0)
    for path in wals:
        log_bytes[path.name] += file_bytes(path)
    live = {source.name: file_bytes(source), **log_bytes}
    mirrored = {name: file_bytes(mirror / name) for name in live}
    extra_bytes = sum(map(file_bytes, extras))
    sound = (backup for backup in reversed(earlier) if backup.state is not State.CORRUPT)
    archive = for_archive(source_bytes=sum(live.values()) + extra_bytes, earlier=next(sound, None))
    return (
        Need(
            folder=mirror.parent,
            bytes=for_mirror(live=live, mirrored=mirrored, logs=log_bytes),
            disk=state_disk,
        ),
        # Extra files are copied aside there, so that they hold still, until they are archived.
        Need(folder=directory, bytes=archive + extra_bytes, disk=backup_disk),
    )


def for_mirror(*, live: Mapping[str, int], mirrored: Mapping[str, int], logs: Iterable[str]) -> int:
    """Return what a refresh adds to the mirror, and scratch for replaying the logs.

    Sizes are by file name; `logs` names those of `live` that are WAL files.
    """
    added = sum(max(0, size - mirrored.get(name, 0)) for name, size in live.items())
    return added + sum(live.get(name, 0) for name in logs)


def for_archive(*, source_bytes: int, earlier: Backup | None) -> int:
    """Return what an archive of so many bytes will need, going by an earlier one."""
    whole = sum(member.bytes for member in earlier.members) if earlier else 0
    if earlier is None or not whole:
        return source_bytes
    return min(source_bytes, int(source_bytes * earlier.bytes / whole * _MARGIN))


def spare(needs: Iterable[Need], *, critical_bytes: int) -> int:
    """Return how large a thing may be that is written once more to each of these folders."""
    by_device: dict[int, list[Need]] = {}
    for need in needs:
        by_device.setdefault(need.disk.device, []).append(need)
    left = [
        (
            together[0].disk.free_bytes
            - reserve(together[0].disk.total_bytes, critical_bytes=critical_bytes)
            - sum(need.bytes for need in together)
        )
        // len(together)
        for together in by_device.values()
    ]
    return max(0, min(left, default=0))


def ensure(needs: Iterable[Need], *, critical_bytes: int, what: str = "a backup") -> None:
    """Raise NoSpace when what is needed for `what` does not fit beside the reserve."""
    by_device: dict[int, list[Need]] = {}
    for need in needs:
        by_device.setdefault(need.disk.device, []).append(need)
    for together in by_device.values():
        _ensure_one(together, critical_bytes=critical_bytes, what=what)


def _ensure_one(needs: list[Need], *, critical_bytes: int, what: str) -> None:
    wanted = sum(need.bytes for need in needs)
    disk = needs[0].disk
    kept = reserve(disk.total_bytes, critical_bytes=critical_bytes)
    if not wanted or wanted + kept <= disk.free_bytes:
        return
    folders = [str(need.folder) for need in needs if need.bytes]
    raise NoSpace(
        f"no space for {what}: it needs about {decimal(wanted)} in "
        f"{plain(' and '.join(folders))}, where {decimal(disk.free_bytes)} are free and "
        f"{decimal(kept)} of them are kept in reserve",
        hint="See what may go: eider prune --dry-run, and what is there: "
        f"df -h {' '.join(map(shlex.quote, folders))}",
    )
