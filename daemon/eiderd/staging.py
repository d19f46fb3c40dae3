"""How a backup comes to count: made and proven aside, then renamed into place, its manifest last.

It stands in `.staging/ID/` until then, where a manifest means that all the rest is complete and
proven. A run that was killed in the middle is finished, or its remains removed, by the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd import catalog, manifest, removal
from eiderd.errors import NoSpace
from eiderd.manifest import archive_name, manifest_name, sealed, sidecar_name
from eiderd.outside import files

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable

    from eiderd.model import Backup

_STAGING: Final = ".staging"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A backup that is being made: its names, and the private folder it is made in."""

    id: str
    sequence: int
    folder: Path

    @property
    def archive(self) -> Path:
        return self.folder / archive_name(self.id)


def folder(directory: Path) -> Path:
    """Return where backups are made. Each folder in it is one that was begun."""
    return directory / _STAGING


def draft(directory: Path, *, created_at: datetime.datetime) -> Draft:
    """Begin a backup: choose its id and sequence number, make its staging folder."""
    sequence = catalog.last_number(directory) + 1
    stem = created_at.strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        id_ = stem if number == 1 else f"{stem}-{number}"
        names = (archive_name(id_), manifest_name(id_))
        if not any((directory / name).exists() for name in names):
            break
        number += 1
    folder = files.private_folder(files.private_folder(directory / _STAGING) / id_)
    return Draft(id=id_, sequence=sequence, folder=folder)


def commit(directory: Path, backup: Backup) -> None:
    """Make a staged and proven backup one that counts. Its archive is synced already."""
    folder = directory / _STAGING / backup.id
    with files.writing_to(directory):
        files.write_new(folder / sidecar_name(backup.id), manifest.sidecar(backup))
        files.sync_folder(folder)
        # From here on the staged backup is whole, and a later run will finish what this one began.
        files.replace(folder / manifest_name(backup.id), sealed(backup))
        _move(directory, folder)


def _move(directory: Path, folder: Path) -> None:
    """Rename a whole staged backup into place, its manifest last. May be repeated at any point.

    The staging folder goes last of all: while it is there, a later run looks after the rest.
    """
    id_ = folder.name
    for name in (archive_name(id_), sidecar_name(id_)):
        if (folder / name).exists():
            (folder / name).replace(directory / name)
    files.sync_folder(directory)
    if (folder / manifest_name(id_)).exists():
        (folder / manifest_name(id_)).replace(directory / manifest_name(id_))
    files.sync_folder(directory)
    catalog.point_latest(directory)
    files.remove_tree(folder)


def discard(draft: Draft) -> None:
    """Remove what a run that failed had staged. What is whole already stays: `recover` ends it."""
    if not (draft.folder / manifest_name(draft.id)).exists():
        files.remove_tree(draft.folder)


def is_of_backups(name: str) -> bool:
    """Return whether something of this name beside the backups is eiderd's own."""
    return name in {_STAGING, catalog.LATEST_ARCHIVE} or name.startswith(("backup-", ".backup-"))


# Recovering -------------------------------------------------------------------------------------


def recover(directory: Path, *, look: Callable[[], catalog.BriefListing] | None = None) -> None:
    """Finish or remove what an earlier run left. Only under the store lock.

    A full disk does not stop it, or nothing could be pruned then. `look` may be that of `Briefs`.
    """
    with files.writing_to(directory):
        names = catalog.names(directory)
        for name in names:
            if name.startswith(".backup-") and name.endswith(".new"):
                (directory / name).unlink()  # a rewrite that was cut short; the old one stands
        removal.recover(directory, names)
    with contextlib.suppress(NoSpace):
        _recover_staged(directory)
        # A run may have ended between a manifest and this.
        catalog.point_latest(directory, look=look)


def _recover_staged(directory: Path) -> None:
    staging = directory / _STAGING
    files.ensure_not_led_astray(staging)
    with files.writing_to(directory):
        if not staging.is_dir():
            return
        for folder in sorted(staging.iterdir()):
            whole = (folder / manifest_name(folder.name)).exists()
            if whole or (directory / manifest_name(folder.name)).exists():
                _move(directory, folder)
            else:
                files.remove_tree(folder)
