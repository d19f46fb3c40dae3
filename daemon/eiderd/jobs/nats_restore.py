"""Put streams of NATS back, one after the other. The first that fails ends it, and says so."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

from eiderd.model import Ending, Outcome
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A stream as it is now.

    `expired` messages were too old to stay; `aside` is where the one is that was there before;
    `warnings` tell what may be otherwise than somebody thinks.
    """

    stream: str
    messages: int
    first_seq: int
    last_seq: int
    bytes: int
    method: str
    consumers: tuple[str, ...]
    expired: int = 0
    warnings: tuple[str, ...] = ()
    aside: str | None = None


class PutBack(Protocol):
    """Make one stream, and look at what became of it."""

    def __call__(self, stream: str, /) -> Returned: ...


def run(*, streams: Sequence[str], put_back: PutBack) -> Outcome[tuple[Returned, ...]]:
    """Return the streams as they are now. Raise what `put_back` raises."""
    done = tuple(put_back(stream) for stream in streams)
    if not done:
        return Outcome(ending=Ending.NOTHING_TO_DO, value=(), why="there is no stream in it")
    names = ", ".join(plain(one.stream) for one in done)
    return Outcome(ending=Ending.DONE, value=done, why=f"restored {names}")
