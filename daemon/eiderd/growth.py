"""How fast something grows, told from samples of its size. Pure.

Prunes make a saw of what a disk holds, and a copy that comes and goes a spike. The median of the
slopes between all pairs of samples (Theil and Sen) is moved by neither, and bears with almost a
third of samples that are wrong.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import statistics
from typing import Any, Final

WINDOW: Final = datetime.timedelta(hours=48)
APART: Final = datetime.timedelta(minutes=10)

_MOST: Final = 300
_LEAST_SAMPLES: Final = 3
_LEAST_SPAN: Final = datetime.timedelta(hours=1)
_SET_BACK: Final = datetime.timedelta(minutes=5)  # of a clock; less is how clocks are kept right
_SECONDS_PER_HOUR: Final = 3600


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """What one filesystem held, at most 48 hours back and one sample every ten minutes.

    `points` are (seconds since the epoch, bytes), oldest first. `bytes_per_hour` is None until
    three of them, an hour apart, can tell.
    """

    points: tuple[tuple[int, int], ...] = ()
    total_bytes: int = 0
    bytes_per_hour: float | None = None

    def added(self, at: datetime.datetime, *, used_bytes: int, total_bytes: int) -> Samples:
        """Return these with one more, if it is time for one.

        When the clock was set back, or it is another filesystem, they begin anew.
        """
        now = int(at.timestamp())
        points = self.points if total_bytes == self.total_bytes else ()
        if points and now < points[-1][0] - _SET_BACK.total_seconds():
            points = ()
        if points and now < points[-1][0] + APART.total_seconds():
            return self
        oldest = now - WINDOW.total_seconds()
        kept = (*(point for point in points if point[0] >= oldest), (now, used_bytes))
        return Samples(kept, total_bytes, _slope(kept))

    def to_json(self) -> list[Any]:
        return [self.total_bytes, [list(point) for point in self.points]]

    @classmethod
    def from_json(cls, document: object) -> Samples:
        """Given what `to_json` gave, return the same; given anything else, none."""
        match document:
            case [int(total), [*points]]:
                found = tuple(_point(point) for point in points[-_MOST:])
                whole = tuple(point for point in found if point)
                if whole == found and list(whole) == sorted(whole):
                    return cls(whole, total, _slope(whole))
        return cls()


def _point(document: object) -> tuple[int, int] | None:
    match document:
        case [int(at), int(used)] if 0 <= at < 1 << 40 and 0 <= used < 1 << 63:
            return at, used
    return None


def _slope(points: tuple[tuple[int, int], ...]) -> float | None:
    if len(points) < _LEAST_SAMPLES or points[-1][0] - points[0][0] < _LEAST_SPAN.total_seconds():
        return None
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in itertools.combinations(points, 2)
        if later[0] > earlier[0]
    ]
    return statistics.median(slopes) * _SECONDS_PER_HOUR
