"""Snapshots of streams as bytes: what is whole is told from what is not, whoever made it."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.outside.nats_client import s2

if TYPE_CHECKING:
    from pathlib import Path

IDENTIFIER = b"\xff\x06\x00\x00S2sTwO"
ARCHIVE = b"NATSARC1\x0a\x00\x00\x00\x02state.json{}" + b"message" + bytes(5)


def _frame(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "little") + body


def _stream(*pieces: bytes) -> bytes:
    """Return pieces as frames that are not packed."""
    return IDENTIFIER + b"".join(_frame(1, b"\0\0\0\0" + piece) for piece in pieces)


def _tar(name: str = "EVENTS", *, error: bool = False) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        members = {"meta.inf": json.dumps({"name": name}).encode(), "msgs/1.blk": b"m" * 3000}
        if error:
            members["errors.txt"] = b"Could not read message block"
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size, info.mtime = len(data), 1.5  # a header of its own for the fraction
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()[: -(len(out.getvalue()) % 1024) or None]


def _problem(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "stream"
    path.write_bytes(data)
    return s2.problem_of(path, stream="EVENTS")


def test_whole_ones_of_both_kinds_are_well(tmp_path: Path) -> None:
    tar = _tar()
    assert _problem(tmp_path, _stream(tar)) == ""
    assert _problem(tmp_path, _stream(tar[:2048], tar[2048:5000], tar[5000:])) == ""
    assert _problem(tmp_path, _stream(tar) + _frame(0x99, b"an index, skipped")) == ""
    assert _problem(tmp_path, _stream(ARCHIVE)) == ""
    assert s2.is_archive(tmp_path / "stream")


def test_a_size_that_is_no_number_is_refused(tmp_path: Path) -> None:
    tar = bytearray(_tar())
    at = tar.index(b"meta.inf\0") + 124
    tar[at : at + 11] = b"not a size."
    assert "cannot be read" in _problem(tmp_path, _stream(bytes(tar)))


@pytest.mark.parametrize("whole", [_stream(_tar()[:2048], _tar()[2048:]), _stream(ARCHIVE)])
def test_one_that_was_cut_off_anywhere_is_not_whole(tmp_path: Path, whole: bytes) -> None:
    for end in {*range(0, len(whole), 37), len(whole) - 1, len(IDENTIFIER)}:
        assert _problem(tmp_path, whole[:end]), end


def test_a_tar_that_ends_between_two_frames_is_not_whole(tmp_path: Path) -> None:
    assert _problem(tmp_path, _stream(_tar()[:2048])) == "it ends too early"
    assert _problem(tmp_path, _stream(ARCHIVE[:-1])) == "it ends too early"


def test_what_the_server_could_not_read_is_noticed(tmp_path: Path) -> None:
    said = _problem(tmp_path, _stream(_tar(error=True)))
    assert said == "the server could not read all of the stream"


def test_another_stream_is_not_taken_for_this_one(tmp_path: Path) -> None:
    assert "another stream" in _problem(tmp_path, _stream(_tar("OTHER")))


@pytest.mark.parametrize(
    "data",
    [b"", b"no S2", IDENTIFIER, b"\xff\x06\x00\x00\0\0\0\0\0\0", _stream(_tar()) + _frame(2, b"x"),
     IDENTIFIER + _frame(1, b"xx"), _stream(b"neither kind" * 100)],
)  # fmt: skip
def test_what_is_no_snapshot_is_refused(tmp_path: Path, data: bytes) -> None:
    assert _problem(tmp_path, data)


# Blocks: a length, then literals and copies ---------------------------------------------------


def test_blocks_are_unpacked_as_their_format_says() -> None:
    assert s2.unpack(b"\x05\x10hello") == b"hello"
    assert s2.unpack(b"\x0a\x04ab\x11\x02") == b"ab" * 5
    assert s2.unpack(b"\x3f\xf0\x3e" + b"x" * 63) == b"x" * 63
    # A copy of 5 from 3 back with a two-byte offset, then 4 more from as far back: S2's own.
    assert s2.unpack(b"\x0c\x08abc\x12\x03\x00\x01\x00") == b"abcabcabcabc"
    # The repeat with a length in one byte: 3 + (1 + 4 + 4) from 3 back.
    assert s2.unpack(b"\x11\x08abc\x12\x03\x00\x15\x00\x01") == (b"abc" * 6)[:17]
    # A four-byte offset.
    assert s2.unpack(b"\x06\x08abc\x0b\x03\x00\x00\x00") == b"abcabc"


@pytest.mark.parametrize(
    "block",
    [b"", b"\xff\xff\xff\xff\xff\xff", b"\x05\x10hell", b"\x06\x10hello", b"\x04\x10hello",
     b"\x0a\x04ab\x11\x03", b"\x05\x01\x00", b"\xff\xff\xff\xff\x0f\x00x"],
)  # fmt: skip
def test_damaged_blocks_are_refused(block: bytes) -> None:
    with pytest.raises(s2.NotS2):
        s2.unpack(block)


@given(st.binary(max_size=400))
def test_no_block_does_anything_else_than_be_unpacked_or_refused(block: bytes) -> None:
    try:
        unpacked = s2.unpack(block)
    except s2.NotS2:
        return
    assert len(unpacked) < 5 << 20
