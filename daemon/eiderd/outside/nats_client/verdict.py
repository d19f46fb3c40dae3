"""Whether a stream that was made is what it was made of."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import VerificationFailed
from eiderd.outside import files
from eiderd.outside.nats_client import jetstream, layout, messages, prints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nats.aio.client import Client

_CONSUMERS_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.3
_REMOVED: Final = "messages that left it while it was packed, and are not in it: {}"
_FEWER: Final = "{} are not there: the official client takes them with --consumers only"
_COUNTED: Final = ("messages", "first_seq", "last_seq", "bytes")


async def await_consumers(client: Client, stored: layout.Stored) -> None:
    """Wait until the consumers are there, for a while: a cluster makes them after the stream."""
    ends = time.monotonic() + _CONSUMERS_SECONDS
    while True:
        names = await _consumers(client, stored.name)
        if not _lacking(stored, names) or time.monotonic() >= ends:
            return
        await asyncio.sleep(_PAUSE_SECONDS)


async def _consumers(client: Client, name: str) -> list[str]:
    return [str(one.get("name")) for one in await jetstream.consumers(client, name)]


def _lacking(stored: layout.Stored, names: Sequence[str]) -> str:
    """Return which consumers are not there, or that there are too few."""
    if stored.durables is not None:
        return ", ".join(name for name in stored.durables if name not in names)
    count = jetstream.number(stored.state.get("consumer_count"))
    return f"{count - len(names)} of {count} consumers" if len(names) < count else ""


async def look_at(client: Client, stored: layout.Stored, *, scratch: Path) -> dict[str, Any]:
    """Return what the stream is now. Raise VerificationFailed when it is not what it should be."""
    info = await jetstream.stream(client, stored.name)
    if info is None:
        raise _differs(stored.name, "it is not there")
    state, old = jetstream.part(info, "state"), stored.state
    now = {key: jetstream.number(state.get(key)) for key in _COUNTED}
    then = {key: jetstream.number(old.get(key)) for key in _COUNTED}
    # A snapshot may hold messages that came while it was taken, which its state does not count.
    if now["last_seq"] < then["last_seq"]:
        raise _differs(stored.name, f"it ends with {now['last_seq']}, not {then['last_seq']}")
    removed, expired = _gone(stored, then=then, now=now, config=jetstream.part(info, "config"))
    exact = all(now[key] == then[key] for key in ("messages", "first_seq", "last_seq"))
    is_snapshot = stored.method == layout.SNAPSHOT_METHOD
    if exact and is_snapshot and now["bytes"] != then["bytes"]:
        raise _differs(stored.name, f"it has {now['bytes']} bytes, not {then['bytes']}")
    if not is_snapshot:
        await _compare_with_file(client, stored, scratch=scratch)
    consumers = await _consumers(client, stored.name)
    lacking = _lacking(stored, consumers)
    if lacking and stored.durables is not None:
        raise _differs(stored.name, f"it has no consumer {lacking}")
    warnings = [_REMOVED.format(removed)] if removed else []
    warnings += [_FEWER.format(lacking)] if lacking else []
    return {**now, "stream": stored.name, "expired": expired, "consumers": consumers,
            "warnings": warnings, "method": stored.method}  # fmt: skip


def _gone(
    stored: layout.Stored, *, then: dict[str, int], now: dict[str, int], config: jetstream.Document
) -> tuple[int, int]:
    """Return how many messages left while the stream was packed, and how many were too old.

    Raise VerificationFailed when more than those are not there.
    """
    gone = max(0, then["messages"] - now["messages"])
    # The official client does not say how many left. Of a queue any may have been acknowledged.
    is_queue = stored.config.get("retention", "limits") != "limits"
    unknown = gone if is_queue else 0
    removed = unknown if stored.removed is None else min(gone, stored.removed)
    # Of age the first go first; a message that has a time of its own may go from anywhere.
    is_older = jetstream.number(config.get("max_age")) and now["first_seq"] > then["first_seq"]
    if gone > removed and not is_older and not config.get("allow_msg_ttl"):
        raise _differs(stored.name, f"it has {now['messages']} messages, not {then['messages']}")
    return removed, gone - removed


async def _compare_with_file(client: Client, stored: layout.Stored, *, scratch: Path) -> None:
    last = jetstream.number(stored.state.get("last_seq"))
    mine, theirs = scratch / "file", scratch / "server"
    with files.writing_to(scratch):
        with mine.open("xb") as file:
            for message in messages.stored(stored.data):
                file.write(prints.record(message))
        info = await jetstream.stream(client, stored.name) or {}
        await write_fingerprints(
            client,
            stored.name,
            state=jetstream.part(info, "state"),
            through=last,
            target=theirs,
            told=lambda _count: None,
        )
        with mine.open("rb") as one, theirs.open("rb") as other:
            compared = prints.compare(one, other, expired_before=0.0)
    if not compared.agree:
        raise _differs(stored.name, f"message {compared.first_wrong} is not as it was")


def _differs(name: str, how: str) -> VerificationFailed:
    return VerificationFailed(
        f"stream {name} is not what was restored: {how}",
        hint="It was left as it is, for you to look at: nats stream info",
    )


async def write_fingerprints(
    client: Client,
    stream: str,
    *,
    state: jetstream.Document,
    through: int,
    target: Path,
    told: Callable[[int], None],
) -> int:
    """Write a record of each message into a new file; return how many there are."""
    count = 0
    with files.writing_to(target.parent), target.open("xb") as file:
        async for message in messages.read(client, stream, state=state, through=through):
            file.write(prints.record(message))
            told(len(message.data))
            count += 1
    return count
