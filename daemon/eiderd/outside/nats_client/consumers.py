"""A consumer made anew, so that it goes on where another one of its name was."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from eiderd.outside.nats_client import jetstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from nats.aio.client import Client

_HOLD: Final = "_eiderd-hold"


async def create(client: Client, stream: str, config: Mapping[str, Any]) -> None:
    """Create a consumer. Raise ApiRefused, BrokerUnavailable."""
    order = {
        "stream_name": stream,
        "config": {"ack_policy": "explicit", **config},
        "action": "create",
    }
    await jetstream.api(client, f"CONSUMER.CREATE.{stream}.{config['name']}", order)


async def delete(client: Client, stream: str, name: str) -> None:
    await jetstream.api(client, f"CONSUMER.DELETE.{stream}.{name}")


@contextlib.asynccontextmanager
async def held(client: Client, stream: str, config: Mapping[str, Any]) -> AsyncIterator[None]:
    """Let a stream keep meanwhile what none of its consumers wants: one may not be there yet."""
    if config.get("retention") != "interest":
        yield
        return
    await create(client, stream, {"name": _HOLD, "durable_name": _HOLD})
    try:
        yield
    finally:
        await delete(client, stream, _HOLD)


def resumed(
    consumer: jetstream.Document, *, stream: Mapping[str, Any], through: int
) -> dict[str, Any]:
    """Return the configuration of a consumer that goes on where the given one was.

    `stream` is the configuration of a stream that ends with the message `through`. Whatever the
    consumer knows of later ones is forgotten: others will have their numbers.
    """
    config = dict(jetstream.part(consumer, "config"))
    config["name"] = str(consumer.get("name") or config.get("name") or config.get("durable_name"))
    if replicas := jetstream.number(config.get("num_replicas")):  # never more than its stream has
        config["num_replicas"] = min(replicas, jetstream.number(stream.get("num_replicas")) or 1)
    if stream.get("retention") == "workqueue":  # what was acknowledged is not in the stream
        return config
    floor = jetstream.number(jetstream.part(consumer, "ack_floor").get("stream_seq"))
    if floor or config.get("deliver_policy") != "all":
        config.pop("opt_start_time", None)
        config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": min(floor, through) + 1}
    return config
