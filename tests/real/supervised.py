"""An application under a supervisor, as an operator's own script would run it, and its place."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.helpers import Place, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED_ROWS = "2000"
APPLICATION = Path(__file__).parents[2] / "packaging" / "demo" / "cartographus.py"

# Starts, stops and tells the state of the application.
SUPERVISOR = """
import os, signal, subprocess, sys, time
from pathlib import Path
root, python, application, verb = Path(sys.argv[1]), *sys.argv[2:]
pid_file = root / "pid"
def alive():
    try:
        return Path(f"/proc/{int(pid_file.read_text())}/stat").read_text().split(") ")[1][0] != "Z"
    except (OSError, ValueError):
        return False
if verb == "state":
    sys.exit(0 if alive() else 3)
if verb == "stop" and alive():
    os.kill(int(pid_file.read_text()), signal.SIGTERM)
if verb == "start":
    while (root / "wait").exists():
        time.sleep(0.02)
    ledger = root / f"ledger-{time.time_ns()}"
    words = [python, application, "serve", "--database", str(root / "data/app.duckdb"),
             "--ledger", str(ledger), "--pace", "0.01"]
    with (root / "log").open("ab") as log, (root / "said").open("wb") as said:
        process = subprocess.Popen(words, stdout=said, stderr=log, start_new_session=True)
    pid_file.write_text(str(process.pid))
    for _ in range(3000):
        if (root / "ill").exists():
            process.kill()  # this once
            (root / "ill").unlink()
        if (root / "said").read_bytes().startswith(b"ready") or process.poll() is not None:
            break
        time.sleep(0.02)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """An application under a supervisor, and the place that restores it."""

    place: Place
    application: Path = APPLICATION

    @property
    def root(self) -> Path:
        return self.place.root

    @property
    def python(self) -> Path:
        """The interpreter that brings the engine: what is installed now."""
        return self.root / "current" / "bin" / "python"

    @property
    def database(self) -> Path:
        return self.place.database

    def install(self, python: Path) -> None:
        """Put another version of the application, which is another engine, where the last was."""
        link = self.root / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(python.parent.parent)

    def do(self, verb: str) -> int:
        return subprocess.run(self.command(verb), check=False, timeout=120).returncode

    def command(self, verb: str) -> list[str]:
        supervisor = self.root / "supervisor.py"
        return [
            sys.executable,
            *map(str, (supervisor, self.root, self.python, self.application)),
            verb,
        ]

    def facts(self, database: Path | None = None) -> dict[str, Any]:
        named = database or self.place.database
        command = [
            str(word) for word in (self.python, self.application, "facts", "--database", named)
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

    def runs(self) -> bool:
        return self.do("state") == 0

    def stop(self) -> None:
        """Stop it and wait until it is gone: told to stop, it still commits for a moment."""
        self.do("stop")
        until(lambda: not self.runs(), what="it stops")

    def acknowledged(self) -> int:
        """Return the last commit that the application that runs now was told of."""
        return (self._done() or [0])[-1]

    def first_acknowledged(self) -> int:
        """Return its first one, when there is one."""
        until(lambda: bool(self._done()), what="a commit of the application that runs now")
        return self._done()[0]

    def _done(self) -> list[int]:
        newest = max(self.root.glob("ledger-*"))
        lines = newest.read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("done")]

    def write_more(self, *, commits: int = 30) -> int:
        before = self.acknowledged()
        until(lambda: self.acknowledged() > before + commits, what="more commits")
        return self.acknowledged()

    def data(self) -> set[str]:
        return {path.name for path in self.place.database.parent.iterdir()}

    def restored(self, *words: str) -> dict[str, Any]:
        ran = self.place.eider("restore", *words, "--yes", "--json").good_manners()
        assert ran.code == 0, ran
        document: dict[str, Any] = ran.json
        return document


def kill_with_children(process: subprocess.Popen[bytes]) -> None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    process.communicate()


@functools.cache
def _seeded(python: Path, application: Path) -> Path:
    """Return the data of an application that was started once, which takes it a second."""
    folder = Path(tempfile.mkdtemp(prefix="eider-seeded-"))
    atexit.register(shutil.rmtree, folder)
    data = folder / "data"
    data.mkdir()
    files = ["--database", str(data / "app.duckdb"), "--ledger", str(folder / "ledger")]
    words = [str(python), str(application), "serve", *files, "--seed-rows", SEED_ROWS]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"ready")
        process.terminate()
    return data


@contextlib.contextmanager
def supervised(
    root: Path, python: Path, *, application: Path = APPLICATION, **settings: object
) -> Iterator[Run]:
    """Run the application on a young database, with a configuration that can stop and start it."""
    place = Place(root)
    root.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_seeded(python, application), place.database.parent)
    (root / "supervisor.py").write_text(SUPERVISOR)
    run = Run(place, application)
    run.install(python)
    home = python.parent.parent
    commands = {verb: run.command(verb) for verb in ("state", "start", "stop")}
    engine = {"engine__application": home.name, "engine__others": [str(home)]}
    more: dict[str, object] = {"application__kind": "commands", "application__timeout": "15s"}
    place.configure(**{**engine, **more, **settings})
    with place.config.open("a") as file:
        file.write("[application.commands]\n")
        file.writelines(f"{verb} = {json.dumps(words)}\n" for verb, words in commands.items())
    assert run.do("start") == 0
    try:
        yield run
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((root / "pid").read_text()), signal.SIGKILL)
