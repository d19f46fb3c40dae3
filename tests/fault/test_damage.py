"""Whatever is done to an archive or to what describes it is found, named, and remembered."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.evidence import Checked, Damage
from eiderd.outside import archive_check, archive_compare
from tests import helpers
from tests.helpers import Entry, Place

if TYPE_CHECKING:
    from collections.abc import Callable

MANIFEST = "eider-manifest.json"
SAMPLE = 300
EDGE = 64


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with two backups. Tests clone it."""
    place = helpers.given_place(tmp_path_factory.mktemp("damage"))
    place.backup()
    place.backup()
    return place


@pytest.fixture
def place(taken: Place, tmp_path: Path) -> Place:
    return taken.clone(tmp_path / "place")


@pytest.fixture(scope="module")
def both(taken: Place) -> tuple[str, str]:
    """The ids of the older and of the newer backup."""
    newer, older = taken.listed()
    return older, newer


def given_tiny_archive(folder: Path) -> bytes:
    """Return an archive of eiderd's of about a kilobyte, its database made of small blocks."""
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    from eiderd.outside import archive  # noqa: PLC0415

    script = (
        "import duckdb, sys; c = duckdb.connect()\n"
        "c.execute(f\"ATTACH '{sys.argv[1]}' AS t (BLOCK_SIZE 16384)\")\n"
        "c.execute('CREATE TABLE t.x AS SELECT i FROM range(50) r(i)'); c.execute('DETACH t')"
    )
    database = folder / "t.duckdb"
    subprocess.run([sys.executable, "-c", script, str(database)], check=True, timeout=30)
    archive.pack(
        target=folder / "tiny.tar.gz",
        members=[(database, database.name)],
        owner=(0, 0, 0o600),
        modified=0,
        manifest={"id": "20260101-000000"},
        progress=lambda _done, _total: None,
    )
    return (folder / "tiny.tar.gz").read_bytes()


class Checking:
    """Checks bytes as an archive, in this process."""

    def __init__(self, folder: Path, good: bytes) -> None:
        self._path = folder / "checked.tar.gz"
        self.good = good
        self.sound = self.bare(good)
        self._members = [
            {"name": m.name, "bytes": m.bytes, "sha256": m.sha256}
            for m in self.sound.members
            if m.name != MANIFEST
        ]
        assert self.sound.damage is None
        assert self.catalogued(good).damage is None

    def _check(self, data: bytes, **known: Any) -> Checked:
        self._path.write_bytes(data)
        return archive_check.check(
            archive=self._path,
            most_bytes=1 << 30,
            progress=lambda _done, _total: None,
            **{"expected_sha256": None, "expected_members": None, "expected_id": None} | known,
        )

    def bare(self, data: bytes) -> Checked:
        """With nothing that describes it."""
        return self._check(data)

    def catalogued(self, data: bytes) -> Checked:
        return self._check(
            data,
            expected_sha256=hashlib.sha256(self.good).hexdigest(),
            expected_members=self._members,
            expected_id="20260101-000000",
        )

    def by_members(self, data: bytes) -> Checked:
        """As if the sidecar's and the manifest's SHA-256 had been adjusted to the damage."""
        return self._check(data, expected_members=self._members, expected_id="20260101-000000")


@pytest.fixture
def tiny(tmp_path: Path) -> Checking:
    return Checking(tmp_path, given_tiny_archive(tmp_path))


def flipped(data: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def test_every_flipped_byte_is_found_with_the_catalogs_manifest(tiny: Checking) -> None:
    missed = [
        place
        for place in range(len(tiny.good))
        if tiny.catalogued(flipped(tiny.good, place, place % 8)).damage is None
    ]
    assert missed == []


def test_every_flipped_byte_of_a_bare_file_is_found_or_changes_no_byte_of_any_member(
    tiny: Checking,
) -> None:
    # Deflate has bits that mean nothing (lengths of codes that are never used): only a recorded
    # SHA-256 can see those, and only those may pass without one.
    passed = 0
    for place in range(len(tiny.good)):
        checked = tiny.bare(flipped(tiny.good, place, place % 8))
        if checked.damage is None:
            assert checked.members == tiny.sound.members, place
            passed += 1
    assert passed < len(tiny.good) / 5


def test_sampled_flips_of_a_real_archive_are_found(
    taken: Place, both: tuple[str, str], tmp_path: Path
) -> None:
    data = taken.archive(both[1]).read_bytes()
    # Without the recorded SHA-256, so that the comparison of members has to find it.
    path = tmp_path / "sampled.tar.gz"

    def bare(changed: bytes) -> Checked:
        path.write_bytes(changed)
        return archive_check.check(
            archive=path, expected_sha256=None, expected_members=None, expected_id=None,
            most_bytes=1 << 30, progress=lambda _done, _total: None,
        )  # fmt: skip

    sound = bare(data)
    chance = random.Random(len(data))
    middle = chance.sample(range(EDGE, len(data) - EDGE), SAMPLE - 2 * EDGE)
    for place in (*range(EDGE), *middle, *range(len(data) - EDGE, len(data))):
        checked = bare(flipped(data, place, chance.randrange(8)))
        assert checked.damage or checked.members == sound.members, place


def test_every_truncation_is_found(tiny: Checking) -> None:
    lengths = range(len(tiny.good))
    assert [n for n in lengths if tiny.bare(tiny.good[:n]).damage is None] == []
    assert [n for n in lengths if tiny.catalogued(tiny.good[:n]).damage is None] == []


@pytest.mark.parametrize(
    "garbage",
    [b"\0", b"\0" * 10_000, b"x", b"\x1f\x8b", b"\x1f\x8b\x08", b"not gzip" * 100],
    ids=["a zero", "zeros", "a byte", "a magic", "a torn header", "text"],
)
def test_garbage_after_the_end_is_found(tiny: Checking, garbage: bytes) -> None:
    assert tiny.catalogued(tiny.good + garbage).damage is Damage.CHECKSUM
    assert tiny.by_members(tiny.good + garbage).damage
    assert tiny.bare(tiny.good + garbage).damage


@pytest.mark.parametrize("what", ["itself", "an empty member", "text", "zeros"])
def test_a_second_gzip_member_after_the_end_is_found(tiny: Checking, what: str) -> None:
    more = {
        "itself": tiny.good,
        "an empty member": helpers.gzip_bytes(b""),
        "text": helpers.gzip_bytes(b"hidden"),
        "zeros": helpers.gzip_bytes(bytes(10_240)),
    }[what]
    assert tiny.by_members(tiny.good + more).damage
    assert tiny.bare(tiny.good + more).damage


# What is re-packed well, but is not what was packed ----------------------------------------------


def _added(entries: list[Entry]) -> None:
    entries.insert(1, Entry("stranger", b"hello"))


def _added_after_the_manifest(entries: list[Entry]) -> None:
    entries.append(Entry("stranger", b"hello"))


def _removed(entries: list[Entry]) -> None:
    del entries[1]


def _manifest_removed(entries: list[Entry]) -> None:
    entries.pop()


def _replaced(entries: list[Entry]) -> None:
    entries[1].data = entries[1].data[:-1] + b"\0"


def _shortened(entries: list[Entry]) -> None:
    entries[1].data = entries[1].data[:-1]


def _renamed(entries: list[Entry]) -> None:
    entries[1].name = "other.duckdb.wal"


def _duplicated(entries: list[Entry]) -> None:
    entries.insert(1, Entry(entries[1].name, b"first of two"))


def _duplicated_under_another_spelling(entries: list[Entry]) -> None:
    entries.insert(1, Entry(f"./{entries[1].name}", b"first of two"))


def _duplicated_last_under_another_spelling(entries: list[Entry]) -> None:
    entries.append(Entry(f".//{entries[1].name}", entries[1].data[:-1] + b"\0"))


def _a_second_manifest(entries: list[Entry]) -> None:
    entries.append(Entry(f"deeper/{MANIFEST}", entries[-1].data))


def _manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[list[Entry]], None]:
    def changed(entries: list[Entry]) -> None:
        document = json.loads(entries[-1].data)
        change(document)
        entries[-1].data = json.dumps(document).encode()

    return changed


REPACKED: dict[str, Callable[[list[Entry]], None]] = {
    "a member added": _added,
    "a member added at the end": _added_after_the_manifest,
    "a member removed": _removed,
    "the manifest removed": _manifest_removed,
    "a member replaced": _replaced,
    "a member shortened": _shortened,
    "a member renamed": _renamed,
    "a member duplicated": _duplicated,
    "a member duplicated as ./": _duplicated_under_another_spelling,
    "a member duplicated as .//": _duplicated_last_under_another_spelling,
    "a second manifest": _a_second_manifest,
    "the manifest forgets a member": _manifest(lambda d: d["members"].pop()),
    "the manifest invents a member": _manifest(
        lambda d: d["members"].append({"name": "x", "bytes": 0, "sha256": "0" * 64})
    ),
    "the manifest has another hash": _manifest(lambda d: d["members"][0].update(sha256="0" * 64)),
    "the manifest has another size": _manifest(lambda d: d["members"][0].update(bytes=1)),
    "the manifest lists numbers": _manifest(lambda d: d.update(members=[1, 2])),
    "the manifest lists null": _manifest(lambda d: d.update(members=None)),
    "the manifest is a list": lambda entries: setattr(entries[-1], "data", b"[]"),
    "the manifest is not JSON": lambda entries: setattr(entries[-1], "data", b"\xff\xfe{"),
    "the manifest is very deep": lambda entries: setattr(entries[-1], "data", b"[" * 200_000),
    "the manifest has a giant number": lambda entries: setattr(
        entries[-1], "data", b'{"id": ' + b"9" * 10_000 + b"}"
    ),
}


def test_an_archive_that_was_repacked_as_it_was_proves(place: Place, both: tuple[str, str]) -> None:
    entries = helpers.read_archive(place.archive(both[1]))
    assert [entry.name for entry in entries] == ["app.duckdb", "app.duckdb.wal", MANIFEST]
    copy = helpers.write_archive(place.root / "copy.tar.gz", entries)
    assert place.eider("verify", str(copy), "--level", "2").code == 0


@pytest.mark.parametrize("how", REPACKED)
def test_a_repacked_archive_is_found_even_without_a_recorded_hash(
    place: Place, both: tuple[str, str], how: str
) -> None:
    entries = helpers.read_archive(place.archive(both[1]))
    copy = place.root / "copy.tar.gz"
    REPACKED[how](entries)
    helpers.write_archive(copy, entries)
    ran = place.eider("verify", str(copy), "--json").good_manners()

    if how == "the manifest removed":  # then it is a tar of a database and its WAL, which proves
        assert ran.code == 0
    else:
        assert ran.code == 12, ran
        assert ran.json["proof"]["failure"]["kind"] in set(Damage)


@pytest.mark.parametrize("how", ["a member replaced", "a member added", "the manifest removed"])
def test_a_repacked_archive_in_the_catalog_is_found_corrupt(
    place: Place, both: tuple[str, str], how: str
) -> None:
    older, newer = both
    entries = helpers.read_archive(place.archive(newer))
    REPACKED[how](entries)
    helpers.write_archive(place.archive(newer), entries)

    assert place.eider("verify", newer).good_manners().code == 12
    assert place.listed() == {newer: "corrupt", older: "verified"}
    assert place.latest == f"backup-{older}.tar.gz"


# Through the command ----------------------------------------------------------------------------


def test_undamaged_backups_verify_and_nothing_changes(place: Place) -> None:
    before = helpers.files_below(place.backups)
    latest = place.latest
    ran = place.eider("verify", "--all", "--json").good_manners()

    assert ran.code == 0
    assert [row["proof"]["level"] for row in ran.json] == [4, 4]
    assert set(place.listed().values()) == {"verified"}
    assert (helpers.files_below(place.backups), place.latest) == (before, latest)


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("bare", [False, True], ids=["in the catalog", "a bare file"])
def test_a_flipped_byte_is_named_and_remembered(
    place: Place, both: tuple[str, str], where: str, *, bare: bool
) -> None:
    older, newer = both
    archive = place.archive(newer)
    data = archive.read_bytes()
    at = {"first": 0, "middle": len(data) // 2, "last": len(data) - 1}[where]
    target = place.root / "bare.tar.gz" if bare else archive
    target.write_bytes(flipped(data, at, 3))

    ran = place.eider("verify", str(target) if bare else newer, "--json").good_manners()

    assert ran.code == 12
    assert ran.json["proof"]["failure"]["message"]
    if bare:
        assert set(place.listed().values()) == {"verified"}
    else:
        assert place.listed() == {newer: "corrupt", older: "verified"}
        assert place.latest == f"backup-{older}.tar.gz"


def test_a_corrupt_backup_that_was_put_right_is_verified_again(
    place: Place, both: tuple[str, str]
) -> None:
    _older, newer = both
    data = place.archive(newer).read_bytes()
    place.archive(newer).write_bytes(data[:-1])
    assert place.eider("verify", newer).code == 12
    place.archive(newer).write_bytes(data)
    assert place.eider("verify", newer).code == 0
    assert place.listed()[newer] == "verified"
    assert place.latest == f"backup-{newer}.tar.gz"


def test_all_damaged_there_is_no_latest(place: Place, both: tuple[str, str]) -> None:
    for id_ in both:
        place.archive(id_).write_bytes(b"")
    assert place.eider("verify", "--all").good_manners().code == 12
    assert set(place.listed().values()) == {"corrupt"}
    assert place.latest is None
    assert place.eider("verify").good_manners().code == 10


def test_two_archives_swapped_are_both_found(place: Place, both: tuple[str, str]) -> None:
    older, newer = both
    aside = place.root / "aside"
    for one, other in ((place.archive(older), place.archive(newer)),):
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
    assert place.eider("verify", "--all").good_manners().code == 12
    assert set(place.listed().values()) == {"corrupt"}


def test_an_archive_and_its_sidecar_replaced_by_anothers_is_found(
    place: Place, both: tuple[str, str]
) -> None:
    older, newer = both
    shutil.copy(place.archive(older), place.archive(newer))
    digest = hashlib.sha256(place.archive(older).read_bytes()).hexdigest()
    place.sidecar(newer).write_text(f"{digest}  backup-{newer}.tar.gz\n")
    assert place.eider("verify", newer).code == 12
    assert place.listed()[newer] == "corrupt"


def test_an_archive_that_is_gone_is_found(place: Place, both: tuple[str, str]) -> None:
    older, newer = both
    place.archive(newer).unlink()
    ran = place.eider("verify", newer, "--json").good_manners()
    assert ran.code == 12
    assert ran.json["proof"]["failure"]["kind"] == Damage.MISSING
    assert place.latest == f"backup-{older}.tar.gz"


def test_a_list_does_not_call_a_backup_verified_whose_archive_is_gone(
    place: Place, both: tuple[str, str]
) -> None:
    older, newer = both
    place.archive(newer).unlink()
    assert place.listed()[newer] != "verified"
    assert place.eider("show", "latest", "--json").json["id"] == older


def test_a_list_does_not_call_a_backup_verified_whose_archive_was_truncated(
    place: Place, both: tuple[str, str]
) -> None:
    _older, newer = both
    data = place.archive(newer).read_bytes()
    place.archive(newer).write_bytes(data[:-1])
    assert place.listed()[newer] != "verified"


@pytest.mark.parametrize(
    "sidecar",
    [b"0" * 64, b"", b"\xff\xfe", b"\n", b"nonsense", None],
    ids=["another hash", "emptied", "binary", "blank", "nonsense", "removed"],
)
@pytest.mark.parametrize("bare", [False, True], ids=["in the catalog", "a bare file"])
def test_an_edited_sidecar_is_found(
    place: Place, both: tuple[str, str], sidecar: bytes | None, *, bare: bool
) -> None:
    """`sha256sum -c` at three in the morning must not be the first to find out."""
    _older, newer = both
    archive, beside = place.archive(newer), place.sidecar(newer)
    if bare:
        folder = place.root / "elsewhere"
        folder.mkdir()
        archive = Path(shutil.copy(archive, folder))
        beside = folder / beside.name
    if sidecar is None:
        beside.unlink(missing_ok=True)
    else:
        beside.write_bytes(sidecar + f"  {archive.name}\n".encode() if sidecar else b"")
    ran = place.eider("verify", str(archive) if bare else newer, "--json").good_manners()
    if sidecar is None and bare:
        assert ran.code == 0, "a copy without its sidecar is still an archive"
    else:
        assert ran.code == 12, ran


# The manifest beside it -------------------------------------------------------------------------


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inner:
        found += _places(item, (*path, key)) if isinstance(item, dict | list) else [(*path, key)]
    return found


def _other(value: Any) -> Any:  # noqa: ANN401
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
    return "x"


def test_every_edited_field_of_a_manifest_is_found(place: Place, both: tuple[str, str]) -> None:
    from eiderd import catalog  # noqa: PLC0415  (in this process: there are dozens of fields)

    older, newer = both
    path = place.manifest(newer)
    good = path.read_bytes()
    document = json.loads(good)
    fields = _places(document)
    assert ("note",) in fields
    assert ("seal",) in fields
    for field in fields:
        edited = json.loads(good)
        *folders, key = field
        inner = edited
        for step in folders:
            inner = inner[step]
        inner[key] = _other(inner[key])
        path.write_text(json.dumps(edited, indent=1) + "\n")
        listing = catalog.read(place.backups)
        assert [b.id for b in listing.backups] == [older], field
        assert [u.id for u in listing.unreadable] == [newer], field


def test_every_flipped_byte_of_a_manifest_is_found(place: Place, both: tuple[str, str]) -> None:
    from eiderd import catalog  # noqa: PLC0415

    path = place.manifest(both[1])
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(flipped(good, at, at % 7))
        assert [u.id for u in catalog.read(place.backups).unreadable] == [both[1]], at
    for length in (0, 1, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        assert [u.id for u in catalog.read(place.backups).unreadable] == [both[1]], length
    path.write_bytes(good + b"\n")
    assert [u.id for u in catalog.read(place.backups).unreadable] == [both[1]]


def given_edited_note(place: Place, id_: str) -> None:
    path = place.manifest(id_)
    text = path.read_text()
    assert '"note":' in text
    path.write_text(text.replace('"note": ""', '"note": "mine"').replace('"note":""', '"note":"m"'))


def test_an_edited_note_makes_the_backup_corrupt_everywhere(
    place: Place, both: tuple[str, str]
) -> None:
    older, newer = both
    given_edited_note(place, newer)

    listed = place.eider("list", "--json").good_manners()
    assert listed.code == 3
    assert place.listed() == {older: "verified", newer: "corrupt"}
    for verb in ("verify", "show"):
        ran = place.eider(verb, newer).good_manners()
        assert ran.code == 12
        assert "seal" in ran.stderr
    assert place.eider("show", "latest", "--json").json["id"] == older


def test_verify_all_does_not_pass_over_an_edited_manifest(
    place: Place, both: tuple[str, str]
) -> None:
    given_edited_note(place, both[1])
    ran = place.eider("verify", "--all").good_manners()
    assert ran.code == 12, "a backup that could not be verified is no success"
    assert both[1] in ran.stdout + ran.stderr


def test_latest_leaves_a_backup_whose_manifest_was_edited(
    place: Place, both: tuple[str, str]
) -> None:
    older, newer = both
    given_edited_note(place, newer)
    assert place.eider("verify", "--all").stderr
    assert place.latest == f"backup-{older}.tar.gz"


def test_an_edited_manifest_does_not_give_its_number_away(
    place: Place, both: tuple[str, str]
) -> None:
    """Sequence numbers never go back, whatever became of the newest manifest."""
    highest = json.loads(place.manifest(both[1]).read_text())["sequence"]
    given_edited_note(place, both[1])
    assert place.backup()["sequence"] > highest


def test_a_manifest_renamed_to_another_id_is_not_believed(
    place: Place, both: tuple[str, str]
) -> None:
    shutil.copy(place.manifest(both[0]), place.manifest("20010101-000000"))
    assert place.listed()["20010101-000000"] == "corrupt"


@pytest.mark.parametrize("what", ["folder", "fifo", "link to itself", "not permitted", "markup"])
def test_a_strange_manifest_does_not_hide_the_others(
    place: Place, both: tuple[str, str], what: str
) -> None:
    strange = place.backups / "backup-20010101-000000.json"
    match what:
        case "folder":
            strange.mkdir()
        case "fifo":
            import os  # noqa: PLC0415

            os.mkfifo(strange)
        case "link to itself":
            strange.symlink_to(strange.name)
        case "not permitted":
            strange.write_bytes(b"")
            strange.chmod(0)
        case "markup":
            strange = place.backups / "backup-[bold]\x1b[31m[]{}.json"
            strange.write_bytes(b"{}")
    for words in (("list",), ("list", "--json")):
        ran = place.eider(*words, seconds=8).good_manners()
        assert ran.code == 3, ran
        assert all(id_ in ran.stdout for id_ in both)
    assert place.eider("verify", both[1], seconds=8).code == 0


@pytest.mark.parametrize("what", ["folder", "fifo", "link to itself"])
def test_an_archive_that_became_something_else_does_not_hang(
    place: Place, both: tuple[str, str], what: str
) -> None:
    import os  # noqa: PLC0415

    archive = place.archive(both[1])
    archive.unlink()
    match what:
        case "folder":
            archive.mkdir()
        case "fifo":
            os.mkfifo(archive)
        case "link to itself":
            archive.symlink_to(archive.name)
    began = time.monotonic()
    ran = place.eider("verify", both[1], seconds=8).good_manners()
    assert ran.code in {12, 14}
    assert time.monotonic() - began < 8


# Teeth ------------------------------------------------------------------------------------------


def test_a_checker_that_does_not_compare_would_be_caught(
    tiny: Checking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests above expect must come from the comparisons, each by itself."""
    path = tmp_path / "repacked.tar.gz"
    path.write_bytes(tiny.good)
    entries = helpers.read_archive(path)
    entries[0].data = entries[0].data[:-1] + bytes([entries[0].data[-1] ^ 1])
    changed = helpers.gzip_bytes(helpers.tar_bytes(entries))
    assert tiny.catalogued(changed).damage is Damage.CHECKSUM
    assert tiny.by_members(changed).damage is Damage.DIFFERS
    monkeypatch.setattr(archive_compare, "compare_members", lambda *_a, **_k: (None, ""))
    weakened = tiny.by_members(changed)
    assert weakened.damage is None, "something else found it: the test has no teeth"
    assert weakened.members != tiny.sound.members
