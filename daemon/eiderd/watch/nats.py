"""Is NATS there, does JetStream work, and are the expected streams and consumers as they should be?

What only shows over time (a consumer that acknowledges nothing, sequences that go backwards) is
told from what earlier looks left: see `Known`.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal

from eiderd.broker import drift
from eiderd.broker.evidence import JetStream, number
from eiderd.health import Finding, Kind, Severity
from eiderd.units import spell_duration, spoken
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eiderd.broker.evidence import (
        ClusterSeen,
        ConsumerSeen,
        ExpectedConsumer,
        ExpectedStream,
        NatsSeen,
        StreamSeen,
    )
    from eiderd.errors import BrokerUnavailable

_STATUS: Final = "eider nats status"
_ENSURE: Final = "eider nats ensure --dry-run"
_REMEMBERED: Final = datetime.timedelta(hours=24)  # that a sequence went backwards


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """As the configuration has them. `store_bytes` is None when it is not known."""

    max_rtt: datetime.timedelta
    stalled_after: datetime.timedelta
    store_warn: float
    store_bytes: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WentBack:
    """A stream whose sequence was higher before; `anew`: because it is another stream now."""

    at: datetime.datetime
    was: int
    now: int
    anew: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What earlier looks left.

    `streams` has when each was created and its last sequence, `stood` up to where each consumer had
    acknowledged and since when it has been so.
    """

    streams: Mapping[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    went_back: Mapping[str, WentBack] = dataclasses.field(default_factory=dict)
    stood: Mapping[str, tuple[int, datetime.datetime]] = dataclasses.field(default_factory=dict)


def run(
    *,
    now: datetime.datetime,
    seen: NatsSeen,
    expected: Sequence[ExpectedStream],
    limits: Limits,
    known: Known,
    application_down: bool,
) -> tuple[tuple[Finding, ...], Known]:
    """Given one look, return what is wrong, and what the next look needs to know."""
    known = _learned(known, seen, now=now)
    found = [*_connection(seen, limits), *_jetstream(seen), *_store(seen, limits)]
    streams = {stream.name: stream for stream in seen.streams}
    for wanted in expected:
        if stream := streams.get(wanted.name):
            found += _stream(wanted, stream, known)
            found += _consumers(
                wanted, stream, limits, known, now=now, application_down=application_down
            )
    return tuple(found), known


def down(error: BrokerUnavailable, *, application_down: bool) -> Finding:
    """Return what is found when nobody takes the connection."""
    refused = error.how == "refused"
    return _finding(
        Kind.NATS_REFUSED if refused else Kind.NATS_DOWN,
        "",
        plain(error.message),
        command=error.hint if refused else "eider nats check",
        # Many applications bring their own server, which is down when they are.
        severity=Severity.WARNING if application_down or refused else Severity.CRITICAL,
    )


# The server -------------------------------------------------------------------------------------


def _connection(seen: NatsSeen, limits: Limits) -> Iterator[Finding]:
    if seen.rtt_seconds > limits.max_rtt.total_seconds():
        yield _finding(
            Kind.NATS_SLOW,
            "",
            f"NATS at {plain(seen.url)} takes {seen.rtt_seconds:.1f} s to answer, more than "
            f"{spell_duration(limits.max_rtt)}",
        )


def _jetstream(seen: NatsSeen) -> Iterator[Finding]:
    where = plain(seen.url)
    if seen.jetstream is JetStream.OFF:
        yield _finding(
            Kind.JETSTREAM_OFF,
            "",
            f"JetStream is off at {where}: {plain(seen.problem)}; no stream takes events",
            severity=Severity.CRITICAL,
        )
    elif seen.jetstream is JetStream.SILENT:
        yield _finding(
            Kind.NATS_NO_LEADER,
            "",
            f"JetStream at {where} does not work: {plain(seen.problem)}; a cluster needs more than "
            "half of its servers",
            severity=Severity.CRITICAL,
        )


def _store(seen: NatsSeen, limits: Limits) -> Iterator[Finding]:
    account = seen.account
    if account is not None:
        most = account.max_storage_bytes or limits.store_bytes
        yield from _filled("", "The store", account.storage_bytes, most, limits)
        yield from _filled(
            "memory store",
            "The memory store",
            account.memory_bytes,
            account.max_memory_bytes,
            limits,
        )
    for stream in seen.streams:
        if stream.config.get("discard") == "new":  # else the oldest make room
            name, config = stream.name, stream.config
            yield from _filled(
                name, f"The stream {name}", stream.bytes, config.get("max_bytes"), limits
            )
            yield from _filled(
                name,
                f"The stream {name}",
                stream.messages,
                config.get("max_msgs"),
                limits,
                of="messages",
            )


def _filled(
    subject: str, what: str, used: int, limit: object, limits: Limits, *, of: str = ""
) -> Iterator[Finding]:
    most = number(limit)
    if not most or used < most * limits.store_warn:
        return
    said = f"{used:,} of {most:,} {of}" if of else f"{decimal(used)} of {decimal(most)}"
    yield _finding(
        Kind.NATS_STORE_FULL,
        subject,
        f"{what} of NATS is {used / most:.0%} full ({said}); when it is full, events are refused",
        severity=Severity.CRITICAL if used >= most else Severity.WARNING,
    )


# Streams ----------------------------------------------------------------------------------------


def _stream(wanted: ExpectedStream, seen: StreamSeen, known: Known) -> Iterator[Finding]:
    name = wanted.name
    if not seen.there:
        yield _finding(
            Kind.STREAM_MISSING,
            name,
            f"The stream {name} is not there: its events go nowhere",
            severity=Severity.CRITICAL,
            command=_ENSURE,
        )
        return
    if seen.problem or (seen.cluster and not seen.cluster.leader):
        said = plain(seen.problem) or "no server leads it"
        yield _finding(
            Kind.NATS_NO_LEADER,
            name,
            f"The stream {name} does not work: {said}",
            severity=Severity.CRITICAL,
        )
        return
    differences = drift.differences(wanted=wanted.config, found=seen.config)
    if differences:
        said = "; ".join(one.said for one in differences)
        command = drift.command(name, differences)
        yield _finding(Kind.NATS_DRIFT, name, f"The stream {name}: {said}", command=command)
    yield from _replicas(name, f"The stream {name}", seen.cluster)
    if went_back := known.went_back.get(name):
        yield _backwards(name, went_back)


def _replicas(subject: str, what: str, cluster: ClusterSeen | None) -> Iterator[Finding]:
    behind = [one for one in cluster.replicas if one.offline or not one.current] if cluster else []
    if behind:
        said = ", ".join(
            f"{plain(one.name)} ({'offline' if one.offline else f'{one.lag:,} behind'})"
            for one in behind
        )
        yield _finding(
            Kind.NATS_REPLICA_BEHIND, subject, f"{what} has copies that are not current: {said}"
        )


def _backwards(name: str, went: WentBack) -> Finding:
    why = "it was created anew" if went.anew else "it lost what came between"
    return _finding(
        Kind.NATS_WENT_BACK,
        name,
        f"The stream {name} was at message {went.was:,} and went back to {went.now:,}: {why}",
        severity=Severity.NOTICE if went.anew else Severity.WARNING,
    )


# Consumers --------------------------------------------------------------------------------------


def _consumers(
    wanted: ExpectedStream,
    seen: StreamSeen,
    limits: Limits,
    known: Known,
    *,
    now: datetime.datetime,
    application_down: bool,
) -> Iterator[Finding]:
    there = {consumer.name: consumer for consumer in seen.consumers}
    for one in wanted.consumers:
        consumer = there.get(one.name)
        if consumer is None:
            continue  # its stream is missing, or does not answer
        if not consumer.there:
            yield _missing(one, application_down=application_down)
        elif consumer.problem:
            said = f"The consumer {one.subject} does not work: {plain(consumer.problem)}"
            yield _finding(Kind.NATS_NO_LEADER, one.subject, said)
        else:
            yield from _consumer(one, consumer)
            yield from _stalled(
                one, consumer, limits, known, now=now, application_down=application_down
            )


def _missing(wanted: ExpectedConsumer, *, application_down: bool) -> Finding:
    if application_down:  # some remove theirs when they stop
        said = f"The consumer {wanted.subject} is not there, as the application is down"
        return _finding(Kind.CONSUMER_MISSING, wanted.subject, said, severity=Severity.NOTICE)
    said = f"The consumer {wanted.subject} is not there: nobody gets its events"
    return _finding(Kind.CONSUMER_MISSING, wanted.subject, said, command=_ENSURE)


def _consumer(wanted: ExpectedConsumer, seen: ConsumerSeen) -> Iterator[Finding]:
    name = wanted.subject
    differences = drift.differences(wanted=wanted.config, found=seen.config)
    if differences:
        said = "; ".join(one.said for one in differences)
        command = drift.command(wanted.stream, differences)
        yield _finding(Kind.NATS_DRIFT, name, f"The consumer {name}: {said}", command=command)
    yield from _replicas(name, f"The consumer {name}", seen.cluster)
    if seen.pending > wanted.max_lag:
        yield _finding(
            Kind.NATS_LAG,
            name,
            f"{many(seen.pending, 'message')} wait for the consumer {name}, more than "
            f"{wanted.max_lag:,}",
        )
    if seen.redelivered > wanted.max_redelivered:
        yield _finding(
            Kind.NATS_REDELIVERED,
            name,
            f"{many(seen.redelivered, 'message')} had to be delivered to the consumer {name} again",
        )


def _stalled(
    wanted: ExpectedConsumer,
    seen: ConsumerSeen,
    limits: Limits,
    known: Known,
    *,
    now: datetime.datetime,
    application_down: bool,
) -> Iterator[Finding]:
    stood = known.stood.get(wanted.subject)
    if stood is None or now - stood[1] < limits.stalled_after:
        return
    waiting = seen.pending + seen.ack_pending
    nobody = "; nobody listens: restart the application" if seen.bound is False else ""
    yield _finding(
        Kind.NATS_STALLED,
        wanted.subject,
        f"The consumer {wanted.subject} acknowledged nothing for "
        f"{spoken((now - stood[1]).total_seconds())}, and {many(waiting, 'message')} wait{nobody}",
        severity=Severity.NOTICE if application_down else Severity.WARNING,
    )


# What is remembered -----------------------------------------------------------------------------


def _learned(known: Known, seen: NatsSeen, *, now: datetime.datetime) -> Known:
    streams, stood = dict(known.streams), dict(known.stood)
    went_back = {
        name: one
        for name, one in known.went_back.items()
        if datetime.timedelta() <= now - one.at < _REMEMBERED
    }
    for stream in seen.streams:
        if not stream.there or stream.problem:
            continue
        created, last = known.streams.get(stream.name, (stream.created, 0))
        if stream.last_sequence < last:
            went_back[stream.name] = WentBack(
                at=now, was=last, now=stream.last_sequence, anew=stream.created != created
            )
        streams[stream.name] = (stream.created, stream.last_sequence)
        for consumer in stream.consumers:
            _learn_progress(stood, consumer, now=now)
    return Known(streams=streams, went_back=went_back, stood=stood)


def _learn_progress(
    stood: dict[str, tuple[int, datetime.datetime]], seen: ConsumerSeen, *, now: datetime.datetime
) -> None:
    """Note since when a consumer that has messages to acknowledge has acknowledged none."""
    name = f"{seen.stream}/{seen.name}"
    if seen.problem:
        return
    if not seen.there or not seen.pending + seen.ack_pending:
        stood.pop(name, None)
        return
    before = stood.get(name)
    moved = before is None or before[0] != seen.acked_sequence or now < before[1]
    if moved:
        stood[name] = (seen.acked_sequence, now)


def _finding(
    kind: Kind,
    subject: str,
    said: str,
    *,
    severity: Severity = Severity.WARNING,
    command: str = _STATUS,
) -> Finding:
    return Finding(
        kind=kind,
        subject=subject,
        severity=severity,
        message=f"{said.rstrip('.')}.",
        command=command,
    )
