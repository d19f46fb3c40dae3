"""What hangs, raises or dies inside the service: the rest goes on, and a finding says what it is.

The true service is started with a `sitecustomize` in front of it that shortens the timetable of the
watchers to seconds and breaks, from then on, what a file in the folder `broken` names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import Place, children_with, given_place, is_root, until
from tests.running import Running, running

BACKED_UP = 'eider_job_runs_total{job_name="backup",outcome="done"}'
UNPROVEN = 'eider_job_runs_total{job_name="backup",outcome="unproven"}'

_HOOK = """
import dataclasses, datetime, os, pathlib, time

BROKEN = pathlib.Path(os.environ["HANGS_BROKEN"])
broken = lambda name: (BROKEN / name).exists()

from eiderd import schedule
from eiderd.model import Job
from eiderd.watch import freshness
from eiderd.outside import filesystem
from eiderd.outside.web import Web
from apscheduler.jobstores.memory import MemoryJobStore

_timetable, _freshness = schedule.timetable, freshness.run
_next, _alive = MemoryJobStore.get_next_run_time, Web.alive
second = datetime.timedelta(seconds=1)

def timetable(**words):
    def quick(entry):
        if entry.lane is schedule.Lane.WATCH:
            return dataclasses.replace(entry, when=schedule.Every(second), limit=2 * second)
        return dataclasses.replace(entry, limit=2 * second) if broken("limit") else entry
    return tuple(map(quick, _timetable(**words)))

def look(**words):
    if broken("watcher"):
        raise ValueError("as it was told to")
    while broken("look"):
        time.sleep(0.05)
    return _freshness(**words)

def get_next_run_time(self):
    if broken("clockwork"):
        raise RuntimeError("as it was told to")
    return _next(self)

def alive(self):
    if broken("web") and _alive(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
    return _alive(self)

schedule.timetable, freshness.run = timetable, look
MemoryJobStore.get_next_run_time, Web.alive = get_next_run_time, alive
for ask in (filesystem.look, filesystem.is_there):
    ask.__kwdefaults__["deadline_seconds"] = 1.0
"""

_STAT = """#!/bin/sh
[ -e "$HANGS_BROKEN/stat" ] && exec sleep 1000
exec /usr/bin/stat "$@"
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """The folder that says what is broken, and the environment of a service that heeds it."""

    folder: Path
    env: dict[str, str]

    def break_(self, name: str) -> None:
        (self.folder / name).touch()

    def mend(self, name: str) -> None:
        (self.folder / name).unlink()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return given_place(tmp_path, rows=2_000, wal_rows=100)


@pytest.fixture
def broken(tmp_path: Path) -> Broken:
    hook, folder = tmp_path / "hook", tmp_path / "broken"
    hook.mkdir()
    folder.mkdir()
    # Children of the service get the same path, and have no eiderd: they must not fail of that.
    (hook / "sitecustomize.py").write_text(
        "import sys\nif sys.orig_argv[1].endswith('/eiderd'):\n"
        + "".join(f"    {line}\n" for line in _HOOK.splitlines())
    )
    stat = hook / "stat"
    stat.write_text(_STAT)
    stat.chmod(0o755)
    env = {
        "PYTHONPATH": str(hook),
        "PATH": f"{hook}:{os.environ['PATH']}",
        "HANGS_BROKEN": str(folder),
    }
    return Broken(folder, env)


def _given_engine(place: Place, script: str) -> Path:
    """Make a side environment whose python is a script."""
    home = place.root / "engines" / "1.4.3"
    (home / "bin").mkdir(parents=True)
    python = home / "bin" / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return home


def _runs(service: Running, job: str, outcome: str = "done") -> float:
    return service.metrics()[f'eider_job_runs_total{{job_name="{job}",outcome="{outcome}"}}']


def _goes_on(service: Running, job: str) -> None:
    """Hold that a watcher still looks."""
    before = _runs(service, job)
    service.until(lambda: _runs(service, job) > before + 1, what=f"{job} goes on")


# An engine that hangs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        # Not `sleep`: what is looked for below is a command line that names eiderd, and the engine.
        f"exec {sys.executable} -c 'import time; time.sleep(1000)' eiderd \"$0\"",
        "kill -STOP $$",
        "trap '' TERM INT; while :; do :; done",
    ],
    ids=["sleeps", "is stopped", "spins"],
)
def test_an_engine_that_hangs_is_ended_at_its_deadline(
    place: Place, broken: Broken, script: str
) -> None:
    home = _given_engine(place, script)
    with running(
        place, env=broken.env, engine__others=[str(home)], engine__application="1.4.3",
        engine__deadline="2s",
    ) as service:  # fmt: skip
        service.until(lambda: any(job == "backup" for job in _at_work(service)))
        service.until(lambda: bool(children_with(str(home))), what="the engine that hangs")
        _goes_on(service, "disk")
        assert service.get("/healthz")[0] == 200
        service.until(lambda: service.metrics()[UNPROVEN] == 1, seconds=20, what="unproven")
        service.until(lambda: "unverified_backup" in service.kinds(), what="the finding")
        assert "deadline" in str(service.ready())
        assert list(place.listed().values()) == ["unverified"]
        # What asks for the schema after the backup is ended at the same deadline.
        service.until(lambda: not children_with(str(home)), what="no engine is left")
        until(lambda: not children_with(str(place.backups)), what="no child reads or writes")
        _goes_on(service, "freshness")
        assert service.end() == 0


def _at_work(service: Running) -> list[str]:
    running = [name for name, value in service.metrics().items()
               if name.startswith("eider_job_running") and value]  # fmt: skip
    return [name.partition('job_name="')[2].partition('"')[0] for name in running]


# A disk that hangs -------------------------------------------------------------------------------


def test_a_disk_that_does_not_answer_is_a_finding_and_holds_nobody(
    place: Place, broken: Broken
) -> None:
    with running(place, env=broken.env) as service:
        service.until(lambda: service.metrics()[BACKED_UP] == 1)
        broken.break_("stat")
        _goes_on(service, "freshness")
        service.until(lambda: "watcher_failed" in service.kinds(), what="the finding")
        began = time.monotonic()
        assert service.get("/healthz")[0] == 200
        assert service.get("/metrics")[0] == 200
        assert time.monotonic() - began < 2
        _goes_on(service, "content")
        broken.mend("stat")
        service.until(lambda: "watcher_failed" not in service.kinds(), what="it is over")
        broken.break_("stat")
        began = time.monotonic()
        assert service.end() == 0
        assert time.monotonic() - began < 10


def freeze(folder: Path) -> None:
    subprocess.run(["fsfreeze", "-f", str(folder)], check=True, capture_output=True)


def thaw(folder: Path) -> None:
    subprocess.run(["fsfreeze", "-u", str(folder)], check=False, capture_output=True)


@contextlib.contextmanager
def _disk_of_its_own(folder: Path) -> Iterator[Path]:
    """Mount a small filesystem of its own at `folder`. Thaw and unmount it whatever happens."""
    image = folder.with_name("image")
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    made = ["mkfs.ext4", "-q", "-F", str(image)]
    mounted = ["mount", "-o", "loop", str(image), str(folder)]
    for command in (made, mounted):
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=20)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no filesystem of its own here: {command[0]}: {error}")
    try:
        yield folder
    finally:
        thaw(folder)
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


@pytest.mark.skipif(not is_root(), reason="only root may mount and freeze a filesystem")
@pytest.mark.parametrize("told_to_end", [False, True], ids=["thaws", "is told to end"])
def test_a_backup_that_writes_to_a_dead_disk_overruns_and_holds_nobody(
    place: Place, broken: Broken, *, told_to_end: bool
) -> None:
    broken.break_("limit")
    with _disk_of_its_own(place.backups), running(place, env=broken.env, ready=False) as service:
        freeze(place.backups)
        service.until_told("READY=1")
        service.until(lambda: "job_overran" in service.kinds(), what="the finding")
        assert service.get("/healthz")[0] == 200
        assert service.get("/metrics")[0] == 200
        _goes_on(service, "freshness")
        _goes_on(service, "disk")
        if not told_to_end:
            thaw(place.backups)
            service.until(lambda: service.metrics()[BACKED_UP] == 1, what="the backup")
            service.until(lambda: service.ready()["condition"] == "well", what="well")
            assert service.end() == 0
            return
        service.send(signal.SIGTERM)
        # No process ends while one of its threads sleeps in the kernel; but all others have.
        service.until(lambda: _threads(service) == 1, seconds=12, what="one thread left")
        thaw(place.backups)
        assert service.process.wait(timeout=2) == 0


def _threads(service: Running) -> int:
    """Return how many threads live. The first one of a process stays as a shell of itself."""
    states = []
    for status in Path(f"/proc/{service.process.pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states.append(status.read_text().rpartition(") ")[2][0])
    return len([state for state in states if state not in "ZX"])


# What raises or dies -----------------------------------------------------------------------------


def test_a_watcher_that_always_raises_is_a_finding_and_the_others_go_on(
    place: Place, broken: Broken
) -> None:
    broken.break_("watcher")
    with running(place, env=broken.env) as service:
        service.until(lambda: "watcher_failed" in service.kinds(), what="the finding")
        [said] = [one for one in service.ready()["findings"] if one["kind"] == "watcher_failed"]
        assert said["subject"] == "freshness"
        assert "as it was told to" in said["message"]
        assert _runs(service, "freshness", "failed") > 0
        service.until(lambda: service.metrics()[BACKED_UP] == 1, what="the backup")
        _goes_on(service, "disk")
        _goes_on(service, "content")
        assert service.get("/healthz")[0] == 200
        broken.mend("watcher")
        service.until(lambda: "watcher_failed" not in service.kinds(), what="it is over")
        assert service.ready()["condition"] == "well"


def test_a_watcher_that_hangs_overruns_and_the_others_go_on(place: Place, broken: Broken) -> None:
    with running(place, env=broken.env) as service:
        service.until(lambda: service.ready()["condition"] == "well", what="well")
        broken.break_("look")
        service.until(lambda: "job_overran" in service.kinds(), what="the finding")
        found = {one["kind"]: one["subject"] for one in service.ready()["findings"]}
        assert found == {"job_overran": "freshness", "no_retention_rules": ""}
        _goes_on(service, "disk")
        assert service.get("/healthz")[0] == 200
        broken.mend("look")
        service.until(lambda: service.ready()["condition"] == "well", what="it is over")


def test_what_a_slow_first_look_finds_again_has_not_begun_anew(
    place: Place, broken: Broken
) -> None:
    def since(service: Running) -> list[str]:
        found = service.ready()["findings"]
        return [one["since"] for one in found if one["kind"] == "no_retention_rules"]

    with running(place, env=broken.env) as service:
        service.until(lambda: bool(since(service)), what="the finding")
        (first,) = since(service)
        assert service.end() == 0
    broken.break_("look")
    with running(place, env=broken.env) as service:  # ready, though not all has been looked at
        assert since(service) == []
        broken.mend("look")
        service.until(lambda: bool(since(service)), what="the finding")
        assert since(service) == [first]
        cleared = [line for line in service.lines() if line["word"] == "finding_cleared"]
        assert "no_retention_rules" not in [line["kind"] for line in cleared]


@pytest.mark.parametrize("helper", ["clockwork", "web"])
def test_a_helper_that_dies_ends_the_service_with_an_error(
    place: Place, broken: Broken, helper: str
) -> None:
    with running(place, env=broken.env) as service:
        service.until(lambda: service.metrics()[BACKED_UP] == 1)
        broken.break_(helper)
        assert service.process.wait(timeout=10) == 1
        [died] = [line for line in service.lines() if line.get("word") == "helper_died"]
        assert died["helper"] == helper
        # A child that was just being started ends when it finds nobody who orders anything.
        until(lambda: not children_with(str(place.root)), what="no child is left")
