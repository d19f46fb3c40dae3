"""`eider verify ID --level 5`: a backup is really restored, timed, and nothing stays behind."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest

from eiderd.journal import Journal
from eiderd.model import Job, RunOutcome
from eiderd.outside import clock, process
from tests.helpers import Place, build_database, files_below, given_place, is_root, small_disk
from tests.running import running


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = given_place(tmp_path)
    extra = tmp_path / "env"
    extra.write_text("SECRET=1\n")
    return made.configure(backup__include=[str(extra)])


def test_a_drill_is_recorded_with_its_seconds_and_leaves_nothing(place: Place) -> None:
    made = place.backup()
    database = place.database.stat().st_mtime_ns
    ran = place.eider("verify", made["id"], "--level", "5", "--json").good_manners()
    assert ran.code == 0, ran
    found = place.eider("show", "--json").json["proof"]
    assert ran.json["proof"] == found
    assert (found["level"], found["rows"]) == (5, made["proof"]["rows"])
    assert 0 < found["seconds"] < ran.seconds
    assert not files_below(place.state / "scratch")
    assert place.database.stat().st_mtime_ns == database
    status = place.eider("status", "--json").json
    assert status["drilled"]["backup"] == made["id"]
    assert status["drilled"]["seconds"] == pytest.approx(found["seconds"], abs=0.001)
    said = place.eider("status").good_manners().stdout
    assert "measured" in said
    assert made["id"] in said
    # A proof that goes less deep takes nothing back.
    assert place.eider("verify", made["id"]).code == 0
    assert place.eider("show", "--json").json["proof"] == found


def test_an_archive_that_does_not_restore_fails_the_drill_and_is_known_from_then_on(
    place: Place,
) -> None:
    made = place.backup()
    archive = place.archive(made["id"])
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    ran = place.eider("verify", made["id"], "--level", "5").good_manners()
    assert ran.code == 12, ran
    assert "does not restore" in ran.stderr
    assert place.listed() == {made["id"]: "corrupt"}
    assert place.eider("status", "--json").json["drilled"] is None
    assert not files_below(place.state / "scratch")


def test_only_backups_of_the_catalog_are_drilled_one_at_a_time(place: Place) -> None:
    made = place.backup()
    elsewhere = place.root / "copy.tar.gz"
    elsewhere.write_bytes(place.archive(made["id"]).read_bytes())
    for words in ((str(elsewhere),), ("--all",)):
        ran = place.eider("verify", *words, "--level", "5").good_manners()
        assert ran.code == 2, ran
        assert "hint" in ran.stderr


def test_one_that_was_never_proven_does_not_count_by_a_drill_when_its_content_is_gone(
    place: Place,
) -> None:
    good = place.backup()
    place.database.unlink()
    place.wal.unlink()
    build_database(place.database, rows=0, wal_rows=0)
    ran = place.configure(engine__deadline="1ms").eider("backup", "--json").good_manners()
    assert (ran.code, ran.json["state"], ran.json["content"]["tables"]) == (12, "unverified", {})
    emptied = ran.json["id"]
    assert place.configure().eider("verify", emptied, "--level", "5").code == 0
    assert place.listed() == {good["id"]: "verified", emptied: "suspect"}
    assert place.eider("show", good["id"], "--json").json["pinned"]
    assert place.latest == good["archive"]
    assert not files_below(place.state / "scratch")


@pytest.mark.skipif(not is_root(), reason="only root may mount a small disk")
def test_a_drill_that_does_not_fit_beside_the_reserve_is_refused(place: Place) -> None:
    made = place.backup()
    with small_disk(place.root / "small", size="2m") as disk:
        more = {"EIDER_SERVICE__STATE": str(disk)}
        ran = place.eider("verify", made["id"], "--level", "5", env=more).good_manners()
        assert ran.code == 13, ran
        assert "a drill" in ran.stderr
    assert place.listed() == {made["id"]: "verified"}


def test_the_service_makes_up_for_a_drill_that_was_missed(place: Place) -> None:
    made = place.backup()
    long_ago = clock.now() - datetime.timedelta(days=40)
    journal = Journal(place.state / "journal.jsonl", pid=os.getpid(), who=process.who)
    run = journal.begin(Job.DRILL, at=long_ago, planned_at=long_ago)
    journal.end(run, at=long_ago, seconds=1, outcome=RunOutcome.DONE)
    with running(place, verify__drill_schedule="0 5 1 * *") as service:
        service.until(
            lambda: service.metrics()["eider_last_drill_timestamp_seconds"] > 0, what="a drill"
        )
        assert service.metrics()["eider_last_drill_seconds"] > 0
        assert made["id"] in service.get("/")[1]
        assert "A restore takes about" in service.get("/")[1]
