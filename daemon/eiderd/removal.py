"""How a backup goes: all of it or nothing, whatever instant the power goes, on a disk that is full.

The manifest is renamed out of the way first, which is the commit point, and is unlinked last: until
then it says what of the rest may go. Nothing is allocated. Whatever cannot be believed to be
eiderd's own is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import re
from typing import TYPE_CHECKING, Final

from eiderd import manifest
from eiderd.errors import EiderError
from eiderd.manifest import archive_name, manifest_name, pruned_name, sidecar_name
from eiderd.model import Brief
from eiderd.outside import files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_PRUNED: Final = re.compile(r"\.backup-(?P<id>.+)\.json\.pruned")
_SIDECAR: Final = re.compile(r"backup-(?P<id>.+)\.tar\.gz\.sha256")


def remove(directory: Path, id_: str) -> None:
    """Remove a backup of the catalog. The caller looks after `point_latest`.

    Raise StoreUnavailable when the archive may not be removed: then the backup stays as it was.
    """
    with files.writing_to(directory):
        mark = _take_out(directory, id_)
        files.sync_folder(directory)
        try:
            _unlink(directory / archive_name(id_))
        except OSError:
            mark.rename(directory / manifest_name(id_))
            raise
        _end(directory, id_, mark)


def recover(directory: Path, names: Collection[str]) -> None:
    """End the removals that were cut short. `names` are those of all that the folder holds."""
    for id_, mark in _begun(directory, set(names)):
        # What may not be removed is no reason to stop backups.
        with contextlib.suppress(OSError):
            if manifest_name(id_) in names:
                mark.unlink()  # a person has put it back
            else:
                _end(directory, id_, mark)


def _take_out(directory: Path, id_: str) -> Path:
    """Rename the manifest, so that the backup is none from here on; return where it is."""
    known, mark = directory / manifest_name(id_), directory / pruned_name(id_)
    try:
        return known.rename(mark)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
    # The folder has no room for a new name, so it takes one that is there and goes anyway.
    return known.rename(directory / sidecar_name(id_))


def _end(directory: Path, id_: str, mark: Path) -> None:
    """Unlink what a removal left; the mark goes last. May be repeated at any point."""
    for name in (archive_name(id_), sidecar_name(id_)):
        if name != mark.name:
            _unlink(directory / name)
    files.sync_folder(directory)
    mark.unlink(missing_ok=True)


def _unlink(path: Path) -> None:
    """Unlink a name. What a link leads to stays, and so does a folder: neither is eiderd's."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        path.unlink()


def _begun(directory: Path, there: set[str]) -> Iterator[tuple[str, Path]]:
    """Yield (id, mark) of each removal that was cut short: a manifest under another name."""
    for name in sorted(there):
        said = _PRUNED.fullmatch(name) or _SIDECAR.fullmatch(name)
        if said is None or (said.re is _SIDECAR and manifest_name(said["id"]) in there):
            continue
        with contextlib.suppress(OSError, EiderError, ValueError):
            data = files.read_regular(directory / name, most=manifest.LARGEST)
            if isinstance(manifest.believe_brief(data, id_=said["id"]), Brief):
                yield said["id"], directory / name  # else it is somebody's own file
