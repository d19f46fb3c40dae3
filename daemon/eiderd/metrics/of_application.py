"""The series of the application and of NATS. Pure."""

from __future__ import annotations

from typing import Final

from eiderd.broker.evidence import JetStream
from eiderd.evidence import ApplicationState
from eiderd.metrics import samples
from eiderd.metrics.declared import Series
from eiderd.metrics.samples import each, one

APPLICATION: Final = (
    Series(
        name="eider_application_state",
        help="1 for what the application's state was at the last look; all 0 before it.",
        labels=("state",),
        samples=each(ApplicationState, samples.application_state),
    ),
    Series(
        name="eider_application_healthy",
        help="1 when the application said that it is well, 0 when not; NaN when nothing tells.",
        samples=one(samples.application_healthy),
    ),
    Series(
        name="eider_application_restarts",
        help="Restarts of the application that nobody asked for, as its keeper counts them.",
        samples=one(samples.application_restarts),
    ),
    Series(
        name="eider_nats_up",
        help="1 when NATS took a connection at the last look, 0 when not; NaN without nats.url.",
        samples=one(samples.nats_up),
    ),
    Series(
        name="eider_nats_rtt_seconds",
        help="How long NATS took to answer at the last look.",
        samples=samples.nats(lambda seen: seen.rtt_seconds),
    ),
    Series(
        name="eider_nats_jetstream_up",
        help="1 when JetStream did what it was asked at the last look, 0 when not.",
        samples=samples.nats(lambda seen: seen.jetstream is JetStream.ON),
    ),
    Series(
        name="eider_nats_store_bytes",
        help="What the account has stored on disk.",
        samples=samples.nats(lambda seen: seen.account.storage_bytes if seen.account else None),
    ),
    Series(
        name="eider_nats_store_limit_bytes",
        help="What it may store: the account's limit, else nats.store_limit; +Inf without.",
        samples=one(samples.nats_store_limit),
    ),
    Series(
        name="eider_nats_stream_messages",
        help="Messages in the expected stream; NaN when it is not there.",
        labels=("stream",),
        samples=samples.nats_streams(lambda stream: stream.messages),
    ),
    Series(
        name="eider_nats_stream_bytes",
        help="Size of the expected stream; NaN when it is not there.",
        labels=("stream",),
        samples=samples.nats_streams(lambda stream: stream.bytes),
    ),
    Series(
        name="eider_nats_stream_first_sequence",
        help="Number of the oldest message in the expected stream.",
        labels=("stream",),
        samples=samples.nats_streams(lambda stream: stream.first_sequence),
    ),
    Series(
        name="eider_nats_stream_last_sequence",
        help="Number of the newest message of the expected stream.",
        labels=("stream",),
        samples=samples.nats_streams(lambda stream: stream.last_sequence),
    ),
    Series(
        name="eider_nats_consumer_pending",
        help="Messages that wait for the expected consumer; NaN when it is not there.",
        labels=("stream", "consumer"),
        samples=samples.nats_consumers(lambda of: of.pending),
    ),
    Series(
        name="eider_nats_consumer_ack_pending",
        help="Messages that were delivered to it and are not acknowledged yet.",
        labels=("stream", "consumer"),
        samples=samples.nats_consumers(lambda of: of.ack_pending),
    ),
    Series(
        name="eider_nats_consumer_redelivered",
        help="Messages that had to be delivered to it again.",
        labels=("stream", "consumer"),
        samples=samples.nats_consumers(lambda of: of.redelivered),
    ),
    Series(
        name="eider_nats_consumer_acked_sequence",
        help="Up to which message it has acknowledged all.",
        labels=("stream", "consumer"),
        samples=samples.nats_consumers(lambda of: of.acked_sequence),
    ),
)
