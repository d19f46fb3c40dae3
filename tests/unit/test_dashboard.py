"""The dashboard is what its program writes, and asks only for series that there are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eiderd import metrics
from tests.dashboards import expressions, panels

ROOT = Path(__file__).parents[2]
WRITTEN = ROOT / "config" / "grafana" / "eiderd.json"
PROGRAM = ROOT / "packaging" / "grafana" / "dashboard.py"
DASHBOARD: dict[str, Any] = json.loads(WRITTEN.read_text())
PANELS = panels(DASHBOARD)


def test_the_dashboard_is_what_its_program_writes() -> None:
    ran = subprocess.run(
        [sys.executable, str(PROGRAM)], capture_output=True, text=True, check=True, timeout=60
    )
    assert WRITTEN.read_text() == ran.stdout, f"run: python {PROGRAM.relative_to(ROOT)} > {WRITTEN}"


def test_it_is_found_under_its_name() -> None:
    assert (DASHBOARD["uid"], DASHBOARD["title"]) == ("eiderd", "eiderd")
    variables = {one["name"]: one["type"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}


def test_the_rows_ask_what_people_ask() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Can I restore?", "Backups", "Jobs", "Disk", "Service"]


def test_no_two_panels_have_one_number_or_one_place() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _y in cells) < 24
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_explains_itself_and_asks_for_series_that_there_are(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    asked = expressions(panel)
    assert asked
    for expression in asked:
        assert 'instance=~"$instance"' in expression
        assert "eider_" in expression
        assert metrics.unknown_names(expression) == ()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_single_figure_and_a_table_show_what_holds_now(panel: dict[str, Any]) -> None:
    instant = {target.get("instant", False) for target in panel["targets"]}
    assert instant == {panel["type"] != "timeseries"}


def test_every_graph_has_a_unit() -> None:
    for panel in PANELS:
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
