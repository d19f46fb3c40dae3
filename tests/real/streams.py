"""Streams for the tests: made, filled and read with nats-py, one connection each time."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any, TypeVar

import nats
import nats.js.errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client

    from tests.helpers import Place

Answer = TypeVar("Answer")
NAME = "EVENTS"


def talk(url: str, what: Callable[[Client], Awaitable[Answer]]) -> Answer:
    """Connect, do it, close."""

    async def talking() -> Answer:
        client = await nats.connect(url, connect_timeout=10)
        try:
            return await what(client)
        finally:
            await client.close()

    return asyncio.run(talking())


async def api(client: Client, subject: str, order: dict[str, Any] | None = None) -> dict[str, Any]:
    body = b"" if order is None else json.dumps(order).encode()
    said: dict[str, Any] = json.loads((await client.request(f"$JS.API.{subject}", body, 10)).data)
    assert "error" not in said, said
    return said


def create(url: str, name: str = NAME, *, consumer: str = "worker", **config: Any) -> None:
    """Make a stream with one durable consumer, which is pulled from."""

    async def creating(client: Client) -> None:
        wanted = {
            "name": name,
            "subjects": [f"{name.lower()}.>"],
            "storage": "file",
            "retention": "limits",
            "allow_direct": True,
            **config,
        }
        await api(client, f"STREAM.CREATE.{name}", wanted)
        if consumer:
            order = {"durable_name": consumer, "name": consumer, "ack_policy": "explicit"}
            subject = f"CONSUMER.CREATE.{name}.{consumer}"
            await api(client, subject, {"stream_name": name, "config": order})

    talk(url, creating)


def publish(
    url: str, count: int, name: str = NAME, *, first: int = 1, size: int = 100, noise: bool = False
) -> None:
    """Publish messages with headers; each has its number in its bytes. `noise` packs badly."""

    def data(number: int) -> bytes:
        rest = random.Random(number).randbytes(size) if noise else b"." * size
        return (f"{number}:".encode() + rest)[:size]

    async def publishing(client: Client) -> None:
        js = client.jetstream()
        for begin in range(first, first + count, 200):
            await asyncio.gather(
                *(
                    js.publish(
                        f"{name.lower()}.kind{number % 3}",
                        data(number),
                        headers={"Nats-Msg-Id": f"id-{number}", "x-kind": f"  odd {number} "},
                    )
                    for number in range(begin, min(begin + 200, first + count))
                )
            )

    talk(url, publishing)


def acknowledge(url: str, count: int, name: str = NAME, *, consumer: str = "worker") -> None:
    async def acknowledging(client: Client) -> None:
        subscription = await client.jetstream().pull_subscribe_bind(consumer, name)
        for message in await subscription.fetch(count, timeout=10):
            await message.ack_sync()

    talk(url, acknowledging)


def remove(url: str, *numbers: int, name: str = NAME) -> None:
    async def removing(client: Client) -> None:
        for number in numbers:
            await api(client, f"STREAM.MSG.DELETE.{name}", {"seq": number})

    talk(url, removing)


def drop(url: str, name: str = NAME) -> None:
    talk(url, lambda client: api(client, f"STREAM.DELETE.{name}"))


def info(url: str, name: str = NAME) -> dict[str, Any]:
    return talk(url, lambda client: api(client, f"STREAM.INFO.{name}"))


def names(url: str) -> list[str]:
    return talk(url, lambda client: api(client, "STREAM.NAMES")).get("streams") or []


def consumer(url: str, name: str = NAME, *, of: str = "worker") -> dict[str, Any]:
    return talk(url, lambda client: api(client, f"CONSUMER.INFO.{name}.{of}"))


def everything(url: str, name: str = NAME) -> dict[int, tuple[str, str, str]]:
    """Return subject, headers and data of each message, the latter as JetStream encodes them."""

    async def reading(client: Client) -> dict[int, tuple[str, str, str]]:
        state = (await api(client, f"STREAM.INFO.{name}"))["state"]
        found = {}
        for number in range(state["first_seq"], state["last_seq"] + 1):
            body = json.dumps({"seq": number}).encode()
            answer = await client.request(f"$JS.API.STREAM.MSG.GET.{name}", body, 10)
            if one := json.loads(answer.data).get("message"):
                found[number] = (one["subject"], one.get("hdrs", ""), one.get("data", ""))
        return found

    return talk(url, reading)


def configure(place: Place, url: str, *streams: str, **more: object) -> Place:
    """Let a place's backups have streams."""
    return place.configure(nats__url=url, nats__backup=list(streams or (NAME,)), **more)
