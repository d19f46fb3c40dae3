"""Every description of an archive must agree with it, and nothing may hide in it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from eiderd.errors import SourceUnavailable, StoreUnavailable, VerificationFailed
from eiderd.evidence import Checked, Damage, Member
from eiderd.outside import archive, archive_check
from tests.helpers import Entry, gzip_bytes, tar_bytes

MANIFEST = archive.MANIFEST
METADATA = "backup-metadata.json"
MEGABYTE = 1 << 20
MEMORY = 150 * MEGABYTE


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("database") / "x.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"ATTACH '{path}2' AS small (BLOCK_SIZE 16384)")
        connection.execute("CREATE TABLE small.t AS SELECT 1 AS i")
    return path.with_name("x.duckdb2").read_bytes()


@pytest.fixture
def entries(content: bytes) -> list[Entry]:
    return [Entry("x.duckdb", content), Entry("x.duckdb.wal", b"rows")]


def listed(entries: list[Entry]) -> list[dict[str, Any]]:
    return [
        {"name": e.name, "bytes": len(e.data), "sha256": hashlib.sha256(e.data).hexdigest()}
        for e in entries
    ]


def ours(entries: list[Entry]) -> bytes:
    document = json.dumps({"id": "1", "members": listed(entries)}).encode()
    return gzip_bytes(tar_bytes([*entries, Entry(MANIFEST, document)]))


def foreign_list(entries: list[Entry]) -> list[dict[str, Any]]:
    return [
        {"path": m["name"], "size": m["bytes"], "checksum": m["sha256"]} for m in listed(entries)
    ]


def theirs(entries: list[Entry], files: object) -> bytes:
    document = json.dumps({"contents": {"files": files}}).encode()
    return gzip_bytes(tar_bytes([*entries, Entry(METADATA, document)]))


def check(folder: Path, data: bytes, **known: Any) -> Checked:
    path = folder / "checked.tar.gz"
    path.write_bytes(data)
    words = {"expected_sha256": None, "expected_members": None, "expected_id": None}
    return archive_check.check(
        archive=path, most_bytes=1 << 30, progress=lambda _done, _total: None, **words | known
    )


# Checked and unpacked in one reading --------------------------------------------------------------


def _into(folder: Path, entries: list[Entry]) -> dict[str, Any]:
    folder.mkdir()
    return {"into": folder, "wanted": {entry.name: len(entry.data) for entry in entries}}


def test_what_is_wanted_is_written_while_it_is_checked(
    tmp_path: Path, entries: list[Entry]
) -> None:
    into = _into(tmp_path / "new", entries)
    checked = check(tmp_path, ours([*entries, Entry("files/etc/env", b"extra")]), **into)
    assert (checked.passed, checked.damage) == (3, None)
    written = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert written == {entry.name: entry.data for entry in entries}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o600}


def test_a_member_that_is_longer_than_was_said_is_not_written(
    tmp_path: Path, entries: list[Entry]
) -> None:
    into = _into(tmp_path / "new", entries)
    bomb = Entry("x.duckdb.wal", bytes(MEGABYTE))
    checked = check(tmp_path, ours([entries[0], bomb]), **into, expected_members=listed(entries))
    assert checked.damage is Damage.DIFFERS
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.duckdb"]


def test_what_was_written_of_a_damaged_archive_is_told_to_be_no_good(
    tmp_path: Path, entries: list[Entry]
) -> None:
    into = _into(tmp_path / "new", entries)
    swapped = [entries[0], Entry("x.duckdb.wal", b"sowr")]
    checked = check(tmp_path, ours(swapped), **into, expected_members=listed(entries))
    assert (checked.passed, checked.damage) == (1, Damage.DIFFERS)
    assert checked.members == ()


def test_nothing_that_stands_there_is_written_over(tmp_path: Path, entries: list[Entry]) -> None:
    into = _into(tmp_path / "new", entries)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "new" / "x.duckdb").symlink_to(victim)
    with pytest.raises(StoreUnavailable):
        check(tmp_path, ours(entries), **into)
    assert victim.read_bytes() == b"mine"


# Nothing may follow an archive of ours -----------------------------------------------------------


def test_an_archive_of_ours_proves(tmp_path: Path, entries: list[Entry]) -> None:
    checked = check(tmp_path, ours(entries))
    assert (checked.passed, checked.damage, checked.database) == (3, None, "x.duckdb")
    assert checked.origin == "eiderd"


@pytest.mark.parametrize(
    "more",
    [b"\0", bytes(10_240), b"x", gzip_bytes(b""), gzip_bytes(bytes(512)), gzip_bytes(b"hidden")],
    ids=["a zero", "zeros", "a byte", "an empty stream", "a stream of zeros", "a hidden stream"],
)
def test_whatever_follows_an_archive_of_ours_is_found(
    tmp_path: Path, entries: list[Entry], more: bytes
) -> None:
    assert check(tmp_path, ours(entries) + more).damage is Damage.UNREADABLE_ARCHIVE


def test_streams_joined_by_another_tool_are_no_damage(tmp_path: Path, entries: list[Entry]) -> None:
    data = tar_bytes(entries)
    joined = gzip_bytes(data[:1000]) + gzip_bytes(data[1000:])
    assert check(tmp_path, joined).damage is None


def test_the_manifest_stands_last(tmp_path: Path, entries: list[Entry]) -> None:
    document = json.dumps({"id": "1", "members": listed(entries)}).encode()
    first = [Entry(MANIFEST, document), *entries]
    assert check(tmp_path, gzip_bytes(tar_bytes(first))).damage is Damage.UNEXPECTED


# Extra files may be anything ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["other.duckdb", METADATA, MANIFEST, "some.wal"])
def test_an_extra_file_may_be_anything(tmp_path: Path, entries: list[Entry], name: str) -> None:
    extra = Entry(f"files/srv/{name}", entries[0].data)
    checked = check(tmp_path, ours([*entries, extra]))
    assert (checked.passed, checked.damage, checked.database) == (3, None, "x.duckdb")


def test_a_damaged_database_among_the_extra_files_is_not_ours_to_judge(
    tmp_path: Path, entries: list[Entry], content: bytes
) -> None:
    extra = Entry("files/srv/torn.duckdb", content[:5000])
    assert check(tmp_path, ours([*entries, extra])).passed == 3


def test_in_an_archive_of_another_tool_files_is_a_folder_like_any(
    tmp_path: Path, content: bytes
) -> None:
    data = gzip_bytes(tar_bytes([Entry("files/x.duckdb", content)]))
    assert check(tmp_path, data).database == "files/x.duckdb"
    two = [Entry("files/x.duckdb", content), Entry("y.duckdb", content)]
    assert check(tmp_path, gzip_bytes(tar_bytes(two))).damage is Damage.NO_DATABASE


def test_descriptions_count_only_at_the_root(tmp_path: Path, entries: list[Entry]) -> None:
    deeper = [Entry(f"deeper/{MANIFEST}", b"[]"), Entry(f"deeper/{METADATA}", b"[]"), *entries]
    checked = check(tmp_path, gzip_bytes(tar_bytes(deeper)))
    assert (checked.passed, checked.origin) == (3, "foreign")


# Every WAL belongs to the database ---------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".wal", ".wal.checkpoint", ".wal.recovery"])
@pytest.mark.parametrize("name", ["x.duckdb", "other/y.duckdb", "y.duckdb"])
def test_a_wal_that_no_engine_would_find_fails(
    tmp_path: Path, content: bytes, name: str, suffix: str
) -> None:
    apart = [Entry("data/x.duckdb", content), Entry(f"{name}{suffix}", b"rows")]
    assert check(tmp_path, gzip_bytes(tar_bytes(apart))).damage is Damage.UNEXPECTED
    beside = [Entry("data/x.duckdb", content), Entry(f"./data//x.duckdb{suffix}", b"rows")]
    assert check(tmp_path, gzip_bytes(tar_bytes(beside))).damage is None


# What Cartographus recorded ----------------------------------------------------------------------


def test_a_list_that_names_every_file_twice_proves(tmp_path: Path, entries: list[Entry]) -> None:
    files = foreign_list(entries)
    assert check(tmp_path, theirs(entries, files + files)).passed == 3


def test_two_records_of_one_file_that_differ_fail(tmp_path: Path, entries: list[Entry]) -> None:
    files = foreign_list(entries)
    wrong = files[0] | {"checksum": "0" * 64}
    assert check(tmp_path, theirs(entries, [*files, wrong])).damage is Damage.DIFFERS


@pytest.mark.parametrize(
    "files",
    [
        [1, 2, 3],
        [{}],
        [{"path": 1, "size": 1, "checksum": ""}],
        [{"path": "x", "size": True, "checksum": ""}],
        "files",
        None,
        {"path": "x"},
    ],
)
def test_a_list_that_is_none_is_a_fault(
    tmp_path: Path, entries: list[Entry], files: object
) -> None:
    assert check(tmp_path, theirs(entries, files)).damage is Damage.MANIFEST


def test_the_record_beside_it_must_agree(tmp_path: Path, entries: list[Entry]) -> None:
    data = theirs(entries, foreign_list(entries))
    good = {
        "checksum": hashlib.sha256(data).hexdigest(),
        "contents": {"files": foreign_list(entries)},
    }
    assert check(tmp_path, data, beside=good).passed == 3
    assert check(tmp_path, data, beside={}).passed == 3
    assert check(tmp_path, data, beside={"checksum": "", "contents": None}).passed == 3

    for damage, passed, wrong in (
        (Damage.CHECKSUM, 0, {"checksum": "0" * 64}),
        (Damage.MANIFEST, 0, {"checksum": 3}),
        (Damage.MANIFEST, 1, {"contents": {"files": [1, 2, 3]}}),
        (Damage.MISSING, 1, {"contents": {"files": foreign_list([Entry("gone")])}}),
        (Damage.DIFFERS, 1, {"contents": {"files": foreign_list([Entry("x.duckdb")])}}),
    ):
        checked = check(tmp_path, data, beside=good | wrong)
        assert (checked.damage, checked.passed) == (damage, passed), wrong


def test_a_recorded_hash_does_not_excuse_the_record_beside_it(
    tmp_path: Path, entries: list[Entry]
) -> None:
    data = theirs(entries, foreign_list(entries))
    known = hashlib.sha256(data).hexdigest()
    checked = check(tmp_path, data, expected_sha256=known, beside={"checksum": "0" * 64})
    assert checked.damage is Damage.CHECKSUM


# Documents that do harm --------------------------------------------------------------------------

_CHECK = """
import sys
from pathlib import Path
from eiderd.outside.archive_check import check
checked = check(archive=Path(sys.argv[1]), expected_sha256=None, expected_members=None,
                expected_id="1", most_bytes=1 << 40, progress=lambda *_: None)
print(checked.damage)
print(next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM")))
"""

DOCUMENTS: dict[str, tuple[bytes, set[Damage]]] = {
    "45 MB": (b'{"members": [' + b"{}," * 15_000_000 + b"{}]}", {Damage.TOO_BIG}),
    "too many values": (b"[" + b"{}," * 2_000_000 + b"{}]", {Damage.TOO_BIG}),
    "deep": (b"[" * 200_000, {Damage.MANIFEST}),
    "deep objects": (b'{"a":' * 200_000, {Damage.MANIFEST}),
    "a giant number": (b'{"id": ' + b"9" * 10_000 + b"}", {Damage.MANIFEST}),
    "members are numbers": (b'{"id": "1", "members": [1, 2]}', {Damage.MANIFEST}),
    "members are lists": (b'{"id": "1", "members": [[1], [2]]}', {Damage.MANIFEST}),
    "endless bytes": (
        b'{"id": "1", "members": [{"name": "x", "bytes": 1e999, "sha256": ""}]}',
        {Damage.MANIFEST},
    ),
    "a giant string": (
        b'"' + "\U0001f600".encode() + b"x" * (7 * MEGABYTE) + b'"',
        {Damage.MANIFEST},
    ),
    "many strings": (
        b'["' + "\U0001f600".encode() + b'"' + b', "01234567\xc3\xa9"' * 290_000 + b"]",
        {Damage.MANIFEST},
    ),
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_a_document_cannot_fill_the_memory(tmp_path: Path, entries: list[Entry], what: str) -> None:
    data, damages = DOCUMENTS[what]
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip_bytes(tar_bytes([*entries, Entry(MANIFEST, data)])))
    said = subprocess.run(
        [sys.executable, "-c", _CHECK, path], check=True, capture_output=True, timeout=60
    )
    damage, peak = said.stdout.split()
    assert damage.decode() in damages
    assert int(peak) * 1024 < MEMORY


def test_names_that_are_many_do_not_fill_the_memory(tmp_path: Path, content: bytes) -> None:
    odd = "\udcff" * 70
    names = [f"{n:06d}{odd}" for n in range(49_000)]
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip_bytes(tar_bytes([Entry("x.duckdb", content), *map(Entry, names)])))
    said = subprocess.run(
        [sys.executable, "-c", _CHECK, path], check=True, capture_output=True, timeout=60
    )
    assert int(said.stdout.split()[1]) * 1024 < MEMORY


def test_a_catalogued_archive_is_not_read_further_than_it_can_reach(
    tmp_path: Path, entries: list[Entry]
) -> None:
    grown = [*entries, Entry("bomb", bytes(20 * MEGABYTE))]
    checked = check(tmp_path, ours(grown), expected_members=listed(entries), expected_id="1")
    assert checked.damage is Damage.TOO_BIG


# What is no file, and what changes ---------------------------------------------------------------


@pytest.mark.parametrize("what", ["fifo", "folder", "device", "nothing"])
def test_what_is_no_file_is_unavailable_at_once(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path = Path("/dev/zero")
    with pytest.raises(SourceUnavailable) as caught:
        archive_check.check(
            archive=path, expected_sha256=None, expected_members=None, expected_id=None,
            most_bytes=None, progress=lambda _done, _total: None,
        )  # fmt: skip
    assert "database" not in caught.value.message
    with pytest.raises(SourceUnavailable):
        unpack(path, tmp_path, [])


def unpack(path: Path, folder: Path, entries: list[Entry]) -> Path:
    return archive.unpack(
        archive=path, folder=folder, database="x.duckdb",
        members=[Member(**member) for member in listed(entries)],
        progress=lambda _done, _total: None,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["longer", "shorter", "gone", "a link"])
def test_unpacking_writes_what_was_counted_and_nothing_else(
    tmp_path: Path, entries: list[Entry], how: str
) -> None:
    counted = listed(entries)
    match how:
        case "longer":
            entries[1].data += b"more"
        case "shorter":
            entries[1].data = b"r"
        case "gone":
            entries.pop()
        case "a link":
            entries[1] = Entry("x.duckdb.wal", type=b"2", more={"linkname": "/etc/passwd"})
    path, out = tmp_path / "a.tar.gz", tmp_path / "out"
    path.write_bytes(gzip_bytes(tar_bytes(entries)))
    out.mkdir()
    with pytest.raises(VerificationFailed):
        archive.unpack(
            archive=path, folder=out, database="x.duckdb",
            members=[Member(**member) for member in counted],
            progress=lambda _done, _total: None,
        )  # fmt: skip
    assert {file.name for file in out.iterdir()} <= {"x.duckdb"}


def test_unpacking_follows_no_link(tmp_path: Path, entries: list[Entry]) -> None:
    path, out, victim = tmp_path / "a.tar.gz", tmp_path / "out", tmp_path / "victim"
    path.write_bytes(gzip_bytes(tar_bytes(entries)))
    out.mkdir()
    (out / "x.duckdb").symlink_to(victim)
    with pytest.raises(Exception, match="cannot write"):
        unpack(path, out, entries)
    assert not victim.exists()
