"""Who holds the database: the kernel's list of locks, by the file that they are on.

DuckDB holds a lock on the database as long as it has it open (fcntl(2)); /proc/locks says who does.
In a container it says nothing of processes outside, so the kernel is asked about the file as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pwd
import stat
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.errors import Busy
from eiderd.outside import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS_BETWEEN_LOOKS: Final = 0.02
_LONGEST_COMMAND: Final = 200
_FLOCK: Final = "hhqqi4x"  # struct flock: type, whence, start, length, PID


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a lock. Its PID is 0 when it cannot be seen from here.

    That is so for one outside the container that eiderd runs in.
    """

    pid: int
    command: str
    user: str

    def __str__(self) -> str:
        if not self.pid:
            return "a process outside this container"
        return f"{self.command} (PID {self.pid}, user {self.user})"


def holder(database: Path) -> Holder | None:
    """Return who holds a lock on this file, following links. None: nobody, or there is none."""
    try:
        # O_PATH: closing any other descriptor would drop the locks that this process has on it.
        descriptor = os.open(database, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        inode = os.fstat(descriptor).st_ino
        devices = {_spelled(os.fstat(descriptor).st_dev), *_mounted(descriptor)}
        wanted = {f"{device}:{inode}" for device in devices}
        pids = [pid for pid, place in _locks() if place in wanted]
        if not pids:
            return _described(0) if _is_locked(descriptor) else None
    finally:
        os.close(descriptor)
    known = [pid for pid in pids if pid > 0] or list(_open_locks(wanted))
    return _described(known[0] if known else 0)


def wait_until_free(database: Path, *, seconds: float) -> None:
    """Return when nobody holds a lock on the database. Raise Busy, naming who does, at the end."""
    deadline = time.monotonic() + seconds
    while (found := holder(database)) is not None:
        if time.monotonic() >= deadline:
            raise Busy(
                f"{database} is still held by {found}",
                hint=f"Stop it, then run the command again. See it with: ps -fp {found.pid}"
                if found.pid
                else "Stop the application on the host, then run the command again.",
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _locks() -> Iterator[tuple[int, str]]:
    """Yield PID and MAJOR:MINOR:INODE of each lock that is held, not of those that are awaited."""
    with contextlib.suppress(OSError):
        for line in kernel.text("/proc/locks").splitlines():
            words = line.split()
            if len(words) >= 6 and words[1] in ("POSIX", "OFDLCK"):  # noqa: PLR2004
                yield int(words[4]), words[5]


def _is_locked(path_descriptor: int) -> bool:
    """Say whether somebody who is on no list, in another container or on another machine, has one.

    Only asked when this process has none itself: closing the file would drop it.
    """
    if not stat.S_ISREG(os.fstat(path_descriptor).st_mode):
        return False
    with contextlib.suppress(OSError):
        file = os.open(f"/proc/self/fd/{path_descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(file, fcntl.F_GETLK, question)
        finally:
            os.close(file)
        found: int = struct.unpack(_FLOCK, answer)[0]
        return found != fcntl.F_UNLCK
    return False


def _open_locks(wanted: set[str]) -> Iterator[int]:
    """Yield who has a lock that belongs to an open file, not to a process (OFD)."""
    for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with contextlib.suppress(OSError):
            for line in kernel.text(info).splitlines():
                if line.startswith("lock:") and wanted.intersection(line.split()):
                    yield int(info.parts[2])


def _spelled(device: int) -> str:
    return f"{os.major(device):02x}:{os.minor(device):02x}"


def _mounted(descriptor: int) -> Iterator[str]:
    """Yield the device as the kernel's lists spell it: btrfs and overlayfs tell stat(2) another."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        info = kernel.text(f"/proc/self/fdinfo/{descriptor}")
        wanted = info.partition("mnt_id:")[2].split()[0]
        mounts = (line.split() for line in kernel.text("/proc/self/mountinfo").splitlines())
        major, _, minor = next(words[2] for words in mounts if words[0] == wanted).partition(":")
        yield f"{int(major):02x}:{int(minor):02x}"


def _described(pid: int) -> Holder:
    command, user = "", "?"
    folder = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        words = kernel.text(folder / "cmdline").split("\0")
        command = " ".join(filter(None, words)) or f"[{kernel.text(folder / 'comm').strip()}]"
        owner = folder.stat().st_uid
        user = str(owner)
        with contextlib.suppress(KeyError):
            user = pwd.getpwuid(owner).pw_name
    shown = "".join(sign if sign.isprintable() else "?" for sign in command)[:_LONGEST_COMMAND]
    return Holder(pid=pid, command=shown or "a process that is ending", user=user)
