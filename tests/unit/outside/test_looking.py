"""One look at the application: what its keeper tells, and whose the lock on the database is."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd.errors import ApplicationFailed
from eiderd.evidence import ApplicationState, Health
from eiderd.outside import lock_holder
from eiderd.outside.application import application_of
from eiderd.outside.application.looking import is_in, look
from tests.unit.outside.test_application import _given_container, _given_unit

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.duckdb"
    path.write_bytes(b"x")
    return path


@contextlib.contextmanager
def _given_holder(database: Path) -> Iterator[int]:
    """Let another process hold the database's lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(database)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.kill()


def test_a_unit_tells_its_state_its_restarts_and_that_it_is_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    unit, _asked = _given_unit(tmp_path, monkeypatch, NRestarts="4", FreezerState="frozen")
    seen = look(unit, database=database)
    assert (seen.name, seen.state) == ("unit app.service", ApplicationState.RUNNING)
    assert (seen.restarts, seen.frozen, seen.health) == (4, True, None)
    assert seen.to_thaw == "systemctl thaw app.service"


@pytest.mark.parametrize(
    ("path", "group", "inside"),
    [
        ("/system.slice/app.service", "/system.slice/app.service", True),
        ("/system.slice/app.service/worker", "/system.slice/app.service", True),
        ("/system.slice/app.service2", "/system.slice/app.service", False),
        ("/user.slice", "/system.slice/app.service", False),
        (f"/system.slice/docker-{'f' * 64}.scope", "f" * 64, True),
        (f"/docker/{'e' * 64}", "f" * 64, False),
        ("/odd:name/x", "/odd:name", True),
    ],
)
def test_whose_a_process_is_is_told_by_its_control_group(
    path: str, group: str, *, inside: bool
) -> None:
    assert is_in([f"0::{path}"], group) is inside
    assert is_in(["9:name=systemd:/", f"1:pids:{path}"], group) is inside


def test_of_a_process_that_is_gone_nothing_is_certain() -> None:
    assert is_in([], "/system.slice/app.service")


def test_a_process_outside_the_unit_is_a_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    unit, _asked = _given_unit(tmp_path, monkeypatch)
    assert look(unit, database=database).stranger is None
    with _given_holder(database) as pid:
        stranger = look(unit, database=database).stranger
    assert stranger is not None
    assert stranger.pid == pid
    assert "PID" in stranger.said


def test_whoever_holds_the_database_of_a_stopped_unit_is_a_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    unit, _asked = _given_unit(tmp_path, monkeypatch, ActiveState="inactive", ControlGroup="")
    with _given_holder(database) as pid:
        stranger = look(unit, database=database).stranger
    assert stranger is not None
    assert stranger.pid == pid


def test_where_nobody_knows_whose_processes_are_whose_a_running_one_has_no_stranger(
    database: Path,
) -> None:
    running = application_of(kind="commands", commands={"state": ["true"]}, database=database)
    down = application_of(
        kind="commands", commands={"state": ["sh", "-c", "exit 3"]}, database=database
    )
    by_lock = application_of(kind="none", database=database)
    with _given_holder(database):
        assert look(running, database=database).stranger is None
        assert look(by_lock, database=database).stranger is None
        assert look(down, database=database).stranger is not None


def test_a_holder_that_cannot_be_seen_from_here_is_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    """So it is for an application on the host, seen from eiderd's own container."""
    unit, _asked = _given_unit(tmp_path, monkeypatch, ActiveState="inactive")
    unseen = lock_holder.Holder(pid=0, command="", user="?")
    monkeypatch.setattr(lock_holder, "holder", lambda _database: unseen)
    assert look(unit, database=database).stranger is None


def test_a_container_tells_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    container, _asked = _given_container(tmp_path, monkeypatch)
    seen = look(container, database=database)
    assert (seen.state, seen.restarts, seen.frozen) == (ApplicationState.RUNNING, 4, False)
    assert seen.health == Health(well=True, why="its state is running")
    with _given_holder(database):
        assert look(container, database=database).stranger is not None
    (tmp_path / "state").write_text('{"Status":"paused","Paused":true}')
    seen = look(container, database=database)
    assert (seen.frozen, seen.health, seen.to_thaw) == (True, None, "docker unpause app")


def test_what_cannot_be_told_is_an_error_not_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    gone, _asked = _given_unit(tmp_path, monkeypatch, ActiveState="inactive", LoadState="not-found")
    odd = application_of(kind="commands", commands={"state": ["sh", "-c", "exit 9"]})
    for application in (gone, odd):
        with pytest.raises(ApplicationFailed) as caught:
            look(application, database=database)
        assert caught.value.hint
