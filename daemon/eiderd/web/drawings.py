"""Facts become places on a drawing: the timeline of backups, the bar of a disk. Pure.

Everything that is drawn lies inside `0 0 width height`; the templates only spell it as SVG.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime
import functools
import math
from typing import TYPE_CHECKING, Final

from eiderd.model import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from eiderd.model import Brief

_EDGE: Final = 11.0  # room for half a mark at either end
_LANE: Final = 20.0
_PITCH: Final = 14.0  # marks of one state never come closer than this
_SMALLEST, _LARGEST, _NEEDLE = 3.6, 6.4, 7.0
_AXIS: Final = 20.0
_CHARACTER: Final = 6.4  # how wide one is in a label, at most
_APART: Final = 64.0
_NARROWEST_BAND: Final = 4.0

_HOUR: Final = datetime.timedelta(hours=1)
_DAY: Final = datetime.timedelta(days=1)
_STEPS: Final = tuple(
    [_HOUR * count for count in (1, 3, 6, 12)] + [_DAY * count for count in (1, 2, 7, 14)]
)
_MONTHS: Final = (1, 3, 6, 12, 60, 120)
_MONTH: Final = _DAY * 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One or more backups of the same state, too near each other to be drawn apart."""

    state: State
    x: float
    y: float
    size: float
    needle: float  # how high a pin stands over it when one of them is pinned, else 0
    count: int
    first: datetime.datetime
    last: datetime.datetime
    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A time written on the axis."""

    x: float
    label: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Backups along time. `fresh` is where the time begins that should hold a verified one."""

    width: float
    height: float
    axis: float
    begin: float
    end: float
    fresh: float | None
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    begin: datetime.datetime
    end: datetime.datetime
    width: float

    def x(self, at: datetime.datetime) -> float:
        share = (at - self.begin) / (self.end - self.begin)
        return round(_EDGE + min(1.0, max(0.0, share)) * (self.width - 2 * _EDGE), 1)


def timeline(
    backups: Sequence[Brief],
    *,
    now: datetime.datetime,
    fresh_seconds: float,
    width: float,
    zone: datetime.tzinfo | None = None,
) -> Timeline:
    """Place backups on an axis that ends now. `zone` None is the machine's own."""
    times = [backup.created_at for backup in backups]
    end = max([now, *times])
    scale = _Scale(begin=min([*times, end - _DAY]), end=end, width=width)
    states = [state for state in State if any(backup.state is state for backup in backups)]
    lanes = {state: _LANE * (number + 0.75) for number, state in enumerate(states)}
    axis = _LANE * (max(1, len(states)) + 0.5)
    fresh = _EDGE
    if math.isfinite(fresh_seconds) and fresh_seconds < (end - scale.begin).total_seconds():
        fresh = scale.x(end - datetime.timedelta(seconds=max(0.0, fresh_seconds)))
    return Timeline(
        width=width,
        height=axis + _AXIS,
        axis=axis,
        begin=_EDGE,
        end=width - _EDGE,
        fresh=fresh if width - _EDGE - fresh >= _NARROWEST_BAND else None,
        marks=tuple(
            mark
            for state, y in lanes.items()
            for mark in _marks([b for b in backups if b.state is state], scale=scale, y=y)
        ),
        ticks=tuple(_ticks(scale, zone=zone)),
    )


def mark_size(count: int) -> float:
    """Return the radius of a mark for so many backups: never less for more."""
    return round(min(_LARGEST, _SMALLEST + 0.7 * math.log2(max(1, count))), 1)


def outline(state: State, *, x: float, y: float, size: float) -> str:
    """Return the path of a mark: every state has its own shape, not only its own colour."""
    if state is State.VERIFIED:
        half_circle = f"a{size} {size} 0 1 0"
        return (
            f"M{x - size:.1f} {y:.1f}{half_circle} {2 * size:.1f} 0{half_circle} {-2 * size:.1f} 0z"
        )
    half = size * 0.62
    points = {
        State.UNVERIFIED: ((0, -size), (size, 0), (0, size), (-size, 0)),
        State.SUSPECT: ((0, -size), (size, size * 0.8), (-size, size * 0.8)),
        State.CORRUPT: (
            (-size, -half), (-half, -size), (0, half - size), (half, -size), (size, -half),
            (size - half, 0), (size, half), (half, size), (0, size - half), (-half, size),
            (-size, half), (half - size, 0),
        ),
    }[state]  # fmt: skip
    return "M" + "L".join(f"{x + right:.1f} {y + down:.1f}" for right, down in points) + "z"


def share(part: float, whole: float, *, width: float) -> float:
    """Return how much of a bar of `width` is filled."""
    if whole <= 0:
        return 0.0
    return round(min(1.0, max(0.0, part / whole)) * width, 1)


def _marks(backups: Sequence[Brief], *, scale: _Scale, y: float) -> Iterator[Mark]:
    """Yield the marks of one lane, newest first: the newest backup stands exactly in its place."""
    left = sorted(backups, key=lambda backup: backup.created_at, reverse=True)
    while left:
        # Thousands of backups make a few dozen marks: halving finds where each of them ends.
        apart = functools.partial(_apart, scale.x(left[0].created_at), scale)
        count = bisect.bisect_left(left, _PITCH, lo=1, key=apart)
        yield _mark(left[:count], scale=scale, y=y)
        left = left[count:]


def _apart(x: float, scale: _Scale, backup: Brief) -> float:
    return x - scale.x(backup.created_at)


def _mark(near: Sequence[Brief], *, scale: _Scale, y: float) -> Mark:
    x, size, state = scale.x(near[0].created_at), mark_size(len(near)), near[0].state
    return Mark(
        state=state,
        x=x,
        y=y,
        size=size,
        needle=_NEEDLE if any(backup.pinned for backup in near) else 0.0,
        count=len(near),
        first=near[-1].created_at,
        last=near[0].created_at,
        path=outline(state, x=x, y=y, size=size),
    )


# The axis ---------------------------------------------------------------------------------------


def _ticks(scale: _Scale, *, zone: datetime.tzinfo | None) -> Iterator[Tick]:
    last = -_APART
    now_begins = scale.width - _EDGE - 6 * _CHARACTER
    for moment, label in _times(scale, zone=zone):
        x, half = scale.x(moment), len(label) * _CHARACTER / 2
        if half <= x <= now_begins - half and x - last >= _APART * 0.8:
            last = x
            yield Tick(x=x, label=label)


def _times(
    scale: _Scale, *, zone: datetime.tzinfo | None
) -> Iterator[tuple[datetime.datetime, str]]:
    """Yield round local times and what to call them, as many as there is room for."""
    most = max(1, int(scale.width / _APART))
    span = scale.end - scale.begin
    begin = scale.begin.astimezone(zone).replace(tzinfo=None)
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    wanted: Iterable[datetime.datetime]
    step = next((step for step in _STEPS if span / step <= most), None)
    if step is not None:
        wanted = (midnight + step * number for number in range(math.ceil((span + _DAY) / step)))
    else:
        months = next((count for count in _MONTHS if span / (_MONTH * count) <= most), _MONTHS[-1])
        wanted = _firsts(midnight, months=months, span=span)
    for wall in wanted:
        # A wall time that does not exist, or exists twice, is off by an hour: no matter here.
        moment = wall.replace(tzinfo=zone).astimezone(datetime.UTC)
        if scale.begin <= moment <= scale.end:
            yield moment, _label(wall, step=step)


def _firsts(
    midnight: datetime.datetime, *, months: int, span: datetime.timedelta
) -> Iterator[datetime.datetime]:
    for number in range(0, math.ceil(span / _MONTH) + months + 1, months):
        month = (midnight.year * 12) + (midnight.month - 1) // months * months + number
        if month >= datetime.MAXYEAR * 12:
            return
        yield datetime.datetime(month // 12, month % 12 + 1, 1)  # noqa: DTZ001  (a wall time)


def _label(wall: datetime.datetime, *, step: datetime.timedelta | None) -> str:
    if step is None:
        return wall.strftime("%b %Y")
    if step < _DAY and wall.hour:
        return wall.strftime("%H:%M")
    return f"{wall.day} {wall:%b}"
