"""Which backup is restored for practice, what is recorded of it, and what when it does not."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import catalog
from eiderd.errors import NoSpace, VerificationFailed
from eiderd.evidence import Damage
from eiderd.jobs import drill
from eiderd.model import Backup, Drilled, Ending, Failure, Level, Outcome, Proof, State
from tests.statuses import brief
from tests.unit.jobs.test_prune import DAY, NOW, _given_backup
from tests.unit.test_comparison import FULL, NO_MEMORY
from tests.unit.test_comparison import _given as given_content
from tests.unit.test_comparison import _verify as proven

NEW = datetime.datetime(2026, 12, 1, 5, tzinfo=datetime.UTC)
GOOD = Proof(level=Level.RESTORE, at=NEW, engine="2.0.0", rows=10, tables=1)


class World:
    """Restores whatever it is given, and remembers what was asked."""

    def __init__(self, folder: Path, *, proof: Proof = GOOD) -> None:
        self.folder = folder
        self.proof = proof
        self.fails: Exception | None = None
        self.rehearsed: list[str] = []
        self.verified: list[str] = []
        self.recorded: list[Drilled] = []

    def rehearse(self, backup: Backup, /) -> tuple[Proof, float]:
        self.rehearsed.append(backup.id)
        if self.fails:
            raise self.fails
        return self.proof, 12.5

    def verify(self, *, backup: Backup) -> Outcome[Backup]:
        self.verified.append(backup.id)
        return Outcome(ending=Ending.DONE, value=backup)

    def run(self, id_: str | None = None) -> Outcome[Backup | None]:
        return drill.run(
            directory=self.folder,
            id_=id_,
            rehearse=self.rehearse,
            verify=self.verify,
            record=self.recorded.append,
        )


def test_the_one_that_was_proven_longest_ago_is_next_and_then_it_has_had_its_turn(
    tmp_path: Path,
) -> None:
    made = [_given_backup(tmp_path, age * DAY) for age in (9, 8, 7)]
    world = World(tmp_path)
    for _turn in range(3):
        world.run()
        world.proof = dataclasses.replace(world.proof, at=world.proof.at + DAY)
    assert world.rehearsed == [backup.id for backup in made]
    world.run()
    assert world.rehearsed[-1] == made[0].id


def test_what_was_measured_is_recorded(tmp_path: Path) -> None:
    made = _given_backup(tmp_path, DAY)
    world = World(tmp_path)
    ended = world.run()
    found = catalog.recorded(tmp_path, made.id)
    assert ended.value == found
    assert (found.proof.level, found.proof.seconds, found.proof.at) == (Level.DRILL, 12.5, NEW)
    assert (found.proof.rows, found.state) == (10, State.VERIFIED)
    assert world.recorded == [Drilled(at=NEW, seconds=12.5, backup=made.id)]
    assert "12.5 s" in ended.why


def test_one_that_does_not_come_back_is_proven_again_so_that_it_is_known(tmp_path: Path) -> None:
    made = _given_backup(tmp_path, DAY)
    world = World(tmp_path)
    world.fails = VerificationFailed("9 rows came back, and its proof says 10")
    with pytest.raises(VerificationFailed, match=f"{made.id} does not restore: 9 rows") as raised:
        world.run()
    assert raised.value.hint
    assert world.verified == [made.id]
    assert catalog.recorded(tmp_path, made.id) == made, "nothing is said that was not seen"
    assert not world.recorded


def test_what_nobody_could_read_is_no_drill(tmp_path: Path) -> None:
    made = _given_backup(tmp_path, DAY)
    failure = Failure(level=Level.BLOCKS, kind=Damage.KEY_NEEDED, message="encrypted")
    world = World(tmp_path, proof=Proof(level=Level.ARCHIVE, at=NEW, failure=failure))
    with pytest.raises(VerificationFailed, match="key"):
        world.run(made.id)
    assert not world.recorded


class Proving(World):
    """Proves with a true proof, which finds that the table is empty, or what `finds` says."""

    def __init__(self, folder: Path, **finds: Any) -> None:
        super().__init__(folder)
        self.finds = finds

    def verify(self, *, backup: Backup) -> Outcome[Backup]:
        super().verify(backup=backup)
        found = proven(self.folder, backup, **self.finds)
        return Outcome(ending=Ending.DONE, value=found)


def _given_unproven(folder: Path, state: State = State.UNVERIFIED) -> Backup:
    made = given_content(folder, DAY, state)
    (folder / f"{made.archive}.sha256").write_text(f"ab  {made.archive}\n")
    return made


@pytest.mark.parametrize("state", [State.UNVERIFIED, State.CORRUPT])
def test_one_that_was_never_proven_is_compared_before_it_counts(
    tmp_path: Path, state: State
) -> None:
    good = given_content(tmp_path, 2 * DAY, tables=FULL)
    emptied = _given_unproven(tmp_path, state)
    Proving(tmp_path).run(emptied.id)
    found = catalog.recorded(tmp_path, emptied.id)
    assert (found.state, found.proof.level) == (State.SUSPECT, Level.DRILL)
    assert found.content.reasons
    assert catalog.recorded(tmp_path, good.id).pinned
    assert catalog.find(tmp_path, "latest").id == good.id


def test_one_that_cannot_be_proven_is_not_drilled(tmp_path: Path) -> None:
    made = _given_unproven(tmp_path)
    world = Proving(tmp_path, opened=NO_MEMORY)
    with pytest.raises(VerificationFailed) as raised:
        world.run(made.id)
    assert "memory_limit" in raised.value.hint
    assert (world.verified, world.rehearsed, world.recorded) == ([made.id], [], [])
    assert catalog.recorded(tmp_path, made.id).state is State.UNVERIFIED


def test_a_full_disk_says_nothing_about_the_backup(tmp_path: Path) -> None:
    made = _given_backup(tmp_path, DAY)
    world = World(tmp_path)
    world.fails = NoSpace("no space for a drill")
    with pytest.raises(NoSpace):
        world.run()
    assert not world.verified
    assert catalog.recorded(tmp_path, made.id) == made


def test_without_a_proven_backup_there_is_nothing_to_do_and_that_is_said(tmp_path: Path) -> None:
    assert World(tmp_path).run().ending is Ending.NOTHING_TO_DO


@given(
    st.lists(
        st.tuples(
            st.sampled_from([State.VERIFIED, State.UNVERIFIED, State.SUSPECT, State.CORRUPT]),
            st.integers(0, 400),
        )
    )
)
def test_whoever_is_next_would_restore_and_nobody_waited_longer(
    backups: list[tuple[State, int]],
) -> None:
    known = [
        brief(number, at=NOW - days * DAY, state=state)
        for number, (state, days) in enumerate(backups)
    ]
    sound = [one for one in known if one.proof.level >= Level.RESTORE]
    chosen = drill.next_in_turn(known)
    assert (chosen is None) == (not sound)
    if chosen:
        assert chosen.state is not State.CORRUPT
        assert all(one.proof.at >= chosen.proof.at for one in sound)


def test_one_whose_archive_is_gone_is_not_chosen(tmp_path: Path) -> None:
    gone = _given_backup(tmp_path, 9 * DAY)
    there = _given_backup(tmp_path, DAY)
    (tmp_path / gone.archive).unlink()
    world = World(tmp_path)
    world.run()
    assert world.rehearsed == [there.id]
