"""Durations and sizes as people write them: "90s", "1h30m", "500MB". Pure."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, PlainSerializer

_PART = r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d|w)"
_PARTS = re.compile(_PART)
_DURATION = re.compile(rf"(?:{_PART}\s*)+")
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_SIZE = re.compile(r"\s*(?:\d+(?:\.\d+)?|\.\d+)\s*(?:[A-Za-z]+\s*)?")
_BYTES = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3}
_BINARY = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
_SHORTEST_SECONDS = 0.001
_LONGEST_DAYS = 3650


def read_duration(value: object) -> object:
    """Given "90s" or "1h30m", return the time, in whole milliseconds.

    Raise ValueError for a text without a unit, and for what is no time or ten years.
    """
    if isinstance(value, timedelta):
        return value
    text = str(value).strip()
    if not _DURATION.fullmatch(text):
        raise ValueError('a duration has a unit, as in "90s", "5m", "1h30m", "7d"')
    seconds = sum(float(m["count"]) * _SECONDS[m["unit"]] for m in _PARTS.finditer(text))
    if not _SHORTEST_SECONDS <= seconds <= _LONGEST_DAYS * _SECONDS["d"]:
        raise ValueError(f"a duration is at least 1ms and at most {_LONGEST_DAYS}d")
    return timedelta(milliseconds=round(seconds * 1000))


def spell_duration(value: timedelta) -> str:
    """Given a time, return it in the largest unit that gives a whole number: 90 s are "90s"."""
    milliseconds = value // timedelta(milliseconds=1)
    for unit, seconds in _SECONDS.items():
        if milliseconds % int(seconds * 1000) == 0:
            return f"{milliseconds // int(seconds * 1000)}{unit}"
    raise AssertionError("every time is a whole number of milliseconds")


# From how many seconds on a time is said in a unit, its seconds, and how it is called.
_STEPS = (
    (86_400 * 2, 86_400, "day", "d"),
    (3600 * 2, 3600, "hour", "h"),
    (120, 60, "minute", "min"),
    (0, 1, "second", "s"),
)


def spoken(seconds: float) -> str:
    """Return a time as people say it, rounded down: "26 hours"."""
    count, word, _short = _rounded(seconds)
    return f"{count} {word}" if count == 1 else f"{count:,} {word}s"


def short(seconds: float) -> str:
    """Return a time as a table says it, rounded down: "26 h"."""
    count, _word, unit = _rounded(seconds)
    return f"{count} {unit}"


def _rounded(seconds: float) -> tuple[int, str, str]:
    whole = max(0, int(seconds))
    size, word, unit = next((size, w, u) for least, size, w, u in _STEPS if whole >= least)
    return whole // size, word, unit


def spell_size(value: int) -> str:
    """Given bytes, return them in the largest unit that gives a whole number, decimal ones first.

    A size that people wrote as "10GiB" would be a long row of digits otherwise.
    """
    for unit, size in (*_BYTES.items(), *_BINARY.items()):
        if value % size == 0:
            return f"{value // size}{unit}"
    return str(int(value))


def _checked_size(value: object) -> object:
    """Refuse what pydantic reads the beginning of: "1,000GB" were one byte, and so were `true`."""
    if isinstance(value, bool) or (isinstance(value, str) and not _SIZE.fullmatch(value)):
        raise ValueError('a size is a number with a unit, as in "500MB", "1.5GB", "2GiB"')
    return value


def size_between(least: int, most: int) -> AfterValidator:
    """Return what refuses a size outside these bounds, in a person's words."""

    def check(value: ByteSize) -> ByteSize:
        if not least <= value <= most:
            raise ValueError(f"must be between {spell_size(least)} and {spell_size(most)}")
        return value

    return AfterValidator(check)


def duration_between(least: timedelta, most: timedelta) -> AfterValidator:
    """Return what refuses a duration outside these bounds, in a person's words."""

    def check(value: timedelta) -> timedelta:
        if not least <= value <= most:
            raise ValueError(f"must be between {spell_duration(least)} and {spell_duration(most)}")
        return value

    return AfterValidator(check)


Duration = Annotated[
    timedelta,
    BeforeValidator(read_duration),
    Field(gt=timedelta(0)),
    PlainSerializer(spell_duration, when_used="json"),
]
NEVER = timedelta(0)
_NEVER = "never"


def _read_interval(value: object) -> object:
    return NEVER if value in (_NEVER, NEVER) else read_duration(value)


def _not_too_short(value: timedelta) -> timedelta:
    if NEVER < value < timedelta(seconds=1):
        raise ValueError('must be at least 1s, or "never"')
    return value


# How often something is done; "never" is NEVER.
Interval = Annotated[
    timedelta,
    BeforeValidator(_read_interval),
    AfterValidator(_not_too_short),
    PlainSerializer(lambda value: spell_duration(value) if value else _NEVER, when_used="json"),
]
Size = Annotated[
    ByteSize,
    BeforeValidator(_checked_size),
    Field(gt=0),
    PlainSerializer(spell_size, when_used="json"),
]
