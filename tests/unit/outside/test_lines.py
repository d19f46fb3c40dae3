"""Lines that several processes append: each is whole, or not there."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.errors import NoSpace, StoreUnavailable
from eiderd.outside.lines import Lines
from tests.helpers import is_root, small_disk

_WRITERS, _EACH = 4, 50


def _append(path: Path, name: str) -> None:
    lines = Lines(path)
    for number in range(_EACH):
        lines.append(lambda number=number: f"{name} {number}".encode())  # type: ignore[misc]


def test_what_is_appended_is_read_once_and_in_order(tmp_path: Path) -> None:
    writer, reader = Lines(tmp_path / "j"), Lines(tmp_path / "j")
    assert reader.unread() == ([], False)
    writer.append(lambda: b"one")
    writer.append(lambda: b"two")
    assert reader.unread() == ([b"one", b"two"], True)
    assert reader.unread() == ([], False)
    writer.append(lambda: b"three")
    assert reader.unread() == ([b"three"], False)
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600


def test_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "j"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_append, args=(path, f"w{n}")) for n in range(_WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found, _anew = Lines(path).unread()
    for number in range(_WRITERS):
        mine = [line for line in found if line.startswith(f"w{number} ".encode())]
        assert mine == [f"w{number} {index}".encode() for index in range(_EACH)]
    assert len(found) == _WRITERS * _EACH


@given(cut=st.integers(0, 30))
def test_a_line_that_a_power_cut_tore_spoils_no_other(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "j"
    lines = Lines(path)
    lines.append(lambda: b'{"word": "one"}')
    lines.append(lambda: b'{"word": "two"}')
    os.truncate(path, max(0, path.stat().st_size - cut))
    lines.append(lambda: b'{"word": "three"}')
    found, _anew = Lines(path).unread()
    words = []
    for line in found:
        try:
            words.append(json.loads(line)["word"])
        except ValueError:
            continue
    assert words[-1] == "three"
    assert set(words) <= {"one", "two", "three"}


def test_a_reader_notices_that_the_file_was_made_shorter(tmp_path: Path) -> None:
    writer, reader = Lines(tmp_path / "j"), Lines(tmp_path / "j")
    for number in range(10):
        writer.append(lambda number=number: str(number).encode())  # type: ignore[misc]
    reader.unread()
    writer.rewrite(lambda: [b"short"])
    reader_of_old = Lines(tmp_path / "j")
    assert reader.unread() == ([b"short"], True)
    writer.append(lambda: b"more")
    assert reader.unread() == ([b"more"], False)
    assert reader_of_old.unread() == ([b"short", b"more"], True)


def test_a_writer_that_was_about_to_append_to_the_old_file_appends_to_the_new(
    tmp_path: Path,
) -> None:
    first, second = Lines(tmp_path / "j"), Lines(tmp_path / "j")
    first.append(lambda: b"old")
    second.rewrite(lambda: [b"new"])
    first.append(lambda: b"after")
    assert Lines(tmp_path / "j").unread()[0] == [b"new", b"after"]


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "j").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable):
        Lines(tmp_path / "j").append(lambda: b"x")
    assert (tmp_path / "elsewhere").read_text() == ""


def test_what_does_not_fit_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    if not is_root():
        pytest.skip("only root may mount a small disk")
    with small_disk(tmp_path / "disk", size="64k") as disk:
        lines = Lines(disk / "j")
        lines.append(lambda: b"fits")
        (disk / "filler").write_bytes(b"x" * (disk.stat().st_blksize * 13))
        with pytest.raises(NoSpace):
            lines.append(lambda: b"y" * 20_000)
        assert Lines(disk / "j").unread()[0] == [b"fits"]
        (disk / "filler").unlink()
        lines.append(lambda: b"z")
        assert Lines(disk / "j").unread()[0] == [b"fits", b"z"]
