"""Which backups exist: the manifests in the backup folder. There is no other record.

A backup is three files: `backup-ID.tar.gz`, `backup-ID.tar.gz.sha256` (as `sha256sum -c` reads it)
and the manifest `backup-ID.json`. Without its manifest it is none: that comes last and goes first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic

from eiderd import manifest, model
from eiderd.errors import NoSuchBackup, SourceUnavailable, StoreUnavailable, VerificationFailed
from eiderd.manifest import archive_name, manifest_name, sealed, sidecar_name
from eiderd.model import Backup, Brief, Noun, State, Unreadable
from eiderd.outside import files
from eiderd.removal import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    # What changes whenever the file behind a name does: inode, size, times of data and of inode.
    Mark: TypeAlias = tuple[int, int, int, int]

__all__ = ["archive_name", "manifest_name", "remove", "sealed"]

LATEST: Final = "latest"
LATEST_ARCHIVE: Final = "backup-latest.tar.gz"
QUARANTINE: Final = "quarantine"  # a folder of folders, each with a backup that was moved aside
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Found(Generic[Noun]):
    """What the folder holds: backups by sequence number, oldest first, and manifests to doubt."""

    backups: tuple[Noun, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def newest_verified(self) -> Noun | None:
        return model.newest_verified(self.backups)


class Listing(_Found[Backup]):
    """All that the manifests say."""

    __slots__ = ()


class BriefListing(_Found[Brief]):
    """What lists, retention and watchers need, in a third of the time."""

    __slots__ = ()


# Reading ----------------------------------------------------------------------------------------


def read(directory: Path) -> Listing:
    """Return what `directory` holds. Raise StoreUnavailable when it cannot be read."""
    backups, unreadable, _known = _look(directory, manifest.believe, known={})
    return Listing(backups=backups, unreadable=unreadable)


def briefs(directory: Path) -> BriefListing:
    """Do the same, without tables and members."""
    return Briefs(directory).look()


class Briefs:
    """The briefs of one folder, kept from one look to the next: only what changed is read again.

    It costs about a kilobyte a backup, and a look two stats a backup.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: dict[str, tuple[Mark, Brief | Unreadable]] = {}

    def look(self) -> BriefListing:
        """Return what the folder holds now. Raise StoreUnavailable when it cannot be read."""
        backups, unreadable, self._known = _look(
            self.directory, manifest.believe_brief, known=self._known
        )
        return BriefListing(backups=backups, unreadable=unreadable)


def _look(
    directory: Path,
    believe: Callable[..., Noun | Unreadable],
    *,
    known: dict[str, tuple[Mark, Noun | Unreadable]],
) -> tuple[tuple[Noun, ...], tuple[Unreadable, ...], dict[str, tuple[Mark, Noun | Unreadable]]]:
    """Return backups, doubts, and what is known by now. Nothing is held while this reads.

    So a backup may come or go at any moment, and is then either there and whole or not there.
    """
    backups: list[Noun] = []
    unreadable: list[Unreadable] = []
    seen: dict[str, tuple[Mark, Noun | Unreadable]] = {}
    # Thousands of manifests are millions of small objects, none of them garbage: without a pause
    # the collector takes a third of the time.
    with _no_collection(), files.reading_own(directory), _opened(directory) as folder:
        for name in sorted(_names(folder)):
            if not (name.startswith("backup-") and name.endswith(".json")):
                continue
            mark, found = _read_one(name, folder, believe, known=known.get(name))
            if isinstance(found, Unreadable):
                unreadable.append(found)
            elif found is not None and (stands := _as_it_stands(found, name, folder)):
                backups.append(stands)
            if mark and found is not None:
                seen[name] = mark, found
    backups.sort(key=lambda backup: backup.sequence)
    return tuple(backups), tuple(unreadable), seen


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int | None]:
    """A descriptor, by which names are looked up much faster than by paths; None: not made yet."""
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield folder
    finally:
        os.close(folder)


def names(directory: Path) -> list[str]:
    """Return all that stands in the folder, whatever it is."""
    with _opened(directory) as folder:
        return _names(folder)


def _names(folder: int | None) -> list[str]:
    if folder is None:
        return []
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _read_one(
    name: str,
    folder: int | None,
    believe: Callable[..., Noun | Unreadable],
    *,
    known: tuple[Mark, Noun | Unreadable] | None = None,
) -> tuple[Mark | None, Noun | Unreadable | None]:
    """Return a manifest as it was believed, None if it has just gone.

    One strange manifest must not hide the others.
    """
    id_ = name.removeprefix("backup-").removesuffix(".json")
    try:
        if known and known[0] == _mark(os.stat(name, dir_fd=folder)):
            return known
        data, mark = _data(name, folder)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and not _is_there(name, folder):
            return None, None
        return None, Unreadable(id=id_, problem=f"its manifest cannot be read: {error}")
    return mark, believe(data, id_=id_)


def _data(name: str, folder: int | None) -> tuple[bytes, Mark]:
    descriptor = os.open(name, _READ, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{name} is not a file")
        if status.st_size > manifest.LARGEST:
            raise ValueError(f"{name} has more than {manifest.LARGEST} bytes")
        return os.read(descriptor, status.st_size + 1), _mark(status)
    finally:
        os.close(descriptor)


def _mark(status: os.stat_result) -> Mark:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_there(name: str, folder: int | None) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _as_it_stands(backup: Noun, name: str, folder: int | None) -> Noun | None:
    """A manifest whose archive is gone, or has another size, speaks of no backup any more."""
    with contextlib.suppress(OSError):
        status = os.stat(backup.archive, dir_fd=folder)
        if stat.S_ISREG(status.st_mode) and status.st_size == backup.bytes:
            return backup
    if not _is_there(name, folder):
        return None  # it is being removed at this moment
    return dataclasses.replace(backup, state=State.CORRUPT)


def sidecar_fits(directory: Path, backup: Backup) -> bool:
    """Say whether the checksum file beside an archive is as it was written."""
    expected = manifest.sidecar(backup)
    beside = directory / sidecar_name(backup.id)
    with contextlib.suppress(OSError, SourceUnavailable, ValueError):
        return files.read_regular(beside, most=len(expected)) == expected
    return False


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def find(directory: Path, name: str) -> Backup:
    """Given an id, a file name of a backup, or `latest` (the newest verified), return that backup.

    Raise NoSuchBackup, or VerificationFailed for one whose manifest cannot be believed.
    """
    listing = briefs(directory)
    wanted = Path(name).name.removeprefix("backup-")
    for suffix in (".sha256", ".json", ".tar.gz"):
        wanted = wanted.removesuffix(suffix)
    what = "no verified backup" if wanted == LATEST else f"no backup {name!r}"
    if wanted == LATEST and listing.newest_verified:
        wanted = listing.newest_verified.id
    for brief in listing.backups:
        if brief.id == wanted:
            return dataclasses.replace(recorded(directory, wanted), state=brief.state)
    for other in listing.unreadable:
        if other.id == wanted:
            raise _unbelievable(other)
    raise NoSuchBackup(f"there is {what} in {directory}", hint="See what there is: eider list")


def last_number(directory: Path) -> int:
    """Return the highest sequence number that was given, 0 when none was.

    A backup in quarantine may be put back, so its number stays taken. What else stands there, or
    cannot be read, stops no backup.
    """
    found = [briefs(directory)]
    with contextlib.suppress(OSError), os.scandir(directory / QUARANTINE) as entries:
        for folder in [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]:
            with contextlib.suppress(StoreUnavailable):
                found.append(briefs(Path(folder)))
    taken = [backup.sequence for each in found for backup in each.backups]
    taken += [other.sequence for each in found for other in each.unreadable]
    return max(taken, default=0)


def newest_verified(directory: Path) -> Backup | None:
    """Return the newest verified backup with all that is known of it, if there is one."""
    newest = briefs(directory).newest_verified
    return recorded(directory, newest.id) if newest else None


def recorded(directory: Path, id_: str) -> Backup:
    """Return a backup as its manifest says, whatever has become of its archive.

    Raise NoSuchBackup when it has gone, VerificationFailed when it is not believed.
    """
    with files.reading_own(directory), _opened(directory) as folder:
        _seen, found = _read_one(manifest_name(id_), folder, manifest.believe)
    if found is None:
        raise NoSuchBackup(
            f"backup {id_} has gone from {directory}", hint="See what there is: eider list"
        )
    if isinstance(found, Unreadable):
        raise _unbelievable(found)
    return found


def _unbelievable(other: Unreadable) -> VerificationFailed:
    return VerificationFailed(
        f"backup {other.id}: {other.problem}",
        hint="Copy the archive elsewhere and prove it by itself: eider verify FILE",
    )


# Writing ----------------------------------------------------------------------------------------


def point_latest(directory: Path, *, look: Callable[[], BriefListing] | None = None) -> None:
    """Let `backup-latest.tar.gz` be the newest verified archive."""
    newest = (look() if look else briefs(directory)).newest_verified
    link = directory / LATEST_ARCHIVE
    with files.writing_to(directory):
        if os.path.lexists(link) and not link.is_symlink():
            return  # somebody's own file of that name: not ours to replace
        if newest is None:
            link.unlink(missing_ok=True)
        elif not link.is_symlink() or link.readlink() != Path(newest.archive):
            files.point(link, newest.archive)


def rewrite(directory: Path, backup: Backup) -> None:
    """Record what has become known of a backup."""
    with files.writing_to(directory):
        files.replace(directory / manifest_name(backup.id), sealed(backup))
        point_latest(directory)
