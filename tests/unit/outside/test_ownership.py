"""What root makes in eiderd's folders is given to their owner, and nothing else is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from eiderd.outside import ownership
from tests.helpers import is_root

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = 4711


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not is_root():
        pytest.skip("only root can give files away")
    made = tmp_path / "state"
    (made / "backups").mkdir(parents=True)
    (made / "engines").mkdir()
    os.chown(made, SERVICE, SERVICE)
    return made


def _owner(path: Path) -> int:
    return path.lstat().st_uid


def _hand_over(folder: Path) -> None:
    ownership.hand_over((folder, folder / "missing"), besides=frozenset({"engines"}))


def test_files_folders_and_links_get_the_owner_of_the_folder(folder: Path) -> None:
    (folder / "backups" / "one").write_text("")
    (folder / "latest").symlink_to("backups/one")
    _hand_over(folder)
    made = (folder / "backups", folder / "backups" / "one", folder / "latest")
    assert {_owner(path) for path in made} == {SERVICE}


def test_a_link_gives_away_nothing_that_it_leads_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("")
    (folder / "trap").symlink_to(tmp_path / "shadow")
    (folder / "other").symlink_to(tmp_path)
    _hand_over(folder)
    assert _owner(tmp_path / "shadow") == 0


def test_a_file_that_has_another_name_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("")
    (folder / "trap").hardlink_to(tmp_path / "shadow")
    _hand_over(folder)
    assert _owner(tmp_path / "shadow") == 0


def test_what_is_not_roots_and_what_was_left_out_stay_as_they_are(folder: Path) -> None:
    (folder / "theirs").write_text("")
    os.chown(folder / "theirs", 4712, 4712)
    (folder / "engines" / "python").write_text("")
    _hand_over(folder)
    assert _owner(folder / "theirs") == 4712
    assert _owner(folder / "engines" / "python") == 0


def test_a_folder_of_roots_own_is_left_as_it_is(folder: Path) -> None:
    os.chown(folder, 0, 0)
    (folder / "one").write_text("")
    _hand_over(folder)
    assert _owner(folder / "one") == 0
