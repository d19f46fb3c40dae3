"""A stream through JetStream's snapshot API: into a folder, and back from one.

The server sends its own files, packed, in chunks; each is acknowledged, and it stops within seconds
when nobody does: whatever becomes of this process, nothing stays there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from eiderd.errors import BrokerUnavailable, ConfigError, NoSpace, VerificationFailed
from eiderd.outside import files
from eiderd.outside.nats_client import jetstream, layout, s2
from eiderd.outside.nats_client.jetstream import ApiRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg

_CHUNK: Final = 128 << 10
_MOST_PENDING: Final = 64 << 20  # bytes; the server's window is 8 MiB
_SILENCE_SECONDS: Final = 10.0
_RESTORE_SECONDS: Final = 3600.0  # the server unpacks and reads all of it before it answers
_ARRIVING: Final = "arriving"
_DONE: Final = "204"
_SINCE_2_15: Final = (2, 15)
_TRIES: Final = 3
_PAUSE_SECONDS: Final = 3.0  # after which a server has noticed that nobody takes a snapshot
_IN_PROGRESS: Final = "in progress"


class Refused(Exception):
    """The server gives no snapshot of it. It may still be read message by message."""


async def take(
    client: Client, name: str, folder: Path, *, most_bytes: int, told: Callable[[int], None]
) -> dict[str, Any]:
    """Write the snapshot of a stream and its description into `folder`; return the latter.

    Raise Refused, BrokerUnavailable, NoSpace.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            return await _take(client, name, folder, most_bytes=most_bytes, told=told)
        except ApiRefused as error:
            # One that was killed in the middle is still being sent, to nobody, for a moment.
            if _IN_PROGRESS not in error.message or not tries_left:
                raise Refused(error.message) from error
            await asyncio.sleep(_PAUSE_SECONDS)
    raise AssertionError("the last try raises or returns")


async def _take(
    client: Client, name: str, folder: Path, *, most_bytes: int, told: Callable[[int], None]
) -> dict[str, Any]:
    durables = await _durables(client, name)
    inbox = client.new_inbox()
    chunks = await client.subscribe(inbox, pending_bytes_limit=_MOST_PENDING)
    try:
        said = await jetstream.api(
            client,
            f"STREAM.SNAPSHOT.{name}",
            {"deliver_subject": inbox, "no_consumers": False, "chunk_size": _CHUNK},
            patience=_SILENCE_SECONDS,
        )
        config, state = jetstream.part(said, "config"), jetstream.part(said, "state")
        with files.writing_to(folder):
            descriptor = os.open(
                folder / _ARRIVING, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, files.PRIVATE_FILE
            )
        with os.fdopen(descriptor, "wb") as file:
            while (chunk := await _next(chunks)).data:
                if file.tell() + len(chunk.data) > most_bytes:
                    raise no_space(name, folder)
                with files.writing_to(folder):
                    file.write(chunk.data)
                if chunk.reply:
                    await client.publish(chunk.reply, b"")
                told(len(chunk.data))
            _refuse_broken(chunk, file.tell())
    finally:
        # Where the connection is lost, the subscription is, too.
        with contextlib.suppress(nats.errors.Error, OSError):
            await chunks.unsubscribe()
    name_of_data = layout.SNAPSHOT
    if s2.is_archive(folder / _ARRIVING):
        name_of_data = layout.SNAPSHOT_SINCE_2_15
    with files.writing_to(folder):
        (folder / _ARRIVING).rename(folder / name_of_data)
    now = jetstream.part(await jetstream.stream(client, name) or said, "state")
    removed = _removed(state, now)
    layout.describe(folder, config=config, state=state, removed=removed, durables=durables)
    return {"config": config, "state": state}


async def _durables(client: Client, name: str) -> list[str] | None:
    """Return the consumers that must come back, if all are known: the snapshot has them anyway."""
    try:
        return layout.durables(await jetstream.consumers(client, name))
    except BrokerUnavailable:
        return None


def _removed(then: jetstream.Document, now: jetstream.Document) -> int:
    """Return how many messages may have left a stream between two of its states.

    What was acknowledged, or made room, before the server came to it is not in the snapshot, and
    is counted in its state, which is that of the beginning.
    """
    messages, last = (
        [jetstream.number(state.get(key)) for state in (then, now)]
        for key in ("messages", "last_seq")
    )
    return max(0, messages[0] + (last[1] - last[0]) - messages[1])


def no_space(name: str, folder: Path) -> NoSpace:
    return NoSpace(
        f"stream {name} does not fit into {folder} beside the reserve",
        hint=f"Free some space: df -h {folder}",
    )


async def _next(chunks: Any) -> Msg:  # noqa: ANN401  (a subscription)
    try:
        return await chunks.next_msg(timeout=_SILENCE_SECONDS)  # type: ignore[no-any-return]
    except TimeoutError as error:
        raise BrokerUnavailable(
            f"NATS sent nothing of a snapshot for {_SILENCE_SECONDS:g} s",
            hint="See how it is: eider nats status",
            how="timeout",
        ) from error


def _refuse_broken(last: Msg, count: int) -> None:
    """The last message says in its head how it ended; nothing, when there was a single chunk."""
    headers = last.headers or {}
    status = headers.get("Status", "")
    if status not in {_DONE, ""} or not count:
        said = f"{status} {headers.get('Description', '')}".strip() or "nothing was sent"
        raise Refused(f"the server did not send all of the snapshot: {said}")


# Back -------------------------------------------------------------------------------------------


async def put_back(
    client: Client, stored: layout.Stored, *, config: dict[str, Any], told: Callable[[int], None]
) -> None:
    """Let the server make a stream of a snapshot, with `config` (the name must be the same).

    Raise ApiRefused, BrokerUnavailable, VerificationFailed. A server that gets no more chunks
    forgets within seconds what it has.
    """
    if s2.is_archive(stored.data) and _version(client) < _SINCE_2_15:
        raise ConfigError(
            f"the backup of stream {stored.name} is of nats-server 2.15 or newer, and this is "
            f"{client.connected_server_version}",
            hint="Restore it on one that is as new, and go on from there: eider nats migrate",
        )
    order = {"config": config, "state": stored.state}
    said = await jetstream.api(
        client, f"STREAM.RESTORE.{stored.name}", order, patience=_SILENCE_SECONDS
    )
    subject = said.get("deliver_subject")
    if not isinstance(subject, str) or not subject.startswith("$JS."):
        raise ApiRefused("JetStream does not say where it wants the snapshot", hint="", code=0)
    chunk_bytes = min(_CHUNK, client.max_payload)
    with files.reading_own(stored.data), stored.data.open("rb") as file:
        while chunk := file.read(chunk_bytes):
            answer = await _sent(client, subject, chunk, seconds=_SILENCE_SECONDS)
            if answer:
                jetstream_said = _said(answer)
                raise VerificationFailed(
                    f"the server did not take the snapshot: {jetstream_said}",
                    hint="See the log of nats-server.",
                )
            told(len(chunk))
    jetstream.answer(await _sent(client, subject, b"", seconds=_RESTORE_SECONDS))


def _version(client: Client) -> tuple[int, int]:
    version = client.connected_server_version
    return version.major, version.minor


async def _sent(client: Client, subject: str, data: bytes, *, seconds: float) -> bytes:
    try:
        return bytes((await client.request(subject, data, timeout=seconds)).data)
    except nats.errors.NoRespondersError as error:
        raise BrokerUnavailable(
            "the server no longer takes the snapshot", hint="See its log.", how="lost"
        ) from error
    except TimeoutError as error:
        raise BrokerUnavailable(
            f"NATS did not answer within {seconds:g} s while it took a snapshot",
            hint="See how it is: eider nats status",
            how="timeout",
        ) from error


def _said(answer: bytes) -> str:
    try:
        error = json.loads(answer)["error"]["description"]
    except (ValueError, KeyError, TypeError, RecursionError):
        error = answer[:200].decode("utf-8", "replace")
    return str(error)[:200]
