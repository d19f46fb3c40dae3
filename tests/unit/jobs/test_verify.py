"""What a second look at a backup may change of what is known, and what it may not."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from eiderd.evidence import Damage
from eiderd.model import Backup, Failure, Level, Proof, State
from eiderd.proof import recorded
from tests.unit.jobs.test_prune import DAY, _given_backup

LATER = datetime.datetime(2026, 11, 29, 4, 30, tzinfo=datetime.UTC)


def _given(folder: Path, *, failure: Failure | None) -> Backup:
    state = State.UNVERIFIED if failure else State.VERIFIED
    made = _given_backup(folder, DAY, state)
    level = Level.BLOCKS if failure else Level.RESTORE
    return dataclasses.replace(made, proof=Proof(level=level, at=made.created_at, failure=failure))


REFUSES = Failure(level=Level.RESTORE, kind=Damage.WAL_REPLAY, message="cannot replay")
BAD_BYTES = Failure(level=Level.ARCHIVE, kind=Damage.CHECKSUM, message="other bytes")


@pytest.mark.parametrize("level", [Level.ARCHIVE, Level.BLOCKS])
def test_a_scrub_that_finds_nothing_keeps_why_a_backup_is_unverified(
    tmp_path: Path, level: Level
) -> None:
    known = _given(tmp_path, failure=REFUSES)
    assert recorded(known, Proof(level=level, at=LATER), None) == known


def test_a_scrub_that_finds_nothing_keeps_a_deeper_proof(tmp_path: Path) -> None:
    known = _given(tmp_path, failure=None)
    assert recorded(known, Proof(level=Level.BLOCKS, at=LATER), None) == known


def test_what_is_proven_at_last_counts(tmp_path: Path) -> None:
    known = _given(tmp_path, failure=REFUSES)
    found = recorded(known, Proof(level=Level.RESTORE, at=LATER), None)
    assert (found.state, found.proof.failure, found.proof.at) == (State.VERIFIED, None, LATER)


@pytest.mark.parametrize("before", [None, REFUSES])
def test_bytes_that_changed_are_corrupt_whatever_was_known(
    tmp_path: Path, before: Failure | None
) -> None:
    known = _given(tmp_path, failure=before)
    found = recorded(known, Proof(level=Level.CHECKSUM, at=LATER, failure=BAD_BYTES), None)
    assert (found.state, found.proof.failure) == (State.CORRUPT, BAD_BYTES)
