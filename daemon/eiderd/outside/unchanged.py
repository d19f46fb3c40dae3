"""Whether a database was written since: its files' times and sizes, and its headers. Cheap.

What an engine writes changes the time of a file, and a file that was replaced is another one. So
where nothing of this changed, no block has to be looked at and no engine has to be started.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from eiderd.outside import files
from eiderd.outside.duckdb_file import HEADER_BYTES, wal_names


def signature(source: Path) -> str:
    """Return what differs whenever the database at `source` was written.

    Take it before the look that it is to stand for: what is written meanwhile then counts as new.
    Raise SourceUnavailable.
    """
    with files.reading_from(source):
        descriptor = files.open_regular(source)
        try:
            seen = [_stat(os.fstat(descriptor)), os.pread(descriptor, HEADER_BYTES, 0)]
        finally:
            os.close(descriptor)
        # Behind a link they may stand beside the link or beside its target.
        for beside in (source, Path(os.path.realpath(source))):
            for name in wal_names(beside.name):
                try:
                    seen.append(_stat(beside.with_name(name).stat()))
                except FileNotFoundError:
                    seen.append(b"none")
    return hashlib.sha256(b"\0".join(seen)).hexdigest()


def _stat(seen: os.stat_result) -> bytes:
    return b"%d %d %d %d" % (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)
