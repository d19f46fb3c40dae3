"""Years in seconds: the whole of eiderd in a simulated world, held to its laws at every step."""

from __future__ import annotations

import collections
import datetime
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.years import oracle
from tests.years.story import DAY, HOUR, Story
from tests.years.world import World

THREE_YEARS = 3 * 365 * DAY
WHOLE = os.environ.get("EIDER_YEARS") == "1"  # before a fixture takes it away
HOURLY_DURATION = THREE_YEARS if WHOLE else 120 * DAY
BEGIN = datetime.datetime(2026, 1, 10, 9, 7, tzinfo=datetime.UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is such a thing."""
    memory = Path("/dev/shm")  # noqa: S108  (a private folder below it)
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="eider-years-", dir=memory))
    yield made
    shutil.rmtree(made)


def _given_world(folder: Path, *, schedule: str, seed: int, **rules: Any) -> World:
    fresh = 26 * HOUR if schedule == oracle.DAILY else 3 * HOUR
    return World(folder, begin=BEGIN, schedule=schedule, fresh_within=fresh, rules=rules, seed=seed)


def _live(world: World, duration: datetime.timedelta) -> collections.Counter[str]:
    with world.running():
        Story(world).tell(duration)
        world.laws_of_a_new_reader()
    return world.happened


def test_three_years_of_daily_backups(folder: Path) -> None:
    world = _given_world(
        folder, schedule=oracle.DAILY, seed=1,
        min_count=3, keep_recent_hours=48, daily=7, weekly=5, monthly=12, yearly=3,
    )  # fmt: skip
    _live(world, THREE_YEARS)


def test_years_of_hourly_backups(folder: Path) -> None:
    world = _given_world(
        folder, schedule=oracle.HOURLY, seed=2,
        min_count=5, keep_recent_hours=24, daily=7, weekly=4, monthly=6, max_age_days=200,
        max_count=50,
    )  # fmt: skip
    _live(world, HOURLY_DURATION)
