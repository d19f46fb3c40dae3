"""An application that begins again with an empty file must not cost the last good backup."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from eiderd import metrics
from eiderd.health import Condition, Kind, Severity
from eiderd.model import Ending, Job, RunOutcome, State
from tests.years import oracle
from tests.years.world import World

DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
BEGIN = datetime.datetime(2026, 1, 10, 9, 7, tzinfo=datetime.UTC)
DAYS = 400


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Forty good days, with rules that keep little."""
    made = World(
        tmp_path, begin=BEGIN, schedule=oracle.DAILY, fresh_within=50 * HOUR,
        rules={"min_count": 1, "daily": 7, "max_age_days": 30, "max_count": 10},
    )  # fmt: skip
    with made.running():
        for _day in range(40):
            _a_day(made)
        yield made


def _a_day(world: World) -> None:
    world.go_on(max(world.next_due - world.wall, HOUR))
    world.turn()


def _figures(world: World) -> dict[str, float]:
    text = metrics.exposition(world.status(), "")[0].decode()
    pairs = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


def test_an_empty_database_costs_nothing_and_is_told_every_day(world: World) -> None:
    good = oracle.newest_verified(world.backups)
    assert good is not None
    before = {one.id for one in world.backups}
    assert len(before) == 7  # daily
    pruned = world.counts[Job.PRUNE, RunOutcome.DONE]
    world.empty = True
    _a_day(world)
    first_empty = world.wall
    for day in range(DAYS):
        status = world.status()
        found = {finding.kind: finding for finding in status.findings}
        suspect = found[Kind.SUSPECT_CONTENT]
        assert suspect.severity is Severity.CRITICAL
        assert suspect.since == first_empty, day
        assert good.id in suspect.message
        assert status.condition is Condition.ILL
        assert found[Kind.PRUNE_FROZEN].since == first_empty
        assert (Kind.NO_VERIFIED_BACKUP in found) == (day >= 2)
        if day >= 2:
            assert found[Kind.NO_VERIFIED_BACKUP].severity is Severity.CRITICAL
            since = found[Kind.NO_VERIFIED_BACKUP].since
            assert since is not None
            assert abs(since - first_empty - 2 * DAY) < HOUR
        if day % 20 == 0:
            figures = _figures(world)
            assert figures['eider_findings{kind="suspect_content",severity="critical"}'] == 1
            assert figures['eider_prune_frozen{reason="suspect"}'] == 1
        if day % 50 == 7:  # what is known survives the service
            world.end()
            world.go_on(HOUR)
            world.begin()
        _a_day(world)
    assert {one.id for one in world.backups} >= before
    assert world.made[good.id].pinned
    assert world.place.latest == f"backup-{good.id}.tar.gz"
    later = [one for one in world.backups if one.sequence > good.sequence]
    assert len(later) >= DAYS
    assert all(one.state is State.SUSPECT for one in later)
    assert world.counts[Job.PRUNE, RunOutcome.DONE] == pruned


def test_once_it_is_accepted_it_goes_on_by_the_rules(world: World) -> None:
    good = oracle.newest_verified(world.backups)
    assert good is not None
    pruned = world.counts[Job.PRUNE, RunOutcome.DONE]
    world.empty = True
    for _day in range(60):
        _a_day(world)
    assert len(world.made) == 67
    world.accept(world.backups[-1])
    _a_day(world)
    assert world.status().condition is Condition.WELL
    assert not world.status().frozen
    assert world.counts[Job.PRUNE, RunOutcome.DONE] == pruned + 1
    # The old good one is pinned until a person unpins it, and it is older than max_age_days.
    assert world.made[good.id].pinned
    for _day in range(10):
        _a_day(world)
    assert len(world.made) == 8
    assert world.operator(lambda app: app.unpin(good.id)).ending is Ending.DONE
    world.made[good.id].pinned = False
    _a_day(world)
    assert good.id not in world.made
    assert world.place.latest == f"backup-{world.backups[-1].id}.tar.gz"


def test_data_that_comes_back_ends_it_without_a_person(world: World) -> None:
    world.empty = True
    for _day in range(5):
        _a_day(world)
    world.empty = False
    _a_day(world)
    assert world.status().condition is Condition.WELL
    assert oracle.newest_verified(world.backups) is world.backups[-1]
