"""Signals as letters: none is lost, and none is late, whenever it comes."""

from __future__ import annotations

import subprocess
import sys
import time

_TALK = """
import os, signal, sys, time
from eiderd.outside.inbox import Inbox
inbox = Inbox()
assert inbox.next(seconds=0.01) is None
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
    os.kill(os.getpid(), number)
began = time.monotonic()
print([inbox.next(seconds=30).name for _ in range(3)], inbox.next(seconds=0.01))
print(time.monotonic() - began < 5)
print("ready", flush=True)
print(inbox.next(seconds=30).name)
"""


def test_each_signal_is_a_letter_in_its_order_and_ends_the_wait() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _TALK], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "['SIGHUP', 'SIGTERM', 'SIGHUP'] None\n"
        assert process.stdout.readline() == "True\n"
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.terminate()
        assert process.stdout.readline() == "SIGTERM\n"
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - began < 5
