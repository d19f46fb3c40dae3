"""What a restore tells before it does it."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from eiderd.errors import NoSpace, NoSuchBackup
from eiderd.maintenance import restore_plan as restoring
from eiderd.model import Brief, Level, Proof, State

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def _backup(number: int, *, minutes: int, state: State = State.VERIFIED) -> Brief:
    at = NOON + datetime.timedelta(minutes=minutes)
    proof = Proof(level=Level.RESTORE, at=at)
    return Brief(
        id=f"b{number}", sequence=number, created_at=at, state=state, archive="", bytes=1,
        proof=proof,
    )  # fmt: skip


@given(
    some.lists(some.tuples(some.integers(-50, 50), some.sampled_from(State)), max_size=9),
    some.integers(-60, 60),
)
def test_the_newest_verified_one_of_that_time_or_before(
    made: list[tuple[int, State]], asked: int
) -> None:
    backups = [_backup(n, minutes=at, state=state) for n, (at, state) in enumerate(made)]
    at = NOON + datetime.timedelta(minutes=asked)
    fitting = [one for one in backups if one.verified and one.created_at <= at]
    if not fitting:
        with pytest.raises(NoSuchBackup):
            restoring.newest_at(backups, at=at)
        return
    found = restoring.newest_at(backups, at=at)
    assert found in fitting
    assert not [one for one in fitting if one.created_at > found.created_at]


def test_a_time_before_all_of_them_names_the_oldest() -> None:
    with pytest.raises(NoSuchBackup, match="or before") as raised:
        restoring.newest_at([_backup(1, minutes=5), _backup(2, minutes=3)], at=NOON)
    assert "b2" in raised.value.hint


@pytest.mark.parametrize(
    ("state", "said"),
    [(State.VERIFIED, 0), (State.SUSPECT, 1), (State.UNVERIFIED, 1), (State.CORRUPT, 1), (None, 0)],
)
def test_what_is_not_verified_is_warned_of(state: State | None, said: int) -> None:
    source = restoring.Source(kind=restoring.RESTORE, what="b", path="p", state=state)
    assert len(restoring.warnings(source, unfinished=None)) == said


def test_wal_files_are_counted_as_often_as_they_are_copied() -> None:
    plan = restoring.needed(incoming=100, incoming_wals=10, old_wals=7)
    assert plan - restoring.needed(incoming=0, incoming_wals=0, old_wals=0) == 117


def test_only_what_does_not_fit_is_refused() -> None:
    sizes = ("5 MB", "4 MB")
    restoring.ensure_room(needed_bytes=5, free_bytes=5, folder="/data", sizes=sizes)
    with pytest.raises(NoSpace, match="needs 5 MB in /data, where 4 MB are free"):
        restoring.ensure_room(needed_bytes=5, free_bytes=4, folder="/data", sizes=sizes)
