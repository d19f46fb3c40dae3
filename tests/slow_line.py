"""A slow network line, for tests of what happens while something is under way on it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Line:
    """A TCP proxy that hands on what it gets after a while."""

    def __init__(self, to: int) -> None:
        self.delay_seconds = 0.0
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def close(self) -> None:
        self._ended.set()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError, ValueError):
                if not select.select([self._listener], [], [], 0.05)[0]:
                    continue
                taken, _address = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(taken,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, taken: socket.socket) -> None:
        with taken, socket.create_connection(("127.0.0.1", self._to)) as made:
            pairs = {taken: made, made: taken}
            due: list[tuple[float, socket.socket, bytes]] = []
            while not self._ended.is_set():
                for source in select.select(list(pairs), [], [], 0.01)[0]:
                    with contextlib.suppress(OSError):
                        data = source.recv(65_536)
                        if not data:
                            return
                        due.append((time.monotonic() + self.delay_seconds, pairs[source], data))
                while due and due[0][0] <= time.monotonic():
                    _at, target, data = due.pop(0)
                    try:
                        target.sendall(data)
                    except OSError:
                        return


@contextlib.contextmanager
def slow_line(to: int) -> Iterator[Line]:
    line = Line(to)
    try:
        yield line
    finally:
        line.close()
