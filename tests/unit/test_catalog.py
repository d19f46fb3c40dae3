from __future__ import annotations

import dataclasses
import datetime
import errno
import hashlib
import json
import os
import subprocess
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import catalog, manifest, staging
from eiderd.errors import NoSpace, NoSuchBackup, StoreUnavailable, VerificationFailed
from eiderd.evidence import Member, TableContent
from eiderd.model import (
    Backup,
    Consistency,
    Content,
    Level,
    Proof,
    Source,
    State,
    Unreadable,
)  # fmt: skip
from eiderd.outside import files
from tests import helpers

NOON = datetime.datetime(2026, 3, 29, 12, 0, 0, tzinfo=datetime.UTC)


def _given_backup(
    directory: Path, *, state: State = State.VERIFIED, at: datetime.datetime = NOON, note: str = ""
) -> Backup:
    draft = staging.draft(directory, created_at=at)
    data = f"the archive of {draft.id}".encode()
    draft.archive.write_bytes(data)
    backup = _backup(draft.id, draft.sequence, data, state=state, at=at, note=note)
    staging.commit(directory, backup)
    return backup


def _backup(
    id_: str, sequence: int, data: bytes, *, state: State, at: datetime.datetime, note: str = ""
) -> Backup:
    return Backup(
        id=id_, sequence=sequence, created_at=at, state=state,
        archive=catalog.archive_name(id_), bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(), note=note,
        source=Source(path="/data/x", engine="v1", storage_version=64, encrypted=False, bytes=1),
        consistency=Consistency(method="double-collect", passes=2, frozen_seconds=0.0,
                                iteration=1, wal_bytes=0, captured_from=at, captured_to=at),
        proof=Proof(level=Level.RESTORE, at=at), content=Content(),
        members=(Member(name="x", bytes=1, sha256="00"),), eiderd="0",
    )  # fmt: skip


def test_what_is_committed_is_read_back(tmp_path: Path) -> None:
    backup = _given_backup(tmp_path, note="before the upgrade")
    assert catalog.read(tmp_path).backups == (backup,)
    assert catalog.find(tmp_path, "latest") == backup
    assert catalog.find(tmp_path, backup.archive) == backup
    assert {path.name for path in tmp_path.iterdir()} == {
        "backup-20260329-120000.tar.gz", "backup-20260329-120000.tar.gz.sha256",
        "backup-20260329-120000.json", "backup-latest.tar.gz", ".staging",
    }  # fmt: skip
    assert list((tmp_path / ".staging").iterdir()) == []


def test_sha256sum_accepts_the_sidecar(tmp_path: Path) -> None:
    backup = _given_backup(tmp_path)
    subprocess.run(["sha256sum", "-c", f"{backup.archive}.sha256"], cwd=tmp_path, check=True,
                   capture_output=True)  # fmt: skip


def test_two_in_one_second_get_two_names_and_numbers(tmp_path: Path) -> None:
    ids = [_given_backup(tmp_path).id for _ in range(3)]
    assert ids == ["20260329-120000", "20260329-120000-2", "20260329-120000-3"]
    assert [b.sequence for b in catalog.read(tmp_path).backups] == [1, 2, 3]


def test_the_sequence_goes_on_when_the_clock_goes_back(tmp_path: Path) -> None:
    _given_backup(tmp_path)
    earlier = _given_backup(tmp_path, at=NOON - datetime.timedelta(days=400))
    assert earlier.sequence == 2
    assert catalog.find(tmp_path, "latest") == earlier


def test_latest_is_the_newest_verified_one(tmp_path: Path) -> None:
    link = tmp_path / "backup-latest.tar.gz"
    _given_backup(tmp_path, state=State.UNVERIFIED)
    assert not link.is_symlink()
    with pytest.raises(NoSuchBackup, match="verified"):
        catalog.find(tmp_path, "latest")
    good = _given_backup(tmp_path)
    _given_backup(tmp_path, state=State.UNVERIFIED)
    assert link.readlink() == Path(good.archive)
    catalog.rewrite(tmp_path, dataclasses.replace(good, state=State.CORRUPT))
    assert not link.is_symlink()


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoSuchBackup) as caught:
        catalog.find(tmp_path / "none", "20200101-000000")
    assert "eider list" in caught.value.hint


@given(st.data())
def test_a_manifest_with_any_byte_changed_is_not_believed(data: st.DataObject) -> None:
    backup = _backup("20260329-120000", 1, b"x", state=State.VERIFIED, at=NOON)
    sealed = bytearray(catalog.sealed(backup))
    assert manifest.believe(bytes(sealed), id_=backup.id) == backup
    assert manifest.believe_brief(bytes(sealed), id_=backup.id) == manifest.brief_of(backup)
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    assert isinstance(manifest.believe(bytes(sealed), id_=backup.id), Unreadable)
    assert isinstance(manifest.believe_brief(bytes(sealed), id_=backup.id), Unreadable)


def test_an_edited_manifest_is_listed_as_corrupt_and_not_found(tmp_path: Path) -> None:
    backup = _given_backup(tmp_path)
    path = tmp_path / "backup-20260329-120000.json"
    path.write_text(path.read_text().replace('"verified"', '"suspect"'))
    listing = catalog.read(tmp_path)
    assert listing.backups == ()
    assert listing.unreadable[0].id == backup.id
    with pytest.raises(VerificationFailed, match="seal"):
        catalog.find(tmp_path, backup.id)


def test_a_backup_whose_archive_is_gone_or_cut_is_corrupt(tmp_path: Path) -> None:
    older, newer = _given_backup(tmp_path), _given_backup(tmp_path)
    (tmp_path / newer.archive).write_bytes(b"cut")
    assert catalog.find(tmp_path, "latest") == older
    (tmp_path / older.archive).unlink()
    assert {b.state for b in catalog.read(tmp_path).backups} == {State.CORRUPT}


def test_the_number_of_an_edited_manifest_stays_taken(tmp_path: Path) -> None:
    _given_backup(tmp_path)
    path = tmp_path / "backup-20260329-120000.json"
    path.write_text(path.read_text().replace('"verified"', '"suspect"'))
    assert _given_backup(tmp_path).sequence == 2


def test_somebodys_own_file_called_latest_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "backup-latest.tar.gz"
    own.write_text("mine")
    backup = _given_backup(tmp_path)
    catalog.rewrite(tmp_path, dataclasses.replace(backup, state=State.CORRUPT))
    assert own.read_text() == "mine"


def test_a_manifest_is_only_believed_under_its_own_name(tmp_path: Path) -> None:
    _given_backup(tmp_path)
    (tmp_path / "backup-20260329-120000.json").rename(tmp_path / "backup-20260329-120001.json")
    assert catalog.read(tmp_path).backups == ()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    backup = dataclasses.replace(_given_backup(tmp_path), format=99)
    (tmp_path / "backup-20260329-120000.json").write_bytes(catalog.sealed(backup))
    assert "newer" in catalog.read(tmp_path).unreadable[0].problem


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("backup-notes.json", "backup-.json", "photo.jpg"):
        (tmp_path / name).write_text("{}")
    _given_backup(tmp_path)
    staging.recover(tmp_path)
    assert (tmp_path / "photo.jpg").exists()
    assert {u.id for u in catalog.read(tmp_path).unreadable} == {"notes", ""}


def test_a_manifest_is_plain_json(tmp_path: Path) -> None:
    _given_backup(tmp_path)
    document = json.loads((tmp_path / "backup-20260329-120000.json").read_text())
    assert document["state"] == "verified"
    assert len(document["seal"]) == 64


def test_what_a_killed_run_left_is_removed_or_finished(tmp_path: Path) -> None:
    kept = _given_backup(tmp_path)
    half = staging.draft(tmp_path, created_at=NOON)
    half.archive.write_bytes(b"half an archive")
    whole = staging.draft(tmp_path, created_at=NOON + datetime.timedelta(hours=1))
    data = b"whole"
    whole.archive.write_bytes(data)
    backup = _backup(whole.id, 2, data, state=State.VERIFIED, at=NOON)
    (whole.folder / f"{backup.archive}.sha256").write_text("...")
    (whole.folder / catalog.manifest_name(whole.id)).write_bytes(catalog.sealed(backup))
    staging.recover(tmp_path)
    assert catalog.read(tmp_path).backups == (kept, backup)
    assert (tmp_path / backup.archive).read_bytes() == data
    assert list((tmp_path / ".staging").iterdir()) == []


# Briefs -----------------------------------------------------------------------------------------


def _given_every_kind(directory: Path) -> None:
    """Good ones, one of each state, and all that is wrong with manifests."""
    for state in State:
        _given_backup(directory, state=state, note=f"ü {state}")
    gone, cut, edited, newer, moved = (_given_backup(directory) for _ in range(5))
    (directory / gone.archive).unlink()
    (directory / cut.archive).write_bytes(b"cut")
    path = directory / catalog.manifest_name(edited.id)
    path.write_text(path.read_text().replace('"verified"', '"suspect"'))
    for backup, format_ in ((newer, 99), (_given_backup(directory), 0)):
        data = catalog.sealed(dataclasses.replace(backup, format=format_))
        (directory / catalog.manifest_name(backup.id)).write_bytes(data)
    (directory / catalog.manifest_name(moved.id)).rename(directory / "backup-20200101-000000.json")
    (directory / "backup-notes.json").write_text("{}")
    (directory / "backup-20210101-000000.json").mkdir()
    (directory / "backup-20220101-000000.json").symlink_to("nowhere")
    (directory / "backup-20230101-000000.json").symlink_to("backup-20230101-000000.json")
    os.mkfifo(directory / "backup-20240101-000000.json")


def test_briefs_say_what_the_whole_manifests_say(tmp_path: Path) -> None:
    _given_every_kind(tmp_path)
    listing, briefs = catalog.read(tmp_path), catalog.briefs(tmp_path)
    assert len(listing.backups) == 7
    assert len(listing.unreadable) == 8
    assert briefs.backups == tuple(map(manifest.brief_of, listing.backups))
    assert briefs.unreadable == listing.unreadable


def test_a_second_look_reads_only_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _given_every_kind(tmp_path)
    parsed: list[str] = []
    believe = manifest.believe_brief

    def counted(data: bytes, *, id_: str) -> object:
        parsed.append(id_)
        return believe(data, id_=id_)

    monkeypatch.setattr(manifest, "believe_brief", counted)
    briefs = catalog.Briefs(tmp_path)
    first = briefs.look()
    parsed.clear()
    assert briefs.look() == first
    assert parsed == []

    changed = catalog.recorded(tmp_path, first.backups[0].id)
    catalog.rewrite(tmp_path, dataclasses.replace(changed, pinned=True))
    added = _given_backup(tmp_path)
    parsed.clear()
    found = briefs.look()
    assert set(parsed) == {changed.id, added.id}
    assert found == catalog.briefs(tmp_path)
    assert found.backups[0].pinned

    catalog.remove(tmp_path, added.id)
    (tmp_path / changed.archive).unlink()  # no manifest changes
    found = briefs.look()
    assert added.id not in {backup.id for backup in found.backups}
    assert found.backups[0].state is State.CORRUPT


def test_a_manifest_edited_in_place_with_its_old_date_is_seen(tmp_path: Path) -> None:
    backup = _given_backup(tmp_path)
    briefs = catalog.Briefs(tmp_path)
    assert briefs.look().backups
    path = tmp_path / catalog.manifest_name(backup.id)
    was = path.stat()
    path.write_text(path.read_text().replace('"passes": 2', '"passes": 3'))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert briefs.look().backups == ()
    assert briefs.look().unreadable


@pytest.mark.parametrize("vanishing", ["manifest", "archive"])
def test_a_backup_removed_while_it_is_read_is_neither_corrupt_nor_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vanishing: str
) -> None:
    kept, going = _given_backup(tmp_path), _given_backup(tmp_path)
    name = "_data" if vanishing == "manifest" else "_as_it_stands"
    real = getattr(catalog, name)

    def late(*words: Any) -> Any:  # noqa: ANN401
        if going.id in str(words):
            catalog.remove(tmp_path, going.id)
        return real(*words)

    monkeypatch.setattr(catalog, name, late)
    listing = catalog.briefs(tmp_path)
    assert [backup.id for backup in listing.backups] == [kept.id]
    assert listing.unreadable == ()


def test_ten_thousand_are_read_soon_and_kept_in_little_memory(tmp_path: Path) -> None:
    model = _given_backup(tmp_path / "model", note="a note")
    table = TableContent(rows=10**6, fingerprint="0123456789abcdef" * 2)
    content = Content(tables={f"table_{number}": table for number in range(20)})
    for number in range(1, 10_001):
        at = NOON + number * datetime.timedelta(minutes=15)
        id_ = at.strftime("%Y%m%d-%H%M%S")
        backup = dataclasses.replace(
            model, id=id_, sequence=number, created_at=at, archive=catalog.archive_name(id_),
            content=content,
        )  # fmt: skip
        (tmp_path / catalog.manifest_name(id_)).write_bytes(catalog.sealed(backup))
        with (tmp_path / backup.archive).open("wb") as archive:
            archive.truncate(backup.bytes)
    briefs = catalog.Briefs(tmp_path)
    tracemalloc.start()
    assert len(briefs.look().backups) == 10_000
    kept, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 30e6
    seconds = []
    for look in (catalog.Briefs(tmp_path).look, briefs.look):
        began = time.process_time()
        look()
        seconds.append(time.process_time() - began)
    assert seconds[0] < 0.6  # it is half of that, on a machine that does nothing else
    assert seconds[1] < 0.3


# Removing ---------------------------------------------------------------------------------------


def test_a_backup_is_removed_with_all_that_is_its_own(tmp_path: Path) -> None:
    kept, gone = _given_backup(tmp_path), _given_backup(tmp_path)
    (tmp_path / f"{gone.archive}.part").write_text("somebody's own")
    catalog.remove(tmp_path, gone.id)
    catalog.point_latest(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        kept.archive, f"{kept.archive}.sha256", catalog.manifest_name(kept.id),
        f"{gone.archive}.part", "backup-latest.tar.gz", ".staging",
    }  # fmt: skip
    assert (tmp_path / "backup-latest.tar.gz").readlink() == Path(kept.archive)
    assert _given_backup(tmp_path).sequence == 2


def test_only_the_name_goes_when_the_archive_is_a_link(tmp_path: Path) -> None:
    backup = _given_backup(tmp_path / "backups")
    archive = tmp_path / "backups" / backup.archive
    elsewhere = tmp_path / "another disk.tar.gz"
    archive.rename(elsewhere)
    archive.symlink_to(elsewhere)
    assert catalog.briefs(tmp_path / "backups").backups[0].verified
    catalog.remove(tmp_path / "backups", backup.id)
    assert not os.path.lexists(archive)
    assert elsewhere.exists()


def test_an_archive_that_may_not_be_removed_keeps_its_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = _given_backup(tmp_path)
    before = catalog.read(tmp_path)
    helpers.forbid_removing(monkeypatch, backup.archive)
    with pytest.raises(StoreUnavailable):
        catalog.remove(tmp_path, backup.id)
    assert catalog.read(tmp_path) == before
    assert catalog.sidecar_fits(tmp_path, backup)


def test_a_folder_without_room_for_a_name_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = _given_backup(tmp_path), _given_backup(tmp_path)
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if not target.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    catalog.remove(tmp_path, gone.id)
    assert not [path for path in tmp_path.iterdir() if gone.id in path.name and path.is_file()]
    assert catalog.read(tmp_path).backups == (kept,)


def test_a_removal_that_was_cut_short_is_ended(tmp_path: Path) -> None:
    kept, *gone = (_given_backup(tmp_path) for _ in range(3))
    ways = (manifest.pruned_name, manifest.sidecar_name)
    for backup, way in zip(gone, ways, strict=True):
        known = tmp_path / catalog.manifest_name(backup.id)
        known.rename(tmp_path / way(backup.id))
    staging.recover(tmp_path)
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert left == {
        kept.archive, f"{kept.archive}.sha256", catalog.manifest_name(kept.id),
        "backup-latest.tar.gz",
    }  # fmt: skip


def test_what_only_looks_like_a_removal_is_somebodys_own(tmp_path: Path) -> None:
    other = _given_backup(tmp_path / "other")
    good = (tmp_path / "other" / catalog.manifest_name(other.id)).read_bytes()
    own = {
        ".backup-20200101-000000.json.pruned": b"{}",
        ".backup-20200102-000000.json.pruned": good,  # of another backup
        ".backup-holiday.json.pruned": good,
        "backup-20200103-000000.tar.gz.sha256": b"0000  backup-20200103-000000.tar.gz",
        "backup-20200104-000000.tar.gz.sha256": good,
    }
    archives = {f"backup-2020010{day}-000000.tar.gz": b"mine" for day in (1, 2, 3, 4)}
    for name, data in (own | archives).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / ".backup-20200105-000000.json.pruned").mkdir()
    staging.recover(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} - {"other"} == {
        *own, *archives, ".backup-20200105-000000.json.pruned",
    }  # fmt: skip


def test_a_manifest_that_a_person_put_back_is_a_backup_again(tmp_path: Path) -> None:
    backup = _given_backup(tmp_path)
    known = tmp_path / catalog.manifest_name(backup.id)
    (tmp_path / manifest.pruned_name(backup.id)).write_bytes(known.read_bytes())
    staging.recover(tmp_path)
    assert catalog.read(tmp_path).backups == (backup,)
    assert not (tmp_path / manifest.pruned_name(backup.id)).exists()


def test_what_a_recovery_may_not_remove_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = _given_backup(tmp_path), _given_backup(tmp_path)
    (tmp_path / catalog.manifest_name(gone.id)).rename(tmp_path / manifest.pruned_name(gone.id))
    helpers.forbid_removing(monkeypatch, gone.archive)
    staging.recover(tmp_path)
    assert (tmp_path / "backup-latest.tar.gz").readlink() == Path(kept.archive)
    assert (tmp_path / manifest.pruned_name(gone.id)).exists()


def test_a_recovery_on_a_full_disk_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _given_backup(tmp_path)
    (tmp_path / "backup-latest.tar.gz").unlink()

    def full(*_words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "point", full)
    staging.recover(tmp_path)
    with pytest.raises(NoSpace):
        catalog.point_latest(tmp_path)
