"""Each finding about NATS: raised, and over again. What only shows over time, too."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.broker.evidence import (
    AccountSeen,
    ClusterSeen,
    ConsumerSeen,
    ExpectedConsumer,
    ExpectedStream,
    JetStream,
    NatsSeen,
    ReplicaSeen,
    StreamSeen,
)
from eiderd.errors import BrokerUnavailable
from eiderd.health import Finding, Kind, Severity
from eiderd.watch import nats
from eiderd.watch.nats import Known

NOW = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
LIMITS = nats.Limits(
    max_rtt=datetime.timedelta(milliseconds=500),
    stalled_after=datetime.timedelta(minutes=10),
    store_warn=0.8,
)
EXPECTED = ExpectedStream(
    name="ORDERS",
    config={"subjects": ["orders.>"]},
    consumers=(
        ExpectedConsumer(
            stream="ORDERS", name="writer", config={"max_deliver": 5}, max_lag=10, max_redelivered=3
        ),
    ),
)


def _consumer(**more: Any) -> ConsumerSeen:
    return ConsumerSeen(**{"stream": "ORDERS", "name": "writer", "config": {"max_deliver": 5},
                           **more})  # fmt: skip


def _stream(*consumers: ConsumerSeen, **more: Any) -> StreamSeen:
    said = {"name": "ORDERS", "created": "monday", "config": {"subjects": ["orders.>"]}, **more}
    return StreamSeen(**said, consumers=consumers or (_consumer(),))


def _account(**more: Any) -> AccountSeen:
    return AccountSeen(**{"memory_bytes": 0, "max_memory_bytes": None, "storage_bytes": 0,
                          "max_storage_bytes": None, "streams": 1, "consumers": 1,
                          **more})  # fmt: skip


def _seen(*streams: StreamSeen, **more: Any) -> NatsSeen:
    said = {"url": "nats://a", "server": "a", "version": "2.15.1", "cluster": "",
            "rtt_seconds": 0.001, "jetstream": JetStream.ON, "account": _account(),
            **more}  # fmt: skip
    return NatsSeen(**said, streams=streams or (_stream(),))


def _look(
    seen: NatsSeen,
    *,
    known: Known | None = None,
    now: datetime.datetime = NOW,
    limits: nats.Limits = LIMITS,
    application_down: bool = False,
) -> tuple[tuple[Finding, ...], Known]:
    return nats.run(
        now=now,
        seen=seen,
        expected=[EXPECTED],
        limits=limits,
        known=known or Known(),
        application_down=application_down,
    )


def test_all_is_well() -> None:
    assert _look(_seen())[0] == ()


REPLICA = ReplicaSeen(name="b", current=True, offline=False, lag=0)
CASES: dict[str, tuple[NatsSeen, Kind, str, Severity]] = {
    "slow": (_seen(rtt_seconds=0.6), Kind.NATS_SLOW, "", Severity.WARNING),
    "no JetStream": (
        dataclasses.replace(_seen(jetstream=JetStream.OFF, account=None), streams=()),
        Kind.JETSTREAM_OFF, "", Severity.CRITICAL,
    ),
    "JetStream does not answer": (
        _seen(jetstream=JetStream.SILENT, account=None),
        Kind.NATS_NO_LEADER, "", Severity.CRITICAL,
    ),
    "no stream": (_seen(_stream(there=False)), Kind.STREAM_MISSING, "ORDERS", Severity.CRITICAL),
    "a stream that does not answer": (
        _seen(_stream(problem="it does not answer")),
        Kind.NATS_NO_LEADER, "ORDERS", Severity.CRITICAL,
    ),
    "a stream without a leader": (
        _seen(_stream(cluster=ClusterSeen(leader=""))),
        Kind.NATS_NO_LEADER, "ORDERS", Severity.CRITICAL,
    ),
    "a stream that drifted": (
        _seen(_stream(config={"subjects": ["x"]})), Kind.NATS_DRIFT, "ORDERS", Severity.WARNING,
    ),
    "a copy that is behind": (
        _seen(_stream(cluster=ClusterSeen(leader="a", replicas=(
            REPLICA, dataclasses.replace(REPLICA, current=False, lag=7))))),
        Kind.NATS_REPLICA_BEHIND, "ORDERS", Severity.WARNING,
    ),
    "no consumer": (
        _seen(_stream(_consumer(there=False))),
        Kind.CONSUMER_MISSING, "ORDERS/writer", Severity.WARNING,
    ),
    "a consumer that does not answer": (
        _seen(_stream(_consumer(problem="it does not answer"))),
        Kind.NATS_NO_LEADER, "ORDERS/writer", Severity.WARNING,
    ),
    "a consumer that drifted": (
        _seen(_stream(_consumer(config={"max_deliver": 6}))),
        Kind.NATS_DRIFT, "ORDERS/writer", Severity.WARNING,
    ),
    "a consumer that is behind": (
        _seen(_stream(_consumer(pending=11))), Kind.NATS_LAG, "ORDERS/writer", Severity.WARNING,
    ),
    "messages again and again": (
        _seen(_stream(_consumer(redelivered=4))),
        Kind.NATS_REDELIVERED, "ORDERS/writer", Severity.WARNING,
    ),
    "the account's store": (
        _seen(account=_account(storage_bytes=80, max_storage_bytes=100)),
        Kind.NATS_STORE_FULL, "", Severity.WARNING,
    ),
    "the account's store, full": (
        _seen(account=_account(storage_bytes=100, max_storage_bytes=100)),
        Kind.NATS_STORE_FULL, "", Severity.CRITICAL,
    ),
    "the memory store": (
        _seen(account=_account(memory_bytes=80, max_memory_bytes=100)),
        Kind.NATS_STORE_FULL, "memory store", Severity.WARNING,
    ),
    "a stream that refuses what is new": (
        _seen(_stream(bytes=90, config={"subjects": ["orders.>"], "discard": "new",
                                        "max_bytes": 100})),
        Kind.NATS_STORE_FULL, "ORDERS", Severity.WARNING,
    ),
    "by the count of messages": (
        _seen(_stream(messages=90, config={"subjects": ["orders.>"], "discard": "new",
                                           "max_msgs": 100, "max_bytes": -1})),
        Kind.NATS_STORE_FULL, "ORDERS", Severity.WARNING,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "kind", "subject", "severity"), CASES.values(), ids=CASES)
def test_each_finding_is_raised_and_is_over_again(
    seen: NatsSeen, kind: Kind, subject: str, severity: Severity
) -> None:
    (found,), known = _look(seen)
    assert (found.name, found.severity) == ((kind, subject), severity)
    assert found.message.endswith(".")
    assert found.command
    assert _look(_seen(), known=known, now=NOW + MINUTE)[0] == ()


@pytest.mark.parametrize(
    "seen",
    [
        _seen(rtt_seconds=0.5),
        _seen(_stream(_consumer(pending=10, redelivered=3))),
        _seen(account=_account(storage_bytes=79, max_storage_bytes=100)),
        _seen(_stream(bytes=100, config={"subjects": ["orders.>"], "max_bytes": 100})),
    ],
)
def test_a_limit_that_is_just_kept(seen: NatsSeen) -> None:
    assert _look(seen)[0] == ()


def test_the_configured_limit_of_the_store_counts_where_the_account_has_none() -> None:
    limits = dataclasses.replace(LIMITS, store_bytes=100)
    seen = _seen(account=_account(storage_bytes=80))
    assert [one.kind for one in _look(seen, limits=limits)[0]] == [Kind.NATS_STORE_FULL]
    seen = _seen(account=_account(storage_bytes=80, max_storage_bytes=1000))
    assert _look(seen, limits=limits)[0] == ()


@pytest.mark.parametrize(
    ("how", "application_down", "kind", "severity"),
    [
        ("unreachable", False, Kind.NATS_DOWN, Severity.CRITICAL),
        ("timeout", False, Kind.NATS_DOWN, Severity.CRITICAL),
        ("unreachable", True, Kind.NATS_DOWN, Severity.WARNING),
        ("refused", False, Kind.NATS_REFUSED, Severity.WARNING),
    ],
)
def test_nobody_takes_the_connection(
    *, how: str, application_down: bool, kind: Kind, severity: Severity
) -> None:
    error = BrokerUnavailable("NATS at nats://a cannot be reached", hint="type this", how=how)
    found = nats.down(error, application_down=application_down)
    assert (found.kind, found.severity) == (kind, severity)


def test_a_hostile_name_of_a_replica_is_made_plain() -> None:
    bad = ReplicaSeen(name="\x1b[2J", current=False, offline=True, lag=0)
    (found,), _known = _look(_seen(_stream(cluster=ClusterSeen(leader="a", replicas=(bad,)))))
    assert found.message.isprintable()


# Over time --------------------------------------------------------------------------------------


def _over(
    looks: list[NatsSeen], *, every: datetime.timedelta = MINUTE, application_down: bool = False
) -> list[list[Finding]]:
    """Return what each of several looks in a row finds."""
    known, told = Known(), []
    for number, seen in enumerate(looks):
        found, known = _look(
            seen, known=known, now=NOW + number * every, application_down=application_down
        )
        told.append(list(found))
    return told


def test_a_consumer_that_acknowledges_nothing_for_long_enough() -> None:
    waiting = _seen(_stream(_consumer(ack_pending=3, acked_sequence=7)))
    told = _over([waiting] * 12)
    assert [bool(found) for found in told] == [False] * 10 + [True] * 2
    assert told[-1][0].kind is Kind.NATS_STALLED
    assert "11 minutes" in told[-1][0].message
    (found,) = _over([waiting] * 12, application_down=True)[-1]
    assert found.severity is Severity.NOTICE


def test_one_acknowledgement_is_enough_and_so_is_nothing_to_do() -> None:
    waiting = _seen(_stream(_consumer(pending=3, acked_sequence=7)))
    moved = _seen(_stream(_consumer(pending=3, acked_sequence=8)))
    idle = _seen(_stream(_consumer(acked_sequence=7)))
    assert not any(_over([waiting] * 10 + [moved] * 10))
    assert not any(_over([waiting] * 10 + [idle] + [waiting] * 10))


def test_a_look_without_an_answer_forgets_nothing() -> None:
    waiting = _seen(_stream(_consumer(pending=3, acked_sequence=7)))
    silent = _seen(_stream(_consumer(problem="it does not answer")))
    told = _over([waiting] * 5 + [silent] + [waiting] * 5)
    assert [one.kind for one in told[-1]] == [Kind.NATS_STALLED]


def test_a_sequence_that_goes_backwards_is_told_for_a_day() -> None:
    high, low = _seen(_stream(last_sequence=1000)), _seen(_stream(last_sequence=400))
    told = _over([high, low] + [low] * 25, every=datetime.timedelta(hours=1))
    assert [bool(found) for found in told] == [False] + [True] * 24 + [False] * 2
    assert told[1][0].name == (Kind.NATS_WENT_BACK, "ORDERS")
    assert told[1][0].severity is Severity.WARNING
    assert "it lost what came between" in told[1][0].message


def test_a_stream_created_anew_is_only_a_notice() -> None:
    high = _seen(_stream(last_sequence=1000))
    gone = _seen(_stream(there=False))
    anew = _seen(_stream(last_sequence=3, created="tuesday"))
    told = _over([high, gone, anew])
    assert (told[2][0].kind, told[2][0].severity) == (Kind.NATS_WENT_BACK, Severity.NOTICE)


def test_a_stream_that_does_not_answer_did_not_go_back() -> None:
    high = _seen(_stream(last_sequence=1000))
    silent = _seen(_stream(problem="it does not answer"))
    told = _over([high, silent, high])
    assert [one.kind for one in told[1]] == [Kind.NATS_NO_LEADER]
    assert told[2] == []


@given(sequences=st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_whatever_the_sequence_does_only_a_step_down_is_told(sequences: list[int]) -> None:
    told = _over([_seen(_stream(last_sequence=one)) for one in sequences])
    fell = [
        any(later < one for one, later in itertools.pairwise(sequences[: number + 1]))
        for number in range(len(sequences))
    ]
    assert [bool(found) for found in told] == fell
