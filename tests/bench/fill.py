"""The child that brings a database to its size: `python fill.py DATABASE BYTES`.

The imitation application's rows compress to less than half. Artwork, which the database of a media
server may also hold, does not compress; of both together gzip leaves a little more than half.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

PICTURE_BYTES = 2048
PICTURES_AT_ONCE = 50_000  # one transaction; bounds the memory of making them


def add_artwork(connection: duckdb.DuckDBPyConnection, *, first: int, count: int) -> None:
    # Digests are the quickest bytes in SQL that nothing can compress.
    connection.execute(
        """INSERT INTO artwork SELECT id, 'poster/' || id, unhex(string_agg(sha256(id || '/' ||
            part), '')) FROM range($first::BIGINT, $last::BIGINT) AS i(id),
            range($parts::BIGINT) AS p(part) GROUP BY id""",
        {"first": first, "last": first + count, "parts": PICTURE_BYTES // 32},
    )


def main() -> None:
    path, wanted = Path(sys.argv[1]), int(sys.argv[2])
    pictures = max(0, wanted - path.stat().st_size) // PICTURE_BYTES
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "memory_limit": "2GB",
    }
    with duckdb.connect(str(path), config=settings) as connection:
        connection.execute(
            "CREATE TABLE artwork (id BIGINT PRIMARY KEY, name VARCHAR, picture BLOB)"
        )
        for first in range(0, pictures, PICTURES_AT_ONCE):
            count = min(PICTURES_AT_ONCE, pictures - first)
            add_artwork(connection, first=first, count=count)
        connection.execute("CHECKPOINT")


if __name__ == "__main__":
    main()
