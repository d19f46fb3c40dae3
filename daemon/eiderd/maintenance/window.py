"""A window of time in a week, as in "sun 03:00-05:00": when it opens, and when it closes. Pure."""

from __future__ import annotations

import datetime
import re
from typing import Final

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")  # as datetime counts them
_WINDOW: Final = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:,[a-z]{3})*) )?(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)"
)
_DAY: Final = datetime.timedelta(days=1)


def checked(text: str) -> str:
    """Return a window that can be meant. Raise ValueError, in a person's words."""
    said = " ".join(text.lower().split())
    found = _WINDOW.fullmatch(said)
    if not found or not set((found["days"] or "sun").split(",")) <= set(_DAYS):
        raise ValueError('must be days and times, as in "sun 03:00-05:00" or "03:00-05:00"')
    try:
        begin, end = (datetime.time.fromisoformat(found[key]) for key in ("begin", "end"))
    except ValueError as error:
        raise ValueError("must have times from 00:00 to 23:59") from error
    if begin == end:
        raise ValueError("must end at another time than it begins")
    return said


def cron(window: str) -> str:
    """Return when a checked window opens, as cron says it."""
    days, begin, _end = _parts(window)
    return f"{begin.minute} {begin.hour} * * {','.join(days) or '*'}"


def length(window: str) -> datetime.timedelta:
    """Return how long it is open. One that ends before it begins ends on the next day."""
    _days, begin, end = _parts(window)
    day = datetime.date(2024, 1, 1)
    last = day if end > begin else day + _DAY
    return datetime.datetime.combine(last, end) - datetime.datetime.combine(day, begin)


def closes(
    window: str, *, now: datetime.datetime, zone: datetime.tzinfo
) -> datetime.datetime | None:
    """Return when it closes, UTC, if it is open `now`. The zone decides what its times mean."""
    days, begin, end = _parts(window)
    today = now.astimezone(zone).date()
    for day in (today, today - _DAY):
        if days and _DAYS[day.weekday()] not in days:
            continue
        last = day if end > begin else day + _DAY
        opened = datetime.datetime.combine(day, begin, tzinfo=zone)
        closed = datetime.datetime.combine(last, end, tzinfo=zone)
        if opened.astimezone(datetime.UTC) <= now < closed.astimezone(datetime.UTC):
            return closed.astimezone(datetime.UTC)
    return None


def _parts(window: str) -> tuple[tuple[str, ...], datetime.time, datetime.time]:
    days, _, times = window.rpartition(" ")
    begin, _, end = times.partition("-")
    read = datetime.time.fromisoformat
    return tuple(filter(None, days.split(","))), read(begin), read(end)
