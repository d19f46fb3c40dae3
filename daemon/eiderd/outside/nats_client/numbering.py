"""The numbers of a stream that was made of a snapshot, brought past those its consumers know.

A server before 2.15 packs the consumers last: what came while it packed is not in the snapshot, and
a consumer may have had it. The stream would give those numbers away again, and such a consumer
would take the new messages for those that it had, and never deliver them.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Final

import nats.errors

from eiderd.broker.evidence import OWN
from eiderd.errors import BrokerUnavailable, EiderError
from eiderd.outside.nats_client import jetstream

if TYPE_CHECKING:
    from nats.aio.client import Client

_MOST: Final = 1_000_000


async def pass_consumers(client: Client, name: str) -> int:
    """Use up the numbers that a consumer is ahead of its stream; return how many.

    Raise ApiRefused, BrokerUnavailable.
    """
    info = await jetstream.stream(client, name) or {}
    config, state = jetstream.part(info, "config"), jetstream.part(info, "state")
    last = jetstream.number(state.get("last_seq"))
    ahead = max(map(_delivered, await jetstream.consumers(client, name)), default=0)
    # A mirror gets its numbers from elsewhere; what may not be purged cannot be filled and emptied.
    if not 0 < ahead - last <= _MOST or config.get("mirror") or config.get("deny_purge"):
        return 0
    subject = f"{OWN}.{uuid.uuid4().hex}"
    subjects = [*(config.get("subjects") or ()), subject]
    opened = {**config, **jetstream.RELAXED, "subjects": subjects}
    await jetstream.api(client, f"STREAM.UPDATE.{name}", opened)
    try:
        number = last
        while number < ahead:
            number = await _use_up(client, subject)
        await jetstream.api(client, f"STREAM.PURGE.{name}", {"filter": subject})
    except BaseException:
        with contextlib.suppress(EiderError):
            await jetstream.api(client, f"STREAM.UPDATE.{name}", config)
        raise
    await jetstream.api(client, f"STREAM.UPDATE.{name}", config)
    return ahead - last


def _delivered(consumer: jetstream.Document) -> int:
    return jetstream.number(jetstream.part(consumer, "delivered").get("stream_seq"))


async def _use_up(client: Client, subject: str) -> int:
    """Publish what is removed again; return the number that it got."""
    try:
        answer = await client.request(subject, b"", timeout=jetstream.PATIENCE_SECONDS)
    except (TimeoutError, nats.errors.NoRespondersError) as error:
        raise BrokerUnavailable(
            "JetStream does not confirm a message", hint="eider nats status", how="timeout"
        ) from error
    return jetstream.number(jetstream.answer(answer.data).get("seq"))
