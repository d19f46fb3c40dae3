"""The rule files: each rule is tested to fire and to keep quiet, and says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from eiderd import resources, runbooks
from eiderd.health import Kind
from eiderd.metrics.series import TABLE
from tests.verbs import refused

FOLDER = Path(__file__).parents[2] / "config" / "prometheus"
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
# Of Cartographus: two rules of one name would be taken for one another.
TAKEN = re.compile(
    "CartographusDown|DatabaseSlowQueries|DatabaseQueryErrors|HighDatabaseConnections|DLQ.*|NATS.*"
    "|WAL.*|ConsumerWAL.*|BackupNotRunRecently|BackupFailed|BackupStorage.*|ScheduledBackupMissed"
    "|RetentionNotApplied"
)
NINE = {
    "backup_last_successful_timestamp",
    "backup_failures_total",
    "backup_storage_available_bytes",
    "backup_storage_total_bytes",
    "backup_schedule_enabled",
    "backup_last_scheduled_run_timestamp",
    "backup_schedule_interval_seconds",
    "backup_count",
    "backup_retention_max_count",
}


def _rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


ALERTS = _rules(resources.rules()["eiderd"])
UPSTREAM = _rules(FOLDER / "tests" / "upstream" / "cartographus.yml")


def _given_checks() -> list[tuple[str, bool]]:
    """Return each check of an alert in the tests of the rules: its name, and whether it fires."""
    groups = [group for path in TESTS for group in yaml.safe_load(path.read_text())["tests"]]
    return [
        (check["alertname"], bool(check["exp_alerts"]))
        for group in groups
        for check in group.get("alert_rule_test", [])
    ]


@pytest.mark.parametrize("alert", [*ALERTS, *UPSTREAM], ids=lambda alert: alert["alert"])
def test_every_alert_is_tested_to_fire_and_to_keep_quiet(alert: dict[str, Any]) -> None:
    checks = {fires for name, fires in _given_checks() if name == alert["alert"]}
    assert checks == {True, False}


def test_no_test_is_of_an_alert_that_is_not_there() -> None:
    tested = {name for name, _fires in _given_checks()}
    assert tested == {alert["alert"] for alert in (*ALERTS, *UPSTREAM)}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_type(alert: dict[str, Any]) -> None:
    assert alert["labels"] in [{"severity": word} for word in ("critical", "warning", "info")]
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert len(alert["annotations"]["summary"]) < 90
    if alert["alert"] != "EiderMetricsMissing":  # which may have no instance
        assert "{{ $labels.instance }}" in alert["annotations"]["summary"]
    said = alert["annotations"]["description"].split(":")
    assert any("eider " in part or "eiderd" in part for part in said[1:]), "nothing to type"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_what_an_alert_says_to_type_exists(alert: dict[str, Any]) -> None:
    said = alert["annotations"]["description"].partition("ype: ")[2].split("right: ")
    commands = [command.split() for part in said for command in part.split(";")]
    ours = [words[1:] for words in commands if words and words[0] == "eider"]
    assert [problem for words in ours if (problem := refused(words))] == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_runbook_of_an_alert_exists(alert: dict[str, Any]) -> None:
    url = alert["annotations"]["runbook_url"]
    assert re.fullmatch(r"http://\{\{[^}]*\$labels\.instance[^}]*\}\}/runbook/\w+", url)
    assert runbooks.text(url.rpartition("/")[2])


def test_every_kind_of_finding_ends_in_an_alert() -> None:
    led = {alert["annotations"]["runbook_url"].rpartition("/")[2] for alert in ALERTS}
    assert led == {*map(str, Kind), runbooks.DOWN}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_kinds_and_labels_that_an_alert_asks_for_exist(alert: dict[str, Any]) -> None:
    kinds = re.findall(r'kind="(\w+)"', alert["expr"])
    assert set(kinds) <= set(Kind)
    for name, asked in re.findall(r"(eider_\w+)\{([^}]*)\}", alert["expr"]):
        labels = next(one.labels for one in TABLE if one.name == name)
        assert set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", asked)) <= set(labels)


def test_no_alert_has_a_name_that_is_taken() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert not list(filter(TAKEN.fullmatch, names))
    assert all(name.startswith("Eider") for name in names)
    assert len(set(names)) == len(names)


def test_the_nine_names_of_cartographus_are_recorded_and_no_other() -> None:
    recorded = [rule["record"] for rule in _rules(resources.rules()["cartographus-backup"])]
    assert sorted(recorded) == sorted(NINE)


def test_the_upstream_rules_use_all_nine() -> None:
    used = " ".join(rule["expr"] for rule in UPSTREAM)
    assert set(re.findall(r"backup_\w+", used)) == NINE


def test_the_example_scrapes_the_job_that_the_alerts_look_for() -> None:
    example = yaml.safe_load((FOLDER / "scrape.yml").read_text())
    assert [job["job_name"] for job in example["scrape_configs"]] == ["eiderd"]
    names = {Path(path).stem for path in example["rule_files"]}
    assert names == set(resources.rules())
    assert any('job="eiderd"' in alert["expr"] for alert in ALERTS)
