"""What a swap of database files does to a disk, one small step each. A test records them.

Nothing here is synced unless it says so: which steps must be on disk before which others is decided
in one place, by the caller. Links are never followed: the folder belongs to the application.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import signal
import stat
import threading
from typing import TYPE_CHECKING, Final

from eiderd.errors import Busy
from eiderd.outside import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_CHUNK: Final = 1 << 20
_READABLE_BY_ALL: Final = 0o644
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose a file is, and who may do what with it."""

    user: int
    group: int
    mode: int


def owner_of(path: Path) -> Owner:
    """Return the owner of a file; of a folder, of the private files in it. Links are followed."""
    found = path.stat()
    mode = files.PRIVATE_FILE if stat.S_ISDIR(found.st_mode) else stat.S_IMODE(found.st_mode)
    return Owner(user=found.st_uid, group=found.st_gid, mode=mode & 0o777)


class Moves:
    """The steps themselves."""

    def write(self, path: Path, data: bytes) -> None:
        """Write a small file, in the place of one that was begun and never came into force.

        All may read it: what root began, the service tells of, which is another user.
        """
        self.remove(path)
        descriptor = os.open(path, _NEW, files.PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, _READABLE_BY_ALL)
            file.write(data)

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file with its owner and mode, in the place of a copy that was begun."""
        self.remove(target)
        reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(reading, "rb") as read:
            descriptor = os.open(target, _NEW, files.PRIVATE_FILE)
            with os.fdopen(descriptor, "wb") as written:
                while data := read.read(_CHUNK):
                    written.write(data)
                found = os.fstat(reading)
                _give(
                    descriptor,
                    Owner(user=found.st_uid, group=found.st_gid, mode=found.st_mode & 0o777),
                )

    def own(self, path: Path, owner: Owner) -> None:
        """Give a file to its owner, and sync it."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _give(descriptor, owner)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder. One that is not, or not there, is left alone."""
        with contextlib.suppress(OSError):
            path.rmdir()

    def sync_file(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, path: Path) -> None:
        files.sync_folder(path)


def _give(descriptor: int, owner: Owner) -> None:
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (owner.user, owner.group):
        os.fchown(descriptor, owner.user, owner.group)
    os.fchmod(descriptor, owner.mode)


# Around the steps -------------------------------------------------------------------------------


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let whoever asks this process to end wait until the steps have been taken."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: asked.append(number))
        for number in _ENDING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if asked:
            signal.raise_signal(asked[0])


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock that an engine takes on a database. Nothing there is nothing to hold.

    The kernel forgets such a lock when this process closes any descriptor of the same file: nothing
    may open it meanwhile.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise Busy(
                f"another process has {path} open", hint=f"Stop it: fuser -v {path}"
            ) from error
        os.fsync(descriptor)
        yield
    finally:
        os.close(descriptor)
