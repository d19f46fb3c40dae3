"""The maintenance units on a real systemd: what they refuse and hand on, who ends their work."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Final

import pytest

from eiderd import resources
from eiderd.setup import sandbox
from eiderd.setup.unit_file import words
from tests.helpers import until
from tests.service.installed import DATABASE, PYTHON, Machine, machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.box import Ran

COMPACT: Final = "eiderd-maintain@compact"
RESTORE: Final = "eiderd-maintain@restore"
RECORD: Final = "/var/lib/app/.app.duckdb.eider-swap.json"
DROP_IN: Final = "/run/systemd/system/eiderd-maintain@.service.d/other.conf"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("maintenance") / "box") as made:
        made.eider("backup")
        yield made


@pytest.fixture
def at_rest(installed: Machine) -> Iterator[Machine]:
    """The machine with the application running, the service not, whatever the last test did."""
    installed.do("systemctl", "start", "app")
    yield installed
    installed.run("rm", "-f", DROP_IN)
    installed.do("systemctl", "daemon-reload")


def _start(machine: Machine, unit: str) -> Ran:
    """Start a unit as the service does."""
    return machine.as_eiderd("systemctl", "--no-ask-password", "start", unit)


def _is_live(machine: Machine) -> bool:
    return machine.run("test", "-e", DATABASE).code == 0


# What is refused ---------------------------------------------------------------------------------


def test_nothing_is_done_that_the_configuration_does_not_want(at_rest: Machine) -> None:
    text = at_rest.do("cat", "/etc/eiderd/eiderd.toml")
    at_rest.write(DROP_IN, "[Service]\nEnvironment=EIDER_HEAL__RESTORE=false\n")
    at_rest.do("systemctl", "daemon-reload")
    at_rest.write("/etc/eiderd/eiderd.toml", text.replace('window = "00:00-23:59"\n', ""))
    before = at_rest.show("app", "MainPID")
    try:
        for unit, setting in ((COMPACT, "compact.window"), (RESTORE, "heal.restore")):
            assert _start(at_rest, unit).code != 0
            assert at_rest.show(unit, "ExecMainStatus") == "2"
            assert f"by itself: {setting} is not" in at_rest.journal(unit)
    finally:
        at_rest.write("/etc/eiderd/eiderd.toml", text)
    assert at_rest.show("app", "MainPID") == before


# What is handed on -------------------------------------------------------------------------------

_WATCH: Final = """
    import json, os, pathlib, sys, time
    group, seen, until = pathlib.Path("/sys/fs/cgroup" + sys.argv[1]), {}, time.monotonic() + 60
    while not group.exists() and time.monotonic() < until:
        time.sleep(0.001)
    print("ready", flush=True)
    while group.exists() and time.monotonic() < until:
        try:
            for pid in (group / "cgroup.procs").read_text().split():
                proc = pathlib.Path("/proc") / pid
                command = os.fsdecode((proc / "cmdline").read_bytes()).replace(chr(0), " ")
                status = (proc / "status").read_text()
                words = os.fsdecode((proc / "cmdline").read_bytes()).replace(chr(0), " ")
                is_steady = command == words  # it did not become another one meanwhile
                # One without words is gone; systemd's own are in brackets before they begin.
                if is_steady and words and not words.startswith("("):
                    sets = [status.partition(name)[2].split()[0] for name in
                            ("CapPrm:", "CapEff:", "CapAmb:")]
                    seen.setdefault(words, set()).update(int(one, 16) for one in sets)
        except OSError:
            pass
    print(json.dumps({words: sorted(sets) for words, sets in seen.items()}))
"""


def test_only_its_first_process_has_capabilities(at_rest: Machine) -> None:
    group = f"/system.slice/system-eiderd\\x2dmaintain.slice/{COMPACT}.service"
    command = [
        "sh", "-c", '"$@" & runuser -u eiderd -- systemctl start "$0"; wait', COMPACT,
        PYTHON, "-I", "-c", textwrap.dedent(_WATCH), group,
    ]  # fmt: skip
    said = at_rest.do(*command).splitlines()[-1]
    seen: dict[str, list[int]] = json.loads(said)
    assert at_rest.show(COMPACT, "Result") == "success", at_rest.journal(COMPACT)
    main = [words for words in seen if "--maintain compact" in words]
    assert main, seen
    assert max(seen.pop(main[0])) == 0b1011  # CHOWN, DAC_OVERRIDE, FOWNER
    engines = [words for words in seen if "engine_worker" in words]
    assert engines, seen
    assert [words for words in seen if words.startswith("systemctl ")], seen
    assert {words: sets for words, sets in seen.items() if sets != [0]} == {}


_PROBE: Final = """
    import json, os, pathlib, socket

    def reach(path):
        socket.socket(socket.AF_UNIX).connect(path)

    def write(path):
        pathlib.Path(path).write_text("x")

    def read(path):  # what is shut looks empty to who may read everything
        path = pathlib.Path(path)
        if not (os.listdir(path) if path.is_dir() else path.read_text()):
            raise OSError(1, "empty")

    attempts = {
        "read keys": lambda: read("/etc/ssh"),
        "read passwords": lambda: read("/etc/shadow"),
        "read credentials": lambda: read("/etc/credstore"),
        "write its configuration": lambda: write("/etc/eiderd/mine"),
        "write shared memory": lambda: write("/dev/shm/mine"),
        "write locks": lambda: write("/run/lock/mine"),
        "reach systemd itself": lambda: reach("/run/systemd/private"),
        "reach Docker": lambda: reach("/run/docker.sock"),
        "write in the application's folder": lambda: write("/var/lib/app/mine"),
        "reach D-Bus": lambda: reach("/run/dbus/system_bus_socket"),
    }

    def attempt(do):
        try:
            do()
        except OSError as error:
            return error.strerror
        return "done"

    print(json.dumps({name: attempt(do) for name, do in attempts.items()}))
"""
_ALLOWED: Final = {"write in the application's folder", "reach D-Bus"}
_LISTEN: Final = (
    "import signal, socket; s = socket.socket(socket.AF_UNIX); s.bind('/run/docker.sock'); "
    "s.listen(); signal.pause()"
)


def test_its_sandbox_shuts_what_the_capabilities_would_open(at_rest: Machine) -> None:
    at_rest.write("/etc/ssh/key", "x", mode="600")
    at_rest.write("/usr/local/lib/probe.py", textwrap.dedent(_PROBE))
    at_rest.do("systemd-run", "--unit=listen", "--property=UMask=0177", PYTHON, "-I", "-c", _LISTEN)
    until(lambda: at_rest.run("test", "-S", "/run/docker.sock").code == 0, what="a socket")
    try:
        assert _reached(at_rest) == _ALLOWED
        # With Docker, `eider setup` gives this back and nothing else.
        at_rest.write("/etc/sysusers.d/docker.conf", "g docker -\n")
        at_rest.do("systemd-sysusers", "docker.conf")
        assert _reached(at_rest, more=_docker_let_through()) == {*_ALLOWED, "reach Docker"}
    finally:
        at_rest.do("systemctl", "stop", "listen")
        at_rest.do("rm", "-f", "/var/lib/app/mine", "/run/docker.sock")


def _reached(machine: Machine, *, more: str = "") -> set[str]:
    command = f"{PYTHON} -I /usr/local/lib/probe.py"
    unit = f"ExecStart=\nExecStart={command}\nStandardOutput=truncate:/run/probed\n"
    machine.write(DROP_IN, f"[Service]\n{unit}{more}")
    machine.do("systemctl", "daemon-reload")
    machine.do("systemctl", "start", COMPACT)
    answers: dict[str, str] = json.loads(machine.do("cat", "/run/probed"))
    return {name for name, answer in answers.items() if answer == "done"}


def _docker_let_through() -> str:
    text = (resources.units() / "eiderd-maintain@.service").read_text()
    unit = sandbox.allowed(words([text], sandbox.PROPERTIES))
    needs = sandbox.Needs(groups=("docker",))
    return sandbox.drop_in(sandbox.missing(needs, unit), needs) or ""


# Who ends what was begun -------------------------------------------------------------------------

_DYING: Final = """
    import os, signal, sys
    from pathlib import Path
    from eiderd import entry
    from eiderd.maintenance import maintain
    from eiderd.outside import swap

    set_aside = swap.Swap._set_aside

    def die(self):
        set_aside(self)
        os.kill(os.getpid(), signal.SIGKILL)

    swap.Swap._set_aside = die
    if sys.argv[1] == "unit":
        maintain.run(Path("/etc/eiderd/eiderd.toml"), maintain.Task.COMPACT)
    else:
        entry.main(sys.argv[1:])
"""


@pytest.fixture
def dying(at_rest: Machine) -> Machine:
    at_rest.write("/usr/local/lib/dying.py", textwrap.dedent(_DYING))
    return at_rest


def _left_by_the_unit(machine: Machine) -> None:
    """Let the unit die when the database is set aside and the new one is not in."""
    command = f"{PYTHON} -I /usr/local/lib/dying.py unit"
    machine.write(DROP_IN, f"[Service]\nExecStart=\nExecStart={command}\n")
    machine.do("systemctl", "daemon-reload")
    assert _start(machine, COMPACT).code != 0
    assert machine.show(COMPACT, "Result") == "signal", machine.journal(COMPACT)
    assert machine.do("stat", "--format=%U", RECORD).strip() == "eiderd"
    _ensure_in_the_middle(machine)


def _ensure_in_the_middle(machine: Machine) -> None:
    assert not _is_live(machine)
    assert machine.show("app", "ActiveState") == "inactive"
    # Whoever looks, root or the service, is told the same, and nobody to make an empty one.
    checks = {
        one["name"]: one
        for one in json.loads(machine.run("eider", "doctor", "--json").stdout)["checks"]
    }
    for name in ("database", "exchange"):
        assert checks[name]["command"] == "eider compact --dry-run", checks[name]
    for ran in (
        machine.run("eider", "status", "--json"),
        machine.as_eiderd("eider", "status", "--json"),
    ):
        (found,) = [
            one
            for one in json.loads(ran.stdout)["findings"]
            if one["kind"] == "exchange_unfinished"
        ]
        assert found["command"] == "eider compact"
        assert "ended in the middle" in found["message"]


def _ensure_ended(machine: Machine) -> None:
    machine.await_show("app", "ActiveState", "active")
    assert machine.run("test", "-e", RECORD).code != 0
    assert machine.do("stat", "--format=%U:%G %a", DATABASE).strip() == "app:app 640"
    backup = machine.as_eiderd("eider", "backup", "--json")
    assert json.loads(backup.stdout)["state"] == "verified", backup
    before = machine.commits()
    until(lambda: machine.commits() != before, what="the application writes")


@pytest.mark.parametrize("verb", ["compact", "restore"])
def test_root_ends_what_the_unit_began(dying: Machine, verb: str) -> None:
    _left_by_the_unit(dying)
    dry = dying.run("eider", verb, "--dry-run", "--json")
    assert dry.code == 0, dry
    assert not _is_live(dying)
    ended = dying.eider(verb, "--yes")
    assert ended["restored" if verb == "restore" else "exchanged"]["settled"] is True, ended
    assert dying.files_of_others() == ""
    _ensure_ended(dying)


def test_the_unit_ends_what_root_began(dying: Machine) -> None:
    died = dying.run(PYTHON, "-I", "/usr/local/lib/dying.py", "compact", "--yes", "--json")
    assert died.code == -9, died
    assert dying.do("stat", "--format=%U", RECORD).strip() == "root"
    _ensure_in_the_middle(dying)
    assert _start(dying, COMPACT).code == 0, dying.journal(COMPACT)
    _ensure_ended(dying)


# A folder that is shut ---------------------------------------------------------------------------


def test_a_folder_that_was_shut_to_eiderd_is_told_with_what_opens_it(at_rest: Machine) -> None:
    at_rest.do("setfacl", "--remove", "u:eiderd", "/var/lib/app")
    try:
        told = json.loads(at_rest.as_eiderd("eider", "status", "--json").stdout)["findings"]
        kinds = {one["kind"]: one for one in told}
        assert "exchange_unfinished" not in kinds
        assert "eiderd may not enter /var/lib/app," in kinds["watcher_failed"]["message"]
        command = kinds["watcher_failed"]["command"]
        opening = command.partition("Let it: ")[2].partition(";")[0]
        assert opening == "setfacl -m u:eiderd:rx /var/lib/app"
        at_rest.do(*opening.split())
        again = json.loads(at_rest.as_eiderd("eider", "status", "--json").stdout)["findings"]
        assert "watcher_failed" not in {one["kind"] for one in again}
    finally:
        at_rest.do("setfacl", "--modify", "u:eiderd:rx", "/var/lib/app")
