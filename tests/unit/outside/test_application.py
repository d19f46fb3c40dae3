from __future__ import annotations

import datetime
import http.server
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd import config
from eiderd.app import App
from eiderd.errors import ApplicationFailed, ConfigError
from eiderd.evidence import ApplicationState, Health
from eiderd.outside import process
from eiderd.outside.application import Application, application_of, hold, until_healthy
from eiderd.outside.application import container as container_module
from eiderd.outside.application.unit import Unit
from tests.helpers import Place, until

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNNING, STOPPED = ApplicationState.RUNNING, ApplicationState.STOPPED
FAILED, UNKNOWN = ApplicationState.FAILED, ApplicationState.UNKNOWN


# No application, and the operator's own commands ------------------------------------------------


def test_nobody_starts_or_stops_what_is_not_configured(tmp_path: Path) -> None:
    application = application_of(kind="none", database=tmp_path / "app.duckdb")
    for refused in (
        application.start, application.stop, application.freeze, application.thaw,
    ):  # fmt: skip
        with pytest.raises(ApplicationFailed, match="does not know how") as caught:
            refused()
        assert "application.kind" in caught.value.hint
    assert application.state() is STOPPED


def _given_commands(folder: Path, **more: Any) -> Application:
    """Make an application whose whole life is a file: it runs while it is there."""
    alive = folder / "alive"
    commands = {
        "state": ["sh", "-c", f"test -e {alive} || exit 3"],
        "start": ["touch", str(alive)],
        "stop": ["rm", "-f", str(alive)],
        **more.pop("commands", {}),
    }
    return application_of(kind="commands", commands=commands, **more)


def test_commands_start_and_stop_the_application(tmp_path: Path) -> None:
    application = _given_commands(tmp_path)
    assert application.state() is STOPPED
    application.start()
    assert application.state() is RUNNING
    assert application.health() == Health(well=True, why="its state is running")
    application.stop()
    assert application.state() is STOPPED
    assert not application.health().well


def test_one_that_runs_is_not_started_again(tmp_path: Path) -> None:
    count = ["sh", "-c", f"echo x >> {tmp_path}/starts; touch {tmp_path}/alive"]
    application = _given_commands(tmp_path, commands={"start": count})
    application.start()
    application.start()
    assert (tmp_path / "starts").read_text() == "x\n"


@pytest.mark.parametrize(
    ("code", "state"), [(0, RUNNING), (1, FAILED), (2, FAILED), (3, STOPPED), (4, UNKNOWN)]
)
def test_the_state_command_answers_as_init_scripts_do(code: int, state: ApplicationState) -> None:
    commands = {"state": ["sh", "-c", f"exit {code}"]}
    assert application_of(kind="commands", commands=commands).state() is state


def test_a_stop_that_does_not_stop_is_a_failure(tmp_path: Path) -> None:
    application = _given_commands(tmp_path, commands={"stop": ["true"]}, timeout_seconds=0.2)
    application.start()
    with pytest.raises(ApplicationFailed, match="its state is running"):
        application.stop()


def test_a_stop_returns_only_when_it_is_stopped(tmp_path: Path) -> None:
    late = ["sh", "-c", f"(sleep 0.3; rm {tmp_path}/alive) & exit 0"]
    application = _given_commands(tmp_path, commands={"stop": late})
    application.start()
    application.stop()
    assert not (tmp_path / "alive").exists()


def test_a_command_that_hangs_is_ended_and_said(tmp_path: Path) -> None:
    hung = ["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait"]
    application = _given_commands(tmp_path, commands={"stop": hung}, timeout_seconds=0.5)
    with pytest.raises(ApplicationFailed, match=r"did not end within 0\.5 s"):
        application.stop()
    until(lambda: process.who(int((tmp_path / "pid").read_text())) is None)


def test_what_a_command_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    leaves = ["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid"]
    application = _given_commands(tmp_path, commands={"start": leaves}, timeout_seconds=5)
    began = time.monotonic()
    application.start()
    assert time.monotonic() - began < 5
    os.kill(int((tmp_path / "pid").read_text()), 9)  # it is there: it was not ended


@pytest.mark.parametrize("bad", [["no-such-command-here"], ["sh", "-c", "echo no >&2; exit 5"]])
def test_a_command_that_fails_says_what_it_said(tmp_path: Path, bad: list[str]) -> None:
    application = _given_commands(tmp_path, commands={"freeze": bad})
    with pytest.raises(ApplicationFailed, match="no") as caught:
        application.freeze()
    assert caught.value.hint
    with pytest.raises(ApplicationFailed, match="no command to thaw"):
        application.thaw()


def test_what_a_command_says_cannot_steer_a_terminal(tmp_path: Path) -> None:
    said = ["sh", "-c", "printf '\\033[2Jboo' >&2; exit 1"]
    with pytest.raises(ApplicationFailed) as caught:
        _given_commands(tmp_path, commands={"thaw": said}).thaw()
    assert caught.value.message.isprintable()


def test_where_nothing_temporary_can_be_kept_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(ApplicationFailed, match="no room for what a command says") as caught:
        _given_commands(tmp_path).start()
    assert "tmpfs /tmp" in caught.value.hint


# Stand-ins for what does not run here -----------------------------------------------------------


def _given_program(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> Path:
    """Put a program first on the PATH. It appends its words to `asked`."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    program = programs / name
    program.write_text(f'#!/bin/sh\ncd {folder}\necho "$*" >> asked\n{script}')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return folder / "asked"


SYSTEMCTL = """
case "$*" in
*" show "*) cat shown ;;
*" stop "*) sed -i 's/^ActiveState=.*/ActiveState=inactive/' shown ;;
*" start "*) sed -i 's/^ActiveState=.*/ActiveState=active/' shown ;;
*" freeze "*) sed -i 's/^FreezerState=.*/FreezerState=frozen/' shown ;;
*" thaw "*) test -e stuck || sed -i 's/^FreezerState=.*/FreezerState=running/' shown ;;
*" reset-failed "*) exit 1 ;;
esac
"""


def _given_unit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **properties: str
) -> tuple[Application, Path]:
    shown = {
        "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "CanFreeze": "yes",
        "FreezerState": "running", "WatchdogUSec": "0", "ControlGroup": "/system.slice/app.service",
        **properties,
    }  # fmt: skip
    (folder / "shown").write_text("".join(f"{key}={said}\n" for key, said in shown.items()))
    asked = _given_program(folder, monkeypatch, "systemctl", SYSTEMCTL)
    return application_of(kind="systemd", unit="app.service"), asked


def test_a_unit_is_stopped_started_frozen_and_thawed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, asked = _given_unit(tmp_path, monkeypatch)
    unit.freeze()
    assert "FreezerState=frozen" in (tmp_path / "shown").read_text()
    unit.thaw()
    unit.stop()
    assert unit.state() is STOPPED
    unit.start()
    assert unit.state() is RUNNING
    said = [line.split() for line in asked.read_text().splitlines()]
    verbs = [words[2] for words in said if words[2] != "show"]
    assert verbs == ["freeze", "thaw", "stop", "reset-failed", "start"]
    assert all(words[-2:] == ["--", "app.service"] for words in said)


@pytest.mark.parametrize(
    ("properties", "missing"),
    [
        ({"ActiveState": "inactive", "LoadState": "not-found"}, True),
        ({"ActiveState": "active", "LoadState": "not-found"}, False),  # only its file has gone
        ({"ActiveState": "inactive"}, False),
    ],
)
def test_a_unit_that_is_not_there_is_told_by_the_configuration(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    properties: dict[str, str],
    missing: bool,  # noqa: FBT001  (pytest gives it by its name)
) -> None:
    _given_unit(tmp_path, monkeypatch, **properties)
    place = Place(tmp_path).configure(application__kind="systemd", application__unit="app.service")
    said = App(config.load(place.config)[0]).problems()
    assert ("application.unit: there is no unit app.service" in said) == missing


def test_without_systemd_no_unit_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, _asked = _given_unit(tmp_path, monkeypatch)
    _given_program(tmp_path, monkeypatch, "systemctl", "echo no systemd >&2; exit 1")
    assert isinstance(unit, Unit)
    assert not unit.is_missing()


@pytest.mark.parametrize(
    ("properties", "state"),
    [
        ({"ActiveState": "active"}, RUNNING),
        ({"ActiveState": "deactivating", "SubState": "stop-sigterm"}, RUNNING),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, FAILED),
        ({"ActiveState": "failed"}, FAILED),
        ({"ActiveState": "inactive", "SubState": "dead"}, STOPPED),
        ({"ActiveState": "inactive", "LoadState": "not-found"}, UNKNOWN),
        ({"ActiveState": "something new"}, UNKNOWN),
    ],
)
def test_the_state_of_a_unit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    properties: dict[str, str],
    state: ApplicationState,
) -> None:
    assert _given_unit(tmp_path, monkeypatch, **properties)[0].state() is state


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"WatchdogUSec": "5s"}, "watchdog"),
        ({"WatchdogUSec": "9s 999ms"}, "watchdog"),
        ({"WatchdogUSec": "soon"}, "watchdog"),
        ({"WatchdogUSec": ""}, "watchdog"),
        ({"CanFreeze": "no"}, "cannot be frozen"),
        ({"ActiveState": "inactive"}, "not active"),
        ({"FreezerState": "frozen"}, "frozen already"),
    ],
)
def test_a_unit_that_a_freeze_may_harm_is_not_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, properties: dict[str, str], why: str
) -> None:
    unit, asked = _given_unit(tmp_path, monkeypatch, **properties)
    with pytest.raises(ApplicationFailed, match=why) as caught:
        unit.await_freezable()
    assert caught.value.hint
    words = {"kind": "systemd", "unit": "app.service"}
    with (
        hold.kept(words, hold="freeze", seconds=1) as keeper,
        pytest.raises(ApplicationFailed),
        keeper.held(),
    ):
        pytest.fail("it was frozen")
    assert " freeze " not in asked.read_text()
    assert " thaw " not in asked.read_text(), "it may be somebody else's freeze"


@pytest.mark.parametrize("watchdog", ["0", "infinity", "10s", "1min 30s", "2h", "1month"])
def test_a_unit_with_a_patient_watchdog_is_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watchdog: str
) -> None:
    unit, asked = _given_unit(tmp_path, monkeypatch, WatchdogUSec=watchdog)
    unit.await_freezable()
    unit.freeze()
    assert " freeze " in asked.read_text()


def test_the_unit_that_eiderd_runs_in_is_neither_frozen_nor_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Path("/proc/self/cgroup").read_text().splitlines()[0].split(":", 2)[2]
    unit, asked = _given_unit(tmp_path, monkeypatch, ControlGroup=ours)
    for refused in (unit.await_freezable, unit.stop):
        with pytest.raises(ApplicationFailed, match="that eiderd itself runs in"):
            refused()
    assert "freeze" not in asked.read_text()
    assert "stop" not in asked.read_text()


def test_a_unit_that_stays_frozen_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit, _asked = _given_unit(tmp_path, monkeypatch)
    unit.freeze()
    (tmp_path / "stuck").touch()
    with pytest.raises(ApplicationFailed, match="is frozen after it was thawed"):
        unit.thaw()


@pytest.mark.parametrize(
    "name", ["", "-H.service", "app", "a b.service", "app.service\n", "../x.service", "app.timer"]
)
def test_what_is_no_unit_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        application_of(kind="systemd", unit=name)


DOCKER = """
case "$1" in
compose) cat ids ;;
inspect) test -e state || { echo 'Error response from daemon: No such container: app' >&2; exit 1; }
    printf '{"id": "%s", "restarts": 4, "state": ' "$(cat id)"
    cat state; echo ', "probe": '; cat probe; echo '}' ;;
stop) echo '{"Status":"exited","ExitCode":0}' > state ;;
start) echo '{"Status":"running","Paused":false}' > state ;;
pause) echo '{"Status":"paused","Paused":true}' > state ;;
unpause) grep -q paused state || exit 1; echo '{"Status":"running","Paused":false}' > state ;;
esac
"""


def _given_container(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "app"
) -> tuple[Application, Path]:
    (folder / "state").write_text('{"Status":"running","Paused":false}\n')
    (folder / "id").write_text("f" * 64)
    (folder / "ids").write_text("c0ffee\n")
    (folder / "probe").write_text("null")
    asked = _given_program(folder, monkeypatch, "docker", DOCKER)
    return application_of(kind="docker", container=name), asked


@pytest.mark.parametrize("name", ["app", "compose:/srv/compose.yaml:app"])
def test_a_container_is_stopped_started_paused_and_unpaused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    container, asked = _given_container(tmp_path, monkeypatch, name)
    container.await_freezable()
    container.freeze()
    assert container.state() is RUNNING
    container.thaw()
    container.thaw()  # of one that is not paused
    container.stop()
    assert container.state() is STOPPED
    container.start()
    assert container.state() is RUNNING
    said = [line.split() for line in asked.read_text().splitlines()]
    told = [words for words in said if words[0] not in ("inspect", "compose")]
    assert [words[0] for words in told] == ["pause", "unpause", "stop", "start"]
    assert {words[-1] for words in told} == {"app" if name == "app" else "c0ffee"}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"Status": "created", "ExitCode": 0}, STOPPED),
        ({"Status": "created", "Error": "no such device", "ExitCode": 128}, FAILED),
        ({"Status": "restarting", "ExitCode": 0}, FAILED),
        ({"Status": "dead"}, FAILED),
        ({"Status": "removing"}, UNKNOWN),
        ({"Status": "exited", "ExitCode": 0}, STOPPED),
        ({"Status": "exited", "ExitCode": 130}, STOPPED),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": False}, STOPPED),
        ({"Status": "exited", "ExitCode": 143}, STOPPED),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, FAILED),
        ({"Status": "exited", "ExitCode": 1}, FAILED),
        ({"Status": "exited", "ExitCode": 139}, FAILED),
    ],
)
def test_the_state_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], state: ApplicationState
) -> None:
    container, _asked = _given_container(tmp_path, monkeypatch)
    (tmp_path / "state").write_text(json.dumps(said))
    assert container.state() is state


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"Status": "exited", "ExitCode": 3}, "it ended with exit code 3"),
        ({"Status": "restarting", "ExitCode": 3}, "it ended with exit code 3"),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, "its memory ran out"),
        ({"Status": "created", "Error": "a\x1b[31m", "ExitCode": 128}, "not start it: a?[31m"),
        ({"Status": "running", "ExitCode": 3, "OOMKilled": True}, ""),
        ({"Status": "exited", "ExitCode": 0, "OOMKilled": True}, ""),
    ],
)
def test_a_container_that_failed_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], why: str
) -> None:
    container, _asked = _given_container(tmp_path, monkeypatch)
    (tmp_path / "state").write_text(json.dumps(said))
    found = container.details()
    assert found.why.endswith(why)
    assert bool(found.why) == bool(why)
    assert (found.restarts, found.group) == (4, "f" * 64)


@pytest.mark.parametrize(
    ("status", "well"), [("healthy", True), ("starting", True), ("unhealthy", False), (None, True)]
)
def test_a_container_is_as_well_as_its_own_health_check_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str | None, *, well: bool
) -> None:
    container, _asked = _given_container(tmp_path, monkeypatch)
    health = status and {"Status": status}
    (tmp_path / "state").write_text(json.dumps({"Status": "running", "Health": health}))
    assert container.health().well is well


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "Error response from daemon: driver failed\nError: failed to start containers: app",
            "container app: driver failed",
            "docker ps --all",
        ),
        (
            "Cannot connect: Is the docker daemon running?\nError: failed to start containers: app",
            "Cannot connect",
            "systemctl start docker",
        ),
        ("dial unix /var/run/docker.sock: permission denied", "permission", "eider setup --docker"),
        ("Error response from daemon: No such container: app", "No such", "application.container"),
    ],
)
def test_what_docker_complains_of_is_said_with_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, message: str, hint: str
) -> None:
    script = f"cat >&2 <<'END'\n{said}\nEND\nexit 1\n"
    _given_program(tmp_path, monkeypatch, "docker", script)
    container = application_of(kind="docker", container="app")
    with pytest.raises(ApplicationFailed, match=message) as caught:
        container.start()
    assert "failed to start" not in caught.value.message
    assert hint in caught.value.hint


NEVER_YET, JUST_NOW = None, 0.0


@pytest.mark.parametrize(
    ("probe", "ended_seconds_ago", "may"),
    [
        (None, NEVER_YET, True),
        ({"Test": ["NONE"]}, JUST_NOW, True),
        ({"Test": ["CMD", "x"], "Interval": 30e9}, NEVER_YET, False),
        ({"Test": ["CMD", "x"], "Interval": 30e9}, JUST_NOW, True),
        ({"Test": ["CMD", "x"]}, 20.0, True),
        ({"Test": ["CMD", "x"]}, 28.0, False),  # about to begin
        ({"Test": ["CMD", "x"]}, 31.0, False),  # at work
        ({"Test": ["CMD", "x"], "Interval": 1e9}, JUST_NOW, False),
        ({"Test": ["CMD", "x"], "Interval": 90e9, "StartPeriod": 60e9}, 4.0, False),
        ({"Test": ["CMD", "x"], "Interval": 90e9, "StartPeriod": 60e9}, JUST_NOW, True),
    ],
)
def test_a_container_is_not_paused_into_its_health_check(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    probe: dict[str, Any] | None,
    ended_seconds_ago: float | None,
    *,
    may: bool,
) -> None:
    monkeypatch.setattr(container_module, "_PROBED_SECONDS", 0.0)
    container, _asked = _given_container(tmp_path, monkeypatch)
    log = []
    if ended_seconds_ago is not None:
        now = datetime.datetime.now(datetime.UTC)
        ended = (now - datetime.timedelta(seconds=ended_seconds_ago)).isoformat()
        log = [{"End": "2020-01-01T00:00:00Z"}, {"End": ended.replace("+00:00", "123+00:00")}]
    health = {"Status": "healthy", "Log": log}
    (tmp_path / "state").write_text(json.dumps({"Status": "running", "Health": health}))
    (tmp_path / "probe").write_text(json.dumps(probe))
    if may:
        container.await_freezable()
    else:
        with pytest.raises(ApplicationFailed, match="leaves no time for a freeze") as caught:
            container.await_freezable()
        assert "allow_stop" in caught.value.hint


def test_an_answer_of_docker_that_nobody_expects_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for said in ("", "[]", "null", '{"id": "x"}', '{"id": "x", "restarts": "?", "state": {}}'):
        _given_program(tmp_path, monkeypatch, "docker", f"echo '{said}'\n")
        container = application_of(kind="docker", container="app")
        assert container.state() is UNKNOWN
        with pytest.raises(ApplicationFailed, match="not answer as expected"):
            container.details()


def test_a_container_that_is_not_there_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, _asked = _given_container(tmp_path, monkeypatch)
    (tmp_path / "state").unlink()
    assert container.state() is UNKNOWN
    with pytest.raises(ApplicationFailed, match="No such container"):
        container.thaw()


def test_a_container_that_somebody_paused_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, asked = _given_container(tmp_path, monkeypatch)
    container.freeze()
    with pytest.raises(ApplicationFailed, match="is paused already"):
        container.await_freezable()
    with (
        hold.kept({"kind": "docker", "container": "app"}, hold="freeze", seconds=1) as keeper,
        pytest.raises(ApplicationFailed, match="is paused already"),
        keeper.held(),
    ):
        pytest.fail("it was paused")
    assert "unpause" not in asked.read_text()


def test_the_container_that_eiderd_runs_in_is_neither_paused_nor_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, asked = _given_container(tmp_path, monkeypatch)
    (tmp_path / "id").write_text(Path("/proc/self/mountinfo").read_text().split()[2])
    for refused in (container.await_freezable, container.stop):
        with pytest.raises(ApplicationFailed, match="that eiderd runs in"):
            refused()
    assert "pause" not in asked.read_text()
    assert "stop" not in asked.read_text()


def test_a_service_of_several_containers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, _asked = _given_container(tmp_path, monkeypatch, "compose:/srv/c.yaml:app")
    (tmp_path / "ids").write_text("c0ffee\nbadcafe\n")
    with pytest.raises(ApplicationFailed, match="2 containers instead of one"):
        container.stop()


@pytest.mark.parametrize("name", ["", "-x", "a b", "compose:c.yaml:app", "compose:/c.yaml:-x"])
def test_what_is_no_container_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        application_of(kind="docker", container=name)


# Health -----------------------------------------------------------------------------------------


class Answers(http.server.ThreadingHTTPServer):
    """A health endpoint. `steps` is what it answers, in turn; the last stays."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.steps: list[tuple[int, str, bytes]] = []
        self.headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/v1/health?deep=1"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        self.server.headers = {**dict(self.headers), "path": self.path}
        steps = self.server.steps
        status, kind, body = steps.pop(0) if len(steps) > 1 else steps[0]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _envelope(*, connected: bool | None = True, status: str = "success") -> bytes:
    data = {"status": "healthy", "mode": "standalone", "version": "1.0.0"}
    more = {} if connected is None else {"database_connected": connected}
    return json.dumps({"status": status, "data": {**data, **more}}).encode()


JSON, HTML = "application/json", "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("status", "kind", "body", "well", "why"),
    [
        (200, JSON, _envelope(), True, "says so"),
        (200, "application/health+json; charset=utf-8", b'{"status":"pass"}', True, "says so"),
        (200, JSON, b'{"status":"success","data":{"alive":true,"uptime":12.3}}', True, "says so"),
        (200, JSON, _envelope(connected=False), False, "database is not connected"),
        (200, JSON, b'{"data":{"database_connected":null}}', False, "database is not connected"),
        (200, HTML, b"<!doctype html><title>App</title>", False, "page and not health"),
        (200, HTML, _envelope(), False, "page and not health"),
        (200, JSON, b"<!doctype html>", False, "no JSON object"),
        (200, JSON, b"[" * 100_000, False, "no JSON object"),
        (200, JSON, b'"fine"', False, "no JSON object"),
        (200, JSON, _envelope(status="error"), False, "an error"),
        (503, JSON, _envelope(), False, "503"),
        (204, JSON, b"", False, "204"),
        (302, JSON, _envelope(), False, "302"),
        (401, "text/plain", b"unauthorized: missing token", False, "401"),
    ],
)
def test_only_health_is_health(
    answers: Answers, status: int, kind: str, body: bytes, *, well: bool, why: str
) -> None:
    answers.steps = [(status, kind, body)]
    health = application_of(kind="none", health_url=answers.url).health()
    assert health.well is well
    assert why in health.why
    assert "no-cache" in answers.headers["Cache-Control"]
    assert answers.headers["path"] == "/api/v1/health?deep=1"


def test_a_proxy_of_the_environment_is_not_asked(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    answers.steps = [(200, JSON, _envelope())]
    assert application_of(kind="none", health_url=answers.url).health().well


def test_nobody_there_is_not_well() -> None:
    health = application_of(kind="none", health_url="http://127.0.0.1:1/health").health()
    assert not health.well
    assert "does not answer" in health.why


def test_one_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eiderd.outside.application.common.HEALTH_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def serve() -> None:
            connection, _address = listener.accept()
            with connection:
                while not ended.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        server = threading.Thread(target=serve)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        began = time.monotonic()
        health = application_of(kind="none", health_url=url).health()
        ended.set()
        server.join()
    assert not health.well
    assert "within 0.5 s" in health.why
    assert time.monotonic() - began < 5


def test_health_is_awaited(answers: Answers) -> None:
    starting = (503, JSON, _envelope(connected=False))
    answers.steps = [starting, starting, (200, JSON, _envelope())]
    application = application_of(kind="none", health_url=answers.url)
    assert until_healthy(application, seconds=30).well


def test_health_that_does_not_come_is_not_awaited_for_ever(answers: Answers) -> None:
    answers.steps = [(503, JSON, _envelope())]
    application = application_of(kind="none", health_url=answers.url)
    assert until_healthy(application, seconds=0.3) == Health(
        well=False, why="its health answers 503"
    )


def test_without_a_url_the_holder_of_the_database_is_the_application(tmp_path: Path) -> None:
    database = tmp_path / "app.duckdb"
    application = application_of(kind="none", database=database)
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout
        holder.stdout.readline()
        assert application.state() is RUNNING
        assert application.health().well
        holder.kill()
    assert application.state() is STOPPED
