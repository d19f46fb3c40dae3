"""Being asked to end: Ctrl-C, `systemctl stop` and a closed terminal all end a run tidily."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from types import FrameType

ASKING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    for number in ASKING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and `&` mean it
            signal.signal(number, handler)
