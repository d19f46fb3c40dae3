"""The imitated application must be right, or everything measured with it is worth nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[2] / "packaging" / "demo" / "cartographus.py"
SEED_ROWS = 400
COMMITS = 15
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Life:
    """What one life of the application left behind."""

    database: Path
    ledger: Path

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.ledger.read_text().splitlines()]

    def last(self, word: str) -> int:
        return max(int(number) for kind, number, _ in self.lines() if kind == word)


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run(*arguments: object, **environment: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, **environment},
    )
    return done.returncode, json.loads(done.stdout)


@contextmanager
def given_application(life: Life, *options: object) -> Iterator[subprocess.Popen[str]]:
    serve = command("serve", "--database", life.database, "--ledger", life.ledger, *options)
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"ready {process.pid}\n"
            yield process
        finally:
            process.kill()


def await_commits(life: Life, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while life.last("done") < number:
        assert time.monotonic() < deadline, f"commit {number} did not come"
        time.sleep(0.02)


def given_copy(life: Life, folder: Path) -> Life:
    for file in life.database.parent.iterdir():
        shutil.copy(file, folder)
    return Life(folder / life.database.name, folder / life.ledger.name)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A life ended by kill -9: the database and its WAL are a crash image."""
    folder = tmp_path_factory.mktemp("killed")
    life = Life(folder / "demo.duckdb", folder / "ledger")
    with given_application(life, "--seed-rows", SEED_ROWS, "--pace", 0) as process:
        await_commits(life, COMMITS)
        process.kill()
    return life


def ask(database: Path, query: str) -> Any:  # noqa: ANN401
    with duckdb.connect(str(database), read_only=True) as connection:
        rows = connection.execute(query).fetchall()
    return rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else rows


def test_schema_has_the_tables_columns_and_indexes_of_a_default_installation(killed: Life) -> None:
    kinds = """SELECT data_type, count(*) FROM duckdb_columns()
        WHERE table_name = 'playback_events' GROUP BY ALL"""
    geometry = ask(
        killed.database,
        "SELECT count(*) FROM duckdb_columns() WHERE column_name = 'geom'",
    )
    assert ask(killed.database, "SELECT count(*) FROM duckdb_tables()") == 21
    assert dict(ask(killed.database, kinds)) == {
        "UUID": 1,
        "TIMESTAMP": 3,
        "BIGINT": 1,
        "INTEGER": 60,
        "VARCHAR": 139,
    }
    indexes = "SELECT count(*) FROM duckdb_indexes()"
    assert ask(killed.database, indexes) == 133 + geometry
    assert ask(killed.database, f"{indexes} WHERE table_name = 'playback_events'") == 42
    assert ask(killed.database, f"{indexes} WHERE is_unique AND index_name LIKE '%playback%'") == 3
    assert ask(killed.database, "SELECT count(*) FROM schema_migrations") == 0
    wide = "SELECT count(*) FROM duckdb_columns() WHERE table_name"
    assert ask(killed.database, f"{wide} = 'wrapped_reports'") == 44
    assert ask(killed.database, f"{wide} = 'geolocations'") == 18 + geometry


def test_crash_image_is_intact_and_agrees_with_the_ledger(killed: Life) -> None:
    status, facts = run("facts", "--database", killed.database)
    assert (status, facts["intact"], facts["contiguous"]) == (0, True, True)
    assert facts["engine"] == duckdb.__version__
    assert killed.last("done") <= facts["commits"] <= killed.last("begin")
    assert facts["playback_events"] >= SEED_ROWS
    assert all(facts["invariants"].values())


def test_facts_leave_the_crash_image_as_it_is(killed: Life, tmp_path: Path) -> None:
    copy = given_copy(killed, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    run("facts", "--database", copy.database)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_truncated_wal_has_fewer_commits_and_is_intact(killed: Life, tmp_path: Path) -> None:
    copy = given_copy(killed, tmp_path)
    wal = Path(f"{copy.database}.wal")
    os.truncate(wal, wal.stat().st_size // 2)
    status, facts = run("facts", "--database", copy.database)
    assert (status, facts["intact"]) == (0, True)
    assert 1 <= facts["commits"] < copy.last("done")


@pytest.mark.parametrize(
    ("damage", "noticed_by"),
    [
        (
            "DELETE FROM playback_events WHERE year % 9 = 0",
            {"playback_events_match_audit", "running_sum_matches_audit", "every_batch_is_whole"},
        ),
        (
            "UPDATE playback_events SET percent_complete = 99 WHERE session_key = '100007'",
            {"running_sum_matches_audit"},
        ),
        (
            "DELETE FROM geolocations WHERE ip_address = '10.0.0.1'",
            {"geolocations_match_audit", "running_sum_matches_audit"},
        ),
    ],
)
def test_changed_content_is_not_intact(
    killed: Life, tmp_path: Path, damage: str, noticed_by: set[str]
) -> None:
    copy = given_copy(killed, tmp_path)
    with duckdb.connect(str(copy.database)) as connection:
        connection.execute(damage)
        connection.execute("CHECKPOINT")
    status, facts = run("facts", "--database", copy.database)
    assert (status, facts["intact"]) == (1, False)
    assert {name for name, kept in facts["invariants"].items() if not kept} == noticed_by


def test_missing_commit_is_not_contiguous(killed: Life, tmp_path: Path) -> None:
    copy = given_copy(killed, tmp_path)
    with duckdb.connect(str(copy.database)) as connection:
        connection.execute("DELETE FROM audit_events WHERE commit_number = 3")
        connection.execute("CHECKPOINT")
    status, facts = run("facts", "--database", copy.database)
    assert (status, facts["contiguous"], facts["intact"]) == (1, False, False)


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000, None])
def test_unreadable_file_is_an_answer(tmp_path: Path, content: bytes | None) -> None:
    database = tmp_path / "broken.duckdb"
    if content is not None:
        database.write_bytes(content)
    status, facts = run("facts", "--database", database)
    assert (status, facts["intact"]) == (1, False)
    assert len(facts["error"].splitlines()) == 1


def test_crash_of_the_engine_is_an_answer(killed: Life, tmp_path: Path) -> None:
    (tmp_path / "duckdb.py").write_text(
        "import os\ndef connect(*_, **__):\n    os.kill(os.getpid(), 11)\n",
    )
    status, facts = run("facts", "--database", killed.database, PYTHONPATH=str(tmp_path))
    assert (status, facts["intact"]) == (1, False)
    assert "-11" in facts["error"]


def test_restart_after_the_crash_goes_on_and_ends_cleanly(killed: Life, tmp_path: Path) -> None:
    copy = given_copy(killed, tmp_path)
    before = copy.last("begin")
    with given_application(copy, "--seconds", 1, "--pace", 0) as process:
        assert process.wait(PATIENCE_SECONDS) == 0
    assert not Path(f"{copy.database}.wal").exists()
    status, facts = run("facts", "--database", copy.database)
    assert (status, facts["intact"]) == (0, True)
    assert facts["commits"] == copy.last("done") > before


def test_sigterm_ends_at_once_and_leaves_the_wal(tmp_path: Path) -> None:
    life = Life(tmp_path / "demo.duckdb", tmp_path / "ledger")
    with given_application(life, "--seed-rows", 0, "--extra-tables") as process:
        await_commits(life, 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert Path(f"{life.database}.wal").stat().st_size > 0
    assert ask(life.database, "SELECT count(*) FROM duckdb_tables()") == 27
    assert run("facts", "--database", life.database)[0] == 0


def test_acknowledged_counts_done_up_to_the_start_and_begun_up_to_the_end(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("begin 1 100\ndone 1 110\nbegin 2 120\ndone 2 130\nbegin 3 140\ndone 3 1")
    ask_for = ("acknowledged", "--ledger", ledger, "--from", 125, "--to", 140)
    assert run(*ask_for) == (0, {"acknowledged_before": 1, "begun_before": 3})
