"""A corrupt backup is moved, whole, whatever instant the power goes; nothing else ever is."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from eiderd import catalog, manifest, staging
from eiderd.errors import NoSuchBackup, StoreUnavailable, VerificationFailed
from eiderd.jobs import quarantine
from eiderd.model import Backup, Ending, Outcome, State
from tests import helpers
from tests.steps import PowerCut, Steps
from tests.unit.jobs.test_prune import DAY, NOW, _given_backup


def _corrupt(*, backup: Backup) -> Outcome[Backup]:
    return Outcome(ending=Ending.DONE, value=dataclasses.replace(backup, state=State.CORRUPT))


def _sound(*, backup: Backup) -> Outcome[Backup]:
    return Outcome(ending=Ending.DONE, value=dataclasses.replace(backup, state=State.VERIFIED))


def _names(id_: str) -> set[str]:
    return {manifest.archive_name(id_), manifest.sidecar_name(id_), manifest.manifest_name(id_)}


def _given_two(directory: Path) -> tuple[Backup, Backup]:
    return _given_backup(directory, 2 * DAY), _given_backup(directory, DAY, State.CORRUPT)


def test_a_corrupt_one_is_moved_whole_and_the_others_stay(tmp_path: Path) -> None:
    good, bad = _given_two(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    outcome = quarantine.run(directory=tmp_path, name=bad.id, verify=_corrupt)
    assert outcome.ending is Ending.DONE
    assert outcome.value.folder == tmp_path / "quarantine" / bad.id
    assert {path.name for path in outcome.value.folder.iterdir()} == _names(bad.id)
    for name in _names(bad.id):
        assert (outcome.value.folder / name).read_bytes() == before[tmp_path / name]
    assert [one.id for one in catalog.read(tmp_path).backups] == [good.id]
    assert (tmp_path / catalog.LATEST_ARCHIVE).readlink() == Path(good.archive)
    assert oct(outcome.value.folder.stat().st_mode & 0o777) == "0o700"


def test_its_number_stays_taken_so_that_it_may_be_put_back(tmp_path: Path) -> None:
    _good, bad = _given_two(tmp_path)
    moved = quarantine.run(directory=tmp_path, name=bad.id, verify=_corrupt).value.folder
    assert staging.draft(tmp_path, created_at=NOW).sequence == bad.sequence + 1
    # Also when nobody would believe its manifest any more.
    record = moved / manifest.manifest_name(bad.id)
    record.write_bytes(record.read_bytes().replace(b'"archive"', b'"archives"'))
    assert staging.draft(tmp_path, created_at=NOW).sequence == bad.sequence + 1


def test_whatever_else_is_in_there_stops_no_backup(tmp_path: Path) -> None:
    good, _bad = _given_two(tmp_path)
    (tmp_path / "quarantine").write_text("a file")
    assert staging.draft(tmp_path, created_at=NOW).sequence == 3
    (tmp_path / "quarantine").unlink()
    there = tmp_path / "quarantine"
    (there / "deep" / "deeper").mkdir(parents=True)
    (there / "notes").write_text("")
    (there / "dangling").symlink_to("nowhere")
    (there / "around").symlink_to("..")
    (there / "own").symlink_to("own")
    os.mkfifo(there / "fifo")
    os.mkfifo(there / "deep" / manifest.manifest_name(good.id))
    (there / "deep" / "backup-x.json").write_bytes(b"\xff{")
    assert staging.draft(tmp_path, created_at=NOW).sequence == 3


def test_one_that_is_proven_after_all_stays(tmp_path: Path) -> None:
    _good, bad = _given_two(tmp_path)
    before = helpers.files_below(tmp_path)
    outcome = quarantine.run(directory=tmp_path, name=bad.id, verify=_sound)
    assert outcome.ending is Ending.NOTHING_TO_DO
    assert "is verified, not corrupt" in outcome.why
    assert helpers.files_below(tmp_path) == before


def test_a_verified_one_is_never_moved(tmp_path: Path) -> None:
    good, _bad = _given_two(tmp_path)
    before = helpers.files_below(tmp_path)
    for name in (good.id, "latest"):
        outcome = quarantine.run(directory=tmp_path, name=name, verify=_sound)
        assert outcome.ending is Ending.NOTHING_TO_DO
    assert helpers.files_below(tmp_path) == before


def test_what_cannot_be_proven_either_way_stays(tmp_path: Path) -> None:
    _good, bad = _given_two(tmp_path)
    before = helpers.files_below(tmp_path)

    def blind(*, backup: Backup) -> Outcome[Backup]:
        raise StoreUnavailable(f"{backup.id} cannot be read", hint="wait")

    with pytest.raises(StoreUnavailable):
        quarantine.run(directory=tmp_path, name=bad.id, verify=blind)
    assert helpers.files_below(tmp_path) == before


def test_a_pinned_one_is_refused_without_a_proof(tmp_path: Path) -> None:
    bad = _given_backup(tmp_path, DAY, State.CORRUPT, pinned=True)
    outcome = quarantine.run(directory=tmp_path, name=bad.id, verify=_corrupt)
    assert outcome.ending is Ending.REFUSED
    assert "pinned" in outcome.why
    assert (tmp_path / bad.archive).exists()


def test_a_look_says_what_would_be_moved(tmp_path: Path) -> None:
    _good, bad = _given_two(tmp_path)
    before = helpers.files_below(tmp_path)
    outcome = quarantine.run(directory=tmp_path, name=bad.id, verify=_corrupt, dry_run=True)
    assert set(outcome.value.files) == _names(bad.id)
    assert helpers.files_below(tmp_path) == before


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSuchBackup):
        quarantine.run(directory=tmp_path, name="20200101-000000", verify=_corrupt)
    (tmp_path / "backup-20200101-000000.json").write_text("{}")
    with pytest.raises(VerificationFailed):
        quarantine.run(directory=tmp_path, name="20200101-000000", verify=_corrupt)


def test_one_whose_archive_is_gone_is_moved_with_what_is_left(tmp_path: Path) -> None:
    _good, bad = _given_two(tmp_path)
    (tmp_path / bad.archive).unlink()
    outcome = quarantine.run(directory=tmp_path, name=bad.id, verify=_corrupt)
    assert outcome.ending is Ending.DONE
    assert len(list(outcome.value.folder.iterdir())) == 2


def test_one_of_that_name_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    _good, bad = _given_two(tmp_path)
    earlier = tmp_path / "quarantine" / bad.id
    earlier.mkdir(parents=True)
    (earlier / bad.archive).write_bytes(b"earlier")
    outcome = quarantine.run(directory=tmp_path, name=bad.id, verify=_corrupt)
    assert outcome.value.folder.name == f"{bad.id}-2"
    assert (earlier / bad.archive).read_bytes() == b"earlier"


@pytest.mark.parametrize("after", [False, True])
def test_whatever_instant_the_power_goes_nothing_is_lost_and_the_next_run_ends_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: bool,  # noqa: FBT001
) -> None:
    steps = Steps(monkeypatch)
    cut = 0
    while True:
        cut += 1
        directory = tmp_path / str(cut)
        directory.mkdir()
        good, bad = _given_two(directory)
        try:
            with steps.cut(cut, after=after):
                quarantine.run(directory=directory, name=bad.id, verify=_corrupt)
        except PowerCut:
            pass
        else:
            break
        folder = directory / "quarantine" / bad.id
        for name in _names(bad.id):
            places = [path for path in (directory / name, folder / name) if path.exists()]
            assert len(places) == 1, f"{name} is at {places} after step {cut}"
        staging.recover(directory)
        listed = {one.id: one.state for one in catalog.briefs(directory).backups}
        assert listed[good.id] is State.VERIFIED
        if bad.id in listed:
            assert listed[bad.id] is State.CORRUPT
            quarantine.run(directory=directory, name=bad.id, verify=_corrupt)
        assert {path.name for path in folder.iterdir()} == _names(bad.id)
        assert [one.id for one in catalog.briefs(directory).backups] == [good.id]
        assert (directory / catalog.LATEST_ARCHIVE).readlink() == Path(good.archive)
    assert cut > 6, "there are at least so many steps"
