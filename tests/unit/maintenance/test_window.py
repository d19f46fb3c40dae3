"""Windows: what can be meant, when they open and close, and nights on which clocks are set."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eiderd import schedule
from eiderd.maintenance import window

BERLIN = ZoneInfo("Europe/Berlin")
UTC = datetime.UTC


def _at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Sun 03:00-05:00", "sun 03:00-05:00"),
        (" sat,sun  01:30-04:00", "sat,sun 01:30-04:00"),
        ("23:00-02:00", "23:00-02:00"),
    ],
)
def test_a_window_is_days_and_times(text: str, said: str) -> None:
    assert window.checked(text) == said


@pytest.mark.parametrize(
    "text",
    ["", "sun", "03:00", "sonntag 03:00-05:00", "xyz 03:00-05:00", "sun 3-5", "03:00-03:00",
     "25:00-26:00", "sun 03:60-05:00", "sun, 03:00-05:00", "mon-fri 03:00-05:00"],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        window.checked(text)


def test_it_opens_when_cron_says_so_and_closes_later() -> None:
    assert window.cron("sat,sun 01:30-04:00") == "30 1 * * sat,sun"
    assert window.cron("23:00-02:00") == "0 23 * * *"
    assert window.length("sun 03:00-05:00") == datetime.timedelta(hours=2)
    assert window.length("23:00-02:00") == datetime.timedelta(hours=3)


@pytest.mark.parametrize(
    ("now", "closes"),
    [
        ("2026-11-22T02:59:59", None),
        ("2026-11-22T03:00:00", "2026-11-22T05:00:00"),
        ("2026-11-22T04:59:59", "2026-11-22T05:00:00"),
        ("2026-11-22T05:00:00", None),
        ("2026-11-23T04:00:00", None),  # a Monday
    ],
)
def test_it_is_open_from_its_begin_to_its_end(now: str, closes: str | None) -> None:
    found = window.closes("sun 03:00-05:00", now=_at(now), zone=BERLIN)
    assert found == (closes and _at(closes))


def test_one_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    said = "sat 23:00-02:00"
    assert window.closes(said, now=_at("2026-11-22T01:00:00"), zone=BERLIN) == _at(
        "2026-11-22T02:00:00"
    )
    assert window.closes(said, now=_at("2026-11-21T01:00:00"), zone=BERLIN) is None


def test_when_the_clocks_are_set_it_still_closes_by_the_clock_on_the_wall() -> None:
    # On 29 March 2026 there is no 02:30 in Berlin; on 25 October there are two.
    spring = window.closes("sun 01:00-04:00", now=_at("2026-03-29T01:30:00"), zone=BERLIN)
    autumn = window.closes("sun 01:00-04:00", now=_at("2026-10-25T01:30:00"), zone=BERLIN)
    assert spring == datetime.datetime(2026, 3, 29, 2, tzinfo=UTC)
    assert autumn == datetime.datetime(2026, 10, 25, 3, tzinfo=UTC)


@given(
    st.times(), st.times(), st.sets(st.sampled_from(["mon", "wed", "sun"])),
    st.integers(0, 1_000_000),
)  # fmt: skip
def test_whenever_cron_starts_it_it_is_open(
    begin: datetime.time, end: datetime.time, days: set[str], minutes: int
) -> None:
    begin, end = begin.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0)
    assume(begin != end)
    now = datetime.datetime(2025, 1, 1, tzinfo=UTC) + datetime.timedelta(minutes=minutes)
    said = window.checked(f"{','.join(sorted(days))} {begin:%H:%M}-{end:%H:%M}".strip())
    line = schedule.Cron(schedule.checked_cron(window.cron(said)))
    moment = next(schedule.times(line, after=now, zone=UTC))
    closes = window.closes(said, now=moment, zone=UTC)
    assert closes is not None
    assert closes - moment == window.length(said)
