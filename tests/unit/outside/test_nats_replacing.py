"""The record of a replacement: written, read, removed, and never overlooked."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from eiderd.errors import StoreUnavailable
from eiderd.outside.nats_client import replacing
from tests import helpers

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return tmp_path / "streams-set-aside"


def _given_record(
    parent: Path, name: str = "EVENTS-1", *, at: datetime.datetime = NOON, stream: str = "EVENTS"
) -> Path:
    folder = parent / name
    folder.mkdir(parents=True, exist_ok=True)
    replacing.begin(folder, stream=stream, server="nats://here:4222", at=at)
    return folder


def test_what_was_begun_is_told_until_it_is_ended(parent: Path) -> None:
    assert replacing.begun(parent) == ()
    folder = _given_record(parent)
    (parent / "EVENTS-0").mkdir()  # set aside, and replaced
    (one,) = replacing.begun(parent)
    assert (one.stream, one.server, one.begun_at) == ("EVENTS", "nats://here:4222", NOON)
    assert one.folder == str(folder)
    assert replacing.is_begun(folder)
    replacing.end(folder)
    replacing.end(folder)
    assert replacing.begun(parent) == ()
    assert folder.is_dir()


def test_the_first_that_was_begun_is_first(parent: Path) -> None:
    later = _given_record(parent, "A", at=NOON + MINUTE)
    first = _given_record(parent, "B")
    assert [one.folder for one in replacing.begun(parent)] == [str(first), str(later)]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"begun_at": 1}', b"x" * (1 << 17)])
def test_a_record_that_cannot_be_read_is_one_all_the_same(parent: Path, data: bytes) -> None:
    folder = _given_record(parent)
    (folder / replacing.RECORD).write_bytes(data)
    (one,) = replacing.begun(parent)
    assert (one.stream, one.folder) == ("EVENTS-1", str(folder))


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(parent: Path) -> None:
    if helpers.is_root():
        pytest.skip("root may read everything")
    _given_record(parent)
    parent.chmod(0)
    try:
        with pytest.raises(StoreUnavailable):
            replacing.begun(parent)
    finally:
        parent.chmod(0o700)


def test_the_record_is_private(parent: Path) -> None:
    folder = _given_record(parent)
    assert (folder / replacing.RECORD).stat().st_mode & 0o777 == 0o600
