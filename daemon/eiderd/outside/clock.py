"""The clock. Only the runner reads it; everything else is told the time."""

from __future__ import annotations

import datetime


def now() -> datetime.datetime:
    """The present time, UTC."""
    return datetime.datetime.now(tz=datetime.UTC)
