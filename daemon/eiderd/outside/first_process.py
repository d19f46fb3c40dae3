"""The first process of a container inherits every orphan in it, and nobody but it can bury them.

The service waits for its own children by their numbers, so it leaves that to a parent that does
nothing else. Elsewhere there is an init, and nothing is done.
"""

from __future__ import annotations

import os
import signal
from typing import Final

_FIRST: Final = 1
_PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def give_way() -> None:
    """Return in a child, if this is the first process. It stays, and ends as the child ends.

    Call it before there are threads and children.
    """
    if os.getpid() != _FIRST:
        return
    heard = {*_PASSED_ON, signal.SIGCHLD}
    # Blocked ones are kept for sigwait; others do nothing to a first process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while (code := _buried(child)) is None:
        number = signal.sigwait(heard)
        if number != signal.SIGCHLD:
            os.kill(child, number)  # it is not buried yet, so the number is still its own
    os._exit(code)


def _buried(child: int) -> int | None:
    """Bury everyone who has died. Return how the child ended, as shells say it, if it did."""
    ended = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # nobody is left
            return ended
        if pid == 0:
            return ended
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            ended = code if code >= 0 else 128 - code
