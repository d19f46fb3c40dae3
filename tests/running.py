"""The service itself as a test starts it: a real process, a real notification socket, real HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.helpers import Place, environment, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EIDERD = str(Path(sys.executable).with_name("eiderd"))
READY_SECONDS = 30.0


@dataclasses.dataclass(slots=True)
class Running:
    """A service at work. `notes` are what it told systemd, in order."""

    place: Place
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    socket: socket.socket
    notes: list[str] = dataclasses.field(default_factory=list)

    def told(self) -> list[str]:
        """Return all it has told systemd so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.notes += self.socket.recv(1 << 16).decode().split("\n")
        return self.notes

    def until_told(self, note: str, *, seconds: float = READY_SECONDS) -> None:
        def is_told() -> bool:
            assert self.process.poll() is None, f"it ended: {self.said()}"
            return note in self.told()

        until(is_told, seconds=seconds, what=f"{note} of {self.notes}, {self.said()[-2000:]}")

    def get(self, path: str, *, seconds: float = 5) -> tuple[int, str]:
        """Return the status and the body of an answer."""
        try:
            with urllib.request.urlopen(self.url(path), timeout=seconds) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ready(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.get("/readyz")[1])
        return document

    def kinds(self) -> set[str]:
        return {finding["kind"] for finding in self.ready()["findings"]}

    def metrics(self) -> dict[str, float]:
        """Return each sample by its name with its labels."""
        lines = self.get("/metrics")[1].splitlines()
        pairs = [line.rpartition(" ") for line in lines if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in pairs}

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def words(self) -> list[str]:
        """Return the stable word of each log line, in order."""
        return [str(line.get("word")) for line in self.lines()]

    def lines(self) -> list[dict[str, Any]]:
        found = []
        for line in self.said().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 10) -> int:
        """End it with a signal and return its exit code."""
        self.send(number)
        return self.process.wait(timeout=seconds)

    def until(self, condition: Callable[[], bool], *, seconds: float = 30, what: str = "") -> None:
        until(condition, seconds=seconds, what=f"{what}\n{self.said()[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    place: Place,
    *,
    watchdog_seconds: float | None = None,
    ready: bool = True,
    before: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    **settings: object,
) -> Iterator[Running]:
    """Start the service on `place`, with these settings besides, and kill it in the end."""
    port = free_port()
    # A schedule far away: what runs, runs because the test wants it.
    defaults: dict[str, object] = {
        "backup__schedule": "0 0 29 2 *",
        "verify__scrub_schedule": "0 0 29 2 *",
        "verify__drill_schedule": "0 0 29 2 *",
        "backup__fresh_within": "7d",
        "disk__warn": "2kB", "disk__critical": "1kB",
        "heal__enabled": False,  # what fails is to stay so, until a test wants it healed
        "server__listen": f"127.0.0.1:{port}",
        "log__format": "json",
    }  # fmt: skip
    place.configure(**{**defaults, **settings})
    with started(place, port=port, watchdog_seconds=watchdog_seconds, before=before, env=env) as it:
        if ready:
            it.until_told("READY=1")
        yield it


@contextlib.contextmanager
def started(
    place: Place,
    *,
    port: int,
    watchdog_seconds: float | None = None,
    before: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> Iterator[Running]:
    """Start the service as `place` is configured."""
    told = {"NOTIFY_SOCKET": str(place.root / "notify")}
    if watchdog_seconds:
        told["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1e6))
    (place.root / "notify").unlink(missing_ok=True)
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(told["NOTIFY_SOCKET"])
    receiver.setblocking(False)
    log = place.root / f"log-{time.monotonic_ns()}"
    with receiver, log.open("wb") as stderr:
        process = subprocess.Popen(
            [*before, EIDERD, "--config", str(place.config)],
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            env=environment(**told, **(env or {})),
            start_new_session=True,
        )
        try:
            yield Running(place, process, port, log, receiver)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
