"""Which backups exist: the manifests in the backup folder. There is no other record.

A backup is three files: `backup-ID.tar.gz`, `backup-ID.tar.gz.sha256` (as `sha256sum -c` reads it)
and the manifest `backup-ID.json`. The manifest is renamed into place last: it is the commit point.
Until then everything stands in `.staging/ID/`, where a manifest means that all the rest is complete
and proven; a run that was killed in the middle is finished, or its remains removed, by the next.

The last line of a manifest is a seal, the SHA-256 of every byte before it: a manifest that was
edited by hand is not believed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from eiderd.errors import NoSuchBackup, SourceUnavailable, VerificationFailed
from eiderd.model import FORMAT, Backup, State, Unreadable
from eiderd.outside import files

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator

LATEST: Final = "latest"
LATEST_ARCHIVE: Final = "backup-latest.tar.gz"
_STAGING: Final = ".staging"
_ID: Final = re.compile(r"\d{8}-\d{6}(-[1-9]\d*)?")
_LARGEST_MANIFEST: Final = 64 << 20
_SEAL: Final = b',\n "seal": "'
_MANIFEST: Final = TypeAdapter(Backup)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What the folder holds: backups by sequence number, oldest first, and manifests to doubt."""

    backups: tuple[Backup, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def newest_verified(self) -> Backup | None:
        return next((backup for backup in reversed(self.backups) if backup.verified), None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A backup that is being made: its names, and the private folder it is made in."""

    id: str
    sequence: int
    folder: Path

    @property
    def archive(self) -> Path:
        return self.folder / archive_name(self.id)


def archive_name(id_: str) -> str:
    return f"backup-{id_}.tar.gz"


def manifest_name(id_: str) -> str:
    return f"backup-{id_}.json"


# Reading ----------------------------------------------------------------------------------------


def read(directory: Path) -> Listing:
    """Return what `directory` holds. Raise StoreUnavailable when it cannot be read."""
    backups: list[Backup] = []
    unreadable: list[Unreadable] = []
    # Thousands of manifests are millions of small objects, none of them garbage: without a pause
    # the collector takes a third of the time.
    with _no_collection(), files.writing_to(directory):
        found = {entry.name: entry for entry in _entries(directory)}
        for name in sorted(found):
            if name.startswith("backup-") and name.endswith(".json"):
                id_ = name.removeprefix("backup-").removesuffix(".json")
                backup = _read_one(directory / name, id_=id_)
                if isinstance(backup, Unreadable):
                    unreadable.append(backup)
                else:
                    backups.append(_as_it_stands(backup, found.get(backup.archive)))
    backups.sort(key=lambda backup: backup.sequence)
    return Listing(backups=tuple(backups), unreadable=tuple(unreadable))


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except FileNotFoundError:
        return []  # not made yet


def _read_one(path: Path, *, id_: str) -> Backup | Unreadable:
    """One strange manifest must not hide the others."""
    try:
        data = files.read_regular(path, most=_LARGEST_MANIFEST)
    except (OSError, SourceUnavailable, ValueError) as error:
        return Unreadable(id=id_, problem=f"its manifest cannot be read: {error}")
    found = _believe(data, id_=id_)
    if isinstance(found, Unreadable):
        # Its number stays taken, whatever became of it.
        claimed = re.search(rb'"sequence": ?(\d{1,12})\b', data)
        return dataclasses.replace(found, sequence=int(claimed[1]) if claimed else 0)
    return found


def _as_it_stands(backup: Backup, archive: os.DirEntry[str] | None) -> Backup:
    """A manifest whose archive is gone, or has another size, speaks of no backup any more."""
    with contextlib.suppress(OSError):
        if archive and archive.is_file() and archive.stat().st_size == backup.bytes:
            return backup
    return dataclasses.replace(backup, state=State.CORRUPT)


def sidecar_fits(directory: Path, backup: Backup) -> bool:
    """Say whether the checksum file beside an archive is as it was written."""
    expected = _sidecar(backup)
    sidecar = directory / f"{backup.archive}.sha256"
    with contextlib.suppress(OSError, SourceUnavailable, ValueError):
        return files.read_regular(sidecar, most=len(expected)) == expected
    return False


def _sidecar(backup: Backup) -> bytes:
    return f"{backup.sha256}  {backup.archive}\n".encode()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _believe(data: bytes, *, id_: str) -> Backup | Unreadable:
    """Parse a manifest, unless anything about it is odd."""
    body, seal, rest = data.rpartition(_SEAL)
    if not seal or rest != f'{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode():
        return Unreadable(id=id_, problem="its manifest was changed: the seal does not fit")
    try:
        backup = _MANIFEST.validate_json(body + b"}")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return Unreadable(id=id_, problem=f"its manifest cannot be read: {place}: {first['msg']}")
    if backup.format > FORMAT:
        return Unreadable(id=id_, problem=f"a newer eiderd wrote it (format {backup.format})")
    # Names are never taken from the document: a path in there could lead anywhere.
    if backup.id != id_ or backup.archive != archive_name(id_) or not _ID.fullmatch(id_):
        return Unreadable(id=id_, problem=f"its manifest is that of {backup.id!r}")
    return backup


def find(directory: Path, name: str) -> Backup:
    """Given an id, a file name of a backup, or `latest` (the newest verified), return that backup.

    Raise NoSuchBackup, or VerificationFailed for one whose manifest cannot be believed.
    """
    listing = read(directory)
    wanted = Path(name).name.removeprefix("backup-")
    for suffix in (".sha256", ".json", ".tar.gz"):
        wanted = wanted.removesuffix(suffix)
    if wanted == LATEST and listing.newest_verified:
        return listing.newest_verified
    for backup in listing.backups:
        if backup.id == wanted:
            return backup
    for other in listing.unreadable:
        if other.id == wanted:
            raise VerificationFailed(
                f"backup {wanted}: {other.problem}",
                hint="Copy the archive elsewhere and prove it by itself: eider verify FILE",
            )
    what = "a verified backup" if wanted == LATEST else f"a backup {name!r}"
    raise NoSuchBackup(f"there is not {what} in {directory}", hint="See what there is: eider list")


# Writing ----------------------------------------------------------------------------------------


def draft(directory: Path, *, created_at: datetime.datetime) -> Draft:
    """Begin a backup: choose its id and sequence number, make its staging folder."""
    listing = read(directory)
    taken = [backup.sequence for backup in listing.backups]
    taken += [other.sequence for other in listing.unreadable]
    stem = created_at.strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        id_ = stem if number == 1 else f"{stem}-{number}"
        names = (archive_name(id_), manifest_name(id_))
        if not any((directory / name).exists() for name in names):
            break
        number += 1
    folder = files.private_folder(directory / _STAGING / id_)
    return Draft(id=id_, sequence=max(taken, default=0) + 1, folder=folder)


def commit(directory: Path, backup: Backup) -> None:
    """Make a staged and proven backup one that counts. Its archive is synced already."""
    folder = directory / _STAGING / backup.id
    with files.writing_to(directory):
        files.write_new(folder / f"{backup.archive}.sha256", _sidecar(backup))
        files.sync_folder(folder)
        # From here on the staged backup is whole, and a later run will finish what this one began.
        files.replace(folder / manifest_name(backup.id), sealed(backup))
        _move(directory, folder)


def _move(directory: Path, folder: Path) -> None:
    """Rename a whole staged backup into place, its manifest last. May be repeated at any point.

    The staging folder goes last of all: while it is there, a later run looks after the rest.
    """
    id_ = folder.name
    archive = archive_name(id_)
    for name in (archive, f"{archive}.sha256"):
        if (folder / name).exists():
            (folder / name).replace(directory / name)
    files.sync_folder(directory)
    if (folder / manifest_name(id_)).exists():
        (folder / manifest_name(id_)).replace(directory / manifest_name(id_))
    files.sync_folder(directory)
    point_latest(directory)
    files.remove_tree(folder)


def discard(draft: Draft) -> None:
    """Remove what a run that failed had staged. What is whole already stays: `recover` ends it."""
    if not (draft.folder / manifest_name(draft.id)).exists():
        files.remove_tree(draft.folder)


def recover(directory: Path) -> None:
    """Finish or remove what an earlier run left in staging. Only under the store lock."""
    staging = directory / _STAGING
    with files.writing_to(directory):
        for name in [entry.name for entry in _entries(directory)]:
            if name.startswith(".backup-") and name.endswith(".new"):
                (directory / name).unlink()  # a rewrite that was cut short; the old one stands
        if staging.is_dir():
            for folder in sorted(staging.iterdir()):
                whole = (folder / manifest_name(folder.name)).exists()
                if whole or (directory / manifest_name(folder.name)).exists():
                    _move(directory, folder)
                else:
                    files.remove_tree(folder)
    point_latest(directory)  # a run may have ended between a manifest and this


def point_latest(directory: Path) -> None:
    """Let `backup-latest.tar.gz` be the newest verified archive."""
    newest = read(directory).newest_verified
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


def sealed(backup: Backup) -> bytes:
    body = _MANIFEST.dump_json(backup, indent=1).removesuffix(b"\n}")
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'
