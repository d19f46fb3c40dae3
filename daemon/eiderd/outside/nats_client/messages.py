"""A stream message by message, by requests that leave nothing behind: no consumer, no trace.

For what gives no snapshot, and for comparing what two servers hold. Requests are sent many at a
time; where messages are missing in a row, the next one is asked for.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any, Final

from eiderd.broker.evidence import COUNTER
from eiderd.errors import BrokerUnavailable, VerificationFailed
from eiderd.outside import files
from eiderd.outside.nats_client import jetstream, layout, snapshots
from eiderd.outside.nats_client.jetstream import ApiRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg

_NO_MESSAGE: Final = 10037
_MOST_AT_ONCE: Final = 256
_MOST_BYTES_AT_ONCE: Final = 4 << 20
_MOST_PENDING: Final = 64 << 20
_LONGEST_LINE: Final = 128 << 20
# Of the publishing of a message, and read by nobody afterwards: its conditions would not hold
# again, and the batch that it came in is not sent again. They are left out when a message is
# published once more, and when two are compared.
_OF_PUBLISHING: Final = (b"nats-expected-", b"nats-batch-")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a stream. `time` as the server says it, `headers` as they travel."""

    sequence: int
    time: str
    subject: str
    headers: bytes
    data: bytes


async def take(
    client: Client,
    name: str,
    folder: Path,
    *,
    info: jetstream.Document,
    most_bytes: int,
    told: Callable[[int], None],
) -> dict[str, Any]:
    """Write the messages of a stream and its description into `folder`; return the latter.

    Raise BrokerUnavailable, ApiRefused, NoSpace.
    """
    config = jetstream.part(info, "config")
    if config.get("allow_msg_counter"):
        raise BrokerUnavailable(COUNTER, how="answer")
    # How far the consumers are comes first: what is acknowledged from here on is delivered once
    # more after a restore, which loses nothing.
    consumers = await jetstream.consumers(client, name)
    state = jetstream.part(info, "state")
    first, last = jetstream.number(state.get("first_seq")), jetstream.number(state.get("last_seq"))
    count = written = earliest = 0
    with files.writing_to(folder):
        descriptor = os.open(
            folder / layout.MESSAGES, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, files.PRIVATE_FILE
        )
    with os.fdopen(descriptor, "wb") as file:
        async for message in read(client, name, state=state, through=last):
            line = _line(message)
            written += len(line)
            if written > most_bytes:
                raise snapshots.no_space(name, folder)
            with files.writing_to(folder):
                file.write(line)
            count, earliest = count + 1, earliest or message.sequence
            told(len(message.data))
    # What was removed meanwhile is not in it: the state is that of what was written.
    seen = {**state, "messages": count, "first_seq": earliest or last + 1 if count else first}
    layout.describe(
        folder,
        config=config,
        state=seen,
        removed=0,
        durables=layout.durables(consumers),
        consumers=consumers,
    )
    return {"config": config, "state": seen}


async def read(
    client: Client, name: str, *, state: jetstream.Document, through: int
) -> AsyncIterator[Message]:
    """Yield the messages of a stream in sequence. Those removed meanwhile are not among them.

    Raise BrokerUnavailable at the end when the server could not read all that it has.
    """
    count = 0
    async for message in _read(client, name, state=state, through=through):
        count += 1
        yield message
    # Of a record that is damaged a server says that there is no such message, and counts it.
    now = jetstream.part(await jetstream.stream(client, name) or {}, "state")
    later = max(0, jetstream.number(now.get("last_seq")) - through)
    unread = jetstream.number(now.get("messages")) - later - count
    if unread > 0:
        raise BrokerUnavailable(
            f"the server cannot read {unread} of the messages of stream {name}",
            hint="See the log of nats-server.",
            how="answer",
        )


async def _read(
    client: Client, name: str, *, state: jetstream.Document, through: int
) -> AsyncIterator[Message]:
    if not jetstream.number(state.get("messages")):
        return
    sequence = jetstream.number(state.get("first_seq"))
    mean = jetstream.number(state.get("bytes")) // max(1, jetstream.number(state.get("messages")))
    window = max(1, min(_MOST_AT_ONCE, _MOST_BYTES_AT_ONCE // max(1, mean)))
    while sequence <= through:
        wanted = range(sequence, min(sequence + window, through + 1))
        found = await _ask_many(client, name, wanted)
        for message in found:
            yield message
        sequence = wanted.stop
        if not found:  # a gap, which may be a long one
            following = await _next_from(client, name, sequence)
            if following is None:
                return
            sequence = following


async def _ask_many(client: Client, name: str, wanted: range) -> list[Message]:
    """Return those of the wanted messages that are there."""
    inbox = client.new_inbox()
    answers = await client.subscribe(f"{inbox}.*", pending_bytes_limit=_MOST_PENDING)
    found: dict[int, Message] = {}
    asked = set(wanted)
    try:
        for sequence in wanted:
            order = b'{"seq":%d}' % sequence
            await client.publish(f"$JS.API.STREAM.MSG.GET.{name}", order, f"{inbox}.{sequence}")
        while asked:
            message: Msg = await answers.next_msg(timeout=jetstream.PATIENCE_SECONDS)
            sequence = int(message.subject.rpartition(".")[2])
            asked.discard(sequence)
            if one := _message(message.data):
                found[sequence] = one
    except TimeoutError:  # large ones may have been dropped on the way: one at a time, then
        for sequence in sorted(asked):
            if one := await _ask_one(client, name, {"seq": sequence}):
                found[sequence] = one
    finally:
        await answers.unsubscribe()
    return [found[sequence] for sequence in sorted(found)]


async def _next_from(client: Client, name: str, sequence: int) -> int | None:
    """Return the number of the first message from there on, if there is one."""
    message = await _ask_one(client, name, {"seq": sequence, "next_by_subj": ">"})
    return message.sequence if message else None


async def _ask_one(client: Client, name: str, order: jetstream.Document) -> Message | None:
    try:
        said = await jetstream.api(client, f"STREAM.MSG.GET.{name}", order)
    except ApiRefused as error:
        if error.code == _NO_MESSAGE:
            return None
        raise
    return _of(jetstream.part(said, "message"))


def _message(data: bytes) -> Message | None:
    try:
        said = jetstream.answer(data)
    except ApiRefused as error:
        if error.code == _NO_MESSAGE:
            return None
        raise
    return _of(jetstream.part(said, "message"))


def _of(said: jetstream.Document) -> Message:
    try:
        return Message(
            sequence=int(said["seq"]),
            time=str(said.get("time", "")),
            subject=str(said["subject"]),
            headers=base64.b64decode(said.get("hdrs") or "", validate=True),
            data=base64.b64decode(said.get("data") or "", validate=True),
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise BrokerUnavailable(
            "JetStream sends a message that is none", hint="eider nats status", how="answer"
        ) from error


# As a file --------------------------------------------------------------------------------------


def _line(message: Message) -> bytes:
    document = {
        "seq": message.sequence,
        "time": message.time,
        "subject": message.subject,
        "hdrs": base64.b64encode(message.headers).decode(),
        "data": base64.b64encode(message.data).decode(),
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def stored(path: Path) -> Iterator[Message]:
    """Yield the messages of a file, each later than the one before. Raise VerificationFailed."""
    last = 0
    with files.reading_own(path), path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            try:
                message = _of(json.loads(line))
            except (ValueError, RecursionError, BrokerUnavailable, AttributeError) as error:
                raise _damaged(path, last) from error
            if message.sequence <= last or not is_subject(message.subject):
                raise _damaged(path, last)
            last = message.sequence
            yield message


def is_subject(text: str) -> bool:
    """Whether it may be published to: what is sent to the server holds it as it stands."""
    return all(text.split(".")) and text.isprintable() and not set(text) & set(" *>")


def _damaged(path: Path, last: int) -> VerificationFailed:
    return VerificationFailed(
        f"{path} is damaged after message {last}", hint="Restore from another backup: eider list"
    )


# Headers ----------------------------------------------------------------------------------------


def without_publishing(headers: bytes) -> bytes:
    """Return headers without those that were only for the publishing of the message."""
    if not any(one in headers.lower() for one in _OF_PUBLISHING):
        return headers
    first, *rest = headers.split(b"\r\n")
    kept = [line for line in rest if line and not line.lower().startswith(_OF_PUBLISHING)]
    return b"\r\n".join([first, *kept, b"", b""]) if kept else b""


def header(headers: bytes, name: bytes) -> bytes:
    """Return the value of a header, empty if there is none."""
    for line in headers.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return b""
