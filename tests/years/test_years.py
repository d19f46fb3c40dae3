"""Years in seconds: the whole of eiderd in a simulated world, held to its laws at every step."""

from __future__ import annotations

import collections
import datetime
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eiderd.model import Job
from tests.years import oracle
from tests.years.story import DAY, HOUR, Story
from tests.years.world import World

THREE_YEARS = 3 * 365 * DAY
WHOLE = os.environ.get("EIDER_YEARS") == "1"  # before a fixture takes it away
HOURLY_DURATION = THREE_YEARS if WHOLE else 200 * DAY
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
    """Live through it all and say on the terminal what happened (pytest -s)."""
    with world.running():
        Story(world).tell(duration)
        world.laws_of_a_new_reader()
    happened = ", ".join(f"{count} {what}" for what, count in sorted(world.happened.items()))
    sys.stdout.write(f"\n{duration.days} days: {happened}\n")
    return world.happened


@pytest.mark.parametrize(("seed", "days"), [(3, 20), (4, 2), (5, 1)])
def test_a_year_under_tight_caps(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, days: int
) -> None:
    """With a journal that is shortened whenever the service begins."""
    monkeypatch.setattr("eiderd.journal._LONGEST", 5_000)
    world = _given_world(
        folder, schedule=oracle.DAILY, seed=seed,
        min_count=1, max_age_days=days, max_count=12, max_total_bytes=9_000,
    )  # fmt: skip
    _live(world, 300 * DAY)


def test_three_years_of_daily_backups(folder: Path) -> None:
    world = _given_world(
        folder, schedule=oracle.DAILY, seed=1,
        min_count=3, keep_recent_hours=48, daily=7, weekly=5, monthly=12, yearly=3,
    )  # fmt: skip
    happened = _live(world, THREE_YEARS)
    # Whatever should befall it did.
    for what in (
        "killed", "off", "clock set", "empty", "suspect", "accept", "unverified", "backup failed",
        "journal_full", "pin", "unpin", "strange manifest", "rot", "frozen prune",
        "ended by the next run",
    ):  # fmt: skip
        assert happened[what], what
    assert happened["verified"] > 500
    assert happened["prune done"] > 300


def test_years_of_hourly_backups(folder: Path) -> None:
    """200 days of them; all three years take a minute and a half: EIDER_YEARS=1."""
    world = _given_world(
        folder, schedule=oracle.HOURLY, seed=2,
        min_count=5, keep_recent_hours=24, daily=7, weekly=4, monthly=6, max_age_days=200,
        max_count=50,
    )  # fmt: skip
    happened = _live(world, HOURLY_DURATION)
    assert happened["verified"] > 5 * HOURLY_DURATION.days


# One thing at a time -----------------------------------------------------------------------------


@pytest.mark.parametrize("night", [(3, 28), (10, 24)], ids=["spring", "autumn"])
def test_a_night_of_another_time_minute_by_minute(folder: Path, night: tuple[int, int]) -> None:
    world = _given_world(folder, schedule=oracle.DAILY, seed=5, min_count=3, daily=7)
    with world.running():
        world.off(datetime.datetime(2026, *night, 22, tzinfo=datetime.UTC) - world.wall)
        before, missed = world.backups_begun, world.missed.total()
        for _minute in range(5 * 60):
            world.go_on(datetime.timedelta(minutes=1))
            world.turn()
        # In spring half past two is half past three, in autumn it comes twice.
        assert world.backups_begun - before == (1 if night[0] == 3 else 2)
        assert world.runs_of_freshness() >= 5 * 60
        assert world.missed.total() == missed


def test_what_was_missed_in_weeks_is_made_up_for_once_and_counted(folder: Path) -> None:
    world = _given_world(folder, schedule=oracle.DAILY, seed=6, min_count=3, daily=7)
    with world.running():
        for days in (3, 20, 1):
            begun, missed = world.backups_begun, world.missed[Job.BACKUP]
            world.off(days * DAY + HOUR)
            assert world.backups_begun - begun == 1
            assert world.missed[Job.BACKUP] - missed == days - 1


def test_a_machine_that_comes_back_in_its_own_past_prunes_nothing_for_a_day(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own clock has no battery: the time is what it was days ago."""
    monkeypatch.setattr("eiderd.journal._LONGEST", 1)  # nor does shortening forget it
    world = _given_world(folder, schedule=oracle.DAILY, seed=8, min_count=1, max_age_days=1)
    with world.running():
        for _day in range(5):
            world.go_on(world.next_due - world.wall)
            world.turn()
        there = len(world.made)
        world.off(-2 * DAY - 5 * HOUR)
        assert world.frozen() == {"clock"}
        world.go_on(world.next_due - world.wall)
        world.turn()
        assert world.frozen() == {"clock"}
        assert len(world.made) == there + 1


@pytest.mark.parametrize("by", [-DAY, 366 * DAY], ids=["a day back", "a year ahead"])
def test_a_clock_that_is_set_does_not_stop_the_beat(folder: Path, by: datetime.timedelta) -> None:
    """systemd's watchdog hangs on it: without a beat for half a minute it is not fed."""
    world = _given_world(folder, schedule=oracle.DAILY, seed=7, min_count=3, daily=7)
    with world.running():
        before = world.beat_at()
        world.set_clock(by)
        began = time.perf_counter()
        world.turn()
        assert time.perf_counter() - began < 5
        assert world.beat_at() > before
        assert world.frozen() == {"clock"}
        for _hour in range(23):
            world.go_on(HOUR)
            world.turn()
        assert world.frozen() == {"clock"}
        world.go_on(HOUR)
        world.turn()
        assert world.frozen() == ({"clock"} if by < DAY * 0 and world.is_ahead() else set())
