"""`eider status`: the truth, with the service or without, for a person and for a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import Place, given_place
from tests.running import running

ROOMY = {"disk__warn": "2kB", "disk__critical": "1kB"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return given_place(tmp_path, rows=500, wal_rows=10).configure(**ROOMY)


def test_nothing_yet_is_ill_and_says_what_to_type(place: Place) -> None:
    ran = place.eider("status")
    assert ran.code == 3
    assert "There is no verified backup" in ran.stdout
    assert "eider backup" in ran.stdout
    assert "not running" in ran.stdout
    ran.good_manners()
    document = place.eider("status", "--json").json
    assert document["condition"] == "ill"
    assert document["newest_verified"] is None
    assert document["age_seconds"] is None
    assert document["findings"][0]["kind"] == "no_verified_backup"


def test_with_a_backup_it_is_well_and_says_how_old_it_is(place: Place) -> None:
    made = place.backup()
    ran = place.eider("status")
    assert ran.code == 0, ran
    assert "Last verified backup" in ran.stdout
    assert made["id"] in ran.stdout
    document = place.eider("status", "--json").json
    assert document["condition"] == "well"
    assert document["newest_verified"]["id"] == made["id"]
    assert document["backups"]["verified"] == 1
    assert {"job": "backup", "outcome": "done", "count": 1} in document["runs"]
    upcoming = [one["job"] for one in document["upcoming"]]
    assert upcoming[0] == "backup"
    assert {"verify", "drill"} < set(upcoming)


def test_the_application_is_looked_at_and_what_is_wrong_with_it_is_said(place: Place) -> None:
    runs = place.root / "runs"
    runs.touch()
    state = ["sh", "-c", f"test -e {runs} || exit 1"]
    place.configure(**ROOMY, application__kind="commands", application__commands={"state": state})
    place.backup()
    document = place.eider("status", "--json").json
    assert document["condition"] == "well"
    assert document["application"]["state"] == "running"
    runs.unlink()
    ran = place.eider("status")
    assert ran.code == 3
    assert "The application has failed and does not run." in ran.stdout
    assert "eider doctor" in ran.stdout
    ran.good_manners()


def test_looking_writes_nothing(place: Place) -> None:
    place.backup()
    before = {path: path.read_bytes() for path in place.root.rglob("*") if path.is_file()}
    assert place.eider("status", "--json").code == 0
    assert {path: path.read_bytes() for path in place.root.rglob("*") if path.is_file()} == before


def test_the_service_is_said_to_run_while_it_does(place: Place) -> None:
    with running(place) as service:
        service.until(lambda: service.ready()["condition"] == "well")
        document = place.eider("status", "--json").json
        assert document["service"]["running"]
        service.end()
    assert not place.eider("status", "--json").json["service"]["running"]


def test_a_failed_run_is_told_with_its_reason(place: Place) -> None:
    place.backup()
    place.database.rename(place.database.with_name("gone"))
    assert place.eider("backup").code == 14
    ran = place.eider("status")
    assert ran.code == 3
    assert "there is no database at" in ran.stdout
    findings = place.eider("status", "--json").json["findings"]
    assert {found["kind"] for found in findings} == {"job_failed", "no_retention_rules"}


def test_a_catalog_that_cannot_be_read_is_a_finding(place: Place) -> None:
    place.backups.write_text("in the way")
    ran = place.eider("status")
    assert ran.code == 3
    assert "cannot" in ran.stdout
    ran.good_manners()
