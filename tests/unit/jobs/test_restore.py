"""The restore as a job: what is asked of whom, in which order, and what a failure leaves."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pytest

from eiderd.errors import ApplicationFailed, Busy, StoreUnavailable, VerificationFailed
from eiderd.evidence import ApplicationState, Checked, Damage, Health, Opened, Settled
from eiderd.jobs import restore
from eiderd.model import Ending, Level, Outcome
from tests.unit.jobs.exchanging import Stage, Work

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
WELL, ILL = Health(well=True, why="200"), Health(well=False, why="503")


@dataclasses.dataclass
class World(Stage):
    healths: list[Health] = dataclasses.field(default_factory=lambda: [WELL])
    of: str = "restore"
    is_as_before: bool = True

    def around(self) -> restore.Around:
        return restore.Around(
            application=self,
            await_free=lambda: self.do("await free"),
            until_healthy=lambda: self.healths.pop(0),
            database=Path("/data/app.duckdb"),
        )

    def run(self, *, was_stopped: bool = False) -> Outcome[restore.Restored]:
        def discard() -> bool:
            self.do("discard")
            return self.is_as_before

        return restore.run(
            around=self.around(),
            was_stopped_for_it=was_stopped,
            prepare=lambda: self.do("prepare"),
            work=lambda restart: Work(self, restart=restart, kind=self.of),
            discard=discard,
        )


def test_it_is_proven_before_the_application_is_stopped_and_started_after_the_exchange() -> None:
    world = World()
    ended = world.run()
    assert world.done == [
        "prepare", "stop", "await free", "exchange restore", "start", "close restore",
    ]  # fmt: skip
    assert ended.value.health == WELL
    assert ended.value.aside == "/data/A"


def test_an_application_that_was_stopped_stays_so() -> None:
    world = World(state_=ApplicationState.STOPPED)
    ended = world.run()
    assert world.done == ["prepare", "await free", "exchange restore", "close restore"]
    assert ended.value.health is None


def test_one_that_was_stopped_by_a_restore_that_died_is_started() -> None:
    world = World(state_=ApplicationState.STOPPED)
    world.run(was_stopped=True)
    assert "start" in world.done


def test_one_that_failed_is_given_its_chance() -> None:
    world = World(state_=ApplicationState.FAILED)
    assert world.run().value.health == WELL


def test_without_a_managed_application_the_lock_decides() -> None:
    world = World(kind="none", fails={"await free": Busy("held by cat (PID 1)")})
    with pytest.raises(Busy, match="cat"):
        world.run()
    assert world.done == ["await free", "discard"], "nobody waits for a proof to be refused then"


@pytest.mark.parametrize("step", ["stop", "await free", "exchange restore"])
def test_what_fails_before_the_exchange_ends_with_the_application_running(step: str) -> None:
    world = World(fails={step: Busy("it came back by itself")})
    with pytest.raises(Busy, match="came back"):
        world.run()
    assert world.done[-1] in {"start", "discard"}
    assert "start" in world.done
    assert "discard" in world.done
    assert not [done for done in world.done if done.startswith("close")]


def test_an_exchange_that_stopped_in_the_middle_never_starts_the_application() -> None:
    """It would make an empty database where there is none."""
    world = World(fails={"exchange restore": StoreUnavailable("input/output error")})
    world.is_as_before = False
    with pytest.raises(StoreUnavailable, match="did not end: input/output error") as raised:
        world.run()
    assert "eider restore" in raised.value.hint
    assert "start" not in world.done


def test_what_cannot_be_prepared_touches_nobody() -> None:
    world = World(fails={"prepare": VerificationFailed("bad")})
    with pytest.raises(VerificationFailed):
        world.run()
    assert world.done == ["prepare", "discard"]


def test_an_ill_application_gets_everything_back() -> None:
    world = World(healths=[ILL, WELL])
    with pytest.raises(ApplicationFailed, match=r"503.*previous database is back.*runs again"):
        world.run()
    assert world.done[5:] == [
        "stop", "await free", "exchange roll back", "start", "close roll back",
    ]  # fmt: skip


def test_one_that_does_not_start_gets_everything_back() -> None:
    world = World(fails={"start": ApplicationFailed("it did not start")})
    with pytest.raises(ApplicationFailed, match=r"it did not start.*is back"):
        world.run()
    assert "exchange roll back" in world.done


def test_a_roll_back_that_fails_says_so_and_stays_unfinished() -> None:
    world = World(healths=[ILL], fails={"exchange roll back": Busy("somebody holds it")})
    with pytest.raises(ApplicationFailed, match="be put back: somebody holds it") as raised:
        world.run()
    assert "eider restore; it goes on where this ended" in raised.value.hint
    assert not [done for done in world.done if done.startswith("close")]


def test_where_nothing_was_before_there_is_nothing_to_go_back_to() -> None:
    world = World(healths=[ILL], had_live=False)
    with pytest.raises(ApplicationFailed, match="is not well: 503"):
        world.run()
    assert world.done[-1] == "close restore"


def test_what_a_run_left_that_died_is_finished_with_the_application() -> None:
    world = World(state_=ApplicationState.STOPPED)
    ended = restore.resume(around=world.around(), work=Work(world, restart=True))
    assert isinstance(ended, Outcome)
    assert (ended.ending, ended.value.settled) == (Ending.DONE, True)
    assert world.done == ["settle", "start", "close restore"]


def test_an_application_that_came_back_meanwhile_is_stopped_to_finish() -> None:
    world = World(fails={"settle": Busy("it has made a database of its own")})
    restore.resume(around=world.around(), work=Work(world, restart=True))
    assert world.done[:4] == ["settle", "stop", "await free", "settle"]


def test_what_was_undone_says_whether_the_application_had_been_stopped() -> None:
    world = World(settles=Settled.UNDONE)
    assert restore.resume(around=world.around(), work=Work(world, restart=True)) is True
    assert world.done == ["settle"]


# Staging ------------------------------------------------------------------------------------------


def _checked(**more: Any) -> Checked:
    words: dict[str, Any] = {
        "passed": 3, "damage": None, "message": "", "sha256": "", "members": (), "database": "d",
        "blocks": 9, "blocks_unsound": 0, "encrypted": False, "origin": "eiderd",
    }  # fmt: skip
    return Checked(**(words | more))


def _opened(**more: Any) -> Opened:
    words: dict[str, Any] = {
        "engine": "2.0.0", "damage": None, "message": "", "tables": {"t": None}, "rows": 5,
        "indexes": 0, "indexes_asked": 0, "lookups": 0, "unique_checked": 0, "schema_digest": None,
        "schema_version": None, "storage_version": None, "fingerprint_kind": None,
        "blocks_free": None, "extensions": (), "seconds": 0.1, "peak_bytes": 0,
    }  # fmt: skip
    return Opened(**(words | more))


def _stage(
    checked: Checked, opened: Opened, *, done: list[str], expected_rows: int = 5
) -> tuple[Path, Any]:
    def unpack(_checked: Checked) -> Path:
        done.append("unpack")
        return Path("/data/new")

    def open_(_database: Path) -> Opened:
        done.append("open")
        return opened

    return restore.stage(
        now=lambda: NOON,
        check=lambda: checked,
        unpack=unpack,
        open_=open_,
        expected_rows=expected_rows,
    )


def test_an_archive_is_unpacked_when_it_holds_and_opened_when_it_is_unpacked() -> None:
    done: list[str] = []
    database, verdict = _stage(_checked(), _opened(), done=done)
    assert (database, verdict.level, done) == (Path("/data/new"), Level.RESTORE, ["unpack", "open"])


def test_a_damaged_archive_is_never_unpacked() -> None:
    done: list[str] = []
    with pytest.raises(VerificationFailed, match="nothing was changed"):
        _stage(_checked(passed=0, damage=Damage.CHECKSUM, message="no"), _opened(), done=done)
    assert done == []


@pytest.mark.parametrize(
    "opened", [_opened(damage=Damage.WAL_REPLAY, message="no"), _opened(tables={}), _opened(rows=4)]
)
def test_a_database_that_does_not_come_back_whole_is_refused(opened: Opened) -> None:
    with pytest.raises(VerificationFailed, match="nothing was changed"):
        _stage(_checked(), opened, done=[])


def test_an_encrypted_one_is_proven_as_far_as_that_goes() -> None:
    done: list[str] = []
    _stage(_checked(encrypted=True, passed=2), _opened(), done=done)
    assert done == ["unpack"]
