"""A database with one of every object an engine knows, and what an application makes of it.

Run by the interpreter that has the engine: `make PATH [STORAGE_VERSION]` builds one, with dead rows
and a WAL; `use PATH` opens one for writing and prints what it then does, as one JSON document.
"""

from __future__ import annotations

import json
import os
import sys

import duckdb

OBJECTS = """
CREATE SCHEMA extra;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE point AS STRUCT(x INTEGER, y INTEGER);
CREATE SEQUENCE never START 4;
CREATE SEQUENCE ids;
CREATE SEQUENCE steps START 5 INCREMENT 3;
CREATE SEQUENCE round_ START 10 MINVALUE 3 MAXVALUE 20 CYCLE;
CREATE TABLE parent (
    id INTEGER PRIMARY KEY DEFAULT nextval('ids'), name VARCHAR UNIQUE, feels mood, place point,
    weight INTEGER NOT NULL CHECK (weight > 0), made TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    word VARCHAR DEFAULT 'it''s');
CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent (id),
    numbers INTEGER[], pairs MAP(VARCHAR, INTEGER));
CREATE TABLE a_grandchild (id INTEGER, child_id INTEGER REFERENCES child (id));
CREATE TABLE doubled (a INTEGER, b INTEGER GENERATED ALWAYS AS (a * 2) VIRTUAL);
CREATE TABLE two_keys (a INTEGER, b VARCHAR, c INTEGER, PRIMARY KEY (a, b), UNIQUE (c, b),
    CHECK (a + c >= 0));
CREATE TABLE extra.other (a INTEGER);
CREATE TABLE "we""ird.name" ("sel ect" INTEGER, "x'y" VARCHAR, "GENERATED ALWAYS AS(" INTEGER);
CREATE TABLE kinds (a HUGEINT, b UHUGEINT, c DECIMAL(38, 5), d UUID, e BIT, f BLOB, g INTERVAL,
    h UNION(i INTEGER, s VARCHAR), i INTEGER[3], k VARCHAR COLLATE NOCASE, l DATE, m TIMESTAMPTZ);
CREATE TABLE nothing (a INTEGER);
INSERT INTO parent (name, feels, place, weight) SELECT 'name ' || i,
    CASE WHEN i % 2 = 0 THEN 'sad' ELSE 'ok' END, {'x': i, 'y': -i}, i + 1 FROM range(3000) r(i);
INSERT INTO child SELECT i, i + 1, [i, NULL], MAP {'a': i::INTEGER} FROM range(500) r(i);
INSERT INTO a_grandchild SELECT i, i FROM range(300) r(i);
INSERT INTO doubled (a) SELECT i FROM range(100) r(i);
INSERT INTO two_keys SELECT i, 'b', i + 1 FROM range(100) r(i);
INSERT INTO extra.other SELECT i FROM range(40000) r(i);
INSERT INTO "we""ird.name" VALUES (1, 'one', 2), (NULL, NULL, NULL);
INSERT INTO kinds VALUES (-1, 1, 1.5, '00000000-0000-0000-0000-000000000001', '0101', '\\x00AB',
    INTERVAL 30 DAY, 3, [1, 2, 3], 'A', '2026-01-01', '2026-01-01 00:00:00+00'),
    (NULL, NULL, NULL, NULL, NULL, NULL, INTERVAL 1 MONTH, 'text', NULL, 'a', NULL, NULL);
CREATE VIEW of_parent AS SELECT * FROM parent;
CREATE VIEW zz_of_view AS SELECT id, weight FROM of_parent;
CREATE VIEW aa_of_view AS SELECT count(*) AS number FROM zz_of_view;
CREATE MACRO one_more(a) AS a + 1;
CREATE MACRO either(a) AS a, (a, b) AS a + b;
CREATE MACRO with_default(a, b := 5) AS a + b;
CREATE MACRO lighter(most) AS TABLE SELECT * FROM parent WHERE weight < most;
CREATE VIEW of_macros AS SELECT one_more(count(*)) AS number FROM lighter(10);
CREATE INDEX by_weight ON parent (weight);
CREATE UNIQUE INDEX once ON child (parent_id);
CREATE INDEX by_sum ON two_keys ((a + c));
CREATE INDEX by_two ON two_keys (a, c);
CREATE INDEX elsewhere ON extra.other (a);
COMMENT ON TABLE parent IS 'of a table';
COMMENT ON COLUMN parent.weight IS 'of a column';
COMMENT ON VIEW of_parent IS 'of a view';
COMMENT ON COLUMN of_parent.weight IS 'of a column of a view';
COMMENT ON INDEX by_weight IS 'of an index';
COMMENT ON SEQUENCE steps IS 'of a sequence';
COMMENT ON TYPE mood IS 'of a type';
COMMENT ON MACRO one_more IS 'of a macro';
COMMENT ON MACRO TABLE lighter IS 'of a table macro';
"""
# In the WAL: rows, a sequence that goes on, and rows that die.
LATER = """
DELETE FROM extra.other WHERE a % 3 <> 0;
DELETE FROM a_grandchild WHERE id >= 250;
INSERT INTO parent (name, weight) VALUES ('late', 7);
INSERT INTO two_keys VALUES (7000, 'late', 7000);
"""

REFUSED = {
    "primary key": "INSERT INTO parent (id, weight) VALUES (1, 1)",
    "unique": "INSERT INTO parent (name, weight) VALUES ('name 5', 1)",
    "unique of the WAL": "INSERT INTO parent (name, weight) VALUES ('late', 1)",
    "not null": "INSERT INTO parent (name) VALUES ('x')",
    "check": "INSERT INTO parent (weight) VALUES (0)",
    "foreign key": "INSERT INTO child VALUES (9000, 900000, NULL, NULL)",
    "referred to": "DELETE FROM child WHERE id = 3",
    "unique index": "INSERT INTO child VALUES (9001, 3, NULL, NULL)",
    "two keys": "INSERT INTO two_keys VALUES (7000, 'late', 1)",
    "enum": "INSERT INTO parent (feels, weight) VALUES ('cross', 1)",
}
ANSWERS = {
    "sequences": "SELECT nextval('never'), nextval('ids'), nextval('steps'), nextval('round_')",
    "default": "INSERT INTO parent (weight) VALUES (1) RETURNING word, made IS NOT NULL, id",
    "generated": "INSERT INTO doubled (a) VALUES (21) RETURNING b",
    "views": "SELECT number FROM aa_of_view UNION ALL SELECT number FROM of_macros",
    "macros": "SELECT one_more(1), either(1), either(1, 2), with_default(1)",
    "table macro": "SELECT count(*) FROM lighter(100)",
    "index": "SELECT count(*) FROM parent WHERE weight = 7",
    "index of the WAL": "SELECT count(*) FROM two_keys WHERE a = 7000",
    "struct": "SELECT sum(place.x), sum(place.y) FROM parent",
    "order": "SELECT list(a ORDER BY rowid)[1:5] FROM extra.other",
    "collation": "SELECT count(*) FROM kinds WHERE k = 'A'",
    "comments": "SELECT comment FROM duckdb_tables() UNION SELECT comment FROM duckdb_columns() "
    "UNION SELECT comment FROM duckdb_views() UNION SELECT comment FROM duckdb_indexes() "
    "UNION SELECT comment FROM duckdb_sequences() UNION SELECT comment FROM duckdb_types() "
    "UNION SELECT comment FROM duckdb_functions() ORDER BY ALL",
}


def make(path: str, storage: str | None) -> None:
    how = f" (STORAGE_VERSION '{storage}')" if storage else ""
    connection = duckdb.connect()
    connection.execute(f"ATTACH '{path}' AS made{how}; USE made")
    connection.execute(OBJECTS)
    for _ in range(3):
        connection.execute("SELECT nextval('steps')").fetchall()
    connection.execute("SELECT nextval('round_') FROM range(15)").fetchall()
    connection.execute("CHECKPOINT; SET wal_autocheckpoint = '1GB'")
    connection.execute(LATER)
    connection.execute("SELECT nextval('steps')").fetchall()
    os._exit(0)  # as a crash: the WAL stays


def use(path: str) -> None:
    connection = duckdb.connect(path)
    said: dict[str, object] = {
        name: connection.execute(sql).fetchall() for name, sql in ANSWERS.items()
    }
    for name, sql in REFUSED.items():
        try:
            connection.execute(sql)
            said[name] = "accepted"
        except duckdb.Error as error:
            said[name] = type(error).__name__
    sys.stdout.write(json.dumps(said, default=str))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
    use(sys.argv[2])
