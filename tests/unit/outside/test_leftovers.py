"""What runs that died left: found, measured, and a folder that is closed is no bug."""

from __future__ import annotations

from pathlib import Path

import pytest

from eiderd.errors import StoreUnavailable
from eiderd.outside import leftovers
from tests.helpers import is_root


def test_each_folder_is_found_with_what_it_takes_up(tmp_path: Path) -> None:
    for name, size in (("one", 5_000), ("two", 9_000)):
        (tmp_path / name / "inside").mkdir(parents=True)
        (tmp_path / name / "inside" / "file").write_bytes(b"x" * size)
    (tmp_path / "a file").touch()
    (tmp_path / "a link").symlink_to(tmp_path / "one")
    found = leftovers.found(tmp_path, locked=False)
    assert [(path.name, size >= least) for (path, size), least in zip(
        found, (5_000, 9_000), strict=True)] == [("one", True), ("two", True)]  # fmt: skip


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert leftovers.found(tmp_path / "gone", locked=True) == []


@pytest.mark.skipif(is_root(), reason="root may read everything")
def test_a_folder_above_that_is_closed_is_said(tmp_path: Path) -> None:
    (tmp_path / "state" / "scratch").mkdir(parents=True)
    (tmp_path / "state").chmod(0)
    try:
        with pytest.raises(StoreUnavailable, match="cannot read"):
            leftovers.found(tmp_path / "state" / "scratch", locked=True)
    finally:
        (tmp_path / "state").chmod(0o700)
