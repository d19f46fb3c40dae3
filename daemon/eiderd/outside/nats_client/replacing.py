"""The record of a stream that is being replaced, beside what it held before.

It is on disk before the stream is removed from its server, and goes when what was made in its place
has been looked at. Where it stands and nobody is at work, its folder may hold all that is left.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from pathlib import Path
from typing import Any, Final

from eiderd.broker.evidence import Replacement
from eiderd.outside import files

RECORD: Final = "replacing.json"
_FORMAT: Final = 1
_MOST_BYTES: Final = 64 << 10


def begin(folder: Path, *, stream: str, server: str, at: datetime.datetime) -> None:
    """Write the record. When this returns it is on disk, with the names of the folders above it."""
    words = {"format": _FORMAT, "stream": stream, "server": server, "begun_at": at.isoformat()}
    with files.writing_to(folder):
        files.replace(folder / RECORD, json.dumps(words).encode() + b"\n")
        for above in (folder.parent, folder.parent.parent):
            files.sync_folder(above)


def end(folder: Path) -> None:
    """Remove the record: what was made was looked at. What was set aside stays."""
    with files.writing_to(folder):
        (folder / RECORD).unlink(missing_ok=True)
        files.sync_folder(folder)


def is_begun(folder: Path) -> bool:
    return (folder / RECORD).exists()


def begun(parent: Path) -> tuple[Replacement, ...]:
    """Return the replacements that did not end, the oldest first. Raise StoreUnavailable."""
    with files.reading_own(parent):
        try:
            folders = [Path(entry.path) for entry in os.scandir(parent) if entry.is_dir()]
        except FileNotFoundError:
            return ()
        found = [one for folder in folders if (one := _read(folder))]
    return tuple(sorted(found, key=lambda one: (one.begun_at, one.folder)))


def _read(folder: Path) -> Replacement | None:
    """Return what the record says, if there is one.

    One that cannot be read stands for a replacement all the same: it was written in one piece, so
    its disk has lost it, or a newer eiderd wrote it.
    """
    path = folder / RECORD
    stream, server = folder.name, ""
    try:
        at = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            words: dict[str, Any] = json.loads(files.read_regular(path, most=_MOST_BYTES))
            at = datetime.datetime.fromisoformat(words["begun_at"]).astimezone(datetime.UTC)
            stream, server = str(words["stream"]), str(words["server"])
    except FileNotFoundError:
        return None
    return Replacement(stream=stream, server=server, begun_at=at, folder=str(folder))
