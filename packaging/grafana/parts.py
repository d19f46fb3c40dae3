"""The parts that the dashboard is made of: queries, colours, panels of one look."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import common as build_common
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
HERE: Final = 'instance=~"$instance"'


def query(expression: str, legend: str = "", *, reference: str = "A") -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(reference)


def now(expression: str, *, reference: str = "A") -> prometheus.Dataquery:
    """Return a query for what holds now, as rows of a table."""
    asked = prometheus.Dataquery().expr(expression).ref_id(reference)
    return asked.instant().format(PromQueryFormat.TABLE)


def steps(*later: tuple[float, str], first: str = GREEN) -> build.ThresholdsConfig:
    """Return colours: `first`, and another from each value on."""
    colours = [Threshold(None, first), *(Threshold(value, colour) for value, colour in later)]
    return build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(colours)


def fixed(name: str) -> list[DynamicConfigValue]:
    return [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": name})]


def mapping(**words: tuple[str, str]) -> ValueMap:
    """Return a mapping of values to a word and its colour. A name may begin with `v`: `v0`."""
    return ValueMap(
        {
            value.removeprefix("v"): ValueMappingResult(text=text, color=colour)
            for value, (text, colour) in words.items()
        }
    )


def figure(title: str, about: str, expression: str, legend: str = "") -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        # What holds now: over a range, what held once would be shown beside it.
        .with_target(query(expression, legend).instant())
        .reduce_options(build_common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .thresholds(steps(first=GREY))
        .height(4)
        .span(4)
    )


def graph(
    title: str, about: str, unit: str, *queries: tuple[str, str], width: int = 8
) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(2)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            build_common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
        .tooltip(build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .height(8)
        .span(width)
    )
    for letter, (expression, legend) in zip("ABCDEF", queries, strict=False):
        panel.with_target(query(expression, legend, reference=letter))
    return panel


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    panel.stacking(build_common.StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(40)
    return panel


def coloured(panel: timeseries.Panel, colours: dict[str, str]) -> timeseries.Panel:
    for name, colour in colours.items():
        panel.override_by_name(name, fixed(colour))
    return panel
