"""A tar as every tool writes it is read; one that is not honest is refused, quickly and by name."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from pathlib import Path
from typing import IO, cast

import pytest

from eiderd.evidence import Damage
from eiderd.outside import tar_reader
from eiderd.outside.tar_header import Refused, shown
from tests.helpers import Entry, gzip_bytes, tar_bytes

LONG = "folder/" * 20 + "long name"


def read(data: bytes, *, compressed: bool = False) -> dict[str, bytes]:
    with tar_reader.opened(io.BytesIO(data), compressed=compressed) as tar:
        return {entry.name: content.read(1 << 30) for entry, content in tar}


def refused(data: bytes, *, compressed: bool = False) -> Refused:
    with pytest.raises(Refused) as caught:
        read(data, compressed=compressed)
    return caught.value


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> Entry:
    lines = b""
    for key, value in records:
        body = b" " + key + b"=" + value + b"\n"
        length = next(n for n in range(len(body), len(body) + 9) if len(str(n)) + len(body) == n)
        lines += str(length).encode() + body
    return Entry("pax", lines, type=kind)


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "pax", "posix", "ustar", "v7"])
def test_what_gnu_tar_writes_is_read(tmp_path: Path, form: str) -> None:
    names = ["short", "é"] if form == "v7" else ["short", "é", LONG]
    for name in names:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 1000)
    archive = tmp_path / "a.tar"
    subprocess.run(
        ["tar", f"--format={form}", "-cf", archive, "-C", tmp_path / "in", "."], check=True
    )
    assert read(archive.read_bytes()) == {name: name.encode() * 1000 for name in names}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_what_python_writes_is_read(form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name in ("short", "é", LONG):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 3, 1
            tar.addfile(info, io.BytesIO(b"abc"))
    assert read(out.getvalue()) == dict.fromkeys(("short", "é", LONG), b"abc")
    assert read(gzip_bytes(out.getvalue()), compressed=True)


def test_sizes_that_octal_digits_cannot_hold_are_read() -> None:
    """GNU tar and Python write them in base 256; pax in a record."""
    for header in ([Entry("x", more={"size": 20 << 30})], [pax((b"size", b"%d" % (20 << 30)))]):
        data = tar_bytes([*header, Entry("x")])
        with tar_reader.opened(io.BytesIO(data), compressed=False) as tar:
            assert next(iter(tar))[0].size == 20 << 30


def test_a_comment_for_every_member_changes_nothing() -> None:
    comment = pax((b"comment", b"a commit"), kind=b"g")
    assert read(tar_bytes([comment, Entry("x", b"1")])) == {"x": b"1"}


@pytest.mark.parametrize("name", ["x", "./x", ".//x", "x/.", "x//"])
def test_two_spellings_are_one_name(name: str) -> None:
    assert refused(tar_bytes([Entry("x", b"1"), Entry(name, b"2")])).damage is Damage.UNSAFE


@pytest.mark.parametrize(
    ("entries", "damage"),
    [
        ([Entry("x", more={"mode": 0o4755})], Damage.UNSAFE),
        ([Entry("x", more={"mode": 0o2755})], Damage.UNSAFE),
        ([Entry("x", more={"mode": 0o1755})], Damage.UNSAFE),
        ([Entry("n" * 300)], Damage.UNSAFE),
        ([Entry("n/" * 3000 + "n")], Damage.UNSAFE),
        ([Entry(".")], Damage.UNSAFE),
        ([Entry("folder/", b"content")], Damage.UNSAFE),
        ([Entry("x", type=b"S")], Damage.UNSAFE),
        ([Entry("x", more={"size": -1})], Damage.UNREADABLE_ARCHIVE),
        ([Entry("x", more={"size": 1 << 63})], Damage.UNREADABLE_ARCHIVE),
        ([pax((b"size", b"-1")), Entry("x")], Damage.UNREADABLE_ARCHIVE),
        ([pax((b"size", b"x")), Entry("x")], Damage.UNREADABLE_ARCHIVE),
        ([pax((b"size", b"9" * 5000)), Entry("x")], Damage.UNREADABLE_ARCHIVE),
        ([pax((b"path", b"../x")), Entry("x")], Damage.UNSAFE),
        ([pax((b"path", b"a\0b")), Entry("x")], Damage.UNSAFE),
        ([pax((b"path", b"")), Entry("x")], Damage.UNSAFE),
        ([pax((b"path", b"y"), kind=b"g"), Entry("x")], Damage.UNSAFE),
        ([pax((b"GNU.sparse.map", b"a,b")), Entry("x")], Damage.UNSAFE),
        ([pax((b"path", b"y")), Entry("L", b"z\0", type=b"L"), Entry("x")], Damage.UNSAFE),
        ([pax((b"a", b"b"))] * 2 + [Entry("x")], Damage.UNREADABLE_ARCHIVE),
        ([Entry("h", b"5 a=\n9 b=\n", type=b"x"), Entry("x")], Damage.UNREADABLE_ARCHIVE),
        ([Entry("h", b"1" * 4000, type=b"x"), Entry("x")], Damage.UNREADABLE_ARCHIVE),
        ([pax((b"a", b"b"))], Damage.UNREADABLE_ARCHIVE),
    ],
)
def test_what_no_honest_archive_holds_is_refused(entries: list[Entry], damage: Damage) -> None:
    error = refused(tar_bytes(entries))
    assert error.damage is damage
    assert len(error.message) < 200


@pytest.mark.parametrize("size", [-1, -(1 << 40), 1 << 63])
def test_an_absurd_size_is_refused_before_it_is_believed(size: int) -> None:
    assert "absurd" in refused(tar_bytes([Entry("x", more={"size": size})])).message


def test_an_extended_header_of_2_megabytes_is_refused() -> None:
    comment = pax((b"comment", b"c" * (2 << 20)))
    assert refused(tar_bytes([comment, Entry("x")])).damage is Damage.TOO_BIG


def test_setgid_folders_are_common() -> None:
    folder = Entry("folder/", type=tarfile.DIRTYPE, more={"mode": 0o2775})
    assert read(tar_bytes([folder, Entry("folder/x", b"1")])) == {"folder/x": b"1"}


class Endless:
    """A stream that repeats itself and counts what was asked of it."""

    def __init__(self, repeated: bytes, *, head: bytes = b"") -> None:
        self._head, self._repeated = head, repeated * (1 + (4 << 20) // len(repeated))
        self._at, self._period, self.count = 0, len(repeated), 0

    def read(self, size: int = -1) -> bytes:
        assert size <= 4 << 20, "more memory than it may take"
        head, self._head = self._head[:size], self._head[size:]
        start = self._at % self._period
        data = head + self._repeated[start : start + size - len(head)]
        self._at += len(data) - len(head)
        self.count += len(data)
        return data


def header(entry: Entry) -> bytes:
    return entry.header().tobuf(tarfile.GNU_FORMAT)


FOLDER = header(Entry("folder/", type=tarfile.DIRTYPE))
GLOBAL = tar_bytes([pax((b"a", b"b"), kind=b"g")])[:1024]
TINY_RECORDS = Entry("x", b"5 a=\n" * 200_000, type=b"x")


@pytest.mark.parametrize(
    ("head", "repeated"),
    [
        (b"", FOLDER),
        (b"", GLOBAL),
        (bytes(512), bytes(512)),
        (b"", tar_bytes([TINY_RECORDS, Entry("folder/")])[:-1024]),
        *((header(Entry("x", type=k, more={"size": 4 << 30})), b"1" * 512) for k in (b"x", b"g")),
        *((header(Entry("x", type=k, more={"size": 4 << 30})), b"1" * 512) for k in (b"L", b"K")),
    ],
    ids=["folders", "global", "zeros", "pax records", "giant x", "giant g", "giant L", "giant K"],
)
def test_what_never_ends_is_refused_soon(head: bytes, repeated: bytes) -> None:
    stream = Endless(repeated, head=head)
    began = time.process_time()
    with (
        pytest.raises(Refused),
        tar_reader.opened(cast("IO[bytes]", stream), compressed=False) as tar,
    ):
        for _ in tar:
            pass
    assert stream.count < 100 << 20
    assert time.process_time() - began < 10


@pytest.mark.parametrize("end", [b"", bytes(511)])
def test_a_tar_without_its_end_is_refused(end: bytes) -> None:
    """Whatever stood after the last member may have been cut off."""
    whole = tar_bytes([Entry("x", b"1")])
    assert refused(whole[:-1024] + end).damage is Damage.UNREADABLE_ARCHIVE


def test_zeros_may_follow_the_end_and_nothing_else() -> None:
    whole = tar_bytes([Entry("x", b"1")])
    assert read(whole + bytes(1 << 20))
    assert refused(whole + bytes(10_000) + b"x").damage is Damage.UNREADABLE_ARCHIVE
    assert refused(whole + whole).damage is Damage.UNREADABLE_ARCHIVE


def test_a_gzip_header_without_end_is_refused() -> None:
    data = b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * (20 << 20)
    assert refused(data, compressed=True).damage is Damage.UNREADABLE_ARCHIVE


def test_running_out_of_memory_is_a_verdict() -> None:
    def read_too_much(_size: int) -> bytes:
        raise MemoryError

    stream = io.BytesIO()
    stream.read = read_too_much  # type: ignore[assignment, method-assign]
    with (
        pytest.raises(Refused) as caught,
        tar_reader.opened(stream, compressed=False) as tar,
    ):
        next(iter(tar))
    assert caught.value.damage is Damage.TOO_BIG


def test_names_are_shown_on_one_short_line() -> None:
    assert shown("a name") == "'a name'"
    assert shown("n" * 80) == f"'{'n' * 80}'"
    assert shown("n" * 5000) == f"'{'n' * 80}…'"
    nasty = shown("\x1b[2J\n\x9b\u202e\udcff" * 20)
    assert nasty.replace("…", "").isascii()
    assert nasty.isprintable()
    assert len(nasty) <= 83
