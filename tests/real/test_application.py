"""The application is never left frozen or stopped: a keeper undoes it, whoever dies and when.

Real processes: what is frozen is frozen by SIGSTOP, what dies dies by SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.errors import ApplicationFailed
from eiderd.outside import process
from eiderd.outside.application import hold
from tests.helpers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 60.0  # no deadline comes into it

# A process that holds the application still until it is killed.
_HOLDER = """
import json, sys, time
from eiderd.outside.application import hold
order = json.loads(sys.argv[1])
with hold.kept(order["words"], hold=order["hold"], seconds=order["seconds"]) as keeper:
    print("ready", flush=True)
    with keeper.held():
        print("held", flush=True)
        time.sleep(600)
"""


class Application:
    """A process that can be frozen, and a file that says whether it is started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = folder / "started"
        self.started.touch()
        self.process = subprocess.Popen(["sleep", "600"])

    def words(self, **commands: list[str]) -> dict[str, Any]:
        pid, started = self.process.pid, self.started
        return {
            "kind": "commands",
            "commands": {
                "state": ["sh", "-c", f"test -e {started} || exit 3"],
                "freeze": ["sh", "-c", f"kill -STOP {pid}"],
                "thaw": ["sh", "-c", f"kill -CONT {pid}"],
                "stop": ["rm", str(started)],
                "start": ["touch", str(started)],
                **commands,
            },
            "timeout_seconds": 5.0,
        }

    def is_frozen(self) -> bool:
        """Ask the kernel. A signal that was sent takes a moment to stop a process."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    def is_stopped(self) -> bool:
        return not self.started.exists()


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    running = Application(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


def _given_holder(
    words: dict[str, Any], way: str, *, seconds: float = LONG, until_it_says: str = "held"
) -> subprocess.Popen[bytes]:
    order = json.dumps({"words": words, "hold": way, "seconds": seconds})
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, order], stdout=subprocess.PIPE, start_new_session=True
    )
    assert holder.stdout
    for line in holder.stdout:
        if line.strip().decode() == until_it_says:
            break
    return holder


def _hold_for(words: dict[str, Any], way: hold.Way, work: Callable[[], None]) -> None:
    with hold.kept(words, hold=way, seconds=LONG) as keeper, keeper.held():
        work()


def _keeper_of(pid: int) -> int:
    """Return the newest one: that of an earlier test may not have ended yet."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"keeper" in _command(child)][-1]


def _command(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _end(holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.communicate()


def test_it_is_thawed_when_it_is_let_go(application: Application) -> None:
    with hold.kept(application.words(), hold="freeze", seconds=LONG) as keeper:
        assert not application.is_frozen()
        with keeper.held() as still:
            until(application.is_frozen)
        assert not application.is_frozen()
    assert 0 < still.seconds < LONG


@pytest.mark.parametrize("way", ["freeze", "stop"])
def test_it_goes_on_when_whoever_holds_it_is_killed(application: Application, way: str) -> None:
    holder = _given_holder(application.words(), way)
    keeper = _keeper_of(holder.pid)
    until(application.is_frozen if way == "freeze" else application.is_stopped)
    _end(holder)
    until(lambda: not application.is_frozen() and not application.is_stopped())
    until(lambda: process.who(keeper) is None)


def test_it_goes_on_when_the_whole_group_of_its_holder_is_killed(application: Application) -> None:
    holder = _given_holder(application.words(), "freeze")
    until(application.is_frozen)
    os.killpg(holder.pid, signal.SIGKILL)
    until(lambda: not application.is_frozen())
    _end(holder)


def test_a_freeze_that_is_under_way_when_its_holder_dies_is_undone(
    application: Application, tmp_path: Path
) -> None:
    slow = f"touch {tmp_path}/begun; sleep 0.5; kill -STOP {application.process.pid}"
    slow += f"; touch {tmp_path}/frozen"
    words = application.words(freeze=["sh", "-c", slow])
    holder = _given_holder(words, "freeze", until_it_says="ready")
    keeper = _keeper_of(holder.pid)
    until((tmp_path / "begun").exists)
    _end(holder)
    until((tmp_path / "frozen").exists)
    until(lambda: process.who(keeper) is None)
    assert not application.is_frozen()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_goes_on_when_the_keeper_is_asked_to_end(
    application: Application, number: signal.Signals
) -> None:
    # As systemd does to all processes of a service that it stops.
    holder = _given_holder(application.words(), "freeze")
    os.kill(_keeper_of(holder.pid), number)
    until(lambda: not application.is_frozen())
    _end(holder)


def test_it_goes_on_when_the_keeper_is_killed(application: Application) -> None:
    def work() -> None:
        os.kill(_keeper_of(os.getpid()), signal.SIGKILL)
        until(application.is_frozen)

    with pytest.raises(ApplicationFailed, match="has died"):
        _hold_for(application.words(), "freeze", work)
    assert not application.is_frozen()


def test_it_is_not_held_for_longer_than_was_said(application: Application) -> None:
    # It is seen from within: from here one could look too late.
    pid, frozen = application.process.pid, application.folder / "frozen"
    seen = f"until grep -q '^State:.T' /proc/{pid}/status; do :; done; touch {frozen}"
    words = application.words(freeze=["sh", "-c", f"kill -STOP {pid}; {seen}"])
    began = time.monotonic()
    with hold.kept(words, hold="freeze", seconds=0.5) as keeper, keeper.held():
        until(frozen.exists)
        until(lambda: not application.is_frozen())
        assert 0.4 < time.monotonic() - began < 10


def test_a_thaw_that_fails_is_tried_again(application: Application, tmp_path: Path) -> None:
    second = f"test -e {tmp_path}/tried || {{ touch {tmp_path}/tried; exit 1; }}; "
    words = application.words(
        thaw=["sh", "-c", f"{second} kill -CONT {application.process.pid}"],
    )
    with hold.kept(words, hold="freeze", seconds=LONG) as keeper, keeper.held():
        until(application.is_frozen)
    assert not application.is_frozen()


def test_one_that_cannot_be_frozen_is_not_believed_to_be(application: Application) -> None:
    words = application.words(freeze=["sh", "-c", "echo denied >&2; exit 1"])
    with (
        pytest.raises(ApplicationFailed, match="did not freeze: denied"),
        hold.kept(words, hold="freeze", seconds=LONG) as keeper,
        keeper.held(),
    ):
        pytest.fail("it is not held")


def test_a_freeze_that_hangs_is_undone(application: Application) -> None:
    pid = application.process.pid
    words = {
        **application.words(freeze=["sh", "-c", f"kill -STOP {pid}; sleep 600"]),
        "frozen_seconds": 0.5,
    }
    with (
        pytest.raises(ApplicationFailed, match="did not end within"),
        hold.kept(words, hold="freeze", seconds=LONG) as keeper,
        keeper.held(),
    ):
        pytest.fail("it is not held")
    assert not application.is_frozen()


@pytest.mark.parametrize("way", ["freeze", "stop"])
def test_what_does_not_run_is_not_started_by_letting_it_go(
    application: Application, way: hold.Way
) -> None:
    application.started.unlink()
    with (
        pytest.raises(ApplicationFailed, match="does not run"),
        hold.kept(application.words(), hold=way, seconds=LONG) as keeper,
        keeper.held(),
    ):
        pytest.fail("it is not held")
    assert application.is_stopped()


def test_it_is_started_again_when_the_work_fails(application: Application) -> None:
    def work() -> None:
        assert application.is_stopped()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _hold_for(application.words(), "stop", work)
    assert not application.is_stopped()


@pytest.mark.parametrize("first", [b"/opt/bin/python\0/opt/bin/eiderd\0", b"tini\0--\0eiderd\0"])
def test_where_a_keeper_could_not_outlive_eiderd_nothing_is_held(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    (tmp_path / "first").write_bytes(first)
    monkeypatch.setattr(hold, "_FIRST", tmp_path / "first")
    with (
        pytest.raises(ApplicationFailed, match="first process of its container") as caught,
        hold.kept(application.words(), hold="freeze", seconds=LONG),
    ):
        pytest.fail("it may be held")
    assert "allow_freeze" in caught.value.hint
