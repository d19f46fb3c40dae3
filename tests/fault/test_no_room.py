"""A backup that would fill a disk is refused before it copies anything; one that does, leaves none.

The second needs a check that is blind: then the disk fills in the middle, at whatever step.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import helpers

if TYPE_CHECKING:
    from tests.helpers import Place

pytestmark = pytest.mark.skipif(not helpers.is_root(), reason="only root may mount a small disk")

MB = 1 << 20
# `eider`, with a check that sees room everywhere: as when a quota, or another program, is faster.
BLIND = (
    sys.executable,
    "-c",
    """
import sys
sys.argv = sys.argv[1:]
from eiderd import room
room.ensure = lambda *_needs, **_words: None
from eiderd.__main__ import run
sys.exit(run())
""",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return helpers.given_place(tmp_path_factory.mktemp("room"))


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    return made.clone(tmp_path / "place")


def _filled(folder: Path, *, but: int) -> Path:
    """Write a file that leaves `but` bytes free."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        file.write(bytes(_free(folder) - but))
    assert abs(_free(folder) - but) <= 8192
    return filler


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def test_a_backup_that_does_not_fit_is_refused_with_the_figures(place: Place) -> None:
    with helpers.small_disk(place.backups, size="1m"):
        ran = place.eider("backup", "--json").good_manners()
        assert ran.code == 13, ran
        error = ran.json["error"]
        assert f"in {place.backups}, where 1.0 MB are free" in error["message"]
        assert "52.4 kB of them are kept in reserve" in error["message"]
        assert f"df -h {place.backups}" in error["hint"]
        assert helpers.files_below(place.backups) == set()
        assert not (place.state / "mirror").exists(), "it was copied"


def test_a_mirror_that_does_not_fit_is_refused_but_not_one_that_is_there(place: Place) -> None:
    with helpers.small_disk(place.state, size="4m"):
        place.backup()
        filler = _filled(place.state, but=600_000)
        place.backup()  # only scratch for the WAL is new
        shutil.rmtree(place.state / "mirror")
        filler.unlink()
        _filled(place.state, but=600_000)
        ran = place.eider("backup", "--json").good_manners()
        assert ran.code == 13, ran
        assert f"in {place.state}, where" in ran.json["error"]["message"]
        assert not (place.state / "mirror").exists()


def test_one_disk_for_both_must_take_the_sum(place: Place) -> None:
    """The case that ends an application: everything beside its database."""
    size = place.database.stat().st_size + place.wal.stat().st_size
    with helpers.small_disk(place.root / "one", size="8m") as one:
        place.configure(service__state=str(one / "state"), backup__directory=str(one / "backups"))
        for folder in (one / "state", one / "backups"):
            folder.mkdir(mode=0o700)
        filler = _filled(one, but=size + size // 2 + 8 * MB // 20)
        ran = place.eider("backup", "--json").good_manners()
        assert ran.code == 13, ran
        assert f"{one / 'state'} and {one / 'backups'}, where" in ran.json["error"]["message"]
        assert _free(one) >= size
        filler.unlink()
        place.backup()


def test_the_next_one_is_reckoned_by_the_last(place: Place) -> None:
    """With a backup to go by, less than the size of the database is enough."""
    source = place.database.stat().st_size + place.wal.stat().st_size
    with helpers.small_disk(place.backups, size="8m"):
        archive = place.backup()["bytes"]
        assert archive * 1.1 < source * 0.9, "the database compresses"
        filler = _filled(place.backups, but=int(archive * 1.15) + 8 * MB // 20)
        place.backup()
        filler.unlink()
        _filled(place.backups, but=int(archive * 1.05) + 8 * MB // 20)
        assert place.eider("backup").good_manners().code == 13


def test_extra_files_are_counted_with_the_copy_that_is_made_of_them(place: Place) -> None:
    extra = place.root / "extra"
    extra.write_bytes(bytes(3 * MB))
    place.configure(backup__include=[str(extra)])
    with helpers.small_disk(place.backups, size="6m"):
        assert place.eider("backup").good_manners().code == 13
        extra.write_bytes(bytes(1 * MB))
        assert place.eider("backup").good_manners().code == 0


# In the middle ------------------------------------------------------------------------------------


@pytest.fixture
def on_small_backups(place: Place) -> Iterator[Place]:
    with helpers.small_disk(place.backups, size="2m"):
        yield place


def test_a_disk_that_fills_meanwhile_leaves_nothing_and_earlier_backups_intact(
    on_small_backups: Place,
) -> None:
    place = on_small_backups
    id_ = place.backup()["id"]
    before = helpers.files_below(place.backups)
    filler = _filled(place.backups, but=60_000)
    ran = place.eider("backup", "--json", before=BLIND).good_manners()
    assert ran.code == 13, ran
    assert f"no space left in {place.backups}" in ran.json["error"]["message"]
    filler.unlink()
    assert helpers.files_below(place.backups) == before
    assert place.listed() == {id_: "verified"}
    assert place.eider("verify", id_).code == 0
    place.backup()


@pytest.mark.parametrize("blocks", range(1, 40, 6))
def test_a_backup_disk_that_fills_up_keeps_its_word(place: Place, blocks: int) -> None:
    """Whatever fitted: a backup that counts, or exit 13 and nothing."""
    with helpers.small_disk(place.backups, size=f"{blocks * 4}k"):
        ran = place.eider("backup", "--json", before=BLIND).good_manners()
        assert ran.code in {0, 13}, ran
        if ran.code == 0:
            assert place.eider("verify").code == 0
        else:
            assert "no space left" in ran.json["error"]["message"]
            assert helpers.files_below(place.backups) == set()


@pytest.mark.parametrize("size", ["64k", "512k", "900k", "1200k"])
def test_a_state_disk_that_fills_up_is_no_space(place: Place, size: str) -> None:
    with helpers.small_disk(place.state, size=size):
        ran = place.eider("backup", "--json", before=BLIND).good_manners()
        assert ran.code in ({13} if size != "1200k" else {0, 13}), ran
        if ran.code:
            assert f"no space left in {place.state}" in ran.json["error"]["message"]
            assert helpers.files_below(place.backups) == set()
