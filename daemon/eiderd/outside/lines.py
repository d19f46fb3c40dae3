"""A file of lines that several processes append to, each line whole or not there at all.

Whoever appends holds the kernel's lock on the file. A line counts once its line end is there: what
a power cut left without one is ended by the next writer and skipped by every reader. The file is
replaced, never edited, when it is made shorter; writers notice that it has another inode.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from typing import IO, TYPE_CHECKING, Final

from eiderd.errors import StoreUnavailable
from eiderd.outside import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_PATIENCE_SECONDS: Final = 5.0  # a line takes milliseconds; one who was stopped meanwhile, for ever
_POLL_SECONDS: Final = 0.005


class Lines:
    """One reader's, and writer's, place in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.guard = threading.RLock()  # for the threads of this process, as the lock is for others
        self._inode = 0
        self._offset = 0
        self._patience_seconds = _PATIENCE_SECONDS  # none after it was in vain, until it is not

    def unread(self) -> tuple[list[bytes], bool]:
        """Return the whole lines that came since the last call, and whether it is another file.

        In another file, they are all of its lines. Raise StoreUnavailable when it cannot be read.
        """
        with files.reading_own(self.path):
            try:
                with self.path.open("rb") as file:
                    return self._read(file)
            except FileNotFoundError:
                anew, self._inode, self._offset = self._inode != 0, 0, 0
                return [], anew

    def forget(self) -> None:
        """Let the next `unread` return all lines, as those of another file."""
        self._inode = self._offset = 0

    def append(self, make: Callable[[], bytes]) -> None:
        """Append the line that `make` returns, and sync it. `make` runs under the lock.

        So it may call `unread` and know that nobody else appends meanwhile. Raise NoSpace, and
        StoreUnavailable, also when somebody else holds the lock for seconds.
        """
        with files.writing_to(self.path.parent), self._held() as file:
            line = make()
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                line = b"\n" + line
            try:
                left = memoryview(line + b"\n")
                while left:  # a disk that is nearly full takes a part, and only then says no
                    left = left[os.write(file.fileno(), left) :]
                os.fsync(file.fileno())
            except OSError:
                # A part of a line that did not fit must not become the beginning of another.
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fileno(), size)
                raise

    def rewrite(self, make: Callable[[], Iterable[bytes]]) -> None:
        """Replace the file by the lines that `make` returns under the lock."""
        with files.writing_to(self.path.parent), self._held():
            files.replace(self.path, b"".join(line + b"\n" for line in make()))

    @property
    def length(self) -> int:
        """How long the file was when it was read last."""
        return self._offset

    def _read(self, file: IO[bytes]) -> tuple[list[bytes], bool]:
        about = os.fstat(file.fileno())
        anew = about.st_ino != self._inode or about.st_size < self._offset
        if anew:
            self._inode, self._offset = about.st_ino, 0
        file.seek(self._offset)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.splitlines(), anew

    @contextlib.contextmanager
    def _held(self) -> Iterator[IO[bytes]]:
        """Open the file that has the name now, and lock it. Another writer may replace it first."""
        deadline = time.monotonic() + self._patience_seconds
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.path, flags, files.PRIVATE_FILE)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                self._lock(descriptor, deadline=deadline)
                with contextlib.suppress(FileNotFoundError):
                    if self.path.stat().st_ino == os.fstat(descriptor).st_ino:
                        yield file
                        return

    def _lock(self, descriptor: int, *, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    self._patience_seconds = 0.0
                    raise StoreUnavailable(
                        f"another process keeps {self.path} locked, as one that was stopped does",
                        hint=f"See which: fuser -v {self.path}",
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                self._patience_seconds = _PATIENCE_SECONDS
                return
