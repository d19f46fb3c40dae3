"""What runs that died left goes; what is in use, or not eiderd's own, stays."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from eiderd.errors import NoSpace
from eiderd.jobs import clean
from eiderd.jobs.clean import Leftover
from eiderd.model import Ending
from eiderd.outside import files, leftovers
from tests.helpers import Place, given_place

A, B = (Leftover(path=Path(f"/scratch/{name}"), bytes=size) for name, size in (("a", 7), ("b", 5)))


def test_what_went_is_what_is_told(tmp_path: Path) -> None:
    swept: list[bool] = []
    outcome = clean.run(before=(A, B), find=lambda: (B,), sweep=lambda: swept.append(True))
    assert (outcome.ending, outcome.value.removed, outcome.value.bytes) == (Ending.DONE, (A,), 7)
    assert swept
    nothing = clean.run(before=(), find=lambda: (), sweep=lambda: None)
    assert nothing.ending is Ending.NOTHING_TO_DO


def _given_left(parent: Path, name: str, size: int) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(bytes(size))
    return folder


def test_a_folder_that_somebody_holds_is_not_left_over(tmp_path: Path) -> None:
    held, left = _given_left(tmp_path, "run-held", 9000), _given_left(tmp_path, "run-left", 9000)
    descriptor = os.open(held, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert [path for path, _size in leftovers.found(tmp_path, locked=True)] == [left]
        assert len(leftovers.found(tmp_path, locked=False)) == 2
        leftovers.sweep(tmp_path)
        assert held.exists()
        assert not left.exists()
    finally:
        os.close(descriptor)
    assert leftovers.found(tmp_path / "nowhere", locked=True) == []
    leftovers.sweep(tmp_path / "nowhere")


def test_a_full_disk_is_swept_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = _given_left(tmp_path, "run-left", 10)

    def full(**_words: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    leftovers.sweep(tmp_path)
    assert not left.exists()
    with pytest.raises(NoSpace), files.scratch(tmp_path):
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return given_place(tmp_path_factory.mktemp("clean"), rows=50, wal_rows=0)


def test_the_verb_shows_then_removes_them_and_the_ballast_only_if_asked(
    made: Place, tmp_path: Path
) -> None:
    place = made.clone(tmp_path / "place")
    scratch = _given_left(place.state / "scratch", "run-dead", 20_000)
    staged = _given_left(place.backups / ".staging", "20260101-000000", 30_000)
    mine = place.backups / "notes.txt"
    mine.write_text("mine")
    looked = place.eider("clean", "--dry-run", "--json")
    assert looked.code == 0, looked
    assert {one["path"] for one in looked.json["removed"]} == {str(scratch), str(staged)}
    assert scratch.exists()
    assert staged.exists()
    ran = place.eider("clean", "--json")
    assert ran.code == 0, ran
    assert {one["path"] for one in ran.json["removed"]} == {str(scratch), str(staged)}
    assert ran.json["bytes"] >= 50_000
    assert not scratch.exists()
    assert not staged.exists()
    assert mine.exists()
    again = place.eider("clean").good_manners()
    assert (again.code, again.stdout) == (0, "nothing to do: nothing is left over\n")
