"""Files of eiderd's own: what is removed is what eiderd made, and no link leads a write astray."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from eiderd.errors import StoreUnavailable
from eiderd.outside import files
from tests.helpers import is_root

if TYPE_CHECKING:
    from pathlib import Path

SOMEBODY = 4711


def _given_precious(folder: Path) -> Path:
    (folder / "precious").mkdir()
    (folder / "precious" / "thesis.tex").write_text("three years")
    return folder / "precious"


def _given_a_link_of_somebody(link: Path, target: Path) -> None:
    if not is_root():
        pytest.skip("only root can make a link that is somebody else's")
    link.symlink_to(target)
    os.chown(link, SOMEBODY, SOMEBODY, follow_symlinks=False)


def test_scratch_of_a_run_that_died_is_removed_and_nothing_else(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    precious = _given_precious(scratch)
    (scratch / "notes").write_text("")
    (scratch / f"{files.SCRATCH}link").symlink_to(precious)
    (scratch / f"{files.SCRATCH}dead").mkdir()
    with files.scratch(scratch) as folder:
        assert folder.name.startswith(files.SCRATCH)
    left = {path.name for path in scratch.iterdir()}
    assert left == {"precious", "notes", f"{files.SCRATCH}link"}
    assert (precious / "thesis.tex").exists()


def test_scratch_that_another_run_holds_stays(tmp_path: Path) -> None:
    with files.scratch(tmp_path) as held, files.scratch(tmp_path) as other:
        assert held.exists()
        assert other != held


def test_a_link_that_somebody_else_made_is_not_followed(tmp_path: Path) -> None:
    precious = _given_precious(tmp_path)
    _given_a_link_of_somebody(tmp_path / "scratch", precious)
    with (
        pytest.raises(StoreUnavailable, match="somebody else"),
        files.scratch(tmp_path / "scratch"),
    ):
        pass
    with pytest.raises(StoreUnavailable, match="somebody else"):
        files.private_folder(tmp_path / "scratch")


def test_a_link_of_ones_own_is(tmp_path: Path) -> None:
    precious = _given_precious(tmp_path)
    (tmp_path / "scratch").symlink_to(precious)
    with files.scratch(tmp_path / "scratch") as folder:
        assert folder.resolve().parent == precious
    assert [path.name for path in precious.iterdir()] == ["thesis.tex"]


def test_a_link_where_a_file_is_to_be_written_is_replaced_not_followed(tmp_path: Path) -> None:
    precious = _given_precious(tmp_path) / "thesis.tex"
    (tmp_path / ".one.new").symlink_to(precious)
    files.replace(tmp_path / "one", b"new")
    assert precious.read_text() == "three years"
    assert (tmp_path / "one").read_bytes() == b"new"
    assert not (tmp_path / "one").is_symlink()
