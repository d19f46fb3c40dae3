"""What systemd wants to hear from a service of `Type=notify`, and what it told the service.

sdnotify does the sending. It is silent where there is no systemd, and it swallows every failure, so
the tests receive on a real socket.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import IO

import sdnotify


class Systemd:
    """The one that started this service, or nobody."""

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier()
        self._status = ""

    def ready(self) -> None:
        self._notifier.notify("READY=1")

    def reloading(self) -> None:
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        self._notifier.notify("STOPPING=1")

    def alive(self) -> None:
        self._notifier.notify("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in one line what goes on; only when that changed."""
        if text != self._status:
            self._status = text
            self._notifier.notify(f"STATUS={text}")


def watchdog_seconds() -> float | None:
    """Return how often systemd wants a sign of life at least; None when it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if meant and microseconds.isdecimal() else None


def is_journal(stream: IO[str]) -> bool:
    """Say whether a stream leads to the journal, as systemd.exec(5) says of JOURNAL_STREAM.

    The variable alone says nothing: children inherit it, with other streams.
    """
    with contextlib.suppress(OSError, ValueError):  # closed, or none of the kernel's
        seen = os.fstat(stream.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{seen.st_dev}:{seen.st_ino}"
    return False


def is_here() -> bool:
    """Say whether systemd runs this machine, as sd_booted(3) does."""
    return Path("/run/systemd/system").is_dir()
