"""An application whose database cannot be opened is brought back: only if that was allowed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eiderd import config
from eiderd.app import App
from eiderd.maintenance import bring_back as bringing_back
from eiderd.model import Ending
from tests.helpers import Place, given_place

ROWS, LATE = 3_000, 200


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place whose application has died, and starts and stops when it is told to."""
    place = given_place(tmp_path, rows=ROWS, wal_rows=LATE)
    up, stopped = tmp_path / "up", tmp_path / "stopped"
    commands = {
        "state": f"test -e {up} && exit 0; test -e {stopped} && exit 3; exit 1",
        "start": f"touch {up}; rm -f {stopped}",
        "stop": f"touch {stopped}; rm -f {up}",
    }
    place.configure(application__kind="commands", application__timeout="5s")
    words = ", ".join(
        f"{verb} = {json.dumps(['sh', '-c', said])}" for verb, said in commands.items()
    )
    place.config.write_text(f"{place.config.read_text()}commands = {{ {words} }}\n")
    place.backup()
    return place


def _app(place: Place) -> App:
    return App(config.load(place.config)[0])


def _count(database: Path) -> int:
    script = "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True)\n"
    script += "print(c.execute('SELECT count(*) FROM facts').fetchone()[0])"
    ran = subprocess.run(
        [sys.executable, "-c", script, str(database)], capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    return int(ran.stdout)


def _set_aside(place: Place) -> list[Path]:
    return [path for path in place.database.parent.iterdir() if "before-" in path.name]


def test_a_log_that_no_engine_replays_is_left_behind_and_the_rest_comes_back(place: Place) -> None:
    wal = bytearray(place.wal.read_bytes())
    wal[200:400] = bytes(byte ^ 0xFF for byte in wal[200:400])
    place.wal.write_bytes(bytes(wal))
    outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.DONE
    assert "rescued to" in outcome.why
    assert _count(place.database) >= ROWS
    assert _set_aside(place), "what was live is kept"
    assert (place.root / "up").exists(), "the application was started"
    assert not list((place.state / "rescued").rglob("rescued.tar.gz"))


def test_what_cannot_be_rescued_is_restored_from_the_newest_verified_backup(place: Place) -> None:
    data = bytearray(place.database.read_bytes())
    for offset in range(12_288 + 4096, len(data), 8192):  # every block, the headers left alone
        data[offset : offset + 64] = b"\xa5" * 64
    place.database.write_bytes(bytes(data))
    outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.DONE
    assert "not rescued" in outcome.why
    assert _count(place.database) == ROWS + LATE
    assert _set_aside(place)


def test_a_database_that_opens_is_left_alone(place: Place) -> None:
    before = place.database.read_bytes()
    outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.REFUSED
    assert "opens as it is" in outcome.why
    assert place.database.read_bytes() == before
    assert not _set_aside(place)


def test_it_is_not_tried_where_nobody_could_stop_the_application(place: Place) -> None:
    assert bringing_back.may(_app(place)).met
    (place.root / "stopped").touch()
    assert "is stopped" in bringing_back.may(_app(place)).why
    nobody = Place(place.root).configure()
    assert bringing_back.may(_app(nobody)).met is False
