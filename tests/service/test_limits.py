"""The limits of the unit are in force: a child that takes too much ends, the service goes on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.helpers import until
from tests.service import box, product
from tests.service.installed import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORKER: Final = (
    "/usr/lib/eiderd/lib/python3.11/site-packages/eiderd/outside/engine_worker/worker.py"
)
_FILES: Final = {  # of the kernel, by controller: in a hierarchy of version 1, and of version 2
    "memory": ("memory.limit_in_bytes", "memory.max"),
    "pids": ("pids.max", "pids.max"),
}
_GREEDY: Final = "held = b'x' * 700_000_000\n"
# It joins the group of the service, and begins processes until it may not.
_BEGIN_MANY: Final = """
import os, signal, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
begun = []
try:
    while len(begun) < 1000:
        child = os.fork()
        if not child:
            signal.pause()
        begun.append(child)
except BlockingIOError:
    pass
for child in begun:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print(len(begun))
"""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if why := box.limits_missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("limits") / "box"
    package = product.deb()
    made = Machine(folder, debian="12", limits=True)
    try:
        made.boot()
        made.install(package)
        made.give_an_application()
        made.configure()
        made.do("systemctl", "enable", "--now", "eiderd")
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _group(machine: Machine, controller: str) -> str:
    """Return where the kernel's files about the service are."""
    group = machine.show("eiderd", "ControlGroup")
    return f"/sys/fs/cgroup/{controller}{group}" if machine.v1 else f"/sys/fs/cgroup{group}"


def _said(machine: Machine, controller: str) -> str:
    name = _FILES[controller][0 if machine.v1 else 1]
    return machine.do("cat", f"{_group(machine, controller)}/{name}").strip()


def test_the_kernel_holds_the_service_to_what_its_unit_says(limited: Machine) -> None:
    limited.await_backup(seconds=120)  # all of a backup fits into it
    assert _said(limited, "memory") == str(3 << 30)
    assert _said(limited, "pids") == "256"
    for unit in ("eiderd", "eiderd-maintain@compact"):
        assert limited.show(unit, "OOMPolicy") == "continue"


def test_no_more_tasks_than_that_are_begun(limited: Machine) -> None:
    before = limited.show("eiderd", "MainPID")
    begun = int(limited.python(_BEGIN_MANY, _group(limited, "pids")))
    assert 200 < begun < 256
    assert limited.show("eiderd", "MainPID") == before
    assert limited.get("/healthz")


def test_a_child_that_takes_too_much_memory_is_killed_and_the_service_goes_on(
    limited: Machine,
) -> None:
    limited.do("cp", "-a", _WORKER, "/root/worker.py")
    limited.forget_backups()
    limited.write(
        "/etc/systemd/system/eiderd.service.d/small.conf",
        "[Service]\nMemoryMax=500M\nMemorySwapMax=0\n",
    )
    limited.do("sed", "-i", f"/^import duckdb/i {_GREEDY.strip()}", _WORKER)
    limited.do("systemctl", "daemon-reload")
    limited.do("systemctl", "start", "eiderd")
    before = limited.show("eiderd", "MainPID")
    assert _said(limited, "memory") == str(500 << 20)

    until(lambda: bool(limited.backups()), seconds=120, what="a backup")
    (backup,) = limited.backups()
    newest = limited.eider("show", backup)
    assert newest["state"] == "unverified"
    failure = newest["proof"]["failure"]
    assert failure["kind"] == "out_of_memory"  # and no word of a damaged database
    assert "as when memory runs out" in failure["message"]
    assert limited.show("eiderd", "MainPID") == before
    assert limited.show("eiderd", "NRestarts") == "0"
    assert limited.show("eiderd", "ActiveState") == "active"
    assert limited.get("/healthz")

    limited.do("cp", "-a", "/root/worker.py", _WORKER)
    assert limited.eider("verify", backup)
    assert limited.backups()[backup] == "verified"
