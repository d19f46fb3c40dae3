"""A restore that was killed in the middle: seen, told, and no backup is taken of what is left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eiderd.outside import swap
from tests import helpers
from tests.helpers import Place, build_database, given_place, until
from tests.real.supervised import Run, kill_with_children, supervised
from tests.running import running

METRIC = 'eider_findings{kind="exchange_unfinished",severity="critical"}'


@pytest.fixture
def app(engines: Callable[[str], Path], tmp_path: Path) -> Iterator[Run]:
    with supervised(tmp_path, engines("1.4.3"), application__timeout="60s") as run:
        yield run


def _plan_path(place: Place) -> Path:
    return place.database.with_name(f".{place.database.name}.eider-swap.json")


def _given_half_an_exchange(place: Place) -> None:
    """Leave what a run leaves that dies when the old file is aside and the new one is not in."""
    staging = swap.staging(place.database)
    incoming = build_database(staging / place.database.name, rows=100, wal_rows=0)
    plan = swap.plan(
        database=place.database,
        incoming=incoming,
        wal_base=place.database,
        kind="restore",
        what="20261122-031502",
        stamp="20261122-120000",
        restart=False,
    )
    work = swap.Swap(place.database, plan)
    work._write_plan(plan)
    work._copy_old_wals()
    work._copy_new_wals()
    work._set_aside()
    assert not place.database.exists()


def test_half_an_exchange_is_seen_everywhere_and_not_backed_up(tmp_path: Path) -> None:
    place = given_place(tmp_path)
    made = place.backup()
    with running(place) as service:
        assert service.metrics()[METRIC] == 0
        service.end()
    _given_half_an_exchange(place)
    refused = place.eider("backup").good_manners()
    assert refused.code == 14, refused
    assert "did not end" in refused.stderr
    assert "eider restore" in refused.stderr
    # An application that was started meanwhile has made an empty one: that is no database either.
    place.wal.unlink()  # as its engine does, too
    build_database(place.database, rows=1, wal_rows=0)
    assert place.eider("backup").code == 14
    place.database.unlink()
    assert place.listed() == {made["id"]: "verified"}
    with running(place) as service:
        assert "exchange_unfinished" in service.kinds()
        assert service.ready()["condition"] == "ill"
        assert service.metrics()[METRIC] == 1
        assert "runbook/exchange_unfinished" in service.get("/")[1]
        assert "there may be no database now" in place.eider("status").stdout
        doctor = {one["name"]: one for one in place.eider("doctor", "--json").json["checks"]}
        for name in ("exchange", "database"):
            assert doctor[name]["mark"] == "problem"
            assert doctor[name]["command"] == "eider restore --dry-run"
        ran = place.eider("restore", "--yes", "--json").good_manners()
        assert ran.code == 0, ran
        assert ran.json["restored"]["settled"] is True
    status = place.eider("status", "--json").json
    assert "exchange_unfinished" not in {found["kind"] for found in status["findings"]}
    assert place.eider("backup").code in {0, 3}


def test_one_that_was_killed_while_the_application_was_started_is_seen_until_it_is_ended(
    app: Run,
) -> None:
    app.place.backup()
    (app.root / "wait").touch()
    process = helpers.start("restore", "--yes", config=app.place.config)

    def is_in_place() -> bool:
        assert process.poll() is None, "it was too quick to be killed"
        plan = _plan_path(app.place)
        return plan.exists() and json.loads(plan.read_text())["phase"] == "in"

    until(is_in_place, what="the files are exchanged", seconds=60)
    assert "exchange_unfinished" not in _kinds(app.place), "while it is at work, it is at work"
    kill_with_children(process)
    (app.root / "wait").unlink()
    assert "exchange_unfinished" in _kinds(app.place)
    assert app.place.eider("backup").code == 0, "all of one set is in place"
    assert app.place.eider("restore", "--yes").code == 0
    assert not _plan_path(app.place).exists()
    assert "exchange_unfinished" not in _kinds(app.place)


def _kinds(place: Place) -> set[str]:
    return {found["kind"] for found in place.eider("status", "--json").json["findings"]}
