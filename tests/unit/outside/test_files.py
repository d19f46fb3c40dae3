"""Files of eiderd's own: what is removed is what eiderd made, and no link leads a write astray."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.errors import SourceUnavailable, StoreUnavailable
from eiderd.kit import extras_of
from eiderd.outside import files
from tests.helpers import is_root

if TYPE_CHECKING:
    from collections.abc import Callable
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


# What goes into an archive besides ----------------------------------------------------------------


def _given_included(folder: Path) -> tuple[Path, Path]:
    """Return a folder that is included, with two files in it, and a file that is so itself."""
    inside = folder / "app"
    (inside / "sessions").mkdir(parents=True)
    for name in ("app.conf", "sessions/x.tmp"):
        (inside / name).write_text(name)
    named = folder / "app.env"
    named.write_text("SECRET=1")
    return inside, named


def _archived(named: tuple[Path, ...], *, before: Callable[[], None], folder: Path) -> list[str]:
    """Copy what is included; `before` comes between the walk and the copying."""
    found = extras_of(named)
    before()
    with files.copied_aside(found, named=named, folder=folder / "aside") as copies:
        said = [copy.read_text() for _path, copy in copies]
    assert not (folder / "aside").exists()
    return said


def test_a_file_that_goes_from_an_included_folder_is_left_out(tmp_path: Path) -> None:
    named = inside, _file = _given_included(tmp_path)
    gone = inside / "sessions"
    said = _archived(named, before=lambda: files.remove_tree(gone), folder=tmp_path)
    assert said == ["app.conf", "SECRET=1"]


def test_a_file_that_is_included_by_name_must_be_there(tmp_path: Path) -> None:
    named = _inside, file = _given_included(tmp_path)
    with pytest.raises(SourceUnavailable) as raised:
        _archived(named, before=file.unlink, folder=tmp_path)
    assert raised.value.message == f"{file}, which backup.include names, is gone"
    assert "backup.include" in raised.value.hint
    assert not (tmp_path / "aside").exists()


def test_a_folder_that_goes_while_it_is_walked_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = inside, _file = _given_included(tmp_path)
    scandir = os.scandir

    def going(folder: Any) -> Any:  # noqa: ANN401
        if str(folder) == str(inside / "sessions"):
            monkeypatch.setattr(os, "scandir", scandir)
            shutil.rmtree(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", going)
    assert [path.name for path in extras_of(named)] == ["app.conf", "app.env"]


def test_a_link_that_is_included_by_name_is_copied_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "app.env").symlink_to("releases-3.env")
    (tmp_path / "releases-3.env").write_text("SECRET=3")
    named = (tmp_path / "app.env",)
    assert _archived(named, before=lambda: None, folder=tmp_path) == ["SECRET=3"]
