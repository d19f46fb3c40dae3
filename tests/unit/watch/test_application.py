"""Each finding about the application: suspected, raised when it lasts, and over again."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.evidence import ApplicationSeen, ApplicationState, Health, Stranger
from eiderd.health import Finding, Kind, Severity
from eiderd.watch import application
from eiderd.watch.application import NOTHING, Known

NOON = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
FIRST_OF_MANY = Known(suspected=frozenset())
WELL = Health(well=True, why="its health URL says so")
ILL = Health(well=False, why="its database is \x1b[31mnot connected")
RUNNING = ApplicationSeen(
    name="unit app.service", state=ApplicationState.RUNNING, health=WELL,
    to_see_why="systemctl status app.service", to_thaw="systemctl thaw app.service",
)  # fmt: skip


def _seen(**changed: Any) -> ApplicationSeen:
    return dataclasses.replace(RUNNING, **changed)


def _looks(*looks: ApplicationSeen, known: Known = FIRST_OF_MANY) -> list[dict[Kind, Finding]]:
    """Return what each of several looks, a minute apart, found."""
    told = []
    for number, seen in enumerate(looks):
        found, known = application.run(now=NOON + number * MINUTE, seen=seen, known=known)
        assert len({one.name for one in found}) == len(found)
        told.append({one.kind: one for one in found})
    return told


STRANGER = Stranger(pid=77, said="python notebook.py (PID 77, user mallory)")
WRONG = [
    (_seen(state=ApplicationState.FAILED, health=None), Kind.APPLICATION_DOWN),
    (_seen(state=ApplicationState.STOPPED, health=None), Kind.APPLICATION_DOWN),
    (_seen(health=ILL), Kind.APPLICATION_UNHEALTHY),
    (_seen(frozen=True, health=None), Kind.APPLICATION_UNHEALTHY),
    (_seen(stranger=STRANGER), Kind.LOCK_HELD),
]


def test_one_that_runs_and_is_well_is_well() -> None:
    assert _looks(RUNNING, RUNNING, _seen(health=None)) == [{}, {}, {}]


@pytest.mark.parametrize(("wrong", "kind"), WRONG)
def test_what_lasts_for_two_looks_is_found_and_over_when_a_look_says_so(
    wrong: ApplicationSeen, kind: Kind
) -> None:
    first, second, third, last = _looks(wrong, wrong, wrong, RUNNING)
    assert first == {}
    assert set(second) == set(third) == {kind}
    assert last == {}


@pytest.mark.parametrize(("wrong", "kind"), WRONG)
def test_what_comes_and_goes_is_not_found(wrong: ApplicationSeen, kind: Kind) -> None:
    assert all(kind not in found for found in _looks(wrong, RUNNING, wrong, RUNNING))


@pytest.mark.parametrize(("wrong", "kind"), WRONG)
def test_whoever_looks_only_once_believes_it(wrong: ApplicationSeen, kind: Kind) -> None:
    assert set(_looks(wrong, known=NOTHING)[0]) == {kind}


def test_one_that_was_stopped_is_no_alarm_and_one_that_failed_is() -> None:
    stopped, failed = WRONG[1][0], WRONG[0][0]
    found = _looks(stopped, known=NOTHING)[0][Kind.APPLICATION_DOWN]
    assert found.severity is Severity.NOTICE
    assert found.message == "Unit app.service is stopped."
    found = _looks(failed, known=NOTHING)[0][Kind.APPLICATION_DOWN]
    assert found.severity is Severity.WARNING
    assert found.command == "systemctl status app.service"


def test_why_it_failed_is_said_where_that_is_known() -> None:
    seen = _seen(state=ApplicationState.FAILED, health=None, why="its \x1b[1mmemory ran out")
    message = _looks(seen, seen)[1][Kind.APPLICATION_DOWN].message
    assert message.startswith("Unit app.service has failed and does not run: its ")
    assert message.endswith("memory ran out.")
    assert message.isprintable()


def test_what_it_says_of_its_health_cannot_steer_a_terminal() -> None:
    (found,) = _looks(_seen(health=ILL), known=NOTHING)[0].values()
    assert found.message == (
        "Unit app.service runs and is not well: "
        "its database is \N{REPLACEMENT CHARACTER}[31mnot connected."
    )


def test_a_frozen_one_is_thawed_not_diagnosed() -> None:
    (found,) = _looks(_seen(frozen=True, health=None), known=NOTHING)[0].values()
    assert found.command == "systemctl thaw app.service"


def test_who_holds_the_lock_is_named() -> None:
    (found,) = _looks(_seen(stranger=STRANGER), known=NOTHING)[0].values()
    assert "held by python notebook.py (PID 77, user mallory)" in found.message
    assert found.command == "ps -fp 77"


def test_three_restarts_within_a_quarter_of_an_hour_are_a_loop() -> None:
    told = _looks(*(_seen(restarts=count) for count in (10, 11, 12, 13, 13)))
    assert [Kind.RESTART_LOOP in found for found in told] == [False, False, False, True, True]
    assert "3 times" in told[3][Kind.RESTART_LOOP].message


def test_a_loop_is_over_when_it_stays_up() -> None:
    quiet = [_seen(restarts=13)] * 20
    told = _looks(_seen(restarts=10), *quiet)
    assert Kind.RESTART_LOOP in told[1]
    assert Kind.RESTART_LOOP not in told[-1]


def test_restarts_from_before_eiderd_looked_do_not_count() -> None:
    assert _looks(_seen(restarts=900), _seen(restarts=902)) == [{}, {}]


def test_a_count_that_was_set_back_begins_anew() -> None:
    told = _looks(*(_seen(restarts=count) for count in (50, 0, 1, 2)))
    assert told == [{}, {}, {}, {}]


def test_a_count_that_nobody_tells_is_no_loop() -> None:
    assert _looks(_seen(restarts=3), _seen(restarts=None), _seen(restarts=9)) == [{}, {}, {}]


@given(
    counts=st.lists(st.integers(0, 30), max_size=40),
    minutes=st.lists(st.integers(-5, 30), min_size=40, max_size=40),
)
def test_what_is_remembered_is_bounded_and_never_older_than_the_window(
    counts: list[int], minutes: list[int]
) -> None:
    known, now = FIRST_OF_MANY, NOON
    for count, later in zip(counts, minutes, strict=False):
        now += later * MINUTE
        found, known = application.run(now=now, seen=_seen(restarts=count), known=known)
        ages = [now - at for at, _count in known.restarts]
        assert all(datetime.timedelta() <= age <= 15 * MINUTE for age in ages)
        told = [count for _at, count in known.restarts]
        assert told == sorted(told)
        assert bool(found) == (told[-1] - told[0] >= 3)
