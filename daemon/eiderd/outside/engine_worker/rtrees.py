"""Does an RTREE index find the newest places? Only with the spatial extension loaded."""

from __future__ import annotations

import duckdb

from .nouns import Connection, Table, Verdict, failure, one_row, quote

PLACES = 8  # looked up through each index


def ask_rtrees(connection: Connection, tables: list[Table]) -> tuple[int, int]:
    """Return how many RTREE indexes were asked, and for how many places."""
    by_path = {(table.schema, table.name): table for table in tables}
    found = connection.execute(
        "SELECT schema_name, table_name, index_name, expressions::VARCHAR[] FROM duckdb_indexes() "
        "WHERE database_name = current_database() AND sql ILIKE '%USING RTREE%' ORDER BY ALL"
    ).fetchall()
    asked = places = 0
    for schema, name, index, columns in found:
        table = by_path[schema, name]
        try:
            count = ask(connection, table, index, columns[0].strip('"'))
        except duckdb.Error as error:
            kind = failure(error, "index_disagrees")
            raise Verdict(kind, f"index {index} of table {table.label}:", error) from error
        asked, places = asked + bool(count), places + count
    return asked, places


def ask(connection: Connection, table: Table, index: str, column: str) -> int:
    """Look the newest places up; return how many were. One that is not found is a verdict."""
    place = quote(column)
    newest = connection.execute(
        f"SELECT rowid, ST_AsText({place}) FROM {table.sql} WHERE {place} IS NOT NULL "
        f"ORDER BY rowid DESC LIMIT {PLACES}"
    ).fetchall()
    for rowid, text in newest:
        question = (
            f"SELECT count(*) FILTER (WHERE rowid = {rowid}) FROM {table.sql} "
            f"WHERE ST_Intersects({place}, ST_GeomFromText('{text}'))"
        )
        plan = one_row(connection, f"EXPLAIN {question}")[1]
        if "RTREE_INDEX_SCAN" not in plan:
            return 0
        if one_row(connection, question) != (1,):
            message = f"index {index} of table {table.label} misses a row"
            raise Verdict("index_disagrees", message)
    return len(newest)
