"""Move a backup whose archive is corrupt out of the way, into `quarantine/`. Nothing is deleted.

It is proven once more first: a look that failed may have been the disk's bad moment. The manifest
goes last, as the commit point: until then the backup is listed, as corrupt, and a second run moves
what is left of it to the same place.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from eiderd import catalog, manifest
from eiderd.model import Backup, Ending, Outcome, State
from eiderd.outside import files

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER: Final = catalog.QUARANTINE  # below the folder of the backups


class Verify(Protocol):
    """Prove one backup again, as far as it goes, and record what was found."""

    def __call__(self, *, backup: Backup) -> Outcome[Backup]: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """What was, or would be, moved, and where to. `backup` is it as it was found."""

    backup: Backup
    folder: Path
    files: tuple[str, ...] = ()


def run(
    *, directory: Path, name: str, verify: Verify, dry_run: bool = False
) -> Outcome[Quarantined]:
    """Move a backup that a proof finds corrupt. `dry_run` proves and moves nothing.

    Raise NoSuchBackup, VerificationFailed for one whose manifest cannot be believed, and whatever
    the proof raises: what could not be proven corrupt stays where it is.
    """
    found = catalog.find(directory, name)
    folder = _folder(directory, found.id)
    value = Quarantined(backup=found, folder=folder, files=tuple(_there(directory, found.id)))
    if found.pinned:
        why = f"backup {found.id} is pinned: somebody wants it where it is"
        return Outcome(ending=Ending.REFUSED, value=value, why=why)
    if dry_run:
        return Outcome(ending=Ending.DONE, value=value)
    proven = verify(backup=found).value
    value = dataclasses.replace(value, backup=proven)
    if proven.state is not State.CORRUPT:
        why = f"backup {found.id} was proven again and is {proven.state}, not corrupt"
        return Outcome(ending=Ending.NOTHING_TO_DO, value=value, why=why)
    _move(directory, folder, value.files)
    catalog.point_latest(directory)
    return Outcome(ending=Ending.DONE, value=value, why=f"{found.id} moved to {folder}")


def _names(id_: str) -> tuple[str, str, str]:
    """Return the files of a backup in the order of moving: the manifest is the last."""
    return manifest.archive_name(id_), manifest.sidecar_name(id_), manifest.manifest_name(id_)


def _there(directory: Path, id_: str) -> list[str]:
    return [name for name in _names(id_) if os.path.lexists(directory / name)]


def _folder(directory: Path, id_: str) -> Path:
    """Return where it goes: one that was begun goes on, another of its name is left alone."""
    number = 1
    while True:
        folder = directory / FOLDER / (id_ if number == 1 else f"{id_}-{number}")
        if not any(os.path.lexists(folder / name) for name in _there(directory, id_)):
            return folder
        number += 1


def _move(directory: Path, folder: Path, names: Sequence[str]) -> None:
    with files.writing_to(directory):
        files.private_folder(folder.parent)
        files.private_folder(folder)
        files.sync_folder(folder.parent)
        *rest, last = names
        for name in rest:
            (directory / name).rename(folder / name)
        files.sync_folder(folder)
        files.sync_folder(directory)
        (directory / last).rename(folder / last)
        files.sync_folder(folder)
        files.sync_folder(directory)
