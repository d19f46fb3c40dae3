"""eiderd as the first process of its own PID namespace, without systemd: no Docker is needed.

Where nobody may make namespaces this is skipped, and says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd.outside import first_process
from tests import busy_application
from tests.helpers import Place, until
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMESPACES = (
    "unshare", *(() if os.geteuid() == 0 else ("--user", "--map-current-user")),
    "--pid", "--mount", "--mount-proc", "--fork", "--kill-child=KILL", "--",
)  # fmt: skip
# A child that leaves a grandchild behind, to die in a moment.
_ORPHANS = """
import os, subprocess, sys, time
from eiderd.outside import first_process
first_process.give_way()
assert os.getpid() != 1
subprocess.run(["sh", "-c", "sleep 0.1 & exit 0"], check=True)
deadline = time.monotonic() + 10
while [pid for pid in os.listdir("/proc") if pid.isdecimal() and int(pid) not in (1, os.getpid())]:
    assert time.monotonic() < deadline, "a dead one was not buried"
    time.sleep(0.02)
{end}
"""


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    ran = subprocess.run([*_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"no namespaces can be made here: {ran.stderr.strip()}")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A live application, which runs outside."""
    made = Place(tmp_path)
    made.database.parent.mkdir()
    program = busy_application.__file__
    command = [sys.executable, program, str(made.database), "no-file", "200000"]
    with subprocess.Popen(command) as application:
        until((made.database.parent / "ready").exists, what="a database")
        yield made
        application.kill()


def _child(pid: int) -> int:
    """Return the number, from outside, of the first process inside."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_it_takes_a_backup_and_ends_in_time_when_it_is_told_to(place: Place) -> None:
    # A schedule that is not due, and no backup yet: the first one is taken at once.
    with running(place, before=_NAMESPACES, ready=False, mirror__rate_limit="1MB") as run:
        run.until(lambda: "ready" in run.words(), what="a service that is ready")
        mirror = place.state / "mirror"
        run.until(lambda: any(mirror.glob("*")), what="a backup at work")
        os.kill(_child(run.process.pid), signal.SIGTERM)
        assert run.process.wait(timeout=10) == 0
        assert "ending" in run.words()
    with running(place, before=_NAMESPACES, ready=False) as run:
        run.until(lambda: "job_ended" in run.words(), what="a backup")
        assert list(place.listed().values()) == ["verified"]
        assert run.get("/healthz")[0] == 200
        os.kill(_child(run.process.pid), signal.SIGKILL)
        run.process.wait(timeout=10)
    with running(place, before=_NAMESPACES, ready=False) as run:
        run.until(lambda: "ready" in run.words(), what="a service that is ready again")


@pytest.mark.parametrize(("end", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_orphans_are_buried_and_the_end_is_that_of_the_service(end: str, code: int) -> None:
    script = _ORPHANS.format(end=end)
    ran = subprocess.run(
        [*_NAMESPACES, sys.executable, "-c", script],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_service(number: signal.Signals) -> None:
    script = f"""
import signal, sys
from eiderd.outside import first_process
first_process.give_way()
signal.pthread_sigmask(signal.SIG_BLOCK, [{number}])
print("there", flush=True)
sys.exit(40 + signal.sigwait([{number}]))
"""
    with subprocess.Popen(
        [*_NAMESPACES, sys.executable, "-c", script], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"there\n"
            os.kill(_child(process.pid), number)
            assert process.wait(timeout=10) == 40 + number
        finally:
            process.kill()  # and with it everything inside


def test_elsewhere_nothing_is_done() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    first_process.give_way()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
