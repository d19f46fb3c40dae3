"""Being asked to end: Ctrl-C, `systemctl stop` and a closed terminal all end a run tidily."""

from __future__ import annotations

import select
import signal
import socket
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from types import FrameType

_ASKING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):  # like KeyboardInterrupt: no `except Exception` may swallow it
    """A signal asked this process to end. What is half done is put away on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        return 128 + self.number  # as shells say it


class Inbox:
    """Signals as letters: the main thread reads them when it has time.

    The interpreter writes the number of each signal to a socket as it arrives: one that comes just
    before a wait begins ends that wait.
    """

    def __init__(self) -> None:
        self._letters, self._writer = socket.socketpair()
        self._letters.setblocking(False)
        self._writer.setblocking(False)
        for number in _ASKING:
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def next(self, *, seconds: float) -> signal.Signals | None:
        """Return the next signal, or None when none came in time."""
        if not select.select([self._letters], [], [], seconds)[0]:
            return None
        return signal.Signals(self._letters.recv(1)[0])


def end_at_once() -> None:
    """Let the signals kill: there is nothing to put away (any more), and nothing to say."""
    _set(signal.SIG_DFL)


def raise_ended() -> None:
    """Let the first signal raise Ended in the main thread. Later ones must not stop the tidying."""
    _set(_raise)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    _set(signal.SIG_IGN)
    raise Ended(number)


def _set(handler: signal._HANDLER) -> None:
    for number in _ASKING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and `&` mean it
            signal.signal(number, handler)
