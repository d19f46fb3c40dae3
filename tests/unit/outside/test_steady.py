"""Whether an application that was started is well, and what is remembered of one that was stopped.

The clock here goes on only while somebody sleeps.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from eiderd.errors import ApplicationFailed
from eiderd.evidence import ApplicationState, Health
from eiderd.outside import steady
from eiderd.outside.application.common import Details
from eiderd.outside.steady import Remembered, is_back, until_steady

if TYPE_CHECKING:
    from eiderd.outside.application import Application

DATABASE = Path("/data/app.duckdb")
LIMIT = 60.0


@dataclasses.dataclass
class World:
    """An application that is up, and has its database open, at some times. It counts restarts."""

    up: Callable[[float], bool] = lambda _now: True
    open: Callable[[float], bool] = lambda _now: False
    restarts: Callable[[float], int | None] = lambda _now: None
    now: float = 1000.0
    kind: str = "systemd"
    began: float = 1000.0

    @property
    def seconds(self) -> float:
        return self.now - self.began

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def name(self) -> str:
        return "unit app.service"

    def state(self) -> ApplicationState:
        return ApplicationState.RUNNING if self.up(self.seconds) else ApplicationState.FAILED

    def health(self) -> Health:
        state = self.state()
        return Health(well=state is ApplicationState.RUNNING, why=f"its state is {state}")

    def details(self) -> Details:
        counted = self.restarts(self.seconds)
        if counted == -1:
            raise ApplicationFailed("systemd does not answer")
        return Details(state=self.state(), restarts=counted)

    def until_steady(self) -> Health:
        return until_steady(self.application, database=DATABASE, has_url=False, seconds=LIMIT)

    @property
    def application(self) -> Application:
        return cast("Application", self)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    clock = types.SimpleNamespace(monotonic=lambda: world.now, sleep=world.sleep)
    monkeypatch.setattr(steady, "time", clock)
    holder = lambda _path: "app" if world.open(world.seconds) else None  # noqa: E731
    monkeypatch.setattr(steady, "lock_holder", types.SimpleNamespace(holder=holder))
    return world


def _flapping(up: float, down: float, *, first: float) -> Callable[[float], bool]:
    """Up for so long, then down, over and over; it begins `first` seconds into being up."""
    return lambda now: (now + first) % (up + down) < up


def test_one_that_keeps_its_database_open_is_well_soon(world: World) -> None:
    world.open = lambda now: now >= 5
    assert world.until_steady() == Health(well=True, why="it runs and has its database open")
    assert world.seconds < 8


def test_one_that_stays_up_and_needs_no_database_yet_is_well_in_the_end(world: World) -> None:
    found = world.until_steady()
    assert found.well
    assert "not opened" in found.why
    assert world.seconds >= LIMIT


@pytest.mark.parametrize("first", [0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
def test_one_that_is_up_for_a_second_in_three_is_not_well(world: World, first: float) -> None:
    """Whatever the instant at which the time is over. It may open its database each time."""
    world.up = world.open = _flapping(1, 2, first=first)
    assert world.until_steady() == Health(well=False, why="it does not stay up")
    assert world.seconds < LIMIT + 3


def test_nor_is_one_that_comes_up_when_the_time_is_over_and_falls_again(world: World) -> None:
    world.up = lambda now: LIMIT - 1 <= now < LIMIT + 0.5
    assert world.until_steady().why == "it does not stay up"


def test_one_that_comes_up_just_in_time_is_given_its_two_seconds(world: World) -> None:
    world.up = lambda now: now >= LIMIT - 1
    assert world.until_steady().well


def test_one_that_falls_between_two_looks_is_told_by_its_restarts(world: World) -> None:
    world.open = lambda _now: True
    world.restarts = lambda now: 10 + int(now)  # up at every look
    assert world.until_steady() == Health(well=False, why="it does not stay up")


def test_a_keeper_that_does_not_answer_for_once_says_nothing(world: World) -> None:
    world.restarts = lambda now: -1 if 3 <= now < 4 else 7
    assert world.until_steady().well


def test_one_that_never_comes_up_is_told_with_its_state(world: World) -> None:
    world.up = lambda _now: False
    assert world.until_steady() == Health(well=False, why="its state is failed")


def test_one_is_back_when_it_keeps_its_database_open(world: World) -> None:
    def back() -> bool:
        return is_back(world.application, database=DATABASE, has_url=False)

    assert not back(), "it runs, as one does that is started over and over"
    world.open = _flapping(1, 2, first=0)
    assert not back(), "it opens the database, which does not last"
    world.open = lambda _now: True
    assert back()


def test_one_with_a_health_url_is_back_when_that_says_so(world: World) -> None:
    assert is_back(world.application, database=DATABASE, has_url=True)
    world.up = lambda _now: False
    assert not is_back(world.application, database=DATABASE, has_url=True)


# That it was stopped ------------------------------------------------------------------------------


def test_one_that_ran_since_was_not_stopped_by_eiderd(tmp_path: Path, world: World) -> None:
    """Who started it may have stopped it on purpose: nothing is to start it then."""
    note = tmp_path / "stopped"
    note.write_bytes(b"eiderd stopped the application for a restore\n")
    world.up = lambda _now: False
    stopped = Remembered(world.application, note=note)
    assert stopped.was_stopped()
    world.up = lambda _now: True
    assert not stopped.was_stopped()
    world.up = lambda _now: False
    assert not stopped.was_stopped()
    assert not note.exists()
