"""What keeps this process from a file: the first folder on the way to it that it may not enter."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from eiderd.errors import SourceUnavailable
from eiderd.outside import rights

if TYPE_CHECKING:
    from pathlib import Path


def shut(path: Path) -> Path | None:
    """Return that folder; None when every one of them may be entered."""
    for folder in reversed(path.absolute().parents):
        if not os.access(folder, os.X_OK, effective_ids=True):
            return folder
    return None


def refused(folder: Path, path: Path) -> SourceUnavailable:
    """Return what is said of `path` when `folder`, on the way to it, is shut."""
    user = rights.me()
    letters = "rx" if folder == path.parent else "x"
    return SourceUnavailable(
        f"{user} may not enter {folder}, so that nothing is known of {path}",
        hint=f"Let it: setfacl -m u:{user}:{letters} {shlex.quote(str(folder))}; or: eider setup",
    )
