"""Whether a copy is the same database: every difference is found, and named."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.errors import NoSuchBackup, VerificationFailed
from eiderd.evidence import Damage, Opened, Survey, TableContent
from eiderd.maintenance import compact_plan as compacting
from eiderd.model import Backup, Consistency, Content, Level, Proof, Source, State

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)

OBJECTS: dict[str, tuple[dict[str, str | None], ...]] = {
    "tables": ({"schema_name": "main", "table_name": "t", "comment": None, "sql": "CREATE"},),
    "columns": (
        {"schema_name": "main", "table_name": "t", "column_name": "i", "column_default": "7"},
        {"schema_name": "extra", "table_name": "u", "column_name": "i", "column_default": None},
    ),
    "constraints": (
        {"schema_name": "main", "table_name": "t", "constraint_text": "CHECK((i > 0))"},
        {"schema_name": "main", "table_name": "t", "constraint_type": "FOREIGN KEY",
         "constraint_text": ""},
    ),
    "sequences": ({"schema_name": "main", "sequence_name": "s", "sql": "START 5"},),
    "functions": (
        {"schema_name": "main", "function_name": "m", "macro_definition": "a"},
        {"schema_name": "main", "function_name": "m", "macro_definition": "a"},
    ),
    "unheard_of": ({"schema_name": "extra", "thing_name": "x", "sql": "y"},),
}  # fmt: skip


def survey(**more: Any) -> Survey:
    known: dict[str, Any] = {
        "engine": "1.4.3", "storage_version": "v1.0.0+", "block_bytes": 262_144, "blocks": 10,
        "blocks_free": 2, "stored_rows": 30, "objects": OBJECTS,
    }  # fmt: skip
    return Survey(**(known | more))


def opened(**more: Any) -> Opened:
    known: dict[str, Any] = {
        "engine": "1.4.3", "damage": None, "message": "", "rows": 20, "indexes": 3,
        "tables": {"t": TableContent(rows=20, fingerprint="f")}, "indexes_asked": 0, "lookups": 0,
        "unique_checked": 1, "schema_digest": "d", "schema_version": None,
        "storage_version": "v1.0.0+", "fingerprint_kind": "k", "blocks_free": 0, "extensions": (),
        "seconds": 1.0, "peak_bytes": 1,
    }  # fmt: skip
    return Opened(**(known | more))


def differences(*, new: Survey | None = None, after: Opened | None = None) -> tuple[str, ...]:
    return compacting.differences(
        old=survey(), new=new or survey(), before=opened(), after=after or opened()
    )


def test_what_is_the_same_has_no_differences() -> None:
    assert differences() == ()
    turned = {kind: tuple(reversed(every)) for kind, every in OBJECTS.items()}
    assert differences(new=survey(objects=turned)) == ()


@pytest.mark.parametrize(
    ("kind", "number", "said"),
    [
        ("tables", 0, "table t is missing"),
        ("columns", 0, "column i of table t is missing"),
        ("columns", 1, "column i of table extra.u is missing"),
        ("constraints", 0, "constraint CHECK((i > 0)) of table t is missing"),
        ("constraints", 1, "constraint FOREIGN KEY of table t is missing"),
        ("sequences", 0, "sequence s is missing"),
        ("functions", 0, "macro m is missing"),
        ("unheard_of", 0, "unheard_of extra.x is missing"),
    ],
)
def test_what_is_missing_is_named(kind: str, number: int, said: str) -> None:
    left = tuple(one for place, one in enumerate(OBJECTS[kind]) if place != number)
    assert differences(new=survey(objects={**OBJECTS, kind: left})) == (said,)


def test_what_is_new_is_named_and_so_is_a_whole_kind() -> None:
    more = {**OBJECTS, "views": ({"schema_name": "main", "view_name": "v"},)}
    assert differences(new=survey(objects=more)) == ("view v is new",)
    fewer = {kind: every for kind, every in OBJECTS.items() if kind != "sequences"}
    assert differences(new=survey(objects=fewer)) == ("sequence s is missing",)


@given(st.data())
def test_no_change_of_any_object_goes_unseen(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(OBJECTS)))
    number = data.draw(st.integers(0, len(OBJECTS[kind]) - 1))
    key = data.draw(st.sampled_from(list(OBJECTS[kind][number])))
    was = OBJECTS[kind][number][key]
    value = data.draw(st.one_of(st.none(), st.text()).filter(lambda value: value != was))
    changed = [dict(one) for one in OBJECTS[kind]]
    changed[number][key] = value
    assert differences(new=survey(objects={**OBJECTS, kind: tuple(changed)}))


def test_a_lost_table_is_told_before_its_columns() -> None:
    found = differences(new=survey(objects={}))
    assert found[0] == "table t is missing"


def test_what_changed_of_an_object_is_said() -> None:
    changed = ({**OBJECTS["columns"][0], "column_default": None}, OBJECTS["columns"][1])
    found = differences(new=survey(objects={**OBJECTS, "columns": changed}))
    assert found == ("column i of table t is not the same (column_default)",)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (opened(tables={}), "the rows of t are missing"),
        (opened(tables={"t": TableContent(rows=19, fingerprint="f")}), "t had 20 rows and has 19"),
        (opened(tables={"t": TableContent(rows=20, fingerprint="g")}), "of t are not the same"),
        (opened(fingerprint_kind="other"), "cannot be compared"),
        (opened(indexes=2), "it had 3 indexes and has 2"),
        (opened(unique_checked=0), "it had 1 unique keys and has 0"),
    ],
)
def test_rows_and_indexes_are_compared(after: Opened, said: str) -> None:
    (found,) = differences(after=after)
    assert said in found


@pytest.mark.parametrize("more", [{"storage_version": "v1.5.0+"}, {"block_bytes": 16_384}])
def test_another_storage_format_is_a_difference(more: dict[str, Any]) -> None:
    (found,) = differences(new=survey(**more))
    assert found.startswith("the storage format")


def test_the_first_few_differences_are_told() -> None:
    compacting.ensure_same(())
    with pytest.raises(VerificationFailed, match="a; b; c; d; e; 2 more"):
        compacting.ensure_same(tuple("abcdefg"))


def test_what_cannot_be_read_whole_is_not_compacted() -> None:
    compacting.ensure_readable(opened(), what="the database")
    damaged = opened(damage=Damage.TABLE, message="table t: broken")
    with pytest.raises(VerificationFailed, match=r"the copy cannot be read whole.*broken"):
        compacting.ensure_readable(damaged, what="the copy")


def test_the_gain_is_a_share_of_what_the_files_took() -> None:
    found = compacting.measured(
        old=survey(), before=opened(), old_bytes=100, new_bytes=25, seconds=3.0
    )
    assert found.gain == 0.75
    assert (found.dead_rows, found.free_bytes, found.objects) == (10, 2 * 262_144, 9)
    assert dataclasses.replace(found, new_bytes=150).gain == -0.5
    assert dataclasses.replace(found, old_bytes=0).gain == 0


# The backup that has to be there -----------------------------------------------------------------


def _backup(*, age: datetime.timedelta, path: str = "/data/a") -> Backup:
    return Backup(
        id="B", sequence=1, created_at=NOON - age, state=State.VERIFIED, archive="a", bytes=1,
        sha256="", proof=Proof(level=Level.RESTORE, at=NOON), content=Content(), members=(),
        source=Source(path=path, engine="", storage_version=64, encrypted=False, bytes=1),
        consistency=Consistency(method="", passes=1, frozen_seconds=0, iteration=1, wal_bytes=0,
                                captured_from=NOON, captured_to=NOON), eiderd="",
    )  # fmt: skip


def test_a_young_backup_is_wanted() -> None:
    backup = _backup(age=DAY)
    assert compacting.ensure_recent(backup, of="/data/a", now=NOON, within=DAY) is backup


@pytest.mark.parametrize("age", [DAY + datetime.timedelta(seconds=1), -2 * DAY])
def test_an_old_one_and_one_of_another_clock_do_not_count(age: datetime.timedelta) -> None:
    with pytest.raises(NoSuchBackup, match=r"compact\.backup_within") as raised:
        compacting.ensure_recent(_backup(age=age), of="/data/a", now=NOON, within=DAY)
    assert "eider backup" in raised.value.hint


def test_none_at_all_does_not_either() -> None:
    with pytest.raises(NoSuchBackup, match="no verified backup"):
        compacting.ensure_recent(None, of="/data/a", now=NOON, within=DAY)


def test_one_of_another_database_is_of_no_use() -> None:
    with pytest.raises(NoSuchBackup, match="is of /data/b"):
        compacting.ensure_recent(
            _backup(age=DAY, path="/data/b"), of="/data/a", now=NOON, within=DAY
        )
