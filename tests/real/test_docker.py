"""The application in a real container: what eiderd sees of it, and does to it.

A Docker of the tests' own; without root and `dockerd` all of this is skipped, and says why.
"""

from __future__ import annotations

import datetime
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd.errors import ApplicationFailed
from eiderd.evidence import ApplicationState
from eiderd.health import Kind
from eiderd.outside.application import MOST_FROZEN_SECONDS, application_of
from eiderd.outside.application.looking import look
from eiderd.watch import application as watcher
from tests import helpers
from tests.helpers import Place, until
from tests.real import containers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.outside.application import Application

# Holds an application until it is killed, as `eider backup` does.
_HOLDER = """
import json, sys, time
from eiderd.outside.application import hold
words = {"kind": "docker", "container": sys.argv[1]}
with hold.kept(words, hold=sys.argv[2], seconds=60) as keeper, keeper.held():
    print("held", flush=True)
    time.sleep(600)
"""
# Does what docker does, and kills whoever wanted it done when it has paused something.
_DEADLY = """#!/bin/sh
{docker} "$@" || exit
if [ "$1" = pause ]; then touch {folder}/paused; kill -9 "$(cat {folder}/pid)"; fi
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[containers.Docker]:
    with containers.running() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", running.host)
        yield running


@pytest.fixture(scope="module")
def place(docker: containers.Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A live application, with a policy that always starts it anew, and a place to back it up."""
    made = Place(tmp_path_factory.mktemp("place"))
    docker.start_application(
        "app", made.database.parent, "--restart=always", "--health-cmd=true",
        "--health-interval=5s",
    )  # fmt: skip
    yield made.configure(
        database__path=str(made.database),
        mirror__passes=3,
        mirror__rate_limit="12MB",
        application__kind="docker",
        application__container="app",
        application__allow_freeze=True,
        application__timeout="10s",
    )
    docker.remove("app")


@pytest.fixture
def busy(place: Place) -> Iterator[Path]:
    """Let the application never rest, so that only a freeze gives a copy."""
    file = place.database.with_name("busy")
    file.touch()
    yield file
    file.unlink()


def _application(name: str = "app") -> Application:
    return application_of(kind="docker", container=name, timeout_seconds=10.0)


def _changes(place: Place) -> tuple[int, int]:
    about = place.database.stat()
    wal = place.wal.stat().st_size if place.wal.exists() else 0
    return about.st_mtime_ns, wal


def _until_it_writes(place: Place) -> None:
    before = _changes(place)
    until(lambda: _changes(place) != before, what="another commit")


# What is seen -----------------------------------------------------------------------------------


def test_a_container_that_runs_is_seen_with_the_lock_that_is_its_own(place: Place) -> None:
    seen = look(_application(), database=place.database)
    assert (seen.state, seen.frozen, seen.restarts) == (ApplicationState.RUNNING, False, 0)
    assert seen.stranger is None
    assert not seen.why
    theirs = look(_application("app"), database=Path("/nonexistent"))
    assert theirs.stranger is None


def test_whoever_else_holds_the_database_is_a_stranger(
    docker: containers.Docker, place: Place
) -> None:
    docker.start("other", "eiderd", "sleep", "600")
    try:
        stranger = look(_application("other"), database=place.database).stranger
    finally:
        docker.remove("other")
    assert stranger is not None
    assert "/application.py" in stranger.said


def test_the_health_check_of_the_container_is_heard(
    docker: containers.Docker, tmp_path: Path
) -> None:
    check = ("--health-cmd=test ! -e /data/ill", "--health-interval=300ms", "--health-retries=1")
    mounted = docker.mounted(tmp_path, options=":ro")
    tmp_path.chmod(0o755)
    docker.start("probed", *check, *mounted, "eiderd", "sleep", "600")
    probed = _application("probed")
    try:
        assert probed.health().well  # nobody has looked yet
        until(lambda: docker.state("probed")["Health"]["Status"] == "healthy")
        assert probed.health().well
        (tmp_path / "ill").touch()
        until(lambda: docker.state("probed")["Health"]["Status"] == "unhealthy")
        health = probed.health()
        assert (health.well, health.why) == (False, "its health check in Docker fails")
    finally:
        docker.remove("probed")


@pytest.mark.parametrize(
    ("words", "options", "why"),
    [
        (("sh", "-c", "exit 3"), (), "it ended with exit code 3"),
        (
            ("python", "-c", "bytearray(b'x') * (1 << 30)"),
            ("--memory=40m", "--memory-swap=40m"),
            "it was killed because its memory ran out",
        ),
        (("no-such-program",), (), "Docker could not start it: "),
    ],
)
def test_one_that_died_is_told_from_one_that_was_stopped(
    docker: containers.Docker, words: tuple[str, ...], options: tuple[str, ...], why: str
) -> None:
    docker.do("create", "--name=short", *containers.CONFINED, *options, "eiderd", *words)
    try:
        docker.run("start", "short")
        until(lambda: docker.state("short")["Status"] in ("exited", "created"))
        seen = look(_application("short"), database=Path("/nonexistent"))
        assert seen.state is ApplicationState.FAILED
        assert why in seen.why
        (found,), _known = watcher.run(now=_minute(0), seen=seen, known=watcher.NOTHING)
        assert found.kind is Kind.APPLICATION_DOWN
        assert why.strip() in found.message
    finally:
        docker.remove("short")


@pytest.mark.parametrize("how", [("stop", "-t", "0"), ("kill",), ("stop", "-t", "5")])
def test_one_that_somebody_stopped_has_not_failed(
    docker: containers.Docker, how: tuple[str, ...]
) -> None:
    docker.start("short", "--restart=always", "eiderd", "sleep", "600")
    try:
        docker.do(*how, "short")
        until(lambda: not docker.state("short")["Running"])
        details = _application("short").details()
        assert (details.state, details.why) == (ApplicationState.STOPPED, "")
    finally:
        docker.remove("short")


def test_one_that_docker_starts_over_and_over_is_a_restart_loop(docker: containers.Docker) -> None:
    docker.do(
        "create", "--name=short", "--restart=always", *containers.CONFINED, "eiderd",
        "sh", "-c", "exit 3",
    )  # fmt: skip
    try:
        found, known = _watched("short", minute=0, known=watcher.Known(suspected=frozenset()))
        assert Kind.RESTART_LOOP not in found
        docker.do("start", "short")
        until(lambda: docker.restarts("short") >= 3, what="three restarts")
        found, known = _watched("short", minute=1, known=known)
        assert Kind.RESTART_LOOP in found
        until(lambda: docker.state("short")["Status"] == "restarting")
        details = _application("short").details()
        assert details.state is ApplicationState.FAILED
        assert details.why == "it ended with exit code 3"
    finally:
        docker.remove("short")


def _watched(name: str, *, minute: int, known: watcher.Known) -> tuple[set[Kind], watcher.Known]:
    seen = look(_application(name), database=Path("/nonexistent"))
    found, known = watcher.run(now=_minute(minute), seen=seen, known=known)
    return {one.kind for one in found}, known


def _minute(number: int) -> datetime.datetime:
    return datetime.datetime(2026, 3, 4, 12, number, tzinfo=datetime.UTC)


@pytest.mark.parametrize("verb", ["details", "freeze", "thaw", "start", "stop"])
def test_a_name_that_no_container_has_is_said(docker: containers.Docker, verb: str) -> None:
    missing = _application("nobody")
    assert missing.state() is ApplicationState.UNKNOWN
    with pytest.raises(ApplicationFailed, match="container nobody: No such container") as caught:
        getattr(missing, verb)()
    assert "docker ps --all" in caught.value.hint


def test_without_docker_the_doctor_says_what_to_type_and_a_backup_is_taken(place: Place) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    checks = place.eider("doctor", "--json", env=nowhere).json["checks"]
    (check,) = (one for one in checks if one["name"] == "application")
    assert check["mark"] == "problem"
    assert "Cannot connect to the Docker daemon" in check["said"]
    assert "systemctl start docker" in check["command"]
    place.configure(**_settings(place, mirror__rate_limit="1GB"))
    ran = place.eider("backup", "--json", env=nowhere)
    place.configure(**_settings(place))
    assert ran.code == 0, ran
    assert ran.json["state"] == "verified"


def _settings(place: Place, **more: object) -> dict[str, object]:
    return {
        "mirror__passes": 3,
        "mirror__rate_limit": "12MB",
        "application__kind": "docker",
        "application__container": "app",
        "application__allow_freeze": True,
        "application__timeout": "10s",
        **more,
    }


# What is done -----------------------------------------------------------------------------------


def test_a_container_that_never_rests_is_paused_for_a_moment_and_backed_up(
    docker: containers.Docker, place: Place, busy: Path
) -> None:
    began = time.time()
    made = place.backup()
    assert made["state"] == "verified"
    assert made["consistency"]["method"] == "freeze"
    assert 0 < made["consistency"]["frozen_seconds"] < MOST_FROZEN_SECONDS
    happened = [one for one in docker.events("app", since=began) if "exec" not in one]
    assert [one for one in happened if "health" not in one] == ["pause", "unpause"]
    _until_it_writes(place)


def test_an_eider_that_is_killed_while_the_container_is_paused_leaves_it_running(
    docker: containers.Docker, place: Place, busy: Path, tmp_path: Path
) -> None:
    program = tmp_path / "programs" / "docker"
    program.parent.mkdir()
    program.write_text(_DEADLY.format(docker=shutil.which("docker"), folder=tmp_path))
    program.chmod(0o755)
    began = time.time()
    path = f"{program.parent}:{helpers.environment()['PATH']}"
    eider = helpers.start("backup", config=place.config, env={"PATH": path})
    (tmp_path / "pid").write_text(str(eider.pid))
    said = eider.communicate(timeout=helpers.SECONDS)
    assert eider.returncode == -signal.SIGKILL, said
    assert (tmp_path / "paused").exists()
    until(lambda: "unpause" in docker.events("app", since=began), what="an unpause")
    _until_it_writes(place)


@pytest.mark.parametrize("way", ["freeze", "stop"])
def test_it_goes_on_when_whoever_holds_it_is_killed(
    docker: containers.Docker, place: Place, way: str
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, "app", way], stdout=subprocess.PIPE, start_new_session=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    held = docker.state("app")
    assert held["Paused"] if way == "freeze" else not held["Running"]
    holder.kill()
    holder.communicate()
    until(lambda: docker.state("app")["Status"] == "running", what="its going on")
    _until_it_writes(place)


def test_one_that_docker_always_starts_anew_stays_down_while_it_is_restored(
    docker: containers.Docker, place: Place
) -> None:
    place.configure(**_settings(place, mirror__rate_limit="1GB"))
    place.backup()
    began = time.time()
    ran = place.eider("restore", "latest", "--yes", "--json")
    place.configure(**_settings(place))
    assert ran.code == 0, ran
    wanted = ("kill", "die", "stop", "start", "restart")
    happened = [one for one in docker.events("app", since=began) if one in wanted]
    assert happened[-1] == "start"
    assert happened.count("start") == 1
    assert happened.count("stop") == 1
    assert docker.restarts("app") == 0
    _until_it_writes(place)
    set_aside = [path.name for path in place.database.parent.iterdir() if "before" in path.name]
    assert set_aside


def test_a_container_that_will_not_end_is_killed_in_time(docker: containers.Docker) -> None:
    docker.start("deaf", "--restart=always", "eiderd", "sleep", "600")  # a first process hears none
    try:
        began = time.monotonic()
        application_of(kind="docker", container="deaf", timeout_seconds=1.0).stop()
        assert time.monotonic() - began < 20
        assert _application("deaf").state() is ApplicationState.STOPPED
        _application("deaf").start()
        assert _application("deaf").state() is ApplicationState.RUNNING
    finally:
        docker.remove("deaf")
