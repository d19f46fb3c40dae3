"""The clock. Only the runner reads it for a job; everything else is told the time."""

from __future__ import annotations

import dataclasses
import datetime
import time
import warnings
from collections.abc import Callable
from typing import TypeAlias

from tzlocal import get_localzone

from eiderd.outside import kernel

Throttle: TypeAlias = Callable[[int], None]


def now() -> datetime.datetime:
    """The present time, UTC."""
    return datetime.datetime.now(tz=datetime.UTC)


def zone() -> datetime.tzinfo:
    """The zone in which this machine's people read a clock."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a machine that says none has UTC
        return get_localzone()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at both clocks: the one that people set, and the one that only counts.

    `up` is in seconds since this boot, sleep included; only within one boot can two be compared.
    """

    at: datetime.datetime
    boot: str
    up: float


def reading() -> Reading:
    return Reading(at=now(), boot=kernel.boot(), up=time.clock_gettime(time.CLOCK_BOOTTIME))


def throttle(rate_limit: int | None) -> Throttle:
    """Return a function that is told of bytes read and sleeps so that a rate is kept.

    `rate_limit` is in bytes per second; None or 0 is no limit.
    """
    if not rate_limit:
        return lambda _count: None
    began, total = time.monotonic(), 0

    def wait(count: int) -> None:
        nonlocal total
        total += count
        ahead = total / rate_limit - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)

    return wait
