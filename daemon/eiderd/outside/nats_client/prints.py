"""Fingerprints of messages in a file, so that two servers can be compared message by message.

One record a message, in sequence: its number, when it was stored, and a hash of its subject, its
headers and its bytes.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
import struct
from typing import IO, TYPE_CHECKING, Final

from eiderd.outside.nats_client.messages import Message, without_publishing

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORD: Final = struct.Struct(">Qd16s")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How two files of fingerprints agree. `gone` had expired; `first_wrong` is a number, 0: none.

    `same` messages are in both, `extra` only in the second.
    """

    same: int
    missing: int
    gone: int
    extra: int
    different: int
    first_wrong: int

    @property
    def agree(self) -> bool:
        return not self.missing and not self.different


def record(message: Message) -> bytes:
    hashed = hashlib.blake2b(digest_size=16)
    for part in (message.subject.encode(), without_publishing(message.headers), message.data):
        hashed.update(b"%d " % len(part) + part)
    return _RECORD.pack(message.sequence, _seconds(message.time), hashed.digest())


def compare(old: IO[bytes], new: IO[bytes], *, expired_before: float) -> Compared:
    """Compare two files from their beginnings.

    What only the old one has is `gone` when it was stored before `expired_before` (seconds since
    the epoch), else `missing`.
    """
    same = missing = gone = extra = different = wrong = 0
    left, right = _records(old), _records(new)
    one, other = next(left, None), next(right, None)
    while one or other:
        if one and (other is None or one[0] < other[0]):
            if one[1] < expired_before:
                gone += 1
            else:
                missing, wrong = missing + 1, wrong or one[0]
            one = next(left, None)
        elif other and (one is None or other[0] < one[0]):
            extra, other = extra + 1, next(right, None)
        elif one and other:
            if one[2] == other[2]:
                same += 1
            else:
                different, wrong = different + 1, wrong or one[0]
            one, other = next(left, None), next(right, None)
    return Compared(
        same=same,
        missing=missing,
        gone=gone,
        extra=extra,
        different=different,
        first_wrong=wrong,
    )


def _records(file: IO[bytes]) -> Iterator[tuple[int, float, bytes]]:
    while piece := file.read(_RECORD.size):
        yield _RECORD.unpack(piece)


def _seconds(time: str) -> float:
    """Return an RFC 3339 time, whose fractions may be nanoseconds.

    What is none lies in the future: a message that is not there is never excused by it.
    """
    whole, _, fraction = time.rstrip("Z").partition(".")
    try:
        moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.UTC)
        return moment.timestamp() + float(f"0.{fraction or 0}")
    except ValueError:
        return math.inf
