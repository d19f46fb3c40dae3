"""The headers of a tar as bytes: what a member is called, how long it is, whether it is safe. Pure.

GNU headers, ustar and pax, as far as plain files and folders need them. Whatever an honest archive
does not hold raises Refused.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePosixPath
from typing import Final

from eiderd.errors import VerificationFailed
from eiderd.evidence import Damage

BLOCK: Final = 512
LONG_NAME: Final = b"L"
LONG_LINK: Final = b"K"
PAX: Final = frozenset({b"x", b"X"})
PAX_GLOBAL: Final = b"g"
EXTENSIONS: Final = frozenset({LONG_NAME, LONG_LINK, PAX_GLOBAL, *PAX})

_FOLDER: Final = b"5"
_FILES: Final = frozenset({b"0", b"\0", b"7"})  # plain, as before 1988, contiguous
_LINKS: Final = frozenset({b"1", b"2"})
_SPECIAL_BITS: Final = 0o7000  # set-user-id, set-group-id, sticky
_LONGEST_PATH: Final = 4096  # the kernel's bounds, in bytes
_LONGEST_NAME: Final = 255
_LARGEST_SIZE: Final = (1 << 63) - 1
_LONGEST_SHOWN: Final = 80

_OCTAL: Final = re.compile(rb"[0-7]+")
_DECIMAL: Final = re.compile(rb"[0-9]{1,19}")
_PAX_LENGTH: Final = re.compile(rb"([0-9]{1,7}) ")


class Refused(VerificationFailed):
    """What an honest archive does not hold. `damage` says of what kind."""

    def __init__(self, damage: Damage, message: str) -> None:
        super().__init__(message, hint="Do not unpack this archive; find out who made it.")
        self.damage = damage


def shown(text: str) -> str:
    """Return `text` from an archive as a message may show it: quoted, escaped, one short line."""
    escaped = repr(text[: _LONGEST_SHOWN + 1])[1:-1]
    cut = escaped if len(escaped) <= _LONGEST_SHOWN else f"{escaped[:_LONGEST_SHOWN]}…"
    return f"'{cut}'"


def unreadable(message: str) -> Refused:
    return Refused(Damage.UNREADABLE_ARCHIVE, message)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One header as it stands, or as the extended headers before it have changed it.

    `path` is as the archive has it, `size` in bytes.
    """

    path: bytes
    kind: bytes
    size: int
    mode: int

    @property
    def is_folder(self) -> bool:
        # The slash is how folders were marked before 1988, and tar still believes it.
        return self.kind == _FOLDER or self.path.endswith(b"/")


def parse(block: bytes) -> Header:
    """Given a block of a tar, return the header that it is."""
    counted = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if counted != _number(block[148:156]):
        raise unreadable("it is no tar, or a header in it is damaged")
    path, kind = text(block[:100]), block[156:157]
    if block[257:263] == b"ustar\0" and block[345]:
        path = text(block[345:500]) + b"/" + path
    return Header(path=path, kind=kind, size=_number(block[124:136]), mode=_number(block[100:108]))


def _number(field: bytes) -> int:
    """Given a number as octal digits or, for large ones, in base 256, return it."""
    if field[0] & 0x80:
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        negative = bool(field[0] & 0x40)
    else:
        digits = text(field).strip(b" ") or b"0"
        if not _OCTAL.fullmatch(digits):
            raise unreadable("it is no tar, or a number in it is damaged")
        number, negative = int(digits, 8), False
    if negative or number > _LARGEST_SIZE:
        raise unreadable("a size in it is absurd")
    return number


def text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def pax(data: bytes) -> dict[str, bytes]:
    """Given pax records, return those that decide what is written where: `path`, `size`."""
    found: dict[str, bytes] = {}
    start = 0
    while start < len(data):
        length = _PAX_LENGTH.match(data, start)
        end = start + int(length[1]) if length else 0
        if not length or not length.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise unreadable("an extended header in it is damaged")
        key, _, value = data[length.end() : end - 1].partition(b"=")
        if key.startswith(b"GNU.sparse."):
            raise Refused(Damage.UNSAFE, "a member is sparse, not a plain file")
        if key in {b"path", b"size"}:
            found[key.decode()] = value
        start = end
    return found


def extended(header: Header, extensions: list[dict[str, bytes]]) -> Header:
    """Given a header and what its extended headers say, return what counts."""
    # Tools disagree about which of two names counts: then what was proven may not be what tar
    # would write.
    if sum("path" in words for words in extensions) > 1:
        raise Refused(Damage.UNSAFE, "a member has two names")
    for words in extensions:
        if "path" in words:
            header = dataclasses.replace(header, path=words["path"])
        if "size" in words:
            if not _DECIMAL.fullmatch(words["size"]) or int(words["size"]) > _LARGEST_SIZE:
                raise unreadable("a size in it is absurd")
            header = dataclasses.replace(header, size=int(words["size"]))
    return header


def safe_name(header: Header) -> str:
    """Return a member's name, normalised. Raise Refused unless it is safe to write."""
    name = header.path.decode("utf-8", "surrogateescape")
    path = PurePosixPath(name)
    if header.kind not in {*_FILES, _FOLDER}:
        what = "is a link" if header.kind in _LINKS else "is not a plain file"
    elif path.is_absolute() or ".." in path.parts or "\0" in name:
        what = "would leave the folder"
    elif len(header.path) > _LONGEST_PATH or any(_too_long(part) for part in path.parts):
        what = "has too long a name"
    elif header.is_folder:
        what = "is a folder with content" if header.size else ""
    elif not path.name:
        what = "has no name"
    else:
        what = "has its set-id or sticky bit set" if header.mode & _SPECIAL_BITS else ""
    if what:
        raise Refused(Damage.UNSAFE, f"member {shown(name)} {what}")
    return str(path)


def _too_long(part: str) -> bool:
    return len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME
