"""The numbers of a stream that was made of a snapshot, brought past those its consumers know.

A server before 2.15 packs the consumers last: what came while it packed is not in the snapshot, and
a consumer may have had it. The stream would give those numbers away again, and such a consumer
would take the new messages for those that it had, and never deliver them. So they are used up;
where they cannot be, the consumer is made anew: what was acknowledged out of order comes once more.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Final

import nats.errors

from eiderd.broker.evidence import OWN
from eiderd.errors import BrokerUnavailable, EiderError
from eiderd.outside.nats_client import consumers, jetstream

if TYPE_CHECKING:
    from nats.aio.client import Client

_MOST: Final = 1_000_000


async def pass_consumers(client: Client, name: str) -> None:
    """Let no consumer be ahead of its stream, if there is one.

    Raise ApiRefused, BrokerUnavailable.
    """
    info = await jetstream.stream(client, name)
    if info is None:
        return
    config, state = jetstream.part(info, "config"), jetstream.part(info, "state")
    last = jetstream.number(state.get("last_seq"))
    found = [one for one in await jetstream.consumers(client, name) if _delivered(one) > last]
    if not found or config.get("mirror"):  # which gets its numbers from elsewhere
        return
    ahead = max(map(_delivered, found))
    if config.get("deny_purge") or ahead - last > _MOST:  # it cannot be filled and emptied
        async with consumers.held(client, name, config):
            for one in found:
                wanted = consumers.resumed(one, stream=config, through=last)
                await consumers.delete(client, name, wanted["name"])
                await consumers.create(client, name, wanted)
        return
    await _use_up(client, name, config, number=last, ahead=ahead)


async def _use_up(
    client: Client, name: str, config: jetstream.Document, *, number: int, ahead: int
) -> None:
    """Give away the numbers behind `number` up to `ahead`, to messages that are removed again."""
    subject = f"{OWN}.{uuid.uuid4().hex}"
    subjects = [*(config.get("subjects") or ()), subject]
    opened = {**config, **jetstream.RELAXED, "subjects": subjects}
    await jetstream.api(client, f"STREAM.UPDATE.{name}", opened)
    try:
        while number < ahead:
            number = await _published(client, subject)
        await jetstream.api(client, f"STREAM.PURGE.{name}", {"filter": subject})
    except BaseException:
        with contextlib.suppress(EiderError):
            await jetstream.api(client, f"STREAM.UPDATE.{name}", config)
        raise
    await jetstream.api(client, f"STREAM.UPDATE.{name}", config)


def _delivered(consumer: jetstream.Document) -> int:
    return jetstream.number(jetstream.part(consumer, "delivered").get("stream_seq"))


async def _published(client: Client, subject: str) -> int:
    """Publish what is removed again; return the number that it got."""
    try:
        answer = await client.request(subject, b"", timeout=jetstream.PATIENCE_SECONDS)
    except (TimeoutError, nats.errors.NoRespondersError) as error:
        raise BrokerUnavailable(
            "JetStream does not confirm a message", hint="eider nats status", how="timeout"
        ) from error
    return jetstream.number(jetstream.answer(answer.data).get("seq"))
