"""What the configuration names and the sandbox forbids: the service says why, the doctor says what
to type, and that mends it. With a real filter of the kernel's, on an address that is not loopback.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.helpers import until
from tests.service.installed import DATABASE, PYTHON, Machine, unconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS: Final = "10.9.8.7"
HEALTH: Final = f"http://{ADDRESS}:3857/health"
BACKUPS: Final = "/mnt/big/eiderd"
DROP_IN: Final = "/etc/systemd/system/eiderd.service.d/10-application.conf"
_CONFIG: Final = f"""\
[service]
look_every = "2s"
[database]
path = "{DATABASE}"
[mirror]
interval = "never"
[application]
kind = "systemd"
unit = "app.service"
health_url = "{{health}}"
[nats]
url = "nats://{{nats}}:4222"
[backup]
directory = "{{backups}}"
"""
_SERVER: Final = """
import http.server

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = b'{"status": "ok"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

http.server.HTTPServer(("", 3857), Health).serve_forever()
"""
# SIOCSIFADDR: another address of lo, which is filtered like that of another machine.
_ANOTHER_ADDRESS: Final = """
import fcntl, socket, struct, sys
address = socket.inet_aton(sys.argv[1])
order = struct.pack("16sH2s4s8s", b"lo:1", socket.AF_INET, b"", address, b"")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8916, order)
"""
_KNOCK: Final = f"""
import socket
socket.create_connection(("{ADDRESS}", 3857), timeout=5)
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that is set up, and an application that answers on another address as well."""
    with unconfigured(tmp_path_factory.mktemp("addresses") / "box") as made:
        made.python(_ANOTHER_ADDRESS, ADDRESS)
        made.write("/srv/health.py", _SERVER)
        made.write(
            "/etc/systemd/system/health.service",
            f"[Service]\nExecStart={PYTHON} -I /srv/health.py\n",
        )
        made.do("systemctl", "daemon-reload")
        made.do("systemctl", "start", "health")
        until(lambda: made.run(PYTHON, "-I", "-c", _KNOCK).code == 0, what="its answer")
        _configure(made, health="http://127.0.0.1:3857/health", nats="127.0.0.1")
        assert made.eider("setup", "--unit", "app", "--database", DATABASE, "--yes")["to_do"] == 0
        made.do("systemctl", "enable", "--now", "eiderd")
        made.await_backup()
        yield made


def _configure(
    machine: Machine, *, health: str, nats: str, backups: str = "/var/lib/eiderd/backups"
) -> None:
    machine.write(
        "/etc/eiderd/eiderd.toml", _CONFIG.format(health=health, nats=nats, backups=backups)
    )


def _checks(machine: Machine) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for check in json.loads(machine.run("eider", "doctor", "--json").stdout)["checks"]:
        found.setdefault(check["name"], []).append(check)
    return found


def _reasons(machine: Machine) -> dict[str, str]:
    """Return what the service itself finds, by kind."""
    script = """
    import json, urllib.error, urllib.request
    try:
        answer = urllib.request.urlopen("http://127.0.0.1:9857/readyz", timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    print(answer.read().decode())
    """
    said = json.loads(machine.python(script))
    return {one["kind"]: one["message"] for one in said["findings"]}


def _is_filtered(machine: Machine) -> bool:
    ran = machine.run(
        "systemd-run", "--quiet", "--wait", "--pipe", "--property=IPAddressDeny=any",
        PYTHON, "-I", "-c", _KNOCK,
    )  # fmt: skip
    return ran.code != 0


def test_where_nothing_else_is_named_the_sandbox_is_well(machine: Machine) -> None:
    assert [check["mark"] for check in _checks(machine)["sandbox"]] == ["well"]
    assert machine.run("test", "-e", DROP_IN).code != 0


def test_what_is_forbidden_is_said_and_one_command_mends_it(machine: Machine) -> None:
    machine.do("sh", "-c", f"echo {ADDRESS} nats.lan >> /etc/hosts")
    _configure(machine, health=HEALTH, nats="nats.lan")
    machine.do("systemctl", "restart", "eiderd")
    if _is_filtered(machine):
        for kind in ("application_unhealthy", "nats_down"):
            until(lambda kind=kind: kind in _reasons(machine), what=kind)  # type: ignore[misc]
            assert "IPAddressAllow=" in _reasons(machine)[kind], _reasons(machine)
            assert "eider doctor" in _reasons(machine)[kind]

    before = _checks(machine)
    assert [check["mark"] for check in before["application"]] == ["well"], "root reaches it"
    for found in before["sandbox"]:
        assert (found["mark"], found["command"]) == ("problem", "eider setup")
    said = " ".join(found["said"] for found in before["sandbox"])
    assert f"{ADDRESS} (application.health_url)" in said
    assert f"{ADDRESS} (nats.lan, nats.url)" in said

    shown = machine.eider("setup", "--dry-run")
    assert any(f"+IPAddressAllow={ADDRESS}" in row["difference"] for row in shown["steps"])
    assert machine.run("test", "-e", DROP_IN).code != 0

    made = machine.eider("setup", "--yes")
    assert made["to_do"] == 0
    assert {check["name"]: check["mark"] for check in made["checks"]}["sandbox"] == "well"
    assert [check["mark"] for check in _checks(machine)["sandbox"]] == ["well"]
    until(lambda: "application_unhealthy" not in _reasons(machine), what="health from within")
    until(lambda: "refused" in _reasons(machine).get("nats_down", ""), what="a true refusal")
    assert "IPAddressAllow" not in _reasons(machine)["nats_down"]
    assert machine.eider("setup")["changed"] == 0


def test_the_kernel_filters_here(machine: Machine) -> None:
    if not _is_filtered(machine):
        pytest.skip("this kernel, or this control group, has no BPF filter: IPAddressDeny= is idle")


def test_backups_elsewhere_are_mended_by_the_same_command(machine: Machine) -> None:
    machine.do("mkdir", "-p", "/mnt/big")
    _configure(machine, health=HEALTH, nats=ADDRESS, backups=BACKUPS)
    said = [check["said"] for check in _checks(machine)["sandbox"] if check["mark"] == "problem"]
    assert any(BACKUPS in one for one in said), said

    assert machine.eider("setup", "--yes")["to_do"] == 0
    machine.await_show("eiderd", "ActiveState", "active")
    made = machine.await_backup()  # there is none in that folder, so one is overdue
    assert machine.do("stat", "--format=%U", f"{BACKUPS}/{made['archive']}").strip() == "eiderd"
    assert [check["mark"] for check in _checks(machine)["sandbox"]] == ["well"]


def test_a_key_that_the_service_cannot_read_is_a_problem_for_root_too(machine: Machine) -> None:
    machine.write("/etc/app-nats.creds", "secret\n", mode="600")
    text = machine.do("cat", "/etc/eiderd/eiderd.toml")
    changed = text.replace("[nats]\n", '[nats]\ncredentials = "/etc/app-nats.creds"\n')
    machine.write("/etc/eiderd/eiderd.toml", changed)
    found = [check for check in _checks(machine)["sandbox"] if check["mark"] == "problem"]
    assert [check["command"] for check in found] == ["chown eiderd /etc/app-nats.creds"], found
    machine.do("sh", "-c", found[0]["command"])
    assert [check["mark"] for check in _checks(machine)["sandbox"]] == ["well"]
    machine.write("/etc/eiderd/eiderd.toml", text)


def test_a_configuration_that_needs_nothing_any_more_takes_the_drop_in_back(
    machine: Machine,
) -> None:
    _configure(machine, health="http://127.0.0.1:3857/health", nats="127.0.0.1")
    assert machine.eider("setup", "--yes")["to_do"] == 0
    assert machine.run("test", "-e", DROP_IN).code != 0
    assert sorted(machine.show("eiderd", "IPAddressAllow").split()) == ["127.0.0.0/8", "::1/128"]
    assert machine.eider("setup")["changed"] == 0


def test_what_setup_let_through_is_taken_back_with_the_rest(machine: Machine) -> None:
    _configure(machine, health=HEALTH, nats=ADDRESS)
    machine.eider("setup", "--yes")
    assert ADDRESS in machine.show("eiderd", "IPAddressAllow")
    machine.eider("setup", "--remove", "--yes")
    assert ADDRESS not in machine.show("eiderd", "IPAddressAllow")
