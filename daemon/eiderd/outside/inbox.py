"""The signals of a service, read when its main thread has time for them."""

from __future__ import annotations

import select
import signal
import socket

from eiderd.outside.signals import ASKING


class Inbox:
    """Signals as letters: the main thread reads them when it has time.

    The interpreter writes the number of each signal to a socket as it arrives: one that comes just
    before a wait begins ends that wait.
    """

    def __init__(self) -> None:
        self._letters, self._writer = socket.socketpair()
        self._letters.setblocking(False)
        self._writer.setblocking(False)
        for number in ASKING:
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def next(self, *, seconds: float) -> signal.Signals | None:
        """Return the next signal, or None when none came in time."""
        if not select.select([self._letters], [], [], seconds)[0]:
            return None
        return signal.Signals(self._letters.recv(1)[0])
