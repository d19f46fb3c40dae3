"""Writing a database anew, by each engine on files of each: every object and every row is there."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.errors import VerificationFailed
from eiderd.evidence import Captured, Opened, Survey
from eiderd.jobs import compact as job
from eiderd.outside import compact, engine, process
from tests import engines as installed
from tests.real import compact_objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from eiderd.maintenance.compact_plan import Measured

    Engines = Callable[[str], Path]

OBJECTS = Path(compact_objects.__file__)
BOUNDS = engine.Bounds(memory_limit=500_000_000, threads=2, deadline_seconds=120)
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
# The engine of the application, the one that made its file, and the format that it was made in.
CELLS = [
    ("1.4.3", "1.4.3", None, "v1.0.0+"),
    ("1.4.3", "1.5.6", None, "v1.0.0+"),
    ("1.4.3", "2.0.0", "v1.0.0", "v1.0.0+"),
    ("1.5.6", "1.4.3", None, "v1.0.0+"),
    ("1.5.6", "1.5.6", "v1.5.0", "v1.5.0+"),
    ("2.0.0", "1.4.3", None, "v1.0.0+"),
    ("2.0.0", "1.5.6", None, "v1.0.0+"),
    ("2.0.0", "2.0.0", None, "v2.0.0+"),
]


PLACES = """
import pathlib, sys
import duckdb, duckdb_extension_spatial
folder = pathlib.Path(duckdb_extension_spatial.__file__).parent
[extension] = folder.rglob("spatial.duckdb_extension")
connection = duckdb.connect(sys.argv[1])
run = connection.execute
run(f"LOAD '{extension}'")
run("CREATE TABLE places (id INTEGER PRIMARY KEY, place GEOMETRY)")
run("INSERT INTO places SELECT i, ST_Point(i % 90, i % 45) FROM range(3000) r(i)")
run("CREATE INDEX by_place ON places USING RTREE (place)")
connection.close()
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    """A database, where its copy is to be, and the engine that writes it."""

    database: Path
    python: Path

    @property
    def to(self) -> Path:
        return self.database.parent / "copy" / self.database.name

    def scratch(self, name: str) -> Path:
        folder = self.database.parent / name
        folder.mkdir(exist_ok=True)
        return folder

    def write(self) -> int:
        self.to.parent.mkdir(exist_ok=True)
        compact.compact(
            database=self.database, to=self.to, interpreter=self.python,
            scratch=self.scratch("write"), bounds=BOUNDS, progress=lambda _done, _total: None,
        )  # fmt: skip
        return self.to.stat().st_size

    def copied(self) -> Measured:
        def survey(path: Path) -> Survey:
            scratch = self.scratch(f"survey-{path.parent.name}")
            return compact.survey(
                database=path, interpreter=self.python, scratch=scratch, bounds=BOUNDS
            )

        def read(path: Path) -> Opened:
            scratch = self.scratch(f"read-{path.parent.name}")
            return engine.open_and_read(
                database=path, interpreter=self.python, scratch=scratch,
                bounds=BOUNDS, time_columns={}, schema_table="", progress=lambda _d, _t: None,
            )  # fmt: skip

        return job.copied(
            now=lambda: NOON,
            copying=job.Copying(
                refresh=lambda: _captured(self.database),
                survey_old=lambda: survey(self.database),
                read_old=lambda: read(self.database),
                write=self.write,
                survey_new=lambda: survey(self.to),
                read_new=lambda: read(self.to),
                together=process.together,
            ),
        )


def _captured(database: Path) -> Captured:
    return Captured(
        method="", passes=1, seconds=0, frozen_seconds=0, first_pass=None, instant=(0, 0),
        iteration=1, engine="", storage_version=64, encrypted=False, block_size=262_144,
        bytes=database.stat().st_size, wal_bytes=0, unsound=0, changed=(), wal_changed={},
        files=(database.name,),
    )  # fmt: skip


def _run(python: Path, *words: object) -> str:
    command = [str(word) for word in (python, *words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _used(python: Path, database: Path) -> dict[str, Any]:
    """Return what an application makes of a copy of the database."""
    folder = database.parent / f"used-{database.stat().st_ino}"
    folder.mkdir()
    for path in database.parent.glob(f"{database.name}*"):
        shutil.copyfile(path, folder / path.name)
    said: dict[str, Any] = json.loads(_run(python, OBJECTS, "use", folder / database.name))
    return said


def _made(folder: Path, python: Path, sql: str) -> Path:
    database = folder / "app.duckdb"
    code = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute(sys.argv[2]).close()"
    _run(python, "-c", code, database, sql)
    return database


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_object_and_every_row_is_there(
    engines: Engines, tmp_path: Path, cell: tuple[str, str, str | None, str]
) -> None:
    version, made_by, made_as, storage = cell
    database = tmp_path / "app.duckdb"
    _run(engines(made_by), OBJECTS, "make", database, *([made_as] if made_as else []))
    python = engines(version)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("app.duckdb*")}
    assert "app.duckdb.wal" in before
    bench = Bench(database, python)
    found = bench.copied()
    assert (found.engine, found.storage_version) == (version, storage)
    assert found.dead_rows > 20_000
    assert {path.name for path in bench.to.parent.iterdir()} == {"app.duckdb"}, "no WAL beside it"
    assert before == {path.name: path.read_bytes() for path in tmp_path.glob("app.duckdb*")}
    was, is_ = _used(python, database), _used(python, bench.to)
    assert was == is_
    assert is_["sequences"] == [[4, 3002, 17, 7]], "not begun anew"
    assert "accepted" not in {is_[name] for name in compact_objects.REFUSED}, is_
    assert len(is_["comments"]) == 9 + 1, "and none"


@pytest.mark.parametrize("name", ["memory.duckdb", "Memory.db", "temp.duckdb", "eider_new.duckdb"])
@pytest.mark.parametrize("version", ["1.4.3", "1.5.6", "2.0.0"])
def test_a_file_that_is_called_as_an_engine_calls_its_own_database(
    engines: Engines, tmp_path: Path, version: str, name: str
) -> None:
    """What the file holds may be spelt with its name, so it is attached under no other."""
    python = engines(version)
    database = tmp_path / name
    _run(python, OBJECTS, "make", database)
    code = (
        "import duckdb, sys; run = duckdb.connect(sys.argv[1]).execute;"
        "[(itself,)] = run('SELECT current_database()').fetchall();"
        "run(f'CREATE MACRO parents() AS (SELECT count(*) FROM {itself}.main.parent)');"
        "run(f'CREATE VIEW of_itself AS SELECT {itself}.main.parents() AS number');"
        "run('CHECKPOINT')"
    )
    _run(python, "-c", code, database)
    ask = "import duckdb, sys; run = duckdb.connect(sys.argv[1], read_only=True).execute;"
    ask += "print(run('SELECT * FROM of_itself').fetchall())"
    bench = Bench(database, python)
    assert bench.copied().rows
    assert _run(python, "-c", ask, bench.to) == _run(python, "-c", ask, database)
    assert _used(python, database) == _used(python, bench.to)


@pytest.mark.parametrize("version", ["1.4.3", "2.0.0"])
def test_204_columns_and_134_indexes(
    engines: Engines, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "packaging" / "demo"))
    schema = importlib.import_module("cartographus_schema")
    statements = [
        statement
        for table in schema.tables(spatial=False, extra=True)
        for statement in (table.create(), *table.create_indexes())
    ]
    database = _made(tmp_path, engines(version), "; ".join(statements))
    bench = Bench(database, engines(version))
    bench.copied()
    indexes = compact.survey(
        database=bench.to, interpreter=bench.python, scratch=bench.scratch("again"), bounds=BOUNDS
    ).objects
    assert len(indexes["indexes"]) >= 133
    columns = [one for one in indexes["columns"] if one["table_name"] == "playback_events"]
    assert len(columns) == 204


def test_a_trigger_that_the_engine_does_not_copy_is_named(engines: Engines, tmp_path: Path) -> None:
    sql = (
        "CREATE TABLE t (i INTEGER); CREATE TABLE log (i INTEGER);"
        "CREATE TRIGGER noted AFTER INSERT ON t FOR EACH STATEMENT INSERT INTO log VALUES (1);"
        "INSERT INTO t VALUES (1), (2)"
    )
    bench = Bench(_made(tmp_path, engines("2.0.0"), sql), engines("2.0.0"))
    with pytest.raises(VerificationFailed, match="trigger noted of table t is missing"):
        bench.copied()


@pytest.mark.parametrize("version", ["1.4.3", "1.5.6", "2.0.0"])
def test_a_table_that_refers_to_itself_is_named(
    engines: Engines, tmp_path: Path, version: str
) -> None:
    rows = "; ".join(f"INSERT INTO tree VALUES ({i}, {i - 1 or 'NULL'})" for i in range(1, 9))
    sql = f"CREATE TABLE tree (id INTEGER PRIMARY KEY, up INTEGER REFERENCES tree (id)); {rows}"
    bench = Bench(_made(tmp_path, engines(version), sql), engines(version))
    with pytest.raises(VerificationFailed, match=r"table tree: .*foreign key") as raised:
        bench.copied()
    assert str(tmp_path) not in raised.value.message


def test_an_rtree_index_with_its_extension_and_without(engines: Engines, tmp_path: Path) -> None:
    with_it, without = engines(installed.SPATIAL), engines("1.4.3")
    database = tmp_path / "app.duckdb"
    _run(with_it, "-c", PLACES, database)
    with pytest.raises(VerificationFailed, match=r"without an extension: .*RTREE"):
        Bench(database, without).copied()
    shutil.rmtree(tmp_path / "copy")
    bench = Bench(database, with_it)
    assert bench.copied().rows == 3000
    (index,) = compact.survey(
        database=bench.to, interpreter=with_it, scratch=bench.scratch("again"), bounds=BOUNDS
    ).objects["indexes"]
    assert "RTREE" in str(index["sql"])


def test_blocks_of_another_size_stay_so(engines: Engines, tmp_path: Path) -> None:
    database = tmp_path / "app.duckdb"
    sql = f"ATTACH '{database}' AS d (BLOCK_SIZE 16384); CREATE TABLE d.t AS SELECT 1 AS i"
    _run(engines("1.4.3"), "-c", f'import duckdb; duckdb.connect().execute("{sql}").close()')
    bench = Bench(database, engines("1.4.3"))
    found = bench.copied()
    assert found.tables == 1
    assert bench.to.stat().st_size < 262_144


def test_an_object_that_is_left_out_by_the_copy_is_named(tmp_path: Path) -> None:
    """The comparison does not lean on the engine's word: what is missing is found in the file."""
    database = _made(
        tmp_path, Path(sys.executable),
        "CREATE TABLE t (i INTEGER DEFAULT 7); INSERT INTO t VALUES (1); CREATE VIEW v AS FROM t; "
        "CREATE VIEW w AS FROM v; "
        "CREATE INDEX x ON t (i); CREATE SEQUENCE s; COMMENT ON TABLE t IS 'word'",
    )  # fmt: skip
    bench = Bench(database, Path(sys.executable))
    harm = {
        "index x of table t is missing; .*view v is missing; view w is missing": "DROP VIEW w; "
        "DROP VIEW v; DROP INDEX x",
        r"sequence s is not the same \(sql\)": "CREATE OR REPLACE SEQUENCE s START 2",
        "t had 1 row and has 2": "INSERT INTO t VALUES (1)",
        "the 1 row of t are not the same": "UPDATE t SET i = 2",
    }
    write = Bench.write
    for said, sql in harm.items():
        shutil.rmtree(bench.to.parent, ignore_errors=True)

        def harmful(bench: Bench, sql: str = sql) -> int:
            write(bench)
            _made(bench.to.parent, bench.python, sql)
            return bench.to.stat().st_size

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Bench, "write", harmful)
            with pytest.raises(VerificationFailed, match=said):
                bench.copied()
