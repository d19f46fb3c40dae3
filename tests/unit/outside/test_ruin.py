"""Only a file that is there, was read to its end and is no database is ruined."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from eiderd.errors import NotADatabase, SourceUnavailable
from eiderd.outside import copier, ruin
from eiderd.outside.duckdb_file import HEADER_BYTES, PAGE
from tests.helpers import build_database, is_root

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("database") / "app.duckdb"
    return build_database(path, rows=100, wal_rows=0).read_bytes()


def _ensure(path: Path) -> None:
    ruin.ensure_ruined(path, progress=lambda _done, _total: None)


RUINS: dict[str, Callable[[bytes], bytes]] = {
    "zeros at its beginning": lambda data: bytes(HEADER_BYTES) + data[HEADER_BYTES:],
    "no magic": lambda data: data[:8] + b"DICK" + data[12:],
    "no header of the two": lambda data: data[:PAGE] + bytes(2 * PAGE) + data[HEADER_BYTES:],
    "cut off inside its headers": lambda data: data[:5000],
    "another file": lambda _data: b"this disk is not mounted\n",
}


@pytest.mark.parametrize("what", RUINS)
def test_a_file_that_was_read_and_is_no_database_is_ruined(
    tmp_path: Path, database: bytes, what: str
) -> None:
    path = tmp_path / "app.duckdb"
    path.write_bytes(RUINS[what](database))
    with pytest.raises(NotADatabase):
        ruin.headers(path)
    _ensure(path)


def test_a_database_is_none(tmp_path: Path, database: bytes) -> None:
    path = tmp_path / "app.duckdb"
    path.write_bytes(database)
    assert ruin.headers(path).block_count
    with pytest.raises(SourceUnavailable, match="after all"):
        _ensure(path)


def test_an_empty_file_may_be_where_a_mount_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "app.duckdb"
    path.touch()
    with pytest.raises(SourceUnavailable, match="empty, as where a mount is missing") as told:
        _ensure(path)
    assert not isinstance(told.value, NotADatabase)


def _unreachable(path: Path, how: str) -> Path:
    if how == "a folder":
        path.mkdir()
    elif how == "a dangling link":
        path.symlink_to(path.parent / "nowhere")
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "no folder":
        path = path.parent / "gone" / path.name
    elif how == "a read error":  # the kernel's own: nothing is mapped at address 0
        path.symlink_to("/proc/self/mem")
    elif how == "no permission":
        path.write_bytes(bytes(20_000))
        path.chmod(0)
    return path


UNREACHABLE = [
    "missing", "a folder", "a dangling link", "a pipe", "no folder", "a read error",
    pytest.param(
        "no permission", marks=pytest.mark.skipif(is_root(), reason="root may read everything")
    ),
]  # fmt: skip


@pytest.mark.parametrize("how", UNREACHABLE)
def test_what_cannot_be_reached_is_not_ruined(tmp_path: Path, how: str) -> None:
    path = _unreachable(tmp_path / "app.duckdb", how)
    for look in (ruin.headers, _ensure):
        with pytest.raises(SourceUnavailable) as told:
            look(path)
        assert not isinstance(told.value, NotADatabase)


def test_a_read_error_behind_its_beginning_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.duckdb"
    path.write_bytes(bytes(20_000))

    class _Failing:
        def __init__(self) -> None:
            self._file = path.open("rb")

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def fileno(self) -> int:
            return self._file.fileno()

        def read(self, count: int) -> bytes:
            if self._file.tell() >= HEADER_BYTES:
                raise OSError(5, "Input/output error")
            return self._file.read(min(count, HEADER_BYTES))

    def opened(descriptor: int, _mode: str) -> _Failing:
        os.close(descriptor)
        return _Failing()

    monkeypatch.setattr("eiderd.outside.ruin.os.fdopen", opened)
    with pytest.raises(NotADatabase):
        ruin.headers(path)
    with pytest.raises(SourceUnavailable, match="Input/output error") as told:
        _ensure(path)
    assert not isinstance(told.value, NotADatabase)


def test_a_file_that_is_written_meanwhile_is_left_to_whoever_writes(tmp_path: Path) -> None:
    path = tmp_path / "app.duckdb"
    path.write_bytes(bytes(20_000))

    def write(_done: int, _total: int) -> None:
        os.utime(path, (1, 1))

    with pytest.raises(SourceUnavailable, match="is being written"):
        ruin.ensure_ruined(path, progress=write)


def test_what_the_child_says_arrives_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "app.duckdb"
    path.write_bytes(bytes(20_000))
    copier.ensure_ruined(path, deadline_seconds=60)
    path.write_bytes(b"")
    with pytest.raises(SourceUnavailable, match="empty"):
        copier.ensure_ruined(path, deadline_seconds=60)
