"""What the maintenance unit may do beyond its user is for this process: no child is given it.

A unit gives a process of a user its capabilities as ambient ones, and those are handed to whatever
it runs: an engine that reads a hostile database, a command of the operator, systemctl.
"""

from __future__ import annotations

import contextlib
from typing import Final

from eiderd.errors import StoreUnavailable
from eiderd.outside import kernel

_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4


def keep_from_children() -> None:
    """Let no process that is begun from now on have capabilities; this one keeps its own.

    To be called before there are threads: each has a set of its own, a copy of its parent's. Raise
    StoreUnavailable when it cannot be done.
    """
    import ctypes  # noqa: PLC0415  (the service, which has none, does without it)

    with contextlib.suppress(OSError, AttributeError):  # what counts is asked below
        words = map(ctypes.c_ulong, (_PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
        ctypes.CDLL(None).prctl(_PR_CAP_AMBIENT, *words)
    if kernel.capabilities("CapAmb"):
        raise StoreUnavailable(
            "cannot keep this unit's capabilities from the engines that it runs",
            hint="Do it as root instead: eider compact, eider restore",
        )
