"""Are unique columns unique? Asked by scan, whatever the indexes say."""

from __future__ import annotations

import duckdb

from .nouns import Connection, Index, Verdict, failure, one_row, quote

# 1.4.3 now and then crashes when an aggregate outgrows the memory limit, so none is given more
# keys than this. Their hashes wait in a temporary table, which should fit in memory too.
KEYS_AT_ONCE, HASHES_AT_ONCE = 1_000_000, 10_000_000


def check_unique(connection: Connection, indexes: list[Index]) -> int:
    """Return how many sets of columns were checked; a duplicate is a verdict."""
    unique = {(index.table, index.columns): index for index in indexes if index.unique}
    checked = [index for index in unique.values() if index.columns]
    for index in checked:
        try:
            found = duplicates(connection, index)
        except duckdb.Error as error:
            kind = failure(error, "unreadable")
            raise Verdict(kind, f"{index.name} of table {index.table.label}:", error) from error
        if found:
            message = f"{index.name} of table {index.table.label}: {found} or more keys repeat"
            raise Verdict("duplicates", message)
    return len(checked)


def duplicates(connection: Connection, index: Index) -> int:
    """Group hashes of the keys, never too many at once; look at the keys of repeated ones only."""
    names = [quote(column.name) for column in index.columns]
    key = f"hash({', '.join(names)})"
    present = " AND ".join(f"{name} IS NOT NULL" for name in names)
    source = f"FROM {index.table.sql} WHERE {present}"
    tables = index.table.about // HASHES_AT_ONCE + 1
    slices = index.table.about // tables // KEYS_AT_ONCE + 1
    found = 0
    for part in range(tables):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE hashes AS SELECT {key} AS h {source} "
            f"AND {key} % {tables} = {part}"
        )
        for place in range(slices):
            repeated = (
                f"SELECT h FROM temp.main.hashes WHERE (h >> 32) % {slices} = {place} "
                "GROUP BY h HAVING count(*) > 1"
            )
            if one_row(connection, f"SELECT count(*) FROM ({repeated})") == (0,):
                continue
            same = f"{source} AND {key} IN ({repeated} LIMIT 1000)"
            grouped = f"SELECT 1 {same} GROUP BY {', '.join(names)} HAVING count(*) > 1"
            found += one_row(connection, f"SELECT count(*) FROM ({grouped})")[0]
    return found
