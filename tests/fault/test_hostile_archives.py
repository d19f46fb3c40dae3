"""Archives made to do harm: refused with one clear line, nothing written outside, all bounded."""

from __future__ import annotations

import contextlib
import json
import os
import random
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd.evidence import Damage
from tests import helpers
from tests.helpers import GZIP_HEADER, Entry, Place, Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MEGABYTE = 1 << 20
MEMORY = 400 * MEGABYTE
SECONDS = 15
BOMB_BYTES = 20 << 30
MANIFEST = "eider-manifest.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return helpers.given_place(tmp_path_factory.mktemp("hostile"), rows=500, wal_rows=20)


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Iterator[Place]:
    """A place whose state, and so whose scratch, is on a small disk where that can be had."""
    place = made.clone(tmp_path / "place")
    with contextlib.ExitStack() as stack:
        if helpers.is_root():
            stack.enter_context(helpers.small_disk(place.state, size="48m"))
        yield place


@pytest.fixture
def honest(place: Place) -> list[Entry]:
    """The members of a foreign archive that proves."""
    return [
        Entry("app.duckdb", place.database.read_bytes()),
        Entry("app.duckdb.wal", place.wal.read_bytes()),
    ]


def verify(place: Place, archive: Path, *words: str) -> Ran:
    """Verify a file and hold what must hold of any answer."""
    before = helpers.files_below(place.root)
    ran = place.eider("verify", str(archive), *words, seconds=SECONDS).good_manners()
    assert helpers.files_below(place.root) <= before | {"state/scratch"}, "it left something"
    assert 0 < ran.peak_bytes < MEMORY, f"{ran.peak_bytes / MEGABYTE:.0f} MB"
    return ran


def refused(place: Place, archive: Path, *kinds: Damage) -> None:
    ran = verify(place, archive, "--json")
    assert ran.code in {12, 14}, ran
    if ran.code == 12:
        failure = ran.json["proof"]["failure"]
        assert not kinds or failure["kind"] in kinds, failure
    else:
        assert not kinds, ran
    said = ran.stderr.splitlines() or [ran.json["error"]["message"]]
    assert len(said) <= 2, "one line and its hint"


def test_the_honest_archive_proves(place: Place, honest: list[Entry]) -> None:
    archive = helpers.write_archive(place.root / "a.tar.gz", honest)
    assert verify(place, archive).code == 0


# Members that would leave the folder, or are no plain files --------------------------------------

LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
UNSAFE: dict[str, Entry] = {
    "parent": Entry("../evil", b"x"),
    "parent inside": Entry("a/../../evil", b"x"),
    "absolute": Entry("/tmp/eider-test-evil", b"x"),  # noqa: S108  (must not be written)
    "parent folder": Entry("../evil/", type=tarfile.DIRTYPE),
    "symlink": Entry("link", type=tarfile.SYMTYPE, more={"linkname": "/etc/passwd"}),
    "symlink inside": Entry("link", type=tarfile.SYMTYPE, more={"linkname": "app.duckdb"}),
    "symlink in the WAL's place": Entry(
        "app.duckdb.wal.checkpoint", type=tarfile.SYMTYPE, more={"linkname": "/etc/passwd"}
    ),
    "hard link": Entry("link", type=tarfile.LNKTYPE, more={"linkname": "app.duckdb"}),
    "hard link outside": Entry("link", type=tarfile.LNKTYPE, more={"linkname": "/etc/passwd"}),
    "character device": Entry("null", type=tarfile.CHRTYPE, more={"devmajor": 1, "devminor": 3}),
    "block device": Entry("disk", type=tarfile.BLKTYPE, more={"devmajor": 8}),
    "fifo": Entry("fifo", type=tarfile.FIFOTYPE),
    "unknown type": Entry("what", b"x", type=b"Z"),
    "setuid": Entry("tool", b"x", more={"mode": 0o4755}),
    "setgid": Entry("tool", b"x", more={"mode": 0o2755}),
    "sparse": Entry("sparse", b"x", type=tarfile.GNUTYPE_SPARSE),
    "long parent": Entry("x/" * 120 + "../" * 121 + "evil", b"x"),
}


@pytest.mark.parametrize("what", UNSAFE)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_an_unsafe_member_is_refused(
    place: Place, honest: list[Entry], what: str, *, first: bool
) -> None:
    entry = UNSAFE[what]
    archive = helpers.write_archive(
        place.root / "a.tar.gz", [entry, *honest] if first else [*honest, entry]
    )
    refused(place, archive, Damage.UNSAFE, Damage.UNREADABLE_ARCHIVE)
    assert not Path("/tmp/eider-test-evil").exists()  # noqa: S108
    assert not (place.root.parent / "evil").exists()


@pytest.mark.parametrize(
    "name", ["app.duckdb.wal", "./app.duckdb.wal", "app.duckdb//", "./app.duckdb"]
)
def test_two_members_of_one_name_are_refused(place: Place, honest: list[Entry], name: str) -> None:
    archive = helpers.write_archive(place.root / "a.tar.gz", [*honest, Entry(name, b"second")])
    refused(place, archive)


def test_a_member_below_a_file_is_refused_or_ignored(place: Place, honest: list[Entry]) -> None:
    archive = helpers.write_archive(
        place.root / "a.tar.gz", [*honest, Entry("app.duckdb/inner", b"x")]
    )
    assert verify(place, archive).code in {0, 12}


def test_a_directory_called_like_the_wal_does_no_harm(place: Place, honest: list[Entry]) -> None:
    entry = Entry("app.duckdb.wal.recovery", type=tarfile.DIRTYPE)
    archive = helpers.write_archive(place.root / "a.tar.gz", [*honest, entry])
    assert verify(place, archive).code in {0, 12}


# Headers that lie --------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [10, 0.1, 0], ids=["ten times", "a tenth", "nothing"])
def test_a_header_that_lies_about_the_size_is_refused(
    place: Place, honest: list[Entry], factor: float
) -> None:
    honest[0].more["size"] = int(len(honest[0].data) * factor)
    refused(place, helpers.write_archive(place.root / "a.tar.gz", honest))


@pytest.mark.parametrize("size", [-1, -512, -(1 << 40), 1 << 62, (1 << 63) + 5])
def test_an_absurd_size_is_refused(place: Place, honest: list[Entry], size: int) -> None:
    archive = helpers.write_archive(
        place.root / "a.tar.gz", [*honest, Entry("lie", b"x", more={"size": size})]
    )
    refused(place, archive)


def test_a_member_ten_times_what_the_manifest_says_is_refused(
    place: Place, honest: list[Entry]
) -> None:
    listed = [{"name": e.name, "bytes": len(e.data) // 10, "sha256": "0" * 64} for e in honest]
    manifest = Entry(MANIFEST, json.dumps({"id": "x", "members": listed}).encode())
    archive = helpers.write_archive(place.root / "a.tar.gz", [*honest, manifest])
    refused(place, archive, Damage.DIFFERS)


def _pax(records: dict[str, str], kind: bytes = b"x") -> Entry:
    data = b""
    for key, value in records.items():
        body = f" {key}={value}\n".encode()
        length = len(body)
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        data += str(length).encode() + body
    return Entry("pax", data, type=kind)


@pytest.mark.parametrize(
    "records",
    [
        {"size": "-1"},
        {"size": "99999999999999999999"},
        {"size": "x"},
        {"path": "../evil"},
        {"path": ""},
        {"linkpath": "/etc/passwd"},
        {"GNU.sparse.map": "a,b", "GNU.sparse.size": "1"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "x"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 30},
        {"GNU.sparse.size": "x"},
        {"mtime": "nan"},
        {"uid": "9" * 400},
    ],
    ids=str,
)
def test_strange_pax_records_do_no_harm(
    place: Place, honest: list[Entry], records: dict[str, str]
) -> None:
    archive = helpers.write_archive(
        place.root / "a.tar.gz", [_pax(records), Entry("victim", b"x" * 600), *honest]
    )
    assert verify(place, archive).code in {0, 12}
    assert not (place.root.parent / "evil").exists()


@pytest.mark.parametrize("kind", [b"x", b"L", b"K"], ids=["pax", "long name", "long link"])
def test_headers_nested_without_end_are_refused(
    place: Place, honest: list[Entry], kind: bytes
) -> None:
    header = _pax({"a": "b"}) if kind == b"x" else Entry("h", b"name\0", type=kind)
    archive = helpers.write_archive(place.root / "a.tar.gz", [header] * 5_000 + honest)
    refused(place, archive)


# Bombs -------------------------------------------------------------------------------------------


def write_repeated(path: Path, head: bytes, repeated: bytes, total: int) -> Path:
    """Write one gzip member: `head`, then `repeated` again and again. Its CRC is never reached."""

    def squeezed(data: bytes) -> bytes:
        squeezer = zlib.compressobj(1, zlib.DEFLATED, -15)
        return squeezer.compress(data) + squeezer.flush(zlib.Z_FULL_FLUSH)

    block = repeated * max(1, 64 * MEGABYTE // len(repeated))
    again = squeezed(block)
    with path.open("wb") as file:
        file.write(GZIP_HEADER + squeezed(head))
        for _ in range(total // len(block)):
            file.write(again)
    return path


def _zeros(_honest: Sequence[Entry]) -> tuple[bytes, bytes]:
    return b"", bytes(MEGABYTE)


def _one_member(_honest: Sequence[Entry]) -> tuple[bytes, bytes]:
    entry = Entry("big", more={"size": BOMB_BYTES})
    return entry.header().tobuf(tarfile.GNU_FORMAT), bytes(MEGABYTE)


def _after_the_end(honest: Sequence[Entry]) -> tuple[bytes, bytes]:
    return helpers.tar_bytes(honest), bytes(MEGABYTE)


def _folders(_honest: Sequence[Entry]) -> tuple[bytes, bytes]:
    header = Entry("folder/", type=tarfile.DIRTYPE).header().tobuf(tarfile.GNU_FORMAT)
    return b"", header


def _empty_files(_honest: Sequence[Entry]) -> tuple[bytes, bytes]:
    chance = random.Random(1)
    names = (f"{chance.randbytes(8).hex()}-{n}" for n in range(101_000))
    return b"", b"".join(Entry(n).header().tobuf(tarfile.GNU_FORMAT) for n in names)


def _global_headers(_honest: Sequence[Entry]) -> tuple[bytes, bytes]:
    entry = _pax({"comment": "x"}, kind=b"g")
    return b"", helpers.tar_bytes([entry])[:1024]


def _giant_header(kind: bytes) -> Callable[[Sequence[Entry]], tuple[bytes, bytes]]:
    def made(_honest: Sequence[Entry]) -> tuple[bytes, bytes]:
        entry = Entry("giant", type=kind, more={"size": 4 << 30})
        return entry.header().tobuf(tarfile.GNU_FORMAT), b"1234567 a=" + bytes(MEGABYTE)

    return made


BOMBS: dict[str, Callable[[Sequence[Entry]], tuple[bytes, bytes]]] = {
    "zeros": _zeros,
    "one member": _one_member,
    "zeros after the end": _after_the_end,
    "folders": _folders,
    "empty files": _empty_files,
    "global headers": _global_headers,
    "a giant pax header": _giant_header(b"x"),
    "a giant global header": _giant_header(b"g"),
    "a giant long name": _giant_header(b"L"),
    "a giant long link": _giant_header(b"K"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_is_refused_quickly(place: Place, honest: list[Entry], what: str) -> None:
    if what == "one member" and not helpers.is_root():
        pytest.skip("needs a small disk, which only root can mount")
    head, repeated = BOMBS[what](honest)
    total = max(len(repeated), BOMB_BYTES if len(repeated) <= MEGABYTE + 16 else 0)
    bomb = write_repeated(place.root / "bomb.tar.gz", head, repeated, total)
    refused(place, bomb)


def test_a_manifest_that_fills_the_memory_is_refused(place: Place, honest: list[Entry]) -> None:
    document = b'{"members": [' + b"{}," * 15_000_000 + b"{}]}"
    archive = place.root / "a.tar.gz"
    helpers.write_archive(archive, [*honest, Entry(MANIFEST, document)])
    refused(place, archive)


def test_an_archive_larger_than_the_scratch_is_no_space_or_too_big(
    place: Place, honest: list[Entry]
) -> None:
    if not helpers.is_root():
        pytest.skip("needs a small disk, which only root can mount")
    chance = random.Random(2)
    honest[0].data += chance.randbytes(60 * MEGABYTE)
    archive = helpers.write_archive(place.root / "a.tar.gz", honest)
    refused(place, archive, Damage.TOO_BIG)


# What is no archive -------------------------------------------------------------------------------

NOT_ARCHIVES: dict[str, bytes] = {
    "empty": b"",
    "a byte": b"x",
    "text": b"hello\n" * 1000,
    "noise": random.Random(3).randbytes(100_000),
    "zeros": bytes(100_000),
    "gzip of nothing": helpers.gzip_bytes(b""),
    "gzip of text": helpers.gzip_bytes(b"hello\n" * 1000),
    "gzip of gzip": helpers.gzip_bytes(helpers.gzip_bytes(b"hello")),
    "a gzip header": GZIP_HEADER,
    "zip": b"PK\x03\x04" + bytes(100),
    "xz": b"\xfd7zXZ\0" + bytes(100),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(100),
    "an empty tar": helpers.tar_bytes([]),
    "a tar without a database": helpers.tar_bytes([Entry("hello", b"world")]),
    "a tar of an empty database": helpers.tar_bytes([Entry("x.duckdb", b"")]),
    "a tar of a torn header": helpers.tar_bytes([Entry("x.duckdb", bytes(8) + b"DUCK" + bytes(9))]),
    "a tar of blank headers": helpers.tar_bytes(
        [Entry("x.duckdb", bytes(8) + b"DUCK" + bytes(300_000))]
    ),
}


@pytest.mark.parametrize("what", NOT_ARCHIVES)
def test_what_is_no_archive_is_refused(place: Place, what: str) -> None:
    path = place.root / "what.tar.gz"
    path.write_bytes(NOT_ARCHIVES[what])
    refused(place, path)


def test_a_database_file_itself_is_refused_with_a_hint(place: Place) -> None:
    ran = verify(place, place.database)
    assert ran.code in {12, 14}
    assert ran.stderr


@pytest.mark.parametrize("what", ["folder", "fifo", "device", "nothing", "loop", "socket", "tty"])
def test_what_is_no_file_is_refused_at_once(place: Place, what: str) -> None:
    path = place.root / "what"
    match what:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case "loop":
            path.symlink_to(path.name)
        case "socket":
            path = Path("/proc/self/ns/net")
        case "tty":
            path = Path("/dev/random")
    ran = verify(place, path)
    assert ran.code in ({2} if what == "folder" else {12, 14})
    assert "database.path" not in ran.stderr, "it is the archive that is wrong"


def test_a_fifo_as_sidecar_does_not_hang(place: Place, honest: list[Entry]) -> None:
    archive = helpers.write_archive(place.root / "a.tar.gz", honest)
    os.mkfifo(place.root / "a.tar.gz.sha256")
    assert verify(place, archive).code in {0, 12, 14}


def test_an_endless_sidecar_does_not_fill_the_memory(place: Place, honest: list[Entry]) -> None:
    archive = helpers.write_archive(place.root / "a.tar.gz", honest)
    (place.root / "a.tar.gz.sha256").symlink_to("/dev/zero")
    assert verify(place, archive).code in {0, 12, 14}


@pytest.mark.parametrize("name", ["a" * 300, "x/" * 3000, "", "\n", "-", "~", "[/bold]"])
def test_a_strange_name_on_the_command_line(place: Place, name: str) -> None:
    ran = place.eider("verify", "--json", "--", name, cwd=place.root, seconds=SECONDS)
    assert ran.good_manners().code in {2, 10, 12, 14}, ran
    assert ran.json["error"]["message"]


# Names that are meant for the terminal -----------------------------------------------------------

NASTY = {
    "escape": "\x1b[2J\x1b[31mred",
    "newline": "one\neider: all is well",
    "return": "secret\rnothing",
    "bell": "\a\b\v",
    "c1": "\x9b31m",
    "title": "\x1b]0;title\x07",
    "right to left": "\u202egpj.exe",
    "surrogate": "\udcff\udcfe",
    "markup": "[bold]x[/nothing]",
    "long": "n" * 5000,
}


@pytest.mark.parametrize("what", NASTY)
@pytest.mark.parametrize("how", ["database", "two databases", "link", "folder", "in a manifest"])
def test_names_do_not_reach_the_terminal_raw(
    place: Place, honest: list[Entry], what: str, how: str
) -> None:
    name = NASTY[what]
    match how:
        case "database":
            honest[0].name, honest[1].name = name, f"{name}.wal"
        case "two databases":
            honest.insert(0, Entry(name, honest[0].data))
        case "link":
            honest.append(Entry(name, type=tarfile.SYMTYPE, more={"linkname": name[:90]}))
        case "folder":
            honest.insert(0, Entry(f"{name}/{MANIFEST}", more={"size": 1 << 40}))
        case "in a manifest":
            listed = [{"name": name, "bytes": 1, "sha256": name}]
            document = {"id": name, "members": listed}
            honest.append(Entry(MANIFEST, json.dumps(document).encode()))
    archive = helpers.write_archive(place.root / "a.tar.gz", honest)
    for words in ((), ("--json",)):
        ran = verify(place, archive, *words)
        assert ran.code == 12 or (ran.code == 0 and how == "database"), ran
        assert "\x9b" not in ran.stdout + ran.stderr
        assert "\u202e" not in ran.stdout + ran.stderr
        assert len(ran.stderr) < 2_000
        if words:
            assert ran.json
        else:
            assert len(ran.stderr.splitlines()) <= 2


def test_names_inside_the_database_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    place = helpers.Place(tmp_path)
    place.database.parent.mkdir()
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1])\n"
        "c.execute('CREATE TABLE \"\\x1b[31m[/bold]\\n\\x07t\" (i INT)')"
    )
    subprocess.run([sys.executable, "-c", script, str(place.database)], check=True, timeout=30)
    place.configure()
    assert place.eider("backup", "--note", "\x1b[31m[/x]\n\x07").good_manners().code == 0
    for words in (("list",), ("show",), ("verify",), ("list", "--json"), ("show", "--json")):
        assert place.eider(*words).good_manners().code == 0
