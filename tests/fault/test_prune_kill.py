"""A prune cut at any step, and one on a disk without a byte left: all of a backup or none."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from eiderd import catalog, manifest, staging
from eiderd.model import State
from tests import helpers
from tests.steps import PowerCut, Steps

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Place

RULES = {"retention__min_count": 1, "retention__max_count": 1}
BACKUPS = 4
ROOT_ONLY = "needs root, to mount a small disk"


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with four backups, of which the rules keep one."""
    place = helpers.given_place(tmp_path_factory.mktemp("prune"), rows=500, wal_rows=10)
    for _ in range(BACKUPS):
        place.backup()
    return place.configure(**RULES)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def given_folder(taken: Place, folder: Path) -> tuple[Path, str]:
    """Return a copy of the backup folder, and the id of its oldest backup."""
    shutil.copytree(taken.backups, folder, symlinks=True)
    return folder, catalog.briefs(folder).backups[0].id


def assert_listed_is_whole(folder: Path, *, where: object) -> set[str]:
    """Whatever is listed is all there. Return the ids."""
    listing = catalog.briefs(folder)
    assert not listing.unreadable, where
    for backup in listing.backups:
        assert backup.state is State.VERIFIED, where
        assert catalog.sidecar_fits(folder, catalog.recorded(folder, backup.id)), where
    return {backup.id for backup in listing.backups}


def assert_old_or_new(folder: Path, ids: set[str], *, where: object) -> bool:
    """Hold that nothing but whole backups is there; return whether the oldest has gone."""
    left = assert_listed_is_whole(folder, where=where)
    names = (catalog.archive_name, manifest.sidecar_name, catalog.manifest_name)
    expected = {name(id_) for id_ in left for name in names} | {"backup-latest.tar.gz"}
    assert helpers.files_below(folder) == expected, where
    newest = max(ids)
    latest = (folder / "backup-latest.tar.gz").readlink()
    assert str(latest) == catalog.archive_name(newest), where
    assert ids - left <= {min(ids)}, where
    return left != ids


@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
def test_power_cut_at_every_step_of_a_removal_leaves_all_or_nothing(
    taken: Place, tmp_path: Path, steps: Steps, *, after: bool
) -> None:
    folder, oldest = given_folder(taken, tmp_path / "counted")
    ids = assert_listed_is_whole(folder, where="before")
    with steps.cut(None):
        catalog.remove(folder, oldest)
    assert steps.taken == ["rename", "fsync", "unlink", "unlink", "unlink", "fsync", "unlink"]
    assert assert_old_or_new(folder, ids, where="uncut")

    outcomes = []
    for at in range(1, len(steps.taken) + 1):
        folder, oldest = given_folder(taken, tmp_path / str(at))
        with pytest.raises(PowerCut), steps.cut(at, after=after):
            catalog.remove(folder, oldest)
        listed = assert_listed_is_whole(folder, where=at)  # even without a recovery
        staging.recover(folder)
        outcomes.append(assert_old_or_new(folder, ids, where=at))
        assert assert_listed_is_whole(folder, where=at) == listed, "what was gone stays gone"
    assert outcomes == [after or at > 1 for at in range(1, len(outcomes) + 1)]


def test_power_cut_at_every_step_of_a_recovery_too(
    taken: Place, tmp_path: Path, steps: Steps
) -> None:
    for at in range(2, 8):
        for cut in range(1, 20):
            folder, oldest = given_folder(taken, tmp_path / f"{at}-{cut}")
            ids = assert_listed_is_whole(folder, where="before")
            with pytest.raises(PowerCut), steps.cut(at):
                catalog.remove(folder, oldest)
            with contextlib.suppress(PowerCut), steps.cut(cut):
                staging.recover(folder)
            ended = len(steps.taken) < cut
            assert_listed_is_whole(folder, where=(at, cut))
            staging.recover(folder)
            assert assert_old_or_new(folder, ids, where=(at, cut))
            shutil.rmtree(folder)
            if ended:
                break
        else:
            pytest.fail("a recovery that never ends")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EPERM], ids=os.strerror)
def test_a_failure_at_every_step_of_a_removal_leaves_all_or_nothing(
    taken: Place, tmp_path: Path, steps: Steps, number: int
) -> None:
    for at in range(1, 8):
        folder, oldest = given_folder(taken, tmp_path / str(at))
        ids = assert_listed_is_whole(folder, where="before")
        with contextlib.suppress(Exception), steps.cut(at, error=OSError(number, "no")):
            catalog.remove(folder, oldest)
        assert_listed_is_whole(folder, where=at)
        staging.recover(folder)
        gone = assert_old_or_new(folder, ids, where=at)
        # What cannot even begin, and an archive that may not go, leave the backup as it was. A
        # folder without room for another name is no obstacle.
        assert gone == (at not in {1, 3} or (at == 1 and number == errno.ENOSPC))


def test_killed_at_any_instant_a_prune_is_ended_by_the_next_run(
    taken: Place, tmp_path: Path
) -> None:
    whole = taken.clone(tmp_path / "whole").configure(**RULES)
    assert whole.eider("prune").code == 0
    newest = max(taken.listed())
    assert set(whole.listed()) == {newest}
    cut = []
    for part in range(1, BACKUPS):
        place = taken.clone(tmp_path / str(part)).configure(**RULES)
        process = helpers.start("prune", config=place.config)
        while process.poll() is None and _manifests(place) > BACKUPS - part:
            pass  # a removal takes less than a millisecond
        process.kill()
        process.communicate()
        before = helpers.files_below(taken.backups)
        gone = before - helpers.files_below(place.backups)
        cut.append(process.returncode == -signal.SIGKILL and bool(gone))
        assert newest in assert_listed_is_whole(place.backups, where=part)
        ran = place.eider("prune", "--json")
        assert ran.code == 0, ran
        assert set(place.listed()) == {newest}
        names = (catalog.archive_name, manifest.sidecar_name, catalog.manifest_name)
        assert helpers.files_below(place.backups) == {
            "backup-latest.tar.gz", *(name(newest) for name in names),
        }  # fmt: skip
    assert any(cut), "no kill came while something was removed"


def _manifests(place: Place) -> int:
    return len(list(place.backups.glob("backup-*.json")))


@pytest.mark.skipif(not helpers.is_root(), reason=ROOT_ONLY)
def test_a_prune_works_on_a_disk_without_a_byte_left(taken: Place, tmp_path: Path) -> None:
    place = taken.clone(tmp_path / "place")
    with helpers.small_disk(tmp_path / "disk", size="8m") as disk:
        shutil.copytree(place.backups, disk / "backups", symlinks=True)
        shutil.copytree(place.state, disk / "state", symlinks=True)
        with contextlib.suppress(OSError), (disk / "fill").open("wb", buffering=0) as fill:
            while True:
                fill.write(b"x" * 4096)
        assert os.statvfs(disk).f_bavail == 0
        folders = {"backup__directory": disk / "backups", "service__state": disk / "state"}
        place.configure(**{key: str(folder) for key, folder in folders.items()}, **RULES)
        ran = place.eider("prune")
        assert ran.code == 0, ran
        assert f"{BACKUPS - 1} backups removed" in ran.stdout
        left = catalog.briefs(disk / "backups")
        assert [backup.id for backup in left.backups] == [max(taken.listed())]
        assert os.statvfs(disk).f_bavail > 0
