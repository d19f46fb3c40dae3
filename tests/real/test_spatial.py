"""Databases with places in them: provable without the spatial extension, better with it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from eiderd.evidence import Damage, Opened
from eiderd.outside import engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Engines = Callable[[str], Path]

_BUILD = """
import os, pathlib, sys
import duckdb, duckdb_extension_spatial
folder = pathlib.Path(duckdb_extension_spatial.__file__).parent
[extension] = folder.rglob("spatial.duckdb_extension")
connection = duckdb.connect(sys.argv[1])
run = connection.execute
run(f"LOAD '{extension}'")
run("CREATE TABLE places (id INTEGER PRIMARY KEY, geom GEOMETRY NOT NULL)")
run("CREATE INDEX by_place ON places USING RTREE (geom)")
point = "ST_Point(i % 360 - 180 + {0}, (i * 7) % 180 - 90 + {0})"
run(f"INSERT INTO places SELECT i, {point.format(0)} FROM range(5000) r(i)")
run("CHECKPOINT")
run(f"INSERT INTO places SELECT i, {point.format(0.5)} FROM range(5000, 5050) r(i)")
os._exit(0)  # as a crash: the WAL stays
"""
_OPEN_AND_CLOSE = "import duckdb, sys; duckdb.connect(sys.argv[1]).close()"


@pytest.fixture
def database(engines: Engines, tmp_path: Path) -> Path:
    path = tmp_path / "data" / "places.duckdb"
    path.parent.mkdir()
    subprocess.run([engines("1.4.3+spatial"), "-c", _BUILD, str(path)], check=True, timeout=60)
    assert path.with_name("places.duckdb.wal").exists()
    return path


def _opened(database: Path, python: Path) -> Opened:
    scratch = database.parent.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return engine.open_and_read(
        database=database,
        interpreter=python,
        scratch=scratch,
        bounds=engine.Bounds(memory_limit=150_000_000, threads=2, deadline_seconds=60),
        time_columns={},
        schema_table="schema_migrations",
        progress=lambda _done, _total: None,
    )


@pytest.mark.parametrize("version", ["1.4.3", "1.5.6", "2.0.0"])
def test_every_row_is_read_without_the_extension(
    engines: Engines, database: Path, version: str
) -> None:
    opened = _opened(database, engines(version))
    assert (opened.damage, opened.rows, opened.extensions) == (None, 5050, ())
    assert (opened.indexes, opened.indexes_asked) == (2, 1)


def test_with_the_extension_the_rtree_is_asked_too(engines: Engines, database: Path) -> None:
    opened = _opened(database, engines("1.4.3+spatial"))
    assert (opened.damage, opened.rows, opened.extensions) == (None, 5050, ("spatial",))
    assert (opened.indexes, opened.indexes_asked) == (2, 2)


def test_an_rtree_that_misses_the_newest_places_is_found_out(
    engines: Engines, database: Path
) -> None:
    """What 1.4.3 leaves behind when it opens a crash image read-write and just closes it."""
    python = engines("1.4.3+spatial")
    subprocess.run([python, "-c", _OPEN_AND_CLOSE, str(database)], check=True, timeout=60)
    opened = _opened(database, python)
    assert opened.damage is Damage.INDEX
    assert "by_place of table places" in opened.message
