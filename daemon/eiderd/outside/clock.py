"""The clock. Only the runner reads it for a job; everything else is told the time."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import TypeAlias

Throttle: TypeAlias = Callable[[int], None]


def now() -> datetime.datetime:
    """The present time, UTC."""
    return datetime.datetime.now(tz=datetime.UTC)


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
