from __future__ import annotations

import dataclasses
import datetime

import pytest

from eiderd import proof
from eiderd.evidence import Checked, Damage, Opened, TableContent
from eiderd.model import Level, State

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
CHECKED = Checked(
    passed=3, damage=None, message="", sha256="00", members=(), database="x.duckdb", blocks=10,
    blocks_unsound=0, encrypted=False, origin="eiderd",
)  # fmt: skip
OPENED = Opened(
    engine="2.0.0", damage=None, message="", tables={"t": TableContent(rows=5, fingerprint="aa")},
    rows=5, indexes=1, indexes_asked=1, lookups=3, unique_checked=1, schema_digest="d",
    schema_version=None, storage_version="v1.0.0+", fingerprint_kind="k", blocks_free=2,
    extensions=(), seconds=0.1, peak_bytes=1,
)  # fmt: skip


def test_all_good_is_level_4_with_its_evidence() -> None:
    verdict = proof.judge(checked=CHECKED, opened=OPENED, at=NOW)
    assert (verdict.level, verdict.failure, verdict.tables, verdict.rows) == (4, None, 1, 5)
    assert proof.state_of(verdict) is State.VERIFIED
    assert proof.explain(verdict) == ("", "")


@pytest.mark.parametrize(
    ("passed", "state"), [(0, State.CORRUPT), (1, State.CORRUPT), (2, State.UNVERIFIED)]
)
def test_damage_ends_the_proof_where_it_is(passed: int, state: State) -> None:
    damaged = dataclasses.replace(CHECKED, passed=passed, damage=Damage.DIFFERS, message="m")
    verdict = proof.judge(checked=damaged, opened=OPENED, at=NOW)
    assert verdict.level == passed
    assert proof.state_of(verdict) is state


@pytest.mark.parametrize("kind", Damage)
def test_whatever_an_engine_says_is_explained_with_a_hint(kind: Damage) -> None:
    opened = dataclasses.replace(OPENED, damage=kind, message="what the engine said")
    verdict = proof.judge(checked=CHECKED, opened=opened, at=NOW)
    said, hint = proof.explain(verdict)
    assert verdict.level == Level.BLOCKS
    assert proof.state_of(verdict) is State.UNVERIFIED
    assert said
    assert hint


@pytest.mark.parametrize("kind", Damage)
def test_an_archive_by_itself_is_not_explained_by_a_database_of_ours(kind: Damage) -> None:
    """Whoever proves an archive from elsewhere is not helped by a new backup."""
    damaged = dataclasses.replace(CHECKED, passed=0, damage=kind, message="what was seen")
    verdict = proof.judge(checked=damaged, opened=None, at=NOW)
    said, hint = proof.explain_archive(verdict)
    assert said
    assert hint
    for wrong in ("eider backup", "CHECKPOINT", "database.path", "the copy is exact"):
        assert wrong not in f"{said} {hint}"


def test_a_wal_that_does_not_replay_is_the_databases_own_fault() -> None:
    opened = dataclasses.replace(OPENED, damage=Damage.WAL_REPLAY, message="no")
    said, hint = proof.explain(proof.judge(checked=CHECKED, opened=opened, at=NOW))
    assert "the database itself would not come back after a crash" in said
    assert "CHECKPOINT" in hint


def test_reading_nothing_is_a_failure_even_if_the_engine_is_content() -> None:
    opened = dataclasses.replace(OPENED, tables={}, rows=0)
    verdict = proof.judge(checked=CHECKED, opened=opened, at=NOW)
    assert verdict.failure
    assert verdict.failure.kind is Damage.NOTHING_CHECKED


def test_an_encrypted_database_needs_its_key() -> None:
    checked = dataclasses.replace(CHECKED, encrypted=True, blocks=0)
    verdict = proof.judge(checked=checked, opened=OPENED, at=NOW)
    assert verdict.level == Level.ARCHIVE
    assert "key" in proof.explain(verdict)[0]


@pytest.mark.parametrize(("unsound", "level"), [(2, Level.RESTORE), (3, Level.ARCHIVE)])
def test_more_unsound_blocks_than_free_ones_are_damage(unsound: int, level: Level) -> None:
    checked = dataclasses.replace(CHECKED, blocks_unsound=unsound)
    assert proof.judge(checked=checked, opened=OPENED, at=NOW).level == level


def test_without_an_engine_a_proof_goes_no_further_than_the_bytes() -> None:
    assert proof.judge(checked=CHECKED, opened=None, at=NOW).level == Level.BLOCKS
