"""What is kept and what goes: examples in words, and the laws that hold whatever the rules say."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Callable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eiderd import config, retention
from eiderd.model import Brief, Level, Proof, State
from eiderd.retention import Plan, Rules
from eiderd.status import Frozen

NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
PROOF = Proof(level=Level.RESTORE, at=NOW)
BERLIN = ZoneInfo("Europe/Berlin")


def _given(
    sequence: int,
    age: datetime.timedelta,
    state: State = State.VERIFIED,
    *,
    pinned: bool = False,
    size: int = 10,
) -> Brief:
    id_ = f"backup {sequence}"
    return Brief(
        id=id_, sequence=sequence, created_at=NOW - age, state=state, archive=f"{id_}.tar.gz",
        bytes=size, pinned=pinned, proof=PROOF,
    )  # fmt: skip


def _given_days(count: int, *, per_day: int = 1) -> list[Brief]:
    """`per_day` verified backups a day, the newest an hour old."""
    ages = [HOUR + (DAY / per_day) * number for number in range(count * per_day)]
    return [_given(number, age) for number, age in enumerate(reversed(ages), start=1)]


def _decide(backups: Sequence[Brief], rules: Rules, **more: Any) -> Plan:
    asked: dict[str, Any] = {"unreadable": 0, "now": NOW, "zone": datetime.UTC}
    return retention.decide(backups, rules=rules, **{**asked, "clock_jumped": False, **more})


def _gone(plan: Plan) -> list[int]:
    return [backup.sequence for backup in plan.remove]


def _kept(plan: Plan) -> list[int]:
    gone = set(_gone(plan))
    return [d.backup.sequence for d in plan.decisions if d.backup.sequence not in gone]


def _why(plan: Plan, sequence: int) -> str:
    [decision] = [d for d in plan.decisions if d.backup.sequence == sequence]
    return "; ".join(decision.reasons)


# Rules that keep ----------------------------------------------------------------------------------


def test_daily_keeps_the_last_of_each_day_that_has_one() -> None:
    backups = [_given(1, 30 * DAY), _given(2, 9 * DAY + HOUR), _given(3, 9 * DAY), _given(4, HOUR)]
    plan = _decide(backups, Rules(min_count=1, daily=3))
    assert _gone(plan) == [2]
    assert _why(plan, 4) == "the newest verified; daily 1 of 3 (Sun 22 Nov 2026)"
    assert _why(plan, 3) == "daily 2 of 3 (Fri 13 Nov 2026)"
    assert _why(plan, 2) == "no rule keeps it"


def test_weeks_begin_on_monday() -> None:
    backups = [_given(n, (22 - n) * DAY) for n in range(9, 23)]  # of Mon 9 Nov to Sun 22 Nov
    plan = _decide(backups, Rules(min_count=1, weekly=2))
    assert _kept(plan) == [15, 22]
    assert _why(plan, 15) == "weekly 2 of 2 (week of Mon 09 Nov 2026)"


def test_months_and_years_say_which() -> None:
    backups = [_given(1, 700 * DAY), _given(2, 330 * DAY), _given(3, 40 * DAY), _given(4, HOUR)]
    plan = _decide(backups, Rules(min_count=1, monthly=2, yearly=2))
    assert _gone(plan) == [1]
    assert _why(plan, 3) == "monthly 2 of 2 (Oct 2026)"
    assert _why(plan, 2) == "yearly 2 of 2 (2025)"


def test_a_day_is_a_day_where_people_are() -> None:
    late = datetime.datetime(2026, 3, 28, 22, 30, tzinfo=datetime.UTC)  # 23:30 in Berlin
    backups = [
        dataclasses.replace(_given(n, DAY), created_at=late + datetime.timedelta(hours=n))
        for n in range(3)  # 23:30, 00:30, and 01:30 of the short night
    ]
    rules = Rules(min_count=1, daily=9)
    assert _gone(_decide(backups, rules, zone=BERLIN)) == [1]
    assert _gone(_decide(backups, rules)) == [0]


def test_recent_ones_are_all_kept() -> None:
    backups = [_given(n, age * HOUR) for n, age in enumerate((30, 25, 24, 23, 1), start=1)]
    plan = _decide(backups, Rules(min_count=1, keep_recent_hours=24))
    assert _gone(plan) == [1, 2, 3]
    assert _why(plan, 4) == "younger than 24 h"


def test_without_a_rule_that_keeps_all_are_kept_subject_to_caps() -> None:
    plan = _decide(_given_days(10), Rules(max_count=8))
    assert _gone(plan) == [1, 2]
    assert _why(plan, 1) == "more than 8 backups (max_count)"
    assert _why(plan, 3) == "no rule removes it"


# Caps ---------------------------------------------------------------------------------------------


def test_caps_override_the_rules_that_keep_oldest_first() -> None:
    plan = _decide(_given_days(30), Rules(min_count=1, daily=30, max_age_days=10, max_count=5))
    assert _kept(plan) == [26, 27, 28, 29, 30]
    assert _why(plan, 1) == "older than 10 days (max_age_days)"
    assert _why(plan, 25) == "more than 5 backups (max_count)"


def test_all_archives_together_are_no_larger_than_said() -> None:
    plan = _decide(_given_days(10), Rules(min_count=1, max_total_bytes=45))
    assert _kept(plan) == [7, 8, 9, 10]
    assert _why(plan, 6) == "more than 45 bytes (max_total_bytes)"


@pytest.mark.parametrize("cap", [{"max_age_days": 1}, {"max_count": 1}, {"max_total_bytes": 1}])
def test_no_cap_cuts_below_the_least_count_or_what_is_pinned(cap: dict[str, int]) -> None:
    backups = [_given(1, 50 * DAY, pinned=True), *(_given(n, (60 - n) * DAY) for n in range(2, 9))]
    plan = _decide(backups, Rules(min_count=3, **cap))
    assert _kept(plan) == [1, 6, 7, 8]
    assert _why(plan, 6) == "among the 3 newest verified (min_count)"
    assert _why(plan, 1) == "pinned"


def test_a_least_count_below_one_is_one() -> None:
    plan = _decide(_given_days(4), Rules(min_count=0, max_count=1, max_age_days=1))
    assert _kept(plan) == [4]
    assert _kept(_decide(_given_days(4), Rules(min_count=-5, max_age_days=1))) == [4]


def test_with_a_least_count_of_none_an_unverified_one_still_waits_for_a_newer_one() -> None:
    backups = [*_given_days(4), _given(5, HOUR / 2, State.UNVERIFIED)]
    assert 5 in _kept(_decide(backups, Rules(min_count=0, max_count=1)))


# What is not verified -----------------------------------------------------------------------------


def test_one_not_verified_goes_when_enough_came_after_it() -> None:
    backups = [
        _given(1, 9 * DAY, State.UNVERIFIED), _given(2, 8 * DAY, State.SUSPECT),
        _given(3, 7 * DAY), _given(4, 6 * DAY, State.UNVERIFIED), _given(5, 5 * DAY),
    ]  # fmt: skip
    plan = _decide(backups, Rules(min_count=2, daily=9))
    assert _gone(plan) == [1, 2]
    assert _why(plan, 1) == "not verified, and 2 verified ones are newer"
    assert _why(plan, 4) == "unverified, and only 1 of 2 verified ones are newer"


def test_one_not_verified_stays_while_it_is_recent_or_pinned_or_corrupt() -> None:
    backups = [
        _given(1, 9 * DAY, State.UNVERIFIED, pinned=True), _given(2, 8 * DAY, State.CORRUPT),
        _given(3, 2 * HOUR, State.UNVERIFIED), _given(4, HOUR),
    ]  # fmt: skip
    plan = _decide(backups, Rules(min_count=1, keep_recent_hours=24, max_count=1, max_age_days=1))
    assert _gone(plan) == []
    assert _why(plan, 2) == "corrupt: a person decides"


# Frozen -------------------------------------------------------------------------------------------

HARSH = Rules(min_count=1, daily=1, max_count=1, max_age_days=1)


def test_the_least_count_alone_is_no_rule() -> None:
    plan = _decide(_given_days(9), Rules(min_count=1))
    assert plan.frozen == (Frozen.NO_RULES,)
    assert _gone(plan) == []


@pytest.mark.parametrize(
    ("backups", "more", "cause"),
    [
        ([_given(1, 9 * DAY, State.UNVERIFIED)], {}, Frozen.NO_VERIFIED),
        ([], {}, Frozen.NO_VERIFIED),
        (_given_days(9), {"unreadable": 1}, Frozen.UNREADABLE),
        ([*_given_days(9), _given(10, HOUR / 2, State.SUSPECT)], {}, Frozen.SUSPECT),
        (_given_days(9), {"clock_jumped": True}, Frozen.CLOCK),
        (_given_days(9), {"now": NOW - DAY}, Frozen.CLOCK),
    ],
)
def test_what_freezes_is_said_and_nothing_goes(
    backups: list[Brief], more: dict[str, Any], cause: Frozen
) -> None:
    plan = _decide(backups, HARSH, **more)
    assert plan.frozen == (cause,)
    assert _gone(plan) == []
    assert all(decision.keep for decision in plan.decisions)


def test_a_plan_that_is_frozen_removes_nothing_even_if_a_decision_says_so() -> None:
    plan = _decide(_given_days(3), HARSH)
    assert plan.remove
    assert dataclasses.replace(plan, frozen=(Frozen.CLOCK,)).remove == ()


def test_while_frozen_it_still_says_what_the_rules_would_do() -> None:
    plan = _decide(_given_days(3), HARSH, unreadable=1)
    assert [decision.keep_by_rules for decision in plan.decisions] == [False, False, True]
    assert _why(plan, 1) == "no rule keeps it"


def test_a_suspect_one_freezes_until_a_verified_one_is_newer() -> None:
    before, after = _given_days(9), _given(12, HOUR / 3)
    suspect = _given(11, HOUR / 2, State.SUSPECT)
    assert _decide([*before, suspect], HARSH).frozen == (Frozen.SUSPECT,)
    assert _decide([*before, suspect, after], HARSH).frozen == ()


def test_the_slack_of_two_good_clocks_freezes_nothing() -> None:
    ahead = _given(10, -datetime.timedelta(minutes=5))
    assert _decide([*_given_days(9), ahead], HARSH).frozen == ()


def test_the_newest_is_that_of_the_highest_number_whatever_its_date() -> None:
    backups = [_given(1, HOUR), _given(2, 400 * DAY)]  # the clock had gone back
    plan = _decide(backups, Rules(min_count=1, max_count=1))
    assert _gone(plan) == [1]
    ahead = [_given(1, -DAY), _given(2, 2 * HOUR), _given(3, HOUR)]
    plan = _decide(ahead, Rules(min_count=1, max_count=1))
    assert _gone(plan) == [2]
    assert _why(plan, 1) == "dated in the future"


# Laws ---------------------------------------------------------------------------------------------

_small = st.integers(0, 6)
_rules = st.builds(
    Rules,
    min_count=st.integers(-1, 4),
    keep_recent_hours=st.sampled_from([0, 0, 5, 60]),
    daily=_small,
    weekly=_small,
    monthly=_small,
    yearly=_small,
    max_age_days=st.none() | st.integers(1, 60),
    max_count=st.none() | st.integers(1, 12),
    max_total_bytes=st.none() | st.integers(1, 400),
)
_UNCOUNTED = (State.UNVERIFIED, State.CORRUPT)


@st.composite
def _catalogs(draw: st.DrawFn, states: Sequence[State] = (*State,)) -> list[Brief]:
    """Mostly a backup every few hours; now and then the clock was wrong."""
    made = []
    age = datetime.timedelta(hours=draw(st.integers(0, 3)))
    for sequence in range(draw(st.integers(0, 30)), 0, -1):
        jump = draw(st.sampled_from([0, 0, 0, 0, 0, 0, -4000, 900]))
        made.append(
            _given(
                sequence,
                age + datetime.timedelta(hours=jump),
                draw(st.sampled_from((State.VERIFIED, State.VERIFIED, *states))),
                pinned=draw(st.sampled_from([False] * 7 + [True])),
                size=draw(st.integers(1, 60)),
            )
        )
        age += datetime.timedelta(hours=draw(st.sampled_from([1, 7, 24, 24, 24, 200, 2000])))
    return draw(st.permutations(made))


_law = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_zones = st.sampled_from([datetime.UTC, BERLIN, ZoneInfo("Pacific/Auckland")])


def _verified(backups: Sequence[Brief]) -> list[Brief]:
    return sorted((b for b in backups if b.verified), key=lambda backup: backup.sequence)


@_law
@given(_catalogs(), _rules, _zones, st.integers(0, 1), st.booleans())
def test_what_no_rule_may_touch_stays(
    backups: list[Brief],
    rules: Rules,
    zone: datetime.tzinfo,
    unreadable: int,
    clock_jumped: bool,  # noqa: FBT001
) -> None:
    plan = _decide(backups, rules, zone=zone, unreadable=unreadable, clock_jumped=clock_jumped)
    gone = plan.remove
    verified = _verified(backups)
    assert not set(verified[-1:]) & set(gone)
    assert not [b for b in gone if b.pinned or b.created_at > NOW or b.state is State.CORRUPT]
    left = [backup for backup in verified if backup not in gone]
    assert len(left) >= min(max(1, rules.min_count), len(verified))
    assert {d.backup.id for d in plan.decisions} == {b.id for b in backups}
    assert all(decision.reasons for decision in plan.decisions)
    assert list(gone) == [d.backup for d in plan.decisions if not d.keep]
    if plan.frozen:
        assert gone == ()
    if unreadable or clock_jumped or not verified:
        assert plan.frozen
    suspects = [backup.sequence for backup in backups if backup.state is State.SUSPECT]
    if suspects and max(suspects) > max((b.sequence for b in verified), default=0):
        assert Frozen.SUSPECT in plan.frozen


@_law
@given(_catalogs(_UNCOUNTED), _rules, _zones)
def test_what_is_not_verified_changes_nothing_for_what_is(
    backups: list[Brief], rules: Rules, zone: datetime.tzinfo
) -> None:
    verified = _verified(backups)
    alone = _decide(verified, rules, zone=zone)
    among = _decide(backups, rules, zone=zone)
    assert [d for d in among.decisions if d.backup.verified] == list(alone.decisions)


@_law
@given(_catalogs(), _rules, _zones)
def test_deciding_again_removes_nothing_more(
    backups: list[Brief], rules: Rules, zone: datetime.tzinfo
) -> None:
    gone = _decide(backups, rules, zone=zone).remove
    left = [backup for backup in backups if backup not in gone]
    assert _decide(left, rules, zone=zone).remove == ()


@_law
@given(_catalogs(_UNCOUNTED), _rules, st.integers(0, 50))
def test_a_newer_verified_one_saves_none_that_goes(
    backups: list[Brief], rules: Rules, hours: int
) -> None:
    """Those two caps count what the other rules leave, which may be fewer after it."""
    rules = dataclasses.replace(rules, max_count=None, max_total_bytes=None)
    before = _decide(backups, rules)
    newer = _given(1000, hours * HOUR)
    after = _decide([*backups, newer], rules)
    if not before.frozen:
        assert set(before.remove) <= set(after.remove)


@_law
@given(_catalogs(_UNCOUNTED), _rules, st.integers(0, 50))
def test_a_newer_verified_one_removes_only_what_no_rule_names_or_a_cap_removes(
    backups: list[Brief], rules: Rules, hours: int
) -> None:
    plan = _decide([*backups, _given(1000, hours * HOUR)], rules)
    for decision in plan.decisions:
        if not decision.keep:
            [reason] = decision.reasons
            words = ("no rule keeps it", "(max_age_days)", "(max_count)", "(max_total_bytes)")
            assert reason.endswith((*words, "verified ones are newer"))
            assert decision.backup.verified != reason.startswith("not verified")


# An oracle for representatives --------------------------------------------------------------------


def _oracle(
    verified: Sequence[Brief], keys: Sequence[tuple[int, Callable[[datetime.datetime], Any]]]
) -> set[str]:
    """Sort the local times, group them, take the last of each of the last groups."""
    kept = set()
    for count, key in keys:
        local = sorted((b.created_at.astimezone(BERLIN), b.id) for b in verified)
        groups = [list(group) for _, group in itertools.groupby(local, key=lambda one: key(one[0]))]
        kept |= {group[-1][1] for group in groups[-count:]} if count else set()
    return kept


@_law
@given(st.sets(st.integers(0, 30_000), min_size=1, max_size=40), _small, _small, _small, _small)
def test_representatives_are_those_of_a_simple_oracle(
    hours: set[int], daily: int, weekly: int, monthly: int, yearly: int
) -> None:
    ages = sorted(hours, reverse=True)
    backups = [_given(number, age * HOUR) for number, age in enumerate(ages)]
    plan = _decide(
        backups,
        Rules(min_count=1, daily=daily, weekly=weekly, monthly=monthly, yearly=yearly),
        zone=BERLIN,
    )
    expected = _oracle(
        backups,
        [
            (daily, lambda at: at.date()),
            (weekly, lambda at: at.isocalendar()[:2]),
            (monthly, lambda at: at.strftime("%Y-%m")),
            (yearly, lambda at: at.year),
        ],
    )
    if not (daily or weekly or monthly or yearly):
        assert plan.frozen == (Frozen.NO_RULES,)
    else:
        assert {d.backup.id for d in plan.decisions if d.keep} == expected | {backups[-1].id}


# The settings -------------------------------------------------------------------------------------


def test_the_rules_are_those_of_the_configuration() -> None:
    names = {field.name for field in dataclasses.fields(Rules)}
    assert names == set(config.Retention.model_fields)
    assert Rules(**config.Retention().model_dump()) == Rules()
