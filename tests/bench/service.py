"""What the service costs while nothing happens, and how soon it answers.

Each life is that of a fresh process on a real notification socket. Its newest backup is verified
and young and its timetable is half a day away, so that nothing runs but the watchers.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import measure, startup, tools
from tests.running import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

EIDERD = str(Path(sys.executable).with_name("eiderd"))
_PATIENCE = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE, _METRICS, _HEALTH = "/", "/metrics", "/healthz"
_UNIT = {"MALLOC_ARENA_MAX": "2"}  # as the unit sets it


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Of one path, each on a new connection. `cpu` is what one cost the service."""

    median: float
    slowest_of_hundred: float
    cpu: float
    size: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Over `seconds` without a request. `share` is of one core, the ended children's included."""

    seconds: float
    share: float
    resident: int
    proportional: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """Several lives of the service on one catalog. Without backups only their beginning counts."""

    backups: int
    ready: Sequence[float]
    ended: Sequence[float] = ()
    idle: Idle | None = None
    metrics: Answers | None = None
    page: Answers | None = None
    health: Answers | None = None
    resident_at_last: int = 0


def lives(
    config: Path,
    *,
    database: Path,
    counts: Sequence[int],
    runs: int,
    seconds: float,
    requests: int,
) -> list[Lives]:
    """`config` is that of a folder with at least one backup, whose manifest serves as a model."""
    measure.run((EIDERD, "--version"))  # so that no life compiles what it imports
    found = []
    for count in counts:
        folder = config.parent / f"catalog-{count}"
        shutil.rmtree(folder, ignore_errors=True)
        startup.fill(config.parent / "backups", folder / "backups", count=count)
        port = _configure(folder, database=database)
        if count:
            found.append(_lives(folder, port, count, runs, seconds=seconds, requests=requests))
        else:
            found.append(Lives(backups=0, ready=[_first_start(folder) for _run in range(runs)]))
        shutil.rmtree(folder)
    return found


def _lives(
    folder: Path, port: int, count: int, runs: int, *, seconds: float, requests: int
) -> Lives:
    ready, ended = [], []
    for _run in range(runs):
        with _life(folder) as (life, seconds_to_ready):
            ready.append(seconds_to_ready)
            ended.append(_end(life))
    with _life(folder) as (life, seconds_to_ready):
        _ask(port, _PAGE)
        seen = _ask(port, _METRICS)
        if f'eider_backups{{state="verified"}} {count}.0'.encode() not in seen:
            raise measure.CommandFailed(
                f"the service does not see {count} backups: {seen[-600:]!r}"
            )
        idle = _idle(life.pid, seconds=seconds)
        health, metrics, page = (
            _answers(life.pid, port, path, count=requests) for path in (_HEALTH, _METRICS, _PAGE)
        )
        resident = _resident(life.pid)
        ended.append(_end(life))
    return Lives(
        backups=count,
        ready=[*ready, seconds_to_ready],
        ended=ended,
        idle=idle,
        metrics=metrics,
        page=page,
        health=health,
        resident_at_last=resident,
    )


# A life -----------------------------------------------------------------------------------------


def _configure(folder: Path, *, database: Path) -> int:
    """Write the configuration of a service, and return the port at which it will answer."""
    port = free_port()
    far = time.localtime(time.time() + 12 * 3600)
    daily = f'schedule = "{far.tm_min} {far.tm_hour} * * *"\n'
    config = tools.configure(folder, database=database)
    written = config.read_text().replace("[backup]\n", f"[backup]\n{daily}")
    config.write_text(
        f'{written}[verify]\nscrub_{daily}[server]\nlisten = "127.0.0.1:{port}"\n{startup.RULES}'
    )
    return port


@contextlib.contextmanager
def _life(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Start the service. Yield it, and how long it took from its start until it said READY."""
    address = folder / "notify"
    address.unlink(missing_ok=True)
    log = folder / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, log.open("wb") as errors:
        told.bind(str(address))
        began = time.perf_counter()
        life = subprocess.Popen(
            (EIDERD, "--config", str(folder / "eiderd.toml")),
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env={**measure.clean_environment(), **_UNIT, "NOTIFY_SOCKET": str(address)},
            start_new_session=True,
        )
        try:
            while b"READY=1" not in _told(told, life, log):
                pass
            yield life, time.perf_counter() - began
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(life.pid, signal.SIGKILL)
            life.wait()


def _told(told: socket.socket, life: subprocess.Popen[bytes], log: Path) -> bytes:
    """Return the next thing it tells. Raise CommandFailed when it ended instead, or hangs."""
    descriptor = os.pidfd_open(life.pid)
    try:
        if told.fileno() in select.select([told.fileno(), descriptor], [], [], _PATIENCE)[0]:
            return told.recv(1 << 16)
    finally:
        os.close(descriptor)
    raise measure.CommandFailed(f"the service is not ready: {log.read_text()[-600:]}")


def _end(life: subprocess.Popen[bytes]) -> float:
    began = time.perf_counter()
    life.terminate()
    descriptor = os.pidfd_open(life.pid)
    try:
        if not select.select([descriptor], [], [], _PATIENCE)[0]:
            raise measure.CommandFailed("the service does not end")
        seconds = time.perf_counter() - began
    finally:
        os.close(descriptor)
    if status := life.wait():
        raise measure.CommandFailed(f"the service ended with {status}")
    return seconds


def _first_start(folder: Path) -> float:
    """How long it takes when there is no backup yet, so that the first one begins at once."""
    for name in ("state", "backups"):
        shutil.rmtree(folder / name, ignore_errors=True)
    with _life(folder) as (_, seconds):
        return seconds


# What it uses -----------------------------------------------------------------------------------


def _idle(pid: int, *, seconds: float) -> Idle:
    before, began = _cpu(pid), time.perf_counter()
    time.sleep(seconds)
    window = time.perf_counter() - began
    return Idle(
        seconds=window,
        share=(_cpu(pid) - before) / window,
        resident=_resident(pid),
        proportional=_kilobytes("Pss", Path(f"/proc/{pid}/smaps_rollup")) * 1024,
    )


def _cpu(pid: int) -> float:
    """Seconds that the process and its ended children have used."""
    rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, rest[11:15])) / _TICKS  # utime, stime, cutime, cstime: see proc(5)


def _resident(pid: int) -> int:
    return _kilobytes("VmRSS", Path(f"/proc/{pid}/status")) * 1024


def _kilobytes(name: str, file: Path) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)
    if found is None:
        raise measure.CommandFailed(f"no {name} in {file}")
    return int(found[1])


# What it answers --------------------------------------------------------------------------------


def _answers(pid: int, port: int, path: str, *, count: int) -> Answers:
    taken, size, before = [], 0, _cpu(pid)
    for _request in range(count):
        began = time.perf_counter()
        answer = _ask(port, path)
        taken.append(time.perf_counter() - began)
        size = len(answer.partition(b"\r\n\r\n")[2])
    return Answers(
        median=statistics.median(taken),
        slowest_of_hundred=sorted(taken)[int(count * 0.99)],
        cpu=(_cpu(pid) - before) / count,
        size=size,
        count=count,
    )


def _ask(port: int, path: str) -> bytes:
    """Return the whole answer, head included. The service ends each connection after one."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    answer = b"".join(parts)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise measure.CommandFailed(f"{path} answers {answer[:200]!r}")
    return answer
