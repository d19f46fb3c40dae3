"""A stream made anew of its messages, for what has no snapshot: in memory, or from another kind.

Nobody else can write into it meanwhile, nor sees what is published: it listens to a subject of its
own, and the server stores each message under its own subject. Numbers stay the same: where some are
missing, fillers are published and removed. Time stamps are new. A consumer begins after the last
message that was acknowledged in a row: what was acknowledged out of order is delivered once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from nats.protocol import command

from eiderd.broker.evidence import OWN
from eiderd.errors import BrokerUnavailable, EiderError, VerificationFailed
from eiderd.outside.nats_client import consumers, jetstream, messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client

    from eiderd.outside.nats_client.layout import Stored
    from eiderd.outside.nats_client.messages import Message

_MOST_AT_ONCE: Final = 256
_MOST_BYTES_AT_ONCE: Final = 4 << 20
_SMALLEST_WINDOW_NS: Final = 100_000_000  # for duplicates: the least that a server takes
_WINDOW_SECONDS: Final = 0.3
_MOST_FILLERS: Final = 20_000_000
_MESSAGE_ID: Final = b"Nats-Msg-Id"
# Of the stream's configuration while it is filled: nothing of it may be removed meanwhile.
_RELAXED: Final[dict[str, Any]] = {
    **jetstream.RELAXED,
    "deny_delete": False,
    "deny_purge": False,
    "duplicate_window": _SMALLEST_WINDOW_NS,
    "sealed": False,
    "no_ack": False,
}
# Of it only when it is done: sources would bring other messages, a republish would tell others.
_LATER: Final = ("subjects", "sources", "mirror", "republish", "subject_transform")


async def put_back(
    client: Client, stored: Stored, *, config: dict[str, Any], told: Callable[[int], None]
) -> None:
    """Make the stream of `stored`, with `config`. One that could not be finished is removed.

    Raise ApiRefused, BrokerUnavailable, VerificationFailed.
    """
    name = stored.name
    own = f"{OWN}.{uuid.uuid4().hex}"
    first = jetstream.number(stored.state.get("first_seq")) or 1
    last = jetstream.number(stored.state.get("last_seq"))
    await jetstream.api(client, f"STREAM.CREATE.{name}", _opened(config, own=own, first=first))
    try:
        async with consumers.held(client, name, config):
            filling = _Filling(client, own=own, first=first, told=told)
            for message in messages.stored(stored.data):
                await filling.add(message)
            await filling.finish(through=last)
            if filling.fillers:
                await jetstream.api(client, f"STREAM.PURGE.{name}", {"filter": filling.filler})
            for consumer in stored.consumers:
                wanted = consumers.resumed(consumer, stream=config, through=last)
                await consumers.create(client, name, wanted)
            await jetstream.api(client, f"STREAM.UPDATE.{name}", _closed(config))
    except BaseException:
        # Where that fails as well, the next restore knows by its subjects what it is.
        with contextlib.suppress(EiderError):
            await jetstream.delete(client, name)
        raise


def _opened(config: dict[str, Any], *, own: str, first: int) -> dict[str, Any]:
    """Return the configuration under which a stream is filled."""
    kept = {key: value for key, value in config.items() if key not in _LATER}
    transform = {"src": f"{own}.>", "dest": ">"}
    return {
        **kept,
        **_RELAXED,
        "subjects": [f"{own}.>"],
        "subject_transform": transform,
        "first_seq": first,
    }


def _closed(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "first_seq"}


class _Filling:
    """Publishes messages so that each gets the number that it had."""

    def __init__(
        self, client: Client, *, own: str, first: int, told: Callable[[int], None]
    ) -> None:
        self._client = client
        self._own = own
        self._told = told
        self._next = first
        self._batch: list[tuple[int, bytes]] = []
        self._bytes = 0
        self._ids: dict[bytes, float] = {}
        self.filler = f"filler-{uuid.uuid4().hex}"
        self.fillers = 0

    async def add(self, message: Message) -> None:
        await self._fill(message.sequence)
        await self._keep_apart(message)
        subject = f"{self._own}.{message.subject}"
        headers = messages.without_publishing(message.headers)
        await self._put(subject, headers, message.data)
        self._told(len(message.data))

    async def finish(self, *, through: int) -> None:
        await self._fill(through + 1)
        await self._send()

    async def _fill(self, before: int) -> None:
        while self._next < before:
            self.fillers += 1
            if self.fillers > _MOST_FILLERS:
                raise VerificationFailed(
                    "more numbers are missing among its messages than can be filled in",
                    hint="Report this, with the state of the stream.",
                )
            await self._put(f"{self._own}.{self.filler}", b"", b"")

    async def _keep_apart(self, message: Message) -> None:
        """Two of one id are one to the server, within a moment: later they were two."""
        id_ = messages.header(message.headers, _MESSAGE_ID)
        if not id_:
            return
        if id_ in self._ids:
            await self._send()
            await asyncio.sleep(_WINDOW_SECONDS)
            self._ids.clear()
        self._ids[id_] = now = time.monotonic()
        if len(self._ids) > 4 * _MOST_AT_ONCE:
            self._ids = {known: at for known, at in self._ids.items() if now - at < _WINDOW_SECONDS}

    async def _put(self, subject: str, headers: bytes, data: bytes) -> None:
        self._batch.append((self._next, _framed(subject, headers, data)))
        self._next += 1
        self._bytes += len(data) + len(headers)
        if len(self._batch) >= _MOST_AT_ONCE or self._bytes >= _MOST_BYTES_AT_ONCE:
            await self._send()

    async def _send(self) -> None:
        batch, self._batch, self._bytes = self._batch, [], 0
        if not batch:
            return
        inbox = self._client.new_inbox()
        answers = await self._client.subscribe(f"{inbox}.*")
        try:
            for number, framed in batch:
                # As bytes: nats-py would sort out the headers, and these must stay as they were.
                reply = f"{inbox}.{number}".encode()
                await self._client._send_command(framed.replace(_REPLY, reply, 1))  # noqa: SLF001
            await self._client.flush()
            for _ in batch:
                answer = await answers.next_msg(timeout=jetstream.PATIENCE_SECONDS)
                _refuse_wrong(answer.data, wanted=int(answer.subject.rpartition(".")[2]))
        except TimeoutError as error:
            raise BrokerUnavailable(
                "NATS does not confirm the messages", hint="eider nats status", how="timeout"
            ) from error
        finally:
            await answers.unsubscribe()


_REPLY: Final = b"\0reply\0"


def _framed(subject: str, headers: bytes, data: bytes) -> bytes:
    reply = _REPLY.decode()
    if headers:
        return bytes(command.hpub_cmd(subject, reply, headers, data))
    return bytes(command.pub_cmd(subject, reply, data))


def _refuse_wrong(answer: bytes, *, wanted: int) -> None:
    said = jetstream.answer(answer)
    if said.get("seq") != wanted or said.get("duplicate"):
        raise VerificationFailed(
            f"message {wanted} became {json.dumps(said)[:100]}: the stream cannot be made anew",
            hint="Report this, with the configuration of the stream.",
        )
