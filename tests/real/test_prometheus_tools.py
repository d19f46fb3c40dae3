"""The true promtool, Prometheus and Alertmanager, on what ships for them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import http.server
import json
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from eiderd import metrics, resources
from eiderd.broker.evidence import NatsStanding
from eiderd.status import Status
from tests import statuses
from tests.dashboards import expressions, filled, panels
from tests.helpers import until
from tests.prometheus import SECONDS, alertmanager, prometheus, promtool, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.prometheus import Prometheus

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config" / "prometheus"
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
DASHBOARD = json.loads((ROOT / "config" / "grafana" / "eiderd.json").read_text())
STATUSES = [statuses.empty, statuses.well, statuses.with_findings]
STEP_MINUTES, STEPS = 5, 3 * 24 * 12  # three days, longer than any alert waits


# promtool ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", STATUSES, ids=lambda make: make.__name__)
def test_promtool_is_content_with_the_metrics(make: Callable[[], Status]) -> None:
    promtool("check", "metrics", said=metrics.exposition(make(), "")[0].decode())


def test_promtool_is_content_with_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *resources.rules().values())


def test_promtool_is_content_with_the_example() -> None:
    promtool("check", "config", "--syntax-only", FOLDER / "scrape.yml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_tests_of_the_rules_pass(path: Path) -> None:
    promtool("test", "rules", path.name, cwd=path.parent)


def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    asked = [filled(one) for panel in panels(DASHBOARD) for one in expressions(panel)]
    rules = [{"record": f"dashboard:{place}", "expr": one} for place, one in enumerate(asked)]
    path = tmp_path / "dashboard.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", path)


# From the metrics of a status to alerts ---------------------------------------------------------


def _given_series(status: Status) -> list[dict[str, str]]:
    """Return the metrics of a status as promtool wants them, from its own beginning of time on."""
    body = metrics.exposition(status, "")[0].decode()
    zero = status.at.timestamp() - STEPS * STEP_MINUTES * 60  # so that it ends at `status.at`
    found = []
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            if not sample.name.startswith("eider_"):
                continue
            value = sample.value
            if sample.name.endswith("_timestamp_seconds") and value:
                value -= zero
            labels = {"job": "eiderd", "instance": "nas:9857", **sample.labels}
            shown = ", ".join(f"{name}={json.dumps(word)}" for name, word in labels.items())
            found.append({"series": f"{sample.name}{{{shown}}}", "values": _always(value)})
    up = {"series": 'up{job="eiderd", instance="nas:9857"}', "values": _always(1)}
    return [*found, up]


def _always(value: float) -> str:
    if math.isfinite(value):
        return f"{value:.3f}x{STEPS}"
    # These words cannot be repeated by promtool's own short form.
    return " ".join(["NaN" if math.isnan(value) else "Inf"] * (STEPS + 1))


def _test_firing(status: Status, names: list[str], *, folder: Path) -> None:
    """Hold the shipped rules to firing exactly these alerts when a status has long been so."""
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)]
    test = {
        "rule_files": [str(path) for path in resources.rules().values()],
        "evaluation_interval": f"{STEP_MINUTES}m",
        "tests": [
            {
                "interval": f"{STEP_MINUTES}m",
                "input_series": _given_series(status),
                "promql_expr_test": [
                    {
                        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{STEPS * STEP_MINUTES}m",
                        "exp_samples": expected,
                    }
                ],
            }
        ],
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", path)


def test_a_service_in_good_order_fires_nothing(tmp_path: Path) -> None:
    _test_firing(statuses.well(), [], folder=tmp_path)


def test_a_service_that_never_had_a_backup_says_so(tmp_path: Path) -> None:
    _test_firing(statuses.empty(), ["EiderNoVerifiedBackup"], folder=tmp_path)


def test_a_service_in_trouble_fires_what_it_found(tmp_path: Path) -> None:
    names = [
        "EiderVerifiedBackupTooOld",
        "EiderBackupFailing",
        "EiderBackupSuspect",
        "EiderPruneFrozen",
        "EiderDiskFilling",
    ]
    _test_firing(statuses.with_findings(), names, folder=tmp_path)


# A true Prometheus ------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Service:
    """Serves the metrics of whatever status it has now."""

    status: Status
    address: str = ""
    accepted: str = ""


@contextlib.contextmanager
def _given_service(status: Status) -> Iterator[_Service]:
    service = _Service(status)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.accepted = self.headers["Accept"]
            body, content_type = metrics.exposition(service.status, service.accepted)
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _now(status: Status) -> Status:
    """Return a status as if it were of now, by the clock that Prometheus has."""
    late = datetime.datetime.now(datetime.UTC) - status.at
    backups = tuple(
        dataclasses.replace(backup, created_at=backup.created_at + late)
        for backup in status.backups
    )
    return dataclasses.replace(status, at=status.at + late, backups=backups)


def test_prometheus_scrapes_alerts_and_resolves(tmp_path: Path) -> None:
    tool("alertmanager")
    streams = NatsStanding(expected={"EVENTS": ("writer",)})  # else the series of none
    well, ill = _now(statuses.well()), _now(statuses.empty())
    well = dataclasses.replace(well, nats=streams)
    with (
        _given_service(well) as service,
        alertmanager(tmp_path / "alertmanager") as manager,
        prometheus(
            tmp_path / "prometheus",
            target=service.address,
            rules=resources.rules(),
            alerts_to=manager,
        ) as server,
    ):
        server.await_scrape()
        until(lambda: bool(server.query("backup_count")), what="the rules are evaluated")
        assert "openmetrics" in service.accepted
        _no_series_lost_its_label(server)
        until(
            lambda: {rule["health"] for rule in server.rules()} == {"ok"},
            what="all rules are evaluated",
        )
        # Before the first scrape there were no metrics, and the rules do not wait here.
        until(lambda: manager.firing() == set(), seconds=SECONDS, what="nothing fires")

        service.status = ill
        alert = manager.await_firing("EiderNoVerifiedBackup")
        assert alert["labels"]["instance"] == service.address
        assert alert["labels"]["severity"] == "critical"
        assert f"http://{service.address}/runbook/no_verified_backup" in str(alert["annotations"])

        service.status = well
        manager.await_resolved("EiderNoVerifiedBackup")


def _no_series_lost_its_label(server: Prometheus) -> None:
    """A label of ours that Prometheus sets itself would come back as `exported_…`."""
    found = server.query('{__name__=~"eider_.+"}')
    assert {labels["__name__"] for labels, _figure in found} == metrics.NAMES
    assert not [labels for labels, _figure in found if any("exported" in name for name in labels)]
