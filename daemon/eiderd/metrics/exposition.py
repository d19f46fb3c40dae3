"""What `/metrics` answers: the series of a status and of the process, as Prometheus reads them.

Nothing is probed but the service's own process: everything else is in the status.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from eiderd.metrics.declared import Type
from eiderd.metrics.series import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.metrics.declared import Series
    from eiderd.status import Status

NAMES: Final = frozenset(
    series.name + suffix
    for series in TABLE
    for suffix in (("_bucket", "_sum", "_count") if series.type is Type.HISTOGRAM else ("",))
)

_NAME: Final = re.compile(r"\beider_[a-z0-9_]+")
_OPENMETRICS: Final = "application/openmetrics-text"


def exposition(status: Status, accept: str) -> tuple[bytes, str]:
    """Return the body and its content type: OpenMetrics when `accept` asks for it, else text."""
    # Of what others send, the library is shown one word: it fails on versions that are no numbers.
    encode, content_type = choose_encoder(_OPENMETRICS if _OPENMETRICS in accept else "")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Known(status))
    registry.register(_process())
    return encode(registry), content_type


def unknown_names(rules_text: str) -> tuple[str, ...]:
    """Return the names of ours that a rule file uses and no series has."""
    return tuple(sorted(set(_NAME.findall(rules_text)) - NAMES))


def table() -> str:
    """Return all series as a table in Markdown."""
    lines = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for series in TABLE:
        labels = ", ".join(f"`{label}`" for label in series.labels)
        lines.append(f"| `{series.name}` | {series.type} | {labels} | {series.help} |")
    return "\n".join(lines) + "\n"


class _Known(Collector):
    """The series of one status, in the order of the table."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        for series in TABLE:
            if series.sum:
                yield _histogram(series, self._status, total=series.sum(self._status))
                continue
            family = _family(series)
            for values, figure in series.samples(self._status):
                family.add_metric(values, float(figure))
            yield family


def _family(series: Series) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if series.type is Type.COUNTER else GaugeMetricFamily
    return kind(series.name, series.help, labels=series.labels)


def _histogram(series: Series, status: Status, *, total: float) -> HistogramMetricFamily:
    buckets = [(bound, count) for (bound,), count in series.samples(status)]
    return HistogramMetricFamily(series.name, series.help, buckets=buckets, sum_value=total)


@functools.cache
def _process() -> ProcessCollector:
    return ProcessCollector(registry=None)
