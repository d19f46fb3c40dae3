from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from eiderd.errors import Busy
from eiderd.outside import lock_holder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As DuckDB does it, and as a lock that belongs to the open file; then one that waits for it.
_HOLD = """import fcntl, struct, sys
file = open(sys.argv[1], "r+b")
command = {"posix": fcntl.F_SETLK, "ofd": 37, "waiting": fcntl.F_SETLKW}[sys.argv[2]]
print("about to", flush=True)
fcntl.fcntl(file, command, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def _held(path: Path, way: str = "posix") -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout
        child.stdout.readline()
        if way != "waiting":
            assert child.stdout.readline() == b"held\n"
        try:
            yield child
        finally:
            child.kill()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.duckdb"
    path.write_bytes(b"bytes")
    return path


def test_a_file_that_nobody_holds_has_no_holder(database: Path) -> None:
    assert lock_holder.holder(database) is None
    assert lock_holder.holder(database.with_name("missing")) is None


@pytest.mark.parametrize("way", ["posix", "ofd"])
def test_the_holder_is_named_with_its_command_and_its_user(database: Path, way: str) -> None:
    with _held(database, way) as child:
        found = lock_holder.holder(database)
        assert found is not None
        assert found.pid == child.pid
        assert found.command.startswith(f"{sys.executable} -c")
        assert found.command.isprintable()  # its program has lines
        assert found.user == pwd.getpwuid(os.geteuid()).pw_name
    assert lock_holder.holder(database) is None


def test_a_link_to_the_database_is_followed(database: Path) -> None:
    link = database.with_name("link.duckdb")
    link.symlink_to(database)
    with _held(database) as child:
        found = lock_holder.holder(link)
    assert found is not None
    assert found.pid == child.pid


def test_a_lock_on_another_file_is_not_one_on_this(database: Path) -> None:
    other = database.with_name("other.duckdb")
    other.touch()
    with _held(other):
        assert lock_holder.holder(database) is None


def test_one_that_only_waits_for_a_lock_does_not_hold_it(database: Path) -> None:
    with _held(database) as first, _held(database, "waiting") as second:
        for _ in range(20):
            found = lock_holder.holder(database)
            assert found is not None
            assert found.pid == first.pid != second.pid


def test_looking_does_not_drop_a_lock_that_this_process_has(database: Path) -> None:
    with database.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock_holder.holder(database)
        found = lock_holder.holder(database)
    assert found is not None
    assert found.pid == os.getpid()


def test_it_is_waited_for_until_the_lock_is_free(database: Path) -> None:
    with _held(database) as child:
        threading.Timer(0.2, child.kill).start()
        began = time.monotonic()
        lock_holder.wait_until_free(database, seconds=30)
    assert time.monotonic() - began < 30
    assert lock_holder.holder(database) is None


def test_one_that_stays_is_named(database: Path) -> None:
    with _held(database) as child, pytest.raises(Busy, match=rf"PID {child.pid}, user") as caught:
        lock_holder.wait_until_free(database, seconds=0.1)
    assert f"ps -fp {child.pid}" in caught.value.hint


def test_duckdb_itself_is_found(tmp_path: Path) -> None:
    database = tmp_path / "real.duckdb"
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout
        child.stdout.readline()
        found = lock_holder.holder(database)
        child.kill()
    assert found is not None
    assert found.pid == child.pid


def test_a_process_that_cannot_be_seen_is_said_to_be_outside(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _held(database):
        (_pid, place), *_ = [
            lock for lock in lock_holder._locks() if lock[1].endswith(f":{database.stat().st_ino}")
        ]
        monkeypatch.setattr(lock_holder, "_locks", lambda: iter([(0, place)]))
        monkeypatch.setattr(lock_holder, "_open_locks", lambda _wanted: iter(()))
        with pytest.raises(Busy, match="a process outside this container"):
            lock_holder.wait_until_free(database, seconds=0)


def test_a_lock_that_is_on_no_list_is_found_all_the_same(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a container: the kernel leaves out what belongs to processes outside.
    monkeypatch.setattr(lock_holder, "_locks", lambda: iter(()))
    assert lock_holder.holder(database) is None
    with _held(database):
        found = lock_holder.holder(database)
        assert found is not None
        assert str(found) == "a process outside this container"
        with pytest.raises(Busy, match="a process outside this container"):
            lock_holder.wait_until_free(database, seconds=0)
    assert lock_holder.holder(database) is None


def test_what_is_no_file_is_not_opened_to_ask_for_locks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert lock_holder.holder(tmp_path / "fifo") is None
    assert lock_holder.holder(tmp_path) is None
