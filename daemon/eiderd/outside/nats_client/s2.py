"""The S2 format as bytes, as far as it takes to see whether a snapshot of a stream is whole.

A stream of frames: one byte of kind, three of length. Every frame is followed to the exact end;
only those at both ends are unpacked, which costs the same however large the snapshot is. S2 is
Snappy's framing and blocks, with one more meaning: a copy with offset 0 repeats the last offset.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from eiderd.outside import files

if TYPE_CHECKING:
    from pathlib import Path

_IDENTIFIER: Final = 0xFF
_PACKED, _PLAIN = 0x00, 0x01
_FIRST_SKIPPABLE: Final = 0x80
_MAGICS: Final = (b"S2sTwO", b"sNaPpY")
_HEAD: Final = 4
_CHECKSUM: Final = 4
_LARGEST_BLOCK: Final = 4 << 20
_ARCHIVE: Final = b"NATSARC1"  # how a server from 2.15 on begins; older ones send a tar
_ARCHIVE_STATE: Final = b"state.json"
_ARCHIVE_END: Final = bytes(5)  # an entry without name, time, number and bytes
_TAR_BLOCK: Final = 512
_TAIL: Final = 256 << 10  # unpacked bytes at the end that are looked at
_META: Final = b"meta.inf\0"
_ERRORS: Final = b"errors.txt\0"
_LITERAL_SHORT: Final = 60


class NotS2(ValueError):
    """It is no S2, or a damaged one."""


def problem_of(path: Path, *, stream: str) -> str:
    """Return why the snapshot of a stream is not whole, or nothing."""
    try:
        with files.reading_own(path), path.open("rb") as file:
            frames = _frames(file.fileno())
            head = _unpacked(file.fileno(), frames[0])
            tail = b""
            for frame in reversed(frames):
                tail = _unpacked(file.fileno(), frame) + tail
                if len(tail) >= _TAIL:
                    break
    except NotS2 as error:
        return str(error)
    if head.startswith(_ARCHIVE):
        return _problem_of_archive(head, tail)
    return _problem_of_tar(head, tail, stream=stream)


def is_archive(path: Path) -> bool:
    """Whether a snapshot is of the kind that only a server from 2.15 on reads."""
    try:
        with files.reading_own(path), path.open("rb") as file:
            return _unpacked(file.fileno(), _frames(file.fileno())[0]).startswith(_ARCHIVE)
    except NotS2:
        return False


def _problem_of_archive(head: bytes, tail: bytes) -> str:
    if _ARCHIVE_STATE not in head[len(_ARCHIVE) : len(_ARCHIVE) + 64]:
        return "it does not begin with the state of a stream"
    return "" if tail.endswith(_ARCHIVE_END) else "it ends too early"


def _problem_of_tar(head: bytes, tail: bytes, *, stream: str) -> str:
    at = next((at for at in range(0, len(head), _TAR_BLOCK) if head.startswith(_META, at)), None)
    if at is None:
        return "it does not begin with the description of a stream"
    begin = at + _TAR_BLOCK
    try:
        size = int(head[at + 124 : at + 135].strip(b"\0 ") or b"0", 8)
        name = json.loads(head[begin : begin + size]).get("name")
    except (ValueError, AttributeError, RecursionError):
        return "the description of the stream in it cannot be read"
    if name != stream:
        return "it is of another stream than it says beside it"
    if tail[-2 * _TAR_BLOCK :].strip(b"\0") or len(tail) < 2 * _TAR_BLOCK:
        return "it ends too early"
    # A server before 2.11 says only in there that it could not read a part of its own store.
    if any(
        tail.startswith(_ERRORS, at) for at in range(len(tail) % _TAR_BLOCK, len(tail), _TAR_BLOCK)
    ):
        return "the server could not read all of the stream"
    return ""


def _frames(descriptor: int) -> list[tuple[int, int, int]]:
    """Return (kind, offset, length) of the frames with data, having followed all of them."""
    size, place = os.fstat(descriptor).st_size, 0
    found: list[tuple[int, int, int]] = []
    while place < size:
        head = os.pread(descriptor, _HEAD, place)
        if len(head) < _HEAD:
            raise NotS2("it ends inside a frame")
        kind, length = head[0], int.from_bytes(head[1:], "little")
        place += _HEAD
        if place + length > size:
            raise NotS2("it ends inside a frame")
        if not found and place == _HEAD and kind != _IDENTIFIER:
            raise NotS2("it is no S2")
        if kind == _IDENTIFIER and os.pread(descriptor, length, place) not in _MAGICS:
            raise NotS2("it is no S2")
        if kind in {_PACKED, _PLAIN}:
            if length < _CHECKSUM:
                raise NotS2("a frame in it is too short")
            found.append((kind, place + _CHECKSUM, length - _CHECKSUM))
        elif kind < _FIRST_SKIPPABLE:
            raise NotS2("a frame in it is of an unknown kind")
        place += length
    if not found:
        raise NotS2("there is nothing in it")
    return found


def _unpacked(descriptor: int, frame: tuple[int, int, int]) -> bytes:
    kind, offset, length = frame
    if length > 2 * _LARGEST_BLOCK:
        raise NotS2("a frame in it is too long")
    data = os.pread(descriptor, length, offset)
    return data if kind == _PLAIN else unpack(data)


def unpack(source: bytes) -> bytes:
    """Unpack one block. Raise NotS2."""
    try:
        size, place = _size(source)
        if size > _LARGEST_BLOCK:
            raise NotS2("a block in it is too large")
        out = bytearray()
        offset = 0
        while place < len(source):
            tag = source[place]
            if not tag & 3:
                place, length = _literal(source, place)
                out += source[place : place + length]
                place += length
                continue
            place, offset, length = _copy(source, place, offset)
            if not 0 < offset <= len(out) or len(out) + length > size:
                raise NotS2("a block in it is damaged")
            begin = len(out) - offset
            piece = out[begin : begin + length]
            out += (piece * (length // len(piece) + 1))[:length]
    except IndexError as error:
        raise NotS2("a block in it is damaged") from error
    if len(out) != size:
        raise NotS2("a block in it is damaged")
    return bytes(out)


def _size(source: bytes) -> tuple[int, int]:
    """Return the varint at the beginning, and where it ends."""
    size = shift = place = 0
    while True:
        byte = source[place]
        size |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return size, place
        if shift > 35:  # noqa: PLR2004  (five bytes are the most)
            raise NotS2("a block in it is damaged")


def _literal(source: bytes, place: int) -> tuple[int, int]:
    """Return where the bytes begin, and how many they are."""
    length = source[place] >> 2
    place += 1
    if length >= _LITERAL_SHORT:
        more = length - _LITERAL_SHORT + 1
        length = int.from_bytes(source[place : place + more], "little")
        place += more
    if place + length + 1 > len(source):
        raise NotS2("a block in it is damaged")
    return place, length + 1


def _copy(source: bytes, place: int, last: int) -> tuple[int, int, int]:
    """Return where the next operation begins, how far back to copy from, and how much."""
    tag = source[place]
    match tag & 3:
        case 1:
            offset, length = (tag & 0xE0) << 3 | source[place + 1], (tag >> 2) & 7
            place += 2
            if not offset:
                offset = last
                more = max(0, length - 4)
                if more:
                    bias = (4, 1 << 8, 1 << 16)[more - 1]
                    length = int.from_bytes(source[place : place + more], "little") + bias
                    place += more
            return place, offset, length + 4
        case 2:
            offset = source[place + 1] | source[place + 2] << 8
            return place + 3, offset, 1 + (tag >> 2)
        case _:
            offset = int.from_bytes(source[place + 1 : place + 5], "little")
            return place + 5, offset, 1 + (tag >> 2)
