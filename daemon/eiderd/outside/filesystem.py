"""How full a filesystem is, asked without ever waiting for a disk that hangs. And the ballast.

A disk that hangs (a network share that is gone, a dying drive) holds whoever asks it in a sleep
that not even SIGKILL ends. So a child asks, by coreutils' `stat`: one that is late is killed and
left behind, and while it is still there no other one is sent to the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Final

from eiderd.errors import ChildFailed, StoreUnavailable
from eiderd.evidence import Ballast, Filesystem
from eiderd.outside import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DEADLINE_SECONDS: Final = 5.0

_STAT: Final = ("stat",)
_NOT_THERE: Final = "No such file or directory"
_HINT: Final = "Check that the disk is mounted and well: dmesg | tail"

_left_behind: dict[Path, subprocess.Popen[str]] = {}
_guard: Final = threading.Lock()


def look(
    folder: Path, *, deadline_seconds: float = DEADLINE_SECONDS, command: Sequence[str] = _STAT
) -> Filesystem:
    """Return how full the filesystem is that holds `folder`, or will when it has been made.

    Raise StoreUnavailable when it cannot be asked or does not answer before the deadline.
    """
    asked = _Asked(folder, command=command, deadline_seconds=deadline_seconds)
    path = folder
    while (said := asked(path, "-f", "-c", "%S %b %f %a %c %d")) is None:
        if path == path.parent:
            raise StoreUnavailable(f"{folder} is not there", hint=_HINT)
        path = path.parent
    size, blocks, unused, free, inodes, free_inodes = said
    (device,) = asked(path, "-L", "-c", "%d") or (0,)
    return Filesystem(
        device=device,
        total_bytes=blocks * size,
        free_bytes=free * size,
        used_bytes=(blocks - unused) * size,
        total_inodes=inodes,
        free_inodes=free_inodes,
    )


def is_there(
    path: Path, *, deadline_seconds: float = DEADLINE_SECONDS, command: Sequence[str] = _STAT
) -> bool:
    """Say whether anything stands at `path`. Raise as `look` does."""
    asked = _Asked(path, command=command, deadline_seconds=deadline_seconds)
    return asked(path, "-c", "%d") is not None


def file_bytes(path: Path) -> int:
    """Return the size of a file, 0 when none can be seen. Only for a disk that answers."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


class _Asked:
    """Questions about one folder, which share a deadline."""

    def __init__(self, folder: Path, *, command: Sequence[str], deadline_seconds: float) -> None:
        self._folder = folder
        self._command = command
        self._seconds = deadline_seconds
        self._until = time.monotonic() + deadline_seconds

    def __call__(self, path: Path, *words: str) -> tuple[int, ...] | None:
        """Return the numbers that `stat` says of `path`, None when it is not there."""
        with _guard:
            left = _left_behind.get(self._folder)
            if left is not None and left.poll() is None:
                raise self._late()
            _left_behind.pop(self._folder, None)
        child = self._started(path, *words)
        out, error = self._heard(child)
        if child.returncode == 0:
            return tuple(map(int, out.split()))
        if error.rstrip().endswith(_NOT_THERE):
            return None
        said = error.strip().rpartition(": ")[2][:300] or f"exit {child.returncode}"
        raise StoreUnavailable(f"{self._folder} cannot be looked at: {said}", hint=_HINT)

    def _started(self, path: Path, *words: str) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                [*self._command, *words, "--", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            raise ChildFailed(f"cannot run {self._command[0]}: {error.strerror}") from error

    def _heard(self, child: subprocess.Popen[str]) -> tuple[str, str]:
        try:
            return child.communicate(timeout=max(0.0, self._until - time.monotonic()))
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            for stream in (child.stdout, child.stderr):
                if stream:
                    stream.close()
            with _guard:  # never waited for: whoever asks next sees whether it has gone
                _left_behind[self._folder] = child
            if isinstance(error, subprocess.TimeoutExpired):
                raise self._late() from None
            raise

    def _late(self) -> StoreUnavailable:
        said = f"{self._folder} does not answer within {self._seconds:g} s"
        return StoreUnavailable(said, hint=_HINT)


# The ballast ------------------------------------------------------------------------------------

# The file begins with this: what does not is not eiderd's to remove.
_MARK: Final = b"eiderd keeps this file, to remove it when the disk is full: see disk.ballast\n"
_NOISE_BYTES: Final = 1 << 20
_STAT_BLOCK: Final = 512


def ballast_at(path: Path) -> Ballast | None:
    """Return what stands at `path`. What a killed run left of one beside it is removed first."""
    with files.writing_to(path.parent):
        aside = _seen(_aside(path), begun=True)
        if aside and aside.ours:
            _aside(path).unlink(missing_ok=True)
        return _seen(path)


def make_ballast(path: Path, *, size: int) -> None:
    """Put a file of `size` bytes at `path`, in real blocks, whole or not at all. Raise NoSpace."""
    aside = _aside(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with files.writing_to(path.parent):
        descriptor = os.open(aside, flags, files.PRIVATE_FILE)
        try:
            os.write(descriptor, _MARK)
            _allocate(descriptor, size)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        files.sync_folder(path.parent)


def release_ballast(path: Path) -> None:
    """Remove it. Raise StoreUnavailable when it is not eiderd's."""
    found = ballast_at(path)
    if found and not found.ours:
        raise StoreUnavailable(f"{path} is not eiderd's ballast", hint=f"Look: ls -ld {path}")
    with files.writing_to(path.parent):
        path.unlink(missing_ok=True)
        files.sync_folder(path.parent)


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _seen(path: Path, *, begun: bool = False) -> Ballast | None:
    """Return what stands at `path`; one that was only `begun` may be empty."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()
    if ours:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            said = os.read(descriptor, len(_MARK))
            ours = _MARK.startswith(said) if said else begun
        finally:
            os.close(descriptor)
    return Ballast(bytes=found.st_size, ours=ours)


def _allocate(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
    os.fsync(descriptor)
    if _real_bytes(descriptor) < size:
        _write_noise(descriptor, size)
    if os.fstat(descriptor).st_size != size:
        os.ftruncate(descriptor, size)


def _real_bytes(descriptor: int) -> int:
    return os.fstat(descriptor).st_blocks * _STAT_BLOCK


def _write_noise(descriptor: int, size: int) -> None:
    """Fill the space that could not be set aside. Some filesystems would make holes of zeros."""
    noise = os.urandom(min(_NOISE_BYTES, size))
    offset = len(_MARK)
    while offset < size:
        offset += os.pwrite(descriptor, noise[: size - offset], offset)
    os.fsync(descriptor)
