"""The timetable: what a cron line means, also when clocks go back and forth."""

from __future__ import annotations

import datetime
import itertools
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import schedule
from eiderd.model import Job
from eiderd.schedule import Cron, Every, Lane

UTC = datetime.UTC
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def _times(
    line: str, *, after: datetime.datetime, count: int, zone: datetime.tzinfo = UTC
) -> list[str]:
    found = schedule.times(Cron(line), after=after, zone=zone)
    return [f"{moment:%a %d %b %H:%M}" for moment in itertools.islice(found, count)]


SUNDAY = datetime.datetime(2026, 11, 22, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("15 3 * * *", ["Sun 22 Nov 03:15", "Mon 23 Nov 03:15", "Tue 24 Nov 03:15"]),
        ("0 4 * * 0", ["Sun 22 Nov 04:00", "Sun 29 Nov 04:00", "Sun 06 Dec 04:00"]),
        ("0 4 * * 7", ["Sun 22 Nov 04:00", "Sun 29 Nov 04:00", "Sun 06 Dec 04:00"]),
        ("0 4 * * 1-5", ["Mon 23 Nov 04:00", "Tue 24 Nov 04:00", "Wed 25 Nov 04:00"]),
        ("0 4 * * fri-mon", ["Sun 22 Nov 04:00", "Mon 23 Nov 04:00", "Fri 27 Nov 04:00"]),
        ("0 4 * * */3", ["Sun 22 Nov 04:00", "Wed 25 Nov 04:00", "Sat 28 Nov 04:00"]),
        ("0 4 * * SAT", ["Sat 28 Nov 04:00", "Sat 05 Dec 04:00", "Sat 12 Dec 04:00"]),
        ("0 0 1 * *", ["Tue 01 Dec 00:00", "Fri 01 Jan 00:00", "Mon 01 Feb 00:00"]),
        ("*/20 * * * *", ["Sun 22 Nov 00:20", "Sun 22 Nov 00:40", "Sun 22 Nov 01:00"]),
    ],
)
def test_a_line_means_what_cron_means_by_it(line: str, expected: list[str]) -> None:
    assert _times(schedule.checked_cron(line), after=SUNDAY, count=3) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "five fields"),
        ("@daily", "five fields"),
        ("0 4 * *", "five fields"),
        ("0 25 * * *", "cannot be read"),
        ("0 4 * * funday", "cannot be read"),
        ("0 0 31 2 *", "no time at all"),
        ("0 4 1 * mon", "not both"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused_in_words(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        schedule.checked_cron(line)


def test_an_hour_that_is_skipped_in_spring_is_made_up_for_at_once() -> None:
    before = datetime.datetime(2026, 3, 28, 12, tzinfo=UTC)
    local = [
        moment.astimezone(BERLIN).strftime("%d %H:%M")
        for moment in itertools.islice(
            schedule.times(Cron("30 2 * * *"), after=before, zone=BERLIN), 3
        )
    ]
    assert local == ["29 03:30", "30 02:30", "31 02:30"]


def test_an_hour_that_comes_twice_in_autumn_runs_twice_rather_than_never() -> None:
    before = datetime.datetime(2026, 10, 24, 12, tzinfo=UTC)
    found = list(itertools.islice(schedule.times(Cron("30 2 * * *"), after=before, zone=BERLIN), 3))
    assert [moment.astimezone(BERLIN).strftime("%d %H:%M") for moment in found] == [
        "25 02:30", "25 02:30", "26 02:30",
    ]  # fmt: skip
    assert found[1] - found[0] == datetime.timedelta(hours=1)


@given(
    line=st.sampled_from(["15 3 * * *", "0 * * * *", "30 2 * * sun", "0 2 1 * *"]),
    days=st.integers(0, 2200),
    minutes=st.integers(0, 1440),
)
def test_every_day_of_a_daily_line_has_its_run_whatever_the_clocks_do(
    line: str, days: int, minutes: int
) -> None:
    after = datetime.datetime(2024, 1, 1, tzinfo=UTC) + datetime.timedelta(days, minutes=minutes)
    found = list(itertools.islice(schedule.times(Cron(line), after=after, zone=BERLIN), 40))
    assert found == sorted(set(found))
    assert found[0] > after
    assert all(moment.tzinfo is UTC for moment in found)
    if line == "15 3 * * *":
        dates = [moment.astimezone(BERLIN).date() for moment in found]
        assert dates == [dates[0] + datetime.timedelta(number) for number in range(len(dates))]


def test_what_was_due_while_the_machine_was_off_is_known() -> None:
    last = datetime.datetime(2026, 11, 16, 3, 15, 2, tzinfo=UTC)
    now = datetime.datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    due = schedule.due(Cron("15 3 * * *"), last=last, now=now, zone=UTC)
    assert [moment.day for moment in due] == [17, 18, 19, 20]
    assert schedule.due(Cron("15 3 * * *"), last=now, now=now, zone=UTC) == []
    assert schedule.due(Cron("15 3 * * *"), last=now, now=last, zone=UTC) == []


def test_a_century_away_is_not_counted_to_its_end() -> None:
    far = datetime.datetime(2126, 1, 1, tzinfo=UTC)
    every = Every(datetime.timedelta(minutes=1))
    assert len(schedule.due(every, last=SUNDAY, now=far, zone=UTC)) == 10_000


@pytest.mark.parametrize(
    ("line", "hours"),
    [("15 3 * * *", 24), ("0 * * * *", 1), ("0 4 * * sun", 168), ("0 2,8 * * *", 18)],
)
def test_the_interval_is_the_longest_wait(line: str, hours: int) -> None:
    assert schedule.interval(Cron(line), now=SUNDAY, zone=UTC) == datetime.timedelta(hours=hours)


def test_an_interval_counts_from_the_last_time() -> None:
    every = Every(datetime.timedelta(minutes=5))
    found = list(itertools.islice(schedule.times(every, after=SUNDAY, zone=UTC), 2))
    assert found == [
        SUNDAY + datetime.timedelta(minutes=5),
        SUNDAY + datetime.timedelta(minutes=10),
    ]


def test_only_heads_of_chains_have_a_clock() -> None:
    hours = datetime.timedelta(hours=1)
    entries = schedule.timetable(
        backup="15 3 * * *", backup_limit=hours, scrub="30 4 * * sun", scrub_limit=hours
    )
    jobs = [entry.job for entry in entries]
    assert len(set(jobs)) == len(jobs)
    followers = {job for entry in entries for job in entry.then}
    assert followers == {Job.PRUNE, Job.BALLAST, Job.CONTENT, Job.SCHEMA}
    assert not followers & set(jobs)
    assert {entry.job for entry in entries if entry.lane is Lane.STORE} == {Job.BACKUP, Job.VERIFY}


@pytest.mark.parametrize(("drill", "lines"), [("0 5 1 * *", ["0 5 1 * *"]), (None, [])])
def test_backups_are_drilled_unless_that_is_off(drill: str | None, lines: list[str]) -> None:
    hours = datetime.timedelta(hours=1)
    entries = schedule.timetable(
        backup="15 3 * * *", backup_limit=hours, scrub="30 4 * * sun", scrub_limit=hours,
        drill=drill,
    )  # fmt: skip
    drills = [entry for entry in entries if entry.job is Job.DRILL]
    assert [entry.when for entry in drills] == [Cron(line) for line in lines]
    assert all(entry.lane is Lane.STORE for entry in drills)
