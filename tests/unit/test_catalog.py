from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import catalog
from eiderd.errors import NoSuchBackup, VerificationFailed
from eiderd.evidence import Member
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

NOON = datetime.datetime(2026, 3, 29, 12, 0, 0, tzinfo=datetime.UTC)


def _given_backup(
    directory: Path, *, state: State = State.VERIFIED, at: datetime.datetime = NOON, note: str = ""
) -> Backup:
    draft = catalog.draft(directory, created_at=at)
    data = f"the archive of {draft.id}".encode()
    draft.archive.write_bytes(data)
    backup = _backup(draft.id, draft.sequence, data, state=state, at=at, note=note)
    catalog.commit(directory, backup)
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
    assert catalog._believe(bytes(sealed), id_=backup.id) == backup
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    assert isinstance(catalog._believe(bytes(sealed), id_=backup.id), Unreadable)


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
    catalog.recover(tmp_path)
    assert (tmp_path / "photo.jpg").exists()
    assert {u.id for u in catalog.read(tmp_path).unreadable} == {"notes", ""}


def test_a_manifest_is_plain_json(tmp_path: Path) -> None:
    _given_backup(tmp_path)
    document = json.loads((tmp_path / "backup-20260329-120000.json").read_text())
    assert document["state"] == "verified"
    assert len(document["seal"]) == 64


def test_what_a_killed_run_left_is_removed_or_finished(tmp_path: Path) -> None:
    kept = _given_backup(tmp_path)
    half = catalog.draft(tmp_path, created_at=NOON)
    half.archive.write_bytes(b"half an archive")
    whole = catalog.draft(tmp_path, created_at=NOON + datetime.timedelta(hours=1))
    data = b"whole"
    whole.archive.write_bytes(data)
    backup = _backup(whole.id, 2, data, state=State.VERIFIED, at=NOON)
    (whole.folder / f"{backup.archive}.sha256").write_text("...")
    (whole.folder / catalog.manifest_name(whole.id)).write_bytes(catalog.sealed(backup))
    catalog.recover(tmp_path)
    assert catalog.read(tmp_path).backups == (kept, backup)
    assert (tmp_path / backup.archive).read_bytes() == data
    assert list((tmp_path / ".staging").iterdir()) == []
