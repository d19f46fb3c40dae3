"""Take streams of NATS from one server to another, and compare them there, message by message.

Nothing is changed where they come from.
"""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING, Protocol

from eiderd.errors import VerificationFailed
from eiderd.model import Ending, Outcome
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How a stream agrees with the one that it was made of.

    `same` messages are in both, `gone` are too old for the new one; `later` came to the old one
    after it was taken, and are not in the new one. `wrong` says what is not as it should be.
    """

    same: int
    gone: int
    later: int
    consumers: tuple[str, ...]
    wrong: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A stream on its new server."""

    stream: str
    messages: int
    first_seq: int
    last_seq: int
    bytes: int
    method: str
    agreement: Agreement


class Move(Protocol):
    """Take one stream and make it on the other server."""

    def __call__(self, stream: str, /) -> Moved: ...


def run(*, streams: Sequence[str], move: Move) -> Outcome[tuple[Moved, ...]]:
    """Return the streams on their new server. Raise what `move` raises, and VerificationFailed."""
    done: list[Moved] = []
    for stream in streams:
        moved = move(stream)
        if wrong := moved.agreement.wrong:
            raise VerificationFailed(
                f"stream {plain(stream)} is not the same on its new server: {wrong}",
                hint="The old one is as it was. Remove the one on the new server before you try "
                f"again: nats stream rm {shlex.quote(plain(stream))}",
            )
        done.append(moved)
    if not done:
        return Outcome(ending=Ending.NOTHING_TO_DO, value=(), why="there is no stream to move")
    said = f"{many(len(done), 'stream')} moved: {', '.join(plain(one.stream) for one in done)}"
    return Outcome(ending=Ending.DONE, value=tuple(done), why=said)
