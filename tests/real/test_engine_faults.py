"""What engines cannot do with sound copies: facts that proofs and rescues are built on.

These tests assert the engines, not eiderd. When one fails with a newer engine, a rule of eiderd may
have become unnecessary.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.real import images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Engines = Callable[[str], Path]

PEOPLE = "SELECT count(*) FROM people"
EVENTS = "SELECT count(*) FROM events"
READ_ONLY_REPLAY_WRITES = "Bad file descriptor"


# 1. Deletes on an indexed table


def test_1_5_5_cannot_replay_its_own_deletes_and_bulk_insert(
    engines: Engines, tmp_path: Path
) -> None:
    image = images.deletes_then_bulk(engines("1.5.5"), tmp_path)
    with pytest.raises(images.EngineRefusedError, match="Failure while replaying WAL file"):
        images.ask(engines("1.5.5"), image, PEOPLE)


@pytest.mark.parametrize("rescuer", ["1.4.3", "1.5.6", "2.0.0"])
def test_another_engine_reads_what_1_5_5_cannot(
    engines: Engines, tmp_path: Path, rescuer: str
) -> None:
    image = images.deletes_then_bulk(engines("1.5.5"), tmp_path)
    assert images.ask(engines(rescuer), image, PEOPLE) == [20_000 - 401 + 150_500]


# 2. A column added in the log


@pytest.mark.parametrize("reader", ["1.4.3", "1.5.5", "1.5.6"])
def test_no_1_x_engine_replays_an_added_column_beside_current_timestamp(
    engines: Engines, tmp_path: Path, reader: str
) -> None:
    image = images.added_column(engines("1.4.3"), tmp_path)
    with pytest.raises(images.EngineRefusedError, match="no default database set"):
        images.ask(engines(reader), image, EVENTS)


def test_2_0_0_replays_an_added_column_that_1_4_3_cannot(engines: Engines, tmp_path: Path) -> None:
    image = images.added_column(engines("1.4.3"), tmp_path)
    added = "SELECT count(extra) FROM events WHERE born IS NOT NULL"
    assert images.ask(engines("2.0.0"), image, EVENTS, added) == [1500, 500]


# 3. An index left behind by opening and closing

BY_INDEX = "SELECT count(*) FROM people WHERE name = 'name-20100'"
BY_SCAN = "SELECT count(*) FROM people WHERE name || '' = 'name-20100'"


@pytest.mark.parametrize(
    ("engine", "found"), [("1.4.3", 0), ("1.5.5", 0), ("1.5.6", 0), ("2.0.0", 1)]
)
def test_opening_for_writing_and_closing_leaves_the_index_behind_before_2_0(
    engines: Engines, tmp_path: Path, engine: str, found: int
) -> None:
    image = images.stale_index(engines(engine), tmp_path)
    assert images.ask(engines(engine), image, BY_INDEX, BY_SCAN) == [1, 1]
    images.touch(engines(engine), image)
    assert images.ask(engines(engine), image, BY_INDEX, BY_SCAN) == [found, 1]


def test_a_stale_unique_index_accepts_a_duplicate(engines: Engines, tmp_path: Path) -> None:
    image = images.stale_index(engines("1.4.3"), tmp_path)
    images.touch(engines("1.4.3"), image)
    insert = "INSERT INTO people VALUES (1, 'name-20100')"
    answers = images.ask(engines("1.4.3"), image, insert, BY_SCAN, read_only=False)
    assert answers == [1, 2]


# 4. Sound images that cannot be opened read-only


@pytest.mark.parametrize("engine", ["1.4.3", "1.5.5", "1.5.6"])
def test_a_log_that_creates_an_index_cannot_be_replayed_read_only_before_2_0(
    engines: Engines, tmp_path: Path, engine: str
) -> None:
    image = images.index_in_log(engines(engine), tmp_path)
    with pytest.raises(images.EngineRefusedError, match=READ_ONLY_REPLAY_WRITES):
        images.ask(engines(engine), image, PEOPLE)
    assert images.ask(engines("2.0.0"), image, PEOPLE) == [20_000]
    spare = shutil.copytree(tmp_path, tmp_path / "spare") / image.name
    assert images.ask(engines(engine), spare, PEOPLE, read_only=False) == [20_000]


def test_1_4_3_cannot_open_its_own_bulk_insert_into_an_index_read_only(
    engines: Engines, tmp_path: Path
) -> None:
    image = images.bulk_into_index(engines("1.4.3"), tmp_path)
    with pytest.raises(images.EngineRefusedError, match=READ_ONLY_REPLAY_WRITES):
        images.ask(engines("1.4.3"), image, PEOPLE)
    for rescuer in ("1.5.6", "2.0.0"):
        assert images.ask(engines(rescuer), image, PEOPLE) == [170_000], rescuer
    spare = shutil.copytree(tmp_path, tmp_path / "spare") / image.name
    assert images.ask(engines("1.4.3"), spare, PEOPLE, read_only=False) == [170_000]


def test_1_4_3_silently_misses_rows_by_index_in_an_image_of_1_5_6(
    engines: Engines, tmp_path: Path
) -> None:
    image = images.bulk_into_index(engines("1.5.6"), tmp_path)
    by_index = "SELECT count(*) FROM people WHERE colour = 777"
    by_scan = "SELECT count(*) FROM people WHERE xor(colour, 0) = 777"
    assert images.ask(engines("1.5.6"), image, by_index, by_scan) == [170, 170]
    assert images.ask(engines("1.4.3"), image, by_index, by_scan) == [20, 170]


# 5. The checksum that does not know the order of words


@pytest.mark.parametrize("engine", ["1.4.3", "1.5.6", "2.0.0"])
def test_a_block_can_change_without_its_first_word(
    engines: Engines, tmp_path: Path, engine: str
) -> None:
    states = images.permuted_blocks(engines(engine), tmp_path)
    before, after = (
        images.ask(engines(engine), state, images.TURN) for state in (states.before, states.after)
    )
    assert before != after
