"""What stands beside an archive that is not of the catalog, and says what it should be."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final

from eiderd.errors import EiderError, VerificationFailed
from eiderd.outside import files

_MOST_BYTES: Final = 16 << 20  # bytes of a description that stands beside an archive


def sidecar_sha256(archive: Path) -> str | None:
    """Return the SHA-256 that stands beside an archive, as `sha256sum` writes it, if one does.

    Raise VerificationFailed when what stands there says none.
    """
    sidecar = archive.with_name(f"{archive.name}.sha256")
    if not os.path.lexists(sidecar):
        return None
    with contextlib.suppress(OSError, EiderError, UnicodeDecodeError):
        said = files.read_regular(sidecar, most=_MOST_BYTES).decode("ascii")
        if found := re.match(r"\\?([0-9a-fA-F]{64})\b", said):
            return found[1].lower()
    raise VerificationFailed(
        f"{sidecar} stands beside the archive and holds no SHA-256",
        hint="Look at it; if it is not of this archive, copy the archive elsewhere.",
    )


def record(archive: Path) -> dict[str, Any] | None:
    """Return what Cartographus's own `metadata.json` beside an archive says of it, if anything."""
    with contextlib.suppress(OSError, EiderError, ValueError, RecursionError):
        metadata = json.loads(
            files.read_regular(archive.with_name("metadata.json"), most=_MOST_BYTES)
        )
        backups = metadata.get("backups") if isinstance(metadata, dict) else None
        for entry in backups if isinstance(backups, list) else ():
            if isinstance(entry, dict) and Path(str(entry.get("file_path"))).name == archive.name:
                return entry
    return None
