"""What the tests of the whole product share: a database, a configuration, the command itself."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.databases import copy_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pytest

EIDER = str(Path(sys.executable).with_name("eider"))
SECONDS = 60
ROWS = 4_000
WAL_ROWS = 500


def build_database(
    path: Path, *, rows: int = ROWS, wal_rows: int = WAL_ROWS, python: str = sys.executable
) -> Path:
    """Make a database of about a megabyte, with `wal_rows` of its rows only in the WAL.

    All that are made with the same figures are one database, byte by byte.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    copy_database(path, rows=rows, wal_rows=wal_rows, python=python)
    assert path.with_name(f"{path.name}.wal").exists() == bool(wal_rows)
    return path


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """What a command did. `peak_bytes` is the largest resident set of it and its children."""

    code: int
    stdout: str
    stderr: str
    peak_bytes: int
    seconds: float

    @property
    def json(self) -> Any:  # noqa: ANN401  (whatever document it is)
        """Return the one JSON document on standard output. Fail on anything besides it."""
        try:
            document, end = json.JSONDecoder().raw_decode(self.stdout)
        except ValueError as error:
            raise AssertionError(f"no JSON on standard output: {self}") from error
        rest = self.stdout[end:].strip()
        assert not rest, f"more than one document on standard output: {rest!r}"
        return document

    def good_manners(self) -> Ran:
        """Hold what holds for every answer: no traceback, nothing raw for the terminal."""
        assert "Traceback" not in self.stderr, self.stderr
        assert "Exception ignored" not in self.stderr, self.stderr
        raw = {c for c in self.stdout + self.stderr if ord(c) < 32 and c not in "\n\t"}
        assert not raw, f"control characters for the terminal: {raw}"
        return self


def environment(**more: str) -> dict[str, str]:
    """Return the environment without any setting of eiderd that the person who tests may have."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EIDER")}
    return clean | {"PYTHONUTF8": "1"} | more


def start(
    *words: str | bytes,
    config: Path | None = None,
    env: dict[str, str] | None = None,
    before: Sequence[str] = (),
    cwd: Path | None = None,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start `eider` and leave it running. `before` is put before the command, as in setpriv."""
    chosen = ("--config", str(config)) if config else ()
    return subprocess.Popen(
        [*before, EIDER, *chosen, *words],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=environment(**(env or {})),
        cwd=cwd,
    )


def run_eider(
    *words: str | bytes,
    config: Path | None = None,
    env: dict[str, str] | None = None,
    before: Sequence[str] = (),
    cwd: Path | None = None,
    seconds: float = SECONDS,
) -> Ran:
    """Run `eider` to its end. One that hangs is ended, with its children, and fails the test."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(
            *words, config=config, env=env, before=before, cwd=cwd, stdout=out, stderr=err
        )
        descriptor = os.pidfd_open(process.pid)
        try:
            peak, ended = 0, False
            while not ended and time.monotonic() - began < seconds:
                ended = bool(select.select([descriptor], [], [], 0.02)[0])
                peak = max(peak, *map(_high_water, _tree(process.pid)))
            if not ended:
                process.kill()  # its children die with it
            process.wait()
        finally:
            os.close(descriptor)
        assert ended, f"eider {words!r} hung for {seconds} s"
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode("utf-8", "surrogateescape"))
    return Ran(
        code=process.returncode,
        stdout=said[0],
        stderr=said[1],
        peak_bytes=peak,
        seconds=time.monotonic() - began,
    )


def on_terminal(*words: str, typed: str, config: Path | None = None) -> tuple[str, int]:
    """Run `eider` on a terminal, where somebody types this. Return what it showed, and its code."""
    ours, theirs = pty.openpty()
    chosen = ("--config", str(config)) if config else ()
    ran = subprocess.Popen(
        [EIDER, *chosen, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="dumb"),
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    said = b""
    with contextlib.suppress(OSError):  # the end of the terminal
        while data := os.read(ours, 4096):
            said += data
    os.close(ours)
    return said.decode(), ran.wait(timeout=SECONDS)


def _tree(pid: int) -> list[int]:
    """Return a process and all below it, as far as they are there."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
            found += map(int, children.split())
    return found


def _high_water(pid: int) -> int:
    """Return the most memory a process of eiderd had resident, in bytes.

    Not by wait4: that counts what the test had when it forked.
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        if b"eider" in Path(f"/proc/{pid}/cmdline").read_bytes():
            status = Path(f"/proc/{pid}/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return 0


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A database, a configuration and the folders that it names, all below `root`."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "data" / "app.duckdb"

    @property
    def wal(self) -> Path:
        return self.root / "data" / "app.duckdb.wal"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def config(self) -> Path:
        return self.root / "eiderd.toml"

    def configure(self, **settings: object) -> Place:
        """Write the configuration; `section__key=value` sets more than the folders."""
        document: dict[str, dict[str, object]] = {
            "service": {"state": str(self.state)},
            "database": {"path": str(self.database)},
            "backup": {"directory": str(self.backups)},
            "engine": {"directory": str(self.state / "engines")},  # not those of this machine
        }
        for name, value in settings.items():
            section, key = name.split("__")
            document.setdefault(section, {})[key] = value
        self.config.write_text(
            "".join(
                f"[{section}]\n" + "".join(f"{k} = {_toml(v)}\n" for k, v in keys.items())
                for section, keys in document.items()
            )
        )
        return self

    def eider(self, *words: str | bytes, **more: Any) -> Ran:
        return run_eider(*words, config=self.config, **more)

    def backup(self) -> dict[str, Any]:
        """Take a backup that must succeed, and return what it says of itself."""
        ran = self.eider("backup", "--json")
        assert ran.code == 0, ran
        made: dict[str, Any] = ran.json
        return made

    def listed(self) -> dict[str, str]:
        """Return the state of each backup by its id, as `list --json` says."""
        return {row["id"]: row["state"] for row in self.eider("list", "--json").json}

    def archive(self, id_: str) -> Path:
        return self.backups / f"backup-{id_}.tar.gz"

    def manifest(self, id_: str) -> Path:
        return self.backups / f"backup-{id_}.json"

    def sidecar(self, id_: str) -> Path:
        return self.backups / f"backup-{id_}.tar.gz.sha256"

    @property
    def latest(self) -> str | None:
        link = self.backups / "backup-latest.tar.gz"
        return str(link.readlink()) if link.is_symlink() else None

    def clone(self, root: Path) -> Place:
        """Return a place of its own with the same files, links kept."""
        shutil.copytree(self.root, root, symlinks=True)
        return Place(root).configure()


def given_place(root: Path, *, rows: int = ROWS, wal_rows: int = WAL_ROWS) -> Place:
    """Make a database and a configuration that backs it up, below `root`."""
    place = Place(root)
    build_database(place.database, rows=rows, wal_rows=wal_rows)
    return place.configure()


def files_below(folder: Path) -> set[str]:
    """Return the relative paths of everything in `folder` that is not a folder."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def until(condition: Callable[[], bool], *, seconds: float = 20, what: str = "") -> None:
    """Wait for a condition, looking often."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what or condition}"
        time.sleep(0.005)


def until_signals_are_ours(process: subprocess.Popen[bytes]) -> None:
    """Wait until eider, no longer the interpreter on its way up, says what SIGINT does."""
    interrupt, terminate = 1 << (signal.SIGINT - 1), 1 << (signal.SIGTERM - 1)
    seen = False

    def is_ours() -> bool:
        nonlocal seen
        with contextlib.suppress(OSError, ValueError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            caught = int(status.partition("SigCgt:")[2].split()[0], 16)
            seen = seen or bool(caught & interrupt)
            return bool(caught & terminate) or (seen and not caught & interrupt)
        return process.poll() is not None

    until(is_ours, what="its signals")


def children_with(word: str) -> list[str]:
    """Return the command lines and orders of processes that have `word` among their open files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = os.fsdecode((process / "cmdline").read_bytes()).replace("\0", " ")
            if "eiderd" not in command or process.name == str(os.getpid()):
                continue
            opened = [str(link.readlink()) for link in (process / "fd").iterdir()]
            if any(word in path for path in opened) or word in command:
                found.append(command)
    return found


def forbid_removing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let nobody unlink a file of this name, as if it were immutable."""
    unlink = Path.unlink

    def forbidden(path: Path, *words: Any, **more: Any) -> None:
        if path.name == name:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, *words, **more)

    monkeypatch.setattr(Path, "unlink", forbidden)


def is_root() -> bool:
    return os.geteuid() == 0


@contextlib.contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[Path]:
    """Mount a tmpfs of `size` at `folder` (root only) and unmount it whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "eider-test", str(folder)],
        check=True,
        capture_output=True,
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def interrupt(process: subprocess.Popen[bytes], number: signal.Signals) -> Ran:
    """Send a signal and return how the process ended."""
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=SECONDS)
    return Ran(process.returncode, stdout.decode(), stderr.decode(), 0, 0.0)


# Archives ---------------------------------------------------------------------------------------

# What ISA-L writes: an archive of eiderd's own with another gzip header is refused for that alone.
GZIP_HEADER = bytes.fromhex("1f8b08000000000000ff")


@dataclasses.dataclass(slots=True)
class Entry:
    """A member of a tar as a test wants it: whatever `more` sets on its header is believed."""

    name: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    more: dict[str, Any] = dataclasses.field(default_factory=dict)

    def header(self) -> tarfile.TarInfo:
        info = tarfile.TarInfo(self.name)
        info.size, info.type, info.mode = len(self.data), self.type, 0o600
        for name, value in self.more.items():
            setattr(info, name, value)
        return info


def tar_bytes(entries: Sequence[Entry]) -> bytes:
    """Return a tar of these members, without asking whether that makes sense."""
    parts = []
    for entry in entries:
        header = entry.header().tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        parts += [header, entry.data, b"\0" * (-len(entry.data) % 512)]
    return b"".join(parts) + b"\0" * 1024


def gzip_bytes(data: bytes) -> bytes:
    return GZIP_HEADER + gzip.compress(data, 1)[len(GZIP_HEADER) :]


def write_archive(path: Path, entries: Sequence[Entry]) -> Path:
    path.write_bytes(gzip_bytes(tar_bytes(entries)))
    return path


def read_archive(path: Path) -> list[Entry]:
    """Return the members of an honest archive."""
    with tarfile.open(path) as tar:
        found = []
        for info in tar:
            content = tar.extractfile(info)
            assert content is not None
            found.append(Entry(info.name, content.read()))
        return found
