"""Is what stands at a path a DuckDB database at all? One that cannot be read is not ruined.

A disk that is not mounted, a missing folder, a permission, a read error: none of them says anything
about the database, and nothing may ever be put in its place because of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from eiderd.errors import NotADatabase, SourceUnavailable
from eiderd.outside import files
from eiderd.outside.duckdb_file import HEADER_BYTES, read_headers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eiderd.outside.duckdb_file import Headers

_CHUNK: Final = 4 << 20


def headers(path: Path) -> Headers:
    """Return what the headers say.

    Raise NotADatabase when they were read and are none, SourceUnavailable when they cannot be read.
    """
    with files.reading_from(path), os.fdopen(files.open_regular(path), "rb") as file:
        return read_headers(file.read(HEADER_BYTES), of=path)


def ensure_ruined(path: Path, *, progress: Callable[[int, int], None]) -> None:
    """Return when all of the file can be read, holds still, and is no DuckDB database.

    Raise SourceUnavailable otherwise, also for an empty file: where a mount of one file is missing,
    such a one is what stands there.
    """
    with files.reading_from(path), os.fdopen(files.open_regular(path), "rb") as file:
        before = os.fstat(file.fileno())
        done = 0
        while chunk := file.read(_CHUNK):
            done += len(chunk)
            progress(done, max(done, before.st_size))
        after = os.fstat(file.fileno())
    try:
        headers(path)
    except NotADatabase:
        pass
    else:
        raise SourceUnavailable(f"{path} is a DuckDB database after all", hint="Look: eider doctor")
    if not done:
        raise SourceUnavailable(
            f"{path} is empty, as where a mount is missing: eiderd puts nothing in its place by "
            "itself",
            hint="If that is the database: eider restore",
        )
    if done != after.st_size or _mark(before) != _mark(after):
        raise SourceUnavailable(f"{path} is being written", hint="Look who does: eider doctor")


def _mark(seen: os.stat_result) -> tuple[int, int]:
    return seen.st_size, seen.st_mtime_ns
