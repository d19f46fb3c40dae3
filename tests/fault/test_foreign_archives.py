"""Archives that eiderd did not make: Cartographus's own, and a bare tar of a database."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import helpers
from tests.helpers import Entry, Place

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "backup-full-20260101-020000-1a2b3c4d.tar.gz"
DATABASE = "database/cartographus.duckdb"
WAL = f"{DATABASE}.wal"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return helpers.given_place(tmp_path_factory.mktemp("foreign"))


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    return made.clone(tmp_path / "place")


class Cartographus:
    """Writes a backup as the application does: an archive, its record inside and beside it."""

    def __init__(self, place: Place, *, wal: bool = True) -> None:
        self.folder = place.root / "theirs"
        self.folder.mkdir()
        self.archive = self.folder / NAME
        self.entries = [Entry(DATABASE, place.database.read_bytes())]
        if wal:
            self.entries.append(Entry(WAL, place.wal.read_bytes()))
        self.entries.append(Entry("config/config.json", b'{"database": {}}'))
        self.inner: dict[str, Any] = {
            "id": "0b5b1d6e-0000-4000-8000-000000000000",
            "type": "full",
            "status": "in_progress",
            "trigger": "manual",
            "created_at": "2026-01-01T02:00:00Z",
            "duration_ms": 0,
            "file_path": str(self.archive),
            "file_size": 0,
            "checksum": "",
            "compressed": True,
            "encrypted": False,
            "app_version": "dev",
            "db_version": "",
            "record_count": 3,
            "contents": {
                "database": {"path": "/data/cartographus.duckdb", "wal_included": wal},
                "config": {"value_count": 8, "includes_secrets": False},
                "files": [
                    {
                        "path": entry.name,
                        "original_path": f"/data/{Path(entry.name).name}",
                        "size": len(entry.data),
                        "mod_time": "2026-01-01T02:00:00Z",
                        "checksum": hashlib.sha256(entry.data).hexdigest(),
                    }
                    for entry in self.entries
                ],
            },
        }
        self.outer: dict[str, Any] = {"status": "completed"}

    def write(self) -> Path:
        document = json.dumps(self.inner, indent=2).encode()
        data = helpers.tar_bytes([*self.entries, Entry("backup-metadata.json", document)])
        self.archive.write_bytes(gzip.compress(data, 6))
        record = copy.deepcopy(self.inner) | {
            "completed_at": "2026-01-01T02:00:09Z",
            "duration_ms": 9_000_000_000,
            "file_size": self.archive.stat().st_size,
            "checksum": hashlib.sha256(self.archive.read_bytes()).hexdigest(),
        }
        record |= self.outer
        others = {"file_path": "/data/backups/another.tar.gz", "checksum": "0" * 64}
        records = {"backups": [others, record], "retention": {"min_count": 3}}
        (self.folder / "metadata.json").write_text(json.dumps(records, indent=2))
        return self.archive

    @property
    def files(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.inner["contents"]["files"]
        return listed


@pytest.mark.parametrize("wal", [True, False], ids=["with its WAL", "without a WAL"])
@pytest.mark.parametrize("beside", [True, False], ids=["beside metadata.json", "alone"])
def test_the_applications_own_archive_proves(place: Place, *, wal: bool, beside: bool) -> None:
    theirs = Cartographus(place, wal=wal)
    archive = theirs.write()
    if not beside:
        (theirs.folder / "metadata.json").unlink()
    ran = place.eider("verify", str(archive), "--json").good_manners()
    assert ran.code == 0, ran
    proof = ran.json["proof"]
    assert proof["level"] == 4
    assert proof["rows"] == helpers.ROWS + (helpers.WAL_ROWS if wal else 0)
    assert helpers.files_below(place.backups) == set() if place.backups.exists() else True


def test_it_proves_by_a_relative_path_and_through_a_link(place: Place) -> None:
    theirs = Cartographus(place)
    archive = theirs.write()
    (place.root / "link.tar.gz").symlink_to(archive)
    assert place.eider("verify", NAME, cwd=theirs.folder).code == 0
    assert place.eider("verify", str(place.root / "link.tar.gz")).code == 0


def _checksum_inside(theirs: Cartographus) -> None:
    theirs.files[0]["checksum"] = "0" * 64


def _checksum_of_the_wal(theirs: Cartographus) -> None:
    theirs.files[1]["checksum"] = "0" * 64


def _size_inside(theirs: Cartographus) -> None:
    theirs.files[0]["size"] += 1


def _checksum_beside(theirs: Cartographus) -> None:
    theirs.outer["checksum"] = "0" * 64


def _file_missing(theirs: Cartographus) -> None:
    del theirs.entries[1]


def _list_missing(theirs: Cartographus) -> None:
    del theirs.inner["contents"]["files"]


def _list_of_numbers(theirs: Cartographus) -> None:
    theirs.inner["contents"]["files"] = [1, 2, 3]


def _contents_missing(theirs: Cartographus) -> None:
    del theirs.inner["contents"]


def _only_configuration(theirs: Cartographus) -> None:
    theirs.entries = theirs.entries[2:]
    del theirs.files[:2]


def _status_failed(theirs: Cartographus) -> None:
    theirs.outer["status"] = "failed"
    theirs.entries[0].data = theirs.entries[0].data[: len(theirs.entries[0].data) // 2]


def _grown_member(theirs: Cartographus) -> None:
    theirs.entries[1].data += b"x"


@pytest.mark.parametrize(
    "wrong",
    [
        _checksum_inside,
        _checksum_of_the_wal,
        _size_inside,
        _checksum_beside,
        _file_missing,
        _list_missing,
        _list_of_numbers,
        _contents_missing,
        _only_configuration,
        _status_failed,
        _grown_member,
    ],
)
def test_what_does_not_agree_with_its_record_fails(
    place: Place, wrong: Callable[[Cartographus], None]
) -> None:
    theirs = Cartographus(place)
    wrong(theirs)
    ran = place.eider("verify", str(theirs.write()), "--json").good_manners()
    assert ran.code == 12, ran
    assert ran.json["proof"]["failure"]["message"]


def test_the_outer_records_list_of_files_must_agree_too(place: Place) -> None:
    theirs = Cartographus(place)
    contents = copy.deepcopy(theirs.inner["contents"])
    contents["files"][0]["checksum"] = "0" * 64
    theirs.outer["contents"] = contents
    assert place.eider("verify", str(theirs.write())).good_manners().code == 12


def test_a_list_with_every_file_twice_proves(place: Place) -> None:
    """The application's own validation appends its list to itself, and may have saved that."""
    theirs = Cartographus(place)
    theirs.files.extend(copy.deepcopy(theirs.files))
    assert place.eider("verify", str(theirs.write())).good_manners().code == 0


def test_a_flag_that_says_encrypted_is_not_believed(place: Place) -> None:
    theirs = Cartographus(place)
    theirs.inner["encrypted"] = True
    ran = place.eider("verify", str(theirs.write()), "--json").good_manners()
    assert ran.code == 0, ran
    assert ran.json["proof"]["level"] == 4


@pytest.mark.parametrize(
    "record", [b"", b"[]", b"{", b'{"backups": 3}', b"\xff", b'{"backups":[3]}']
)
def test_a_broken_record_beside_it_is_no_reason_to_crash(place: Place, record: bytes) -> None:
    theirs = Cartographus(place)
    archive = theirs.write()
    (theirs.folder / "metadata.json").write_bytes(record)
    assert place.eider("verify", str(archive)).good_manners().code in {0, 12}


def test_a_torn_pair_fails(place: Place, tmp_path: Path) -> None:
    """The main file of before a checkpoint, the WAL of after it: as a naive copy takes them."""
    theirs = Cartographus(place)
    script = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1])\n"
        "c.execute('DELETE FROM facts WHERE id < 1000'); c.execute('CHECKPOINT')\n"
        "c.execute(\"SET wal_autocheckpoint = '1GB'\")\n"
        "c.execute('CREATE TABLE later (i INT)')\n"
        "c.execute('INSERT INTO later SELECT i FROM range(100) r(i)'); os._exit(0)"
    )
    import sys  # noqa: PLC0415

    later = helpers.build_database(tmp_path / "later" / "app.duckdb")
    subprocess.run([sys.executable, "-c", script, str(later)], check=True, timeout=30)
    torn = later.with_name("app.duckdb.wal").read_bytes()
    assert torn
    theirs.entries[1].data = torn
    theirs.files[1] |= {"size": len(torn), "checksum": hashlib.sha256(torn).hexdigest()}
    ran = place.eider("verify", str(theirs.write()), "--json").good_manners()
    assert ran.code == 12, ran
    assert ran.json["proof"]["level"] in {2, 3}


def test_a_torn_block_fails(place: Place) -> None:
    theirs = Cartographus(place)
    data = bytearray(theirs.entries[0].data)
    data[12_288 + 4096 : 12_288 + 8192] = bytes(4096)
    theirs.entries[0].data = bytes(data)
    theirs.files[0]["checksum"] = hashlib.sha256(data).hexdigest()
    ran = place.eider("verify", str(theirs.write()), "--json").good_manners()
    assert ran.code == 12, ran
    assert ran.json["proof"]["level"] < 4


@pytest.mark.parametrize("compress", [True, False], ids=["tar.gz", "tar"])
@pytest.mark.parametrize("how", ["gnu tar", "with ./", "in a folder"])
def test_a_bare_tar_of_a_database_and_its_wal_proves(
    place: Place, how: str, *, compress: bool
) -> None:
    archive = place.root / ("bare.tar.gz" if compress else "bare.tar")
    words = {
        "gnu tar": ["-C", str(place.database.parent), "app.duckdb", "app.duckdb.wal"],
        "with ./": ["-C", str(place.database.parent), "."],
        "in a folder": ["-C", str(place.root), "data"],
    }[how]
    mode = "-czf" if compress else "-cf"
    subprocess.run(["tar", mode, str(archive), *words], check=True, timeout=30)
    ran = place.eider("verify", str(archive), "--json").good_manners()
    assert ran.code == 0, ran
    assert ran.json["proof"]["rows"] == helpers.ROWS + helpers.WAL_ROWS


def test_a_wal_that_is_not_beside_its_database_is_not_passed_over_in_silence(place: Place) -> None:
    """Its rows would be missing from what was proven."""
    entries = [
        Entry("database/app.duckdb", place.database.read_bytes()),
        Entry("app.duckdb.wal", place.wal.read_bytes()),
    ]
    archive = helpers.write_archive(place.root / "apart.tar.gz", entries)
    assert place.eider("verify", str(archive)).good_manners().code == 12
