"""What the watcher asks of JetStream, and the creation and change of streams and consumers.

The requests are those of the JetStream API, in JSON, as nats-py's own classes drop what a newer
server says and fill in what nobody said: neither will do for comparing field by field.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import nats.errors

from eiderd.broker.evidence import (
    AccountSeen,
    ClusterSeen,
    Config,
    ConsumerSeen,
    JetStream,
    NatsSeen,
    ReplicaSeen,
    StreamSeen,
)
from eiderd.outside.nats_client import connection, jetstream
from eiderd.outside.nats_client.jetstream import ApiRefused, Document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping

    from nats.aio.client import Client

    from eiderd.outside.nats_client.connection import Server


Patience: TypeAlias = Callable[[], float]  # how many seconds a request may take that begins now

_NOT_FOUND: Final = {10059, 10014}  # a stream, a consumer
_OFF: Final = {10039, 10076}  # not enabled for the account, not enabled
_SHARE: Final = 0.4  # of the time that is left, for one request of a look


def look(
    server: Server, expected: Mapping[str, Iterable[str]], *, timeout_seconds: float
) -> NatsSeen:
    """Return how NATS is, and the expected streams with their expected consumers.

    Raise BrokerUnavailable when no server takes the connection; whatever JetStream does not answer
    is in what is returned.
    """
    ends = time.monotonic() + timeout_seconds

    def patience() -> float:
        """Leave time for a second request after one that nobody answers, and to say so."""
        return max(0.0, ends - time.monotonic()) * _SHARE

    async def question(client: Client) -> NatsSeen:
        return await _look(client, expected, patience=patience)

    return connection.ask(server, question, timeout_seconds=timeout_seconds)


def create_stream(server: Server, name: str, config: Config, *, timeout_seconds: float) -> None:
    """Create a stream. One of that name that is different is an error, not changed."""
    order = {**config, "name": name}
    _do(server, f"STREAM.CREATE.{name}", order, timeout_seconds=timeout_seconds)


def change_stream(server: Server, name: str, config: Config, *, timeout_seconds: float) -> None:
    """Set some fields of a stream, leaving the others as they are."""

    async def question(client: Client) -> None:
        now = await jetstream.request(client, f"STREAM.INFO.{name}", patience=timeout_seconds)
        order = {**now["config"], **config}
        await jetstream.request(client, f"STREAM.UPDATE.{name}", order, patience=timeout_seconds)

    connection.ask(server, question, timeout_seconds=timeout_seconds)


def create_consumer(
    server: Server, stream: str, name: str, config: Config, *, timeout_seconds: float
) -> None:
    """Create a durable consumer, at a subject of its own when it is one that is pushed to."""

    async def question(client: Client) -> None:
        whole = {"ack_policy": "explicit", **config, "durable_name": name, "name": name}
        if "deliver_group" in whole and "deliver_subject" not in whole:
            whole["deliver_subject"] = client.new_inbox()
        order = {"stream_name": stream, "config": whole, "action": "create"}
        await jetstream.request(
            client, f"CONSUMER.CREATE.{stream}.{name}", order, patience=timeout_seconds
        )

    connection.ask(server, question, timeout_seconds=timeout_seconds)


def change_consumer(
    server: Server, stream: str, name: str, config: Config, *, timeout_seconds: float
) -> None:
    """Set some fields of a consumer, leaving the others as they are."""

    async def question(client: Client) -> None:
        now = await jetstream.request(
            client, f"CONSUMER.INFO.{stream}.{name}", patience=timeout_seconds
        )
        before = dict(now["config"])
        if "filter_subject" in config or "filter_subjects" in config:
            before.pop("filter_subject", None)
            before.pop("filter_subjects", None)
        order = {"stream_name": stream, "config": {**before, **config}, "action": "update"}
        await jetstream.request(
            client, f"CONSUMER.CREATE.{stream}.{name}", order, patience=timeout_seconds
        )

    connection.ask(server, question, timeout_seconds=timeout_seconds)


# Looking ----------------------------------------------------------------------------------------


async def _look(
    client: Client, expected: Mapping[str, Iterable[str]], *, patience: Patience
) -> NatsSeen:
    began = time.monotonic()
    await client.flush(timeout=patience())  # type: ignore[arg-type]  # it takes any number
    rtt_seconds = time.monotonic() - began
    info = client._server_info  # noqa: SLF001  (only the version has a name of its own)
    (account, state, problem), streams = await asyncio.gather(
        _account(client, patience=patience), _streams(client, expected, patience=patience)
    )
    return NatsSeen(
        url=connection.bare(client.connected_url.geturl() if client.connected_url else ""),
        server=_text(info.get("server_name")),
        version=_text(info.get("version")),
        cluster=_text(info.get("cluster")),
        rtt_seconds=rtt_seconds,
        jetstream=state,
        problem=problem,
        account=account,
        streams=() if state is JetStream.OFF else streams,
    )


async def _account(
    client: Client, *, patience: Patience
) -> tuple[AccountSeen | None, JetStream, str]:
    try:
        said = await jetstream.request(client, "INFO", patience=patience())
    except nats.errors.NoRespondersError:
        return None, JetStream.OFF, "it is not enabled"
    except ApiRefused as error:
        off = error.code in _OFF
        return None, JetStream.OFF if off else JetStream.SILENT, error.message
    except TimeoutError:
        return None, JetStream.SILENT, "it does not answer"
    limits = jetstream.part(said, "limits")
    seen = AccountSeen(
        memory_bytes=jetstream.number(said.get("memory")),
        max_memory_bytes=_limit(limits.get("max_memory")),
        storage_bytes=jetstream.number(said.get("storage")),
        max_storage_bytes=_limit(limits.get("max_storage")),
        streams=jetstream.number(said.get("streams")),
        consumers=jetstream.number(said.get("consumers")),
    )
    return seen, JetStream.ON, ""


async def _streams(
    client: Client, expected: Mapping[str, Iterable[str]], *, patience: Patience
) -> tuple[StreamSeen, ...]:
    asked = (_stream(client, name, of, patience=patience) for name, of in expected.items())
    return tuple(await asyncio.gather(*asked))


async def _stream(
    client: Client, name: str, consumers: Iterable[str], *, patience: Patience
) -> StreamSeen:
    said, there, problem = await _asked(
        jetstream.request(client, f"STREAM.INFO.{name}", patience=patience())
    )
    state = jetstream.part(said, "state")
    seen = await asyncio.gather(
        *(_consumer(client, name, one, patience=patience) for one in consumers if said)
    )
    return StreamSeen(
        name=name,
        there=there,
        problem=problem,
        created=_text(said.get("created")),
        config=jetstream.part(said, "config"),
        messages=jetstream.number(state.get("messages")),
        bytes=jetstream.number(state.get("bytes")),
        first_sequence=jetstream.number(state.get("first_seq")),
        last_sequence=jetstream.number(state.get("last_seq")),
        cluster=_cluster(said),
        consumers=tuple(seen),
    )


async def _consumer(client: Client, stream: str, name: str, *, patience: Patience) -> ConsumerSeen:
    asked = jetstream.request(client, f"CONSUMER.INFO.{stream}.{name}", patience=patience())
    said, there, problem = await _asked(asked)
    config = jetstream.part(said, "config")
    pushed = bool(config.get("deliver_subject"))
    return ConsumerSeen(
        stream=stream,
        name=name,
        there=there,
        problem=problem,
        created=_text(said.get("created")),
        config=config,
        pending=jetstream.number(said.get("num_pending")),
        ack_pending=jetstream.number(said.get("num_ack_pending")),
        redelivered=jetstream.number(said.get("num_redelivered")),
        delivered_sequence=jetstream.number(jetstream.part(said, "delivered").get("stream_seq")),
        acked_sequence=jetstream.number(jetstream.part(said, "ack_floor").get("stream_seq")),
        bound=bool(said.get("push_bound")) if pushed else None,
        cluster=_cluster(said),
    )


async def _asked(request: Awaitable[Document]) -> tuple[Document, bool, str]:
    """Return what was said of a thing, whether it is there, and why nobody knows."""
    try:
        return await request, True, ""
    except ApiRefused as error:
        if error.code in _NOT_FOUND:
            return {}, False, ""
        return {}, True, error.message
    except nats.errors.NoRespondersError:
        return {}, True, "nobody answers for it"
    except TimeoutError:
        return {}, True, "it does not answer"


def _cluster(said: Document) -> ClusterSeen | None:
    cluster = said.get("cluster")
    if not isinstance(cluster, dict) or not cluster.get("name"):
        return None  # a server alone names itself as the leader
    return ClusterSeen(
        leader=_text(cluster.get("leader")),
        replicas=tuple(
            ReplicaSeen(
                name=_text(one.get("name")),
                current=bool(one.get("current")),
                offline=bool(one.get("offline")),
                lag=jetstream.number(one.get("lag")),
            )
            for one in cluster.get("replicas") or ()
            if isinstance(one, dict)
        ),
    )


# Asking -----------------------------------------------------------------------------------------


def _do(server: Server, subject: str, order: Document, *, timeout_seconds: float) -> None:
    async def question(client: Client) -> None:
        await jetstream.request(client, subject, order, patience=timeout_seconds)

    connection.ask(server, question, timeout_seconds=timeout_seconds)


def _text(said: object) -> str:
    return said if isinstance(said, str) else ""


def _limit(said: object) -> int | None:
    """Return a limit; nothing, 0 or less is none."""
    return jetstream.number(said) or None
