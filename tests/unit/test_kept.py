"""What eiderd leaves for a person to remove: each with its size, its age and what removes it."""

from __future__ import annotations

import dataclasses
import datetime
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import kept
from eiderd.broker import unfinished
from eiderd.doctor import Mark
from eiderd.evidence import DatabaseSeen, Kept
from eiderd.jobs import quarantine
from eiderd.maintenance import rescue
from eiderd.outside import looks

NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
FOLDER = Kept(
    name="quarantine", paths=("/b/quarantine/1",), is_folder=True, bytes=3_000_000,
    since="2026-11-19T12:00:00+00:00",
)  # fmt: skip
DATABASE = Kept(
    name="set aside", paths=("/data/x before", "/data/x before.wal"), is_folder=False,
    bytes=10**9, since="2026-11-22T11:00:00+00:00",
)  # fmt: skip
SEEN = DatabaseSeen(
    problem="", hint="", bytes=1, engine="v1.4.3", storage_version=64, encrypted=False, device=1,
    logs={}, holder="", aside=(DATABASE, DATABASE), unfinished="",
)  # fmt: skip


def test_a_folder_is_a_note_with_its_size_its_age_and_what_removes_it() -> None:
    (check,) = kept.of_folders((FOLDER,), at=NOW)
    assert check.mark is Mark.NOTE
    assert check.said == "/b/quarantine/1, 3.0 MB, 3 days old"
    assert check.command == "rm -r -- /b/quarantine/1"
    assert (check.bytes, check.age_seconds) == (3_000_000, 3 * 86_400)


def test_a_database_goes_with_its_wal_files_and_without_what_stands_below_a_folder() -> None:
    first, _second = kept.of_database(SEEN, at=NOW)
    assert first.mark is Mark.NOTE
    assert first.command == "rm -- '/data/x before' '/data/x before.wal'"


def test_nothing_set_aside_is_said_too() -> None:
    (check,) = kept.of_database(dataclasses.replace(SEEN, aside=()), at=NOW)
    assert check.mark is Mark.WELL


@pytest.mark.parametrize("trouble", [{"problem": "it is empty"}, {"unfinished": "restore (7)"}])
def test_no_database_is_to_be_removed_while_the_live_one_is_not_well(
    trouble: dict[str, str],
) -> None:
    (check,) = kept.of_database(dataclasses.replace(SEEN, **trouble), at=NOW)  # type: ignore[arg-type]
    assert check.mark is Mark.WARNING
    assert "2 databases" in check.said
    assert "2.0 GB" in check.said
    assert check.command.startswith("ls ")


def test_of_many_the_oldest_are_told_and_the_rest_is_counted() -> None:
    days = [
        dataclasses.replace(FOLDER, since=f"2026-10-{day:02}T00:00:00+00:00")
        for day in range(31, 0, -1)
    ]
    checks = list(kept.of_folders(days, at=NOW))
    assert len(checks) == 21
    assert "and 11 more in /b/quarantine, 33.0 MB" in checks[-1].said
    ages = [check.age_seconds for check in checks[:-1] if check.age_seconds is not None]
    assert ages == sorted(ages, reverse=True)
    assert len(ages) == 20


def test_a_clock_that_was_set_back_makes_nothing_younger_than_now() -> None:
    (check,) = kept.of_folders((FOLDER,), at=NOW - datetime.timedelta(days=30))
    assert check.age_seconds == 0


@given(name=st.text(min_size=1))
def test_whatever_its_name_only_it_is_removed(name: str) -> None:
    path = f"/b/quarantine/{name}"
    (check,) = kept.of_folders((dataclasses.replace(FOLDER, paths=(path,)),), at=NOW)
    words = shlex.split(check.command)
    assert words in (["rm", "-r", "--", path], ["ls", "-lb", "--", path.rpartition("/")[0]])
    if words[0] == "rm":
        assert path.isprintable()


def test_the_folders_are_those_that_eiderd_fills() -> None:
    assert set(looks.KEPT) == {quarantine.FOLDER, rescue.FOLDER, unfinished._FOLDER}
