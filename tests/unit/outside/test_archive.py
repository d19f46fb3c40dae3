"""The archive as any tool reads it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import random
import subprocess
import tarfile
from pathlib import Path

import duckdb
import pytest

from eiderd.errors import NoSpace
from eiderd.evidence import Checked, Damage, Packed
from eiderd.outside import archive, archive_check, files


@pytest.fixture
def members(tmp_path: Path) -> list[tuple[Path, str]]:
    database = tmp_path / "in" / "x.duckdb"
    database.parent.mkdir()
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE t AS SELECT range i FROM range(100000)")
    wal = database.with_name("x.duckdb.wal")
    wal.write_bytes(random.Random(1).randbytes(3_000_000))
    extra = tmp_path / "in" / "env"
    extra.write_text("A=1\n")
    return [(database, "x.duckdb"), (wal, "x.duckdb.wal"), (extra, "files/etc/app/env")]


def _pack(target: Path, members: list[tuple[Path, str]]) -> Packed:
    return archive.pack(
        target=target, members=members, owner=(1000, 1001, 0o640), modified=1_700_000_000,
        manifest={"id": "1"}, progress=lambda _done, _total: None,
    )  # fmt: skip


def _check(target: Path, packed: Packed) -> Checked:
    listed = [dataclasses.asdict(member) for member in packed.members]
    return archive_check.check(
        archive=target,
        expected_sha256=packed.sha256,
        expected_members=listed,
        expected_id="1",
        most_bytes=None,
        progress=lambda _done, _total: None,
    )


def test_gnu_tar_restores_every_byte(tmp_path: Path, members: list[tuple[Path, str]]) -> None:
    target, out = tmp_path / "a.tar.gz", tmp_path / "out"
    _pack(target, members)
    out.mkdir()
    subprocess.run(["tar", "-xzf", target, "-C", out], check=True, capture_output=True)
    for path, name in members:
        assert (out / name).read_bytes() == path.read_bytes()
    listed = json.loads((out / archive.MANIFEST).read_text())["members"]
    assert [entry["name"] for entry in listed] == [name for _path, name in members]


def test_python_reads_it_with_owner_mode_and_time(
    tmp_path: Path, members: list[tuple[Path, str]]
) -> None:
    target = tmp_path / "a.tar.gz"
    _pack(target, members)
    with tarfile.open(target) as tar:
        infos = tar.getmembers()
    assert [info.name for info in infos][-1] == archive.MANIFEST
    assert {(i.uid, i.gid, i.mode, i.mtime) for i in infos} == {(1000, 1001, 0o640, 1_700_000_000)}
    with gzip.open(target) as stream:
        assert stream.read(1)


def test_it_is_private_and_its_numbers_are_true(
    tmp_path: Path, members: list[tuple[Path, str]]
) -> None:
    target = tmp_path / "a.tar.gz"
    packed = _pack(target, members)
    assert target.stat().st_mode & 0o777 == files.PRIVATE_FILE
    assert packed.bytes == target.stat().st_size
    checked = _check(target, packed)
    assert (checked.passed, checked.damage, checked.sha256) == (3, None, packed.sha256)
    assert checked.members[:3] == packed.members
    assert (checked.database, checked.origin) == ("x.duckdb", "eiderd")
    assert checked.blocks > 1


def test_members_of_more_than_8_gigabytes_have_their_size(tmp_path: Path) -> None:
    """GNU tar's way with sizes that octal digits cannot hold."""
    info = tarfile.TarInfo("x")
    info.size = 20 << 30
    assert tarfile.TarInfo.frombuf(
        info.tobuf(format=tarfile.GNU_FORMAT), "utf-8", "strict"
    ).size == 20 << 30  # fmt: skip


def test_unpacking_takes_the_database_and_its_wal_only(
    tmp_path: Path, members: list[tuple[Path, str]]
) -> None:
    target, out = tmp_path / "a.tar.gz", tmp_path / "out"
    packed = _pack(target, members)
    out.mkdir()
    database = archive.unpack(
        archive=target, folder=out, database="x.duckdb", members=packed.members,
        progress=lambda _done, _total: None,
    )  # fmt: skip
    assert database == out / "x.duckdb"
    assert {path.name for path in out.iterdir()} == {"x.duckdb", "x.duckdb.wal"}
    assert database.read_bytes() == members[0][0].read_bytes()


def test_unpacking_is_refused_up_front_when_it_cannot_fit(
    tmp_path: Path, members: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.tar.gz"
    packed = _pack(target, members)
    monkeypatch.setattr(files, "free_bytes", lambda _folder: 1000)
    with pytest.raises(NoSpace, match="1000 left"):
        archive.unpack(
            archive=target, folder=tmp_path, database="x.duckdb", members=packed.members,
            progress=lambda _done, _total: None,
        )  # fmt: skip


def test_an_archive_without_a_database_proves_nothing(
    tmp_path: Path, members: list[tuple[Path, str]]
) -> None:
    target = tmp_path / "a.tar.gz"
    packed = _pack(target, members[2:])
    assert _check(target, packed).damage is Damage.NO_DATABASE


def test_progress_is_told_to_the_end(tmp_path: Path, members: list[tuple[Path, str]]) -> None:
    told: list[tuple[int, int]] = []
    archive.pack(
        target=tmp_path / "a.tar.gz", members=members, owner=(0, 0, 0o600), modified=0,
        manifest={}, progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told[-1] == (sum(p.stat().st_size for p, _ in members),) * 2
    assert os.fspath(tmp_path)
