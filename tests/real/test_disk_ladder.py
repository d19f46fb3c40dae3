"""A database grows on a small disk: the service warns, prunes, cleans, releases its ballast.

The same story without healing and without a ballast ends with no space left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import helpers
from tests.helpers import Place, build_database
from tests.running import Running, running

pytestmark = pytest.mark.skipif(not helpers.is_root(), reason="only root may mount a small disk")

MB = 10**6
DISK = "80m"
BALLAST = 12 * MB
LOW, CRITICAL = 8 * MB, 4 * MB  # a tenth and a twentieth of the disk, about
_GROW = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("SET threads = 1")
connection.execute("CREATE TABLE IF NOT EXISTS more (a UBIGINT, b UBIGINT, c UBIGINT)")
(rows,) = connection.execute("SELECT count(*) FROM more").fetchone()
connection.execute(
    "INSERT INTO more SELECT hash(i), hash(i + 1e9), hash(i + 2e9) FROM range(?, ?) r(i)",
    [rows, rows + 40_000],
)
connection.close()
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with helpers.small_disk(tmp_path / "disk", size=DISK) as disk:
        place = Place(tmp_path / "place")
        place.root.mkdir()  # its log is not on that disk
        for name in ("data", "state", "backups"):
            (disk / name).mkdir(mode=0o700)
            (place.root / name).symlink_to(disk / name)
        build_database(place.database, rows=2_000, wal_rows=0)
        for _megabyte in range(3):
            _grow(place)
        yield place.configure()


def _free(place: Place) -> int:
    found = os.statvfs(place.backups)
    return found.f_bavail * found.f_frsize


def _grow(place: Place) -> None:
    """Let the application write about a megabyte. It dies, as it would, when there is no room."""
    done = subprocess.run(
        [sys.executable, "-c", _GROW, str(place.database)], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    if done.returncode:
        assert "No space left" in done.stderr or "not enough" in done.stderr.lower(), done.stderr
        raise OSError(errno.ENOSPC, "the application found the disk full")


def _given_history(place: Place) -> None:
    """Four backups that nobody pruned, and what a backup that was killed left in scratch."""
    for _backup in range(4):
        assert place.eider("backup", "--no-prune").code == 0
    left = place.state / "scratch" / "run-dead"
    left.mkdir(parents=True)
    (left / "copy").write_bytes(os.urandom(5 * MB))


def _settings(*, heal: bool) -> dict[str, Any]:
    more: dict[str, Any] = {"disk__ballast": "12MB"} if heal else {}
    return {
        "heal__enabled": heal, "heal__cooldown": "1s", "service__look_every": "1s",
        "retention__min_count": 1, "retention__max_count": 2,
        "disk__warn": "5GB", "disk__critical": "1GB",  # of a small disk, a tenth and a twentieth
        **more,
    }  # fmt: skip


def _grow_until_low(place: Place) -> None:
    _fill(place, leave=LOW + 3 * MB)
    while _free(place) > LOW:
        _grow(place)


def _grow_for_ever(place: Place) -> None:
    for _megabyte in range(50):
        _grow(place)


def _fill(place: Place, *, leave: int) -> None:
    """Let something else take the room: the case in which a forecast is too late."""
    size = _free(place) - leave
    if size > 0:
        with (place.root / "data" / "other").open("ab") as file:
            file.write(bytes(size))


@contextlib.contextmanager
def _serving(place: Place, *, heal: bool) -> Iterator[Running]:
    with running(place, **_settings(heal=heal)) as service:
        service.until(lambda: "ready" in service.words())
        yield service


def _story(service: Running) -> list[str]:
    return [f"{line.get('word')} {line.get('kind')}" for line in service.lines()]


def _tried(service: Running, action: str) -> float:
    return service.metrics()[f'eider_heal_actions_total{{action="{action}",outcome="done"}}']


def test_the_service_makes_room_step_by_step_and_still_backs_up(place: Place) -> None:
    _given_history(place)
    with _serving(place, heal=True) as service:
        ballast = place.backups / ".ballast"
        service.until(ballast.exists, what="the ballast")
        _grow_until_low(place)
        # It warns in time, with twice as much left as is critical, and does the first step.
        service.until(lambda: "finding_raised disk_low" in _story(service), what="the warning")
        service.until(lambda: _tried(service, "prune") >= 1, what="a prune")
        service.until(lambda: len(place.listed()) == 2, what="what the rules keep")
        # More is taken than anybody could foresee.
        _fill(place, leave=LOW - MB)
        service.until(lambda: _tried(service, "clean") >= 1, what="a cleaning")
        assert not (place.state / "scratch" / "run-dead").exists()
        assert ballast.exists(), "it was given up too early"
        _fill(place, leave=CRITICAL - MB)
        service.until(lambda: not ballast.exists(), what="the last reserve")
        assert _free(place) > BALLAST
        # And there is room to put things right.
        assert place.eider("prune").code == 0
        made = place.eider("backup", "--json")
        assert made.code == 0, made
        assert made.json["state"] == "verified"
        assert set(place.listed().values()) == {"verified"}
        assert "disk_critical" in {line.get("kind") for line in service.lines()}


def test_without_it_the_same_story_ends_with_no_space_left(place: Place) -> None:
    _given_history(place)
    with _serving(place, heal=False) as service:
        _grow_until_low(place)
        service.until(lambda: "disk_low" in service.kinds(), what="the warning")
        _fill(place, leave=LOW - MB)
        _fill(place, leave=CRITICAL - MB)
        assert place.eider("backup", "--json").code == 13
        assert len(place.listed()) == 4, "nobody pruned"
        with pytest.raises(OSError, match="full"):
            _grow_for_ever(place)
