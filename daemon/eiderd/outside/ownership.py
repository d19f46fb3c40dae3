"""What root makes in eiderd's folders is given to their owner: the service, which is not root."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def hand_over(folders: Iterable[Path], *, besides: frozenset[str]) -> None:
    """Give what is root's in these folders to the owner of each, but what stands in `besides`.

    Nothing is done when the folder is root's own, or when this is not root. Links are not followed,
    and a file that has other names is left alone: one of them may be elsewhere.
    """
    if os.geteuid() != 0:
        return
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            owner = folder.stat()
            if owner.st_uid != 0:
                _give(folder, user=owner.st_uid, group=owner.st_gid, besides=besides)


def _give(folder: Path, *, user: int, group: int, besides: frozenset[str]) -> None:
    for _path, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        folders[:] = [name for name in folders if name not in besides]
        for name in (*folders, *names):
            with contextlib.suppress(FileNotFoundError):  # the service may be at work meanwhile
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                alone = stat.S_ISDIR(found.st_mode) or found.st_nlink == 1
                if found.st_uid == 0 and alone:
                    os.chown(name, user, group, dir_fd=descriptor, follow_symlinks=False)
