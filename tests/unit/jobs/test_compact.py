"""The compaction as a job: what is asked of whom, in which order, and what a refusal leaves."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from eiderd.errors import ApplicationFailed, Busy, VerificationFailed
from eiderd.evidence import ApplicationState, Captured, Damage, Health
from eiderd.jobs import compact
from eiderd.maintenance import around
from eiderd.maintenance.compact_plan import Measured
from eiderd.model import Ending, Outcome
from tests.unit.jobs.exchanging import Stage, Work
from tests.unit.maintenance.test_compact_plan import OBJECTS, opened, survey

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
MEASURED = Measured(
    old_bytes=100, new_bytes=40, stored_rows=30, rows=20, tables=1, objects=9, free_bytes=0,
    engine="1.4.3", storage_version="v1.0.0+", seconds=12.0,
)  # fmt: skip


@dataclasses.dataclass
class World(Stage):
    tried: Measured = MEASURED
    final: Measured = MEASURED
    left: float | None = None
    well: list[bool] = dataclasses.field(default_factory=lambda: [True, True])

    def rehearse(self) -> Measured:
        self.do("rehearse")
        return self.tried

    def stand_in(self, *, restart: bool, accept: Callable[[Measured], None]) -> Work:
        self.do("copy")
        accept(self.final)
        return Work(self, restart=restart, kind="compact", what="app.duckdb")

    def discard(self) -> bool:
        self.do("discard")
        return True

    def run(self) -> Outcome[compact.Compacted]:
        left = self.left
        return compact.run(
            around=around.Around(
                application=self,
                await_free=lambda: self.do("await free"),
                until_healthy=lambda: Health(well=self.well.pop(0), why="it said so"),
                database=Path("/data/app.duckdb"),
            ),
            rehearse=self.rehearse,
            min_gain=0.2,
            seconds_left=None if left is None else lambda: left,
            stand_in=self.stand_in,
            discard=self.discard,
        )


def test_it_is_tried_while_the_application_runs_and_done_while_it_does_not() -> None:
    world = World()
    ended = world.run()
    assert world.done == [
        "rehearse", "stop", "await free", "copy", "exchange compact", "start", "close compact",
    ]  # fmt: skip
    assert ended.ending is Ending.DONE
    assert ended.value.exchanged is not None
    assert ended.value.exchanged.aside == "/data/A"
    assert ended.why == "the database is 60% smaller"


def test_too_little_gain_stops_nothing() -> None:
    world = World(tried=dataclasses.replace(MEASURED, new_bytes=90))
    ended = world.run()
    assert (ended.ending, world.done) == (Ending.REFUSED, ["rehearse"])
    assert ended.why == "it would save 10.0%, and compact.min_gain is 20.0%"
    assert ended.value.exchanged is None


def test_a_window_that_is_nearly_over_stops_nothing() -> None:
    world = World(left=11.0)
    assert (world.run().ending, world.done) == (Ending.REFUSED, ["rehearse"])
    assert World(left=12.0).run().ending is Ending.DONE


def test_a_copy_that_differs_stops_nothing() -> None:
    world = World(fails={"rehearse": VerificationFailed("view v is missing")})
    with pytest.raises(VerificationFailed, match="view v"):
        world.run()
    assert world.done == ["rehearse"]


def test_who_holds_a_database_that_nobody_manages_is_told_at_once() -> None:
    world = World(kind="none", fails={"await free": Busy("held by cat (PID 1)")})
    with pytest.raises(Busy, match="cat"):
        world.run()
    assert world.done == ["await free"]


@pytest.mark.parametrize("step", ["copy", "exchange compact"])
def test_what_fails_while_it_is_down_ends_with_it_running(step: str) -> None:
    world = World(fails={step: VerificationFailed("it differs")})
    with pytest.raises(VerificationFailed, match="differs"):
        world.run()
    assert world.done[-2:] == ["discard", "start"]


def test_a_second_copy_that_saves_too_little_is_not_taken() -> None:
    world = World(final=dataclasses.replace(MEASURED, new_bytes=99))
    with pytest.raises(VerificationFailed, match="nothing was changed"):
        world.run()
    assert world.done[-3:] == ["copy", "discard", "start"]


def test_one_that_is_ill_with_it_gets_its_old_database_back() -> None:
    world = World(well=[False, True])
    with pytest.raises(ApplicationFailed, match="not well with the compacted database") as raised:
        world.run()
    assert "exchange roll back" in world.done
    assert world.done[-1] == "close roll back"
    assert "what was compacted stands in /data/A" in raised.value.message


def test_one_that_was_stopped_stays_so() -> None:
    world = World(state_=ApplicationState.STOPPED)
    ended = world.run()
    assert "start" not in world.done
    assert ended.value.exchanged is not None
    assert ended.value.exchanged.health is None


def test_a_look_says_what_it_would_bring() -> None:
    found = compact.measure(rehearse=lambda: MEASURED, min_gain=0.2)
    assert (found.ending, found.value.measured) == (Ending.NOTHING_TO_DO, MEASURED)
    assert compact.measure(rehearse=lambda: MEASURED, min_gain=0.7).ending is Ending.REFUSED


# The copy ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Copies:
    """An engine that copies, well or not."""

    encrypted: bool = False
    old: Any = dataclasses.field(default_factory=opened)
    new: Any = dataclasses.field(default_factory=opened)
    new_survey: Any = dataclasses.field(default_factory=survey)
    done: list[str] = dataclasses.field(default_factory=list)
    now: datetime.datetime = NOON

    def say(self, what: str, value: Value) -> Value:
        self.done.append(what)
        self.now += datetime.timedelta(seconds=2)
        return value

    def copied(self) -> Measured:
        captured = Captured(
            method="", passes=1, seconds=0, frozen_seconds=0, first_pass=None, instant=(0, 0),
            iteration=1, engine="", storage_version=64, encrypted=self.encrypted, block_size=1,
            bytes=90, wal_bytes=10, unsound=0, changed=(), wal_changed={}, files=(),
        )  # fmt: skip
        copying = compact.Copying(
            refresh=lambda: self.say("refresh", captured),
            survey_old=lambda: self.say("survey old", survey()),
            read_old=lambda: self.say("read old", self.old),
            write=lambda: self.say("write", 40),
            survey_new=lambda: self.say("survey new", self.new_survey),
            read_new=lambda: self.say("read new", self.new),
            together=lambda one, other: (one(), other()),
        )
        return compact.copied(now=lambda: self.now, copying=copying)


def test_the_copy_is_made_from_what_was_read_whole_and_is_read_whole() -> None:
    copies = Copies()
    assert copies.copied() == dataclasses.replace(MEASURED, free_bytes=2 * 262_144)
    assert copies.done == [
        "refresh", "survey old", "read old", "write", "survey new", "read new",
    ]  # fmt: skip


def test_a_damaged_database_is_not_written_anew() -> None:
    copies = Copies(old=opened(damage=Damage.INDEX, message="an index is stale"))
    with pytest.raises(VerificationFailed, match=r"the database cannot be read whole.*stale"):
        copies.copied()
    assert "survey new" not in copies.done


def test_a_copy_that_cannot_be_read_or_differs_is_none() -> None:
    with pytest.raises(VerificationFailed, match="the copy cannot be read whole"):
        Copies(new=opened(damage=Damage.CANNOT_OPEN, message="no")).copied()
    less = survey(objects={**OBJECTS, "sequences": ()})
    with pytest.raises(VerificationFailed, match="sequence s is missing"):
        Copies(new_survey=less).copied()


def test_an_encrypted_one_is_left_alone() -> None:
    copies = Copies(encrypted=True)
    with pytest.raises(VerificationFailed, match="encrypted"):
        copies.copied()
    assert copies.done == ["refresh"]


# The application does it itself ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "ending"),
    [([100, 40], Ending.DONE), ([100, 100], Ending.REFUSED), ([100, 120], Ending.REFUSED)],
)
def test_what_an_application_did_itself_is_measured(sizes: list[int], ending: Ending) -> None:
    asked: list[str] = []
    ended = compact.ask(post=lambda: asked.append("post"), size=lambda: sizes[len(asked)])
    assert ended.ending is ending
    assert ended.value.asked == compact.Asked(old_bytes=100, new_bytes=sizes[1])
