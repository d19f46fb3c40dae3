"""What a series is: name, type, help, labels, source of its figures. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable

from eiderd.metrics import samples
from eiderd.status import Status


class Type(enum.StrEnum):
    """What Prometheus calls the type of a series."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One name. `samples` computes all its figures from what is known.

    Those of a histogram are the counts up to each bound, and `sum` is the sum of all it counted.
    """

    name: str
    type: Type = Type.GAUGE
    help: str
    labels: tuple[str, ...] = ()
    samples: samples.Samples
    sum: Callable[[Status], float] | None = None
