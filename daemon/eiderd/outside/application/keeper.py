"""The keeper: a process that freezes or stops the application, and undoes it whatever happens.

Started by `hold`, before anything is frozen, in a session of its own. It does both itself: were the
freeze in other hands, it could come after the thaw. It undoes it when it is told to, when whoever
asked for it is gone (the pipe closes, also after kill -9), when it is asked to end, and when the
time is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.errors import ApplicationFailed, EiderError
from eiderd.evidence import ApplicationState
from eiderd.outside.application import application_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eiderd.outside.application import Application

_LONGEST_ORDER: Final = 1 << 20
_UNDOING_SECONDS: Final = 30.0
_SECONDS_BETWEEN_TRIES: Final = 0.2


class _Inbox:
    """Words from standard input, and signals, which ask the same as its end."""

    def __init__(self) -> None:
        self._awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)
        self._rest = b""

    def next(self, *, seconds: float | None = None) -> str:
        """Return the next word; "" when nobody is there any more, or the time is over."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = select.select([0, self._awake], [], [], left)[0]
            data = os.read(0, 1 << 16) if ready == [0] else b""
            if not data or len(self._rest) > _LONGEST_ORDER:
                return ""
            self._rest += data
        word, _, self._rest = self._rest.partition(b"\n")
        return word.decode()


def main() -> int:
    inbox = _Inbox()
    order = json.loads(inbox.next() or "{}")
    if not order:
        return 0
    with contextlib.suppress(PermissionError):  # a copy runs at low priority; a thaw must not
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    application = _application(order["application"])
    do, undo = {
        "freeze": (application.freeze, application.thaw),
        "stop": (application.stop, application.start),
    }[order["hold"]]
    _say({"ready": True})
    if inbox.next() != "hold":
        return 0
    touched = False
    try:
        _refuse_idle(application)
        if order["hold"] == "freeze":  # nor one that somebody else froze: it would be thawed too
            application.await_freezable()
        touched, began = True, time.monotonic()
        do()
    except EiderError as error:
        # What failed may have come to pass all the same.
        failure = _undone(undo) if touched else None
        _say({"error": (failure or error).to_json()})
        return 1 if failure else 0
    _say({"held": time.monotonic() - began})
    inbox.next(seconds=max(0.0, order["seconds"] - (time.monotonic() - began)))
    failure = _undone(undo)
    if failure:
        _say({"error": failure.to_json()})
        return 1
    _say({"released": time.monotonic() - began})
    return 0


def _application(words: Mapping[str, object]) -> Application:
    database = words.get("database")
    path = Path(database) if isinstance(database, str) else None
    return application_of(**{**words, "database": path})  # type: ignore[arg-type]


def _refuse_idle(application: Application) -> None:
    """What does not run would be started in the end, and it is not what changes the database."""
    state = application.state()
    if state is not ApplicationState.RUNNING:
        raise ApplicationFailed(
            f"{application.name()} does not run: its state is {state}",
            hint="If something else writes to the database, end that.",
        )


def _undone(undo: Callable[[], None]) -> EiderError | None:
    """Try until it is undone. Return what is in the way when it cannot be."""
    deadline = time.monotonic() + _UNDOING_SECONDS
    while True:
        try:
            undo()
        except EiderError as error:
            if time.monotonic() >= deadline:
                return error
            time.sleep(_SECONDS_BETWEEN_TRIES)
        else:
            return None


def _say(document: Mapping[str, object]) -> None:
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(document).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
