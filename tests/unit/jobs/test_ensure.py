"""What is missing is created, stream before consumers; what is there is left alone unless asked."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from eiderd.broker.evidence import (
    ConsumerSeen,
    ExpectedConsumer,
    ExpectedStream,
    JetStream,
    NatsSeen,
    StreamSeen,
)
from eiderd.errors import BrokerUnavailable
from eiderd.jobs import ensure
from eiderd.jobs.ensure import Ensured, What
from eiderd.model import Ending, Outcome

WANTED = {"subjects": ["orders.>"], "max_age": 100, "storage": "file"}


def _expected(*consumers: str, name: str = "ORDERS") -> ExpectedStream:
    return ExpectedStream(
        name=name,
        config=WANTED,
        consumers=tuple(
            ExpectedConsumer(
                stream=name, name=one, config={"max_deliver": 5}, max_lag=1, max_redelivered=1
            )
            for one in consumers
        ),
    )


@dataclasses.dataclass
class Server:
    """A NATS that notes what it is told, and refuses some of it."""

    streams: tuple[StreamSeen, ...]
    jetstream: JetStream = JetStream.ON
    refuses: str = ""
    told: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)

    def look(self) -> NatsSeen:
        return NatsSeen(
            url="nats://a", server="a", version="2.15.1", cluster="", rtt_seconds=0.1,
            jetstream=self.jetstream, problem="it is not enabled", streams=self.streams,
        )  # fmt: skip

    def note(self, what: str, **said: Any) -> None:
        name = "/".join(filter(None, (said.get("stream"), said["name"])))
        if name == self.refuses:
            raise BrokerUnavailable("JetStream said: no", how="answer")
        self.told.append((what, name, said["config"]))

    def run(self, *expected: ExpectedStream, **how: bool) -> Outcome[Ensured]:
        return ensure.run(
            expected=expected,
            look=self.look,
            create_stream=lambda **said: self.note("create", **said),
            create_consumer=lambda **said: self.note("create", **said),
            change_stream=lambda **said: self.note("change", **said),
            change_consumer=lambda **said: self.note("change", **said),
            **{"drift": False, "dry_run": False, **how},
        )


def _given_stream(
    *, config: dict[str, Any] | None = None, **consumers: dict[str, Any]
) -> StreamSeen:
    return StreamSeen(
        name="ORDERS",
        config=config or WANTED,
        consumers=tuple(
            ConsumerSeen(**{"stream": "ORDERS", "name": name, "config": {"max_deliver": 5}, **said})
            for name, said in consumers.items()
        ),
    )


MISSING = StreamSeen(name="ORDERS", there=False)


def test_a_missing_stream_is_created_before_its_consumers() -> None:
    server = Server((MISSING,))
    outcome = server.run(_expected("a", "b"))
    assert [(what, name) for what, name, _config in server.told] == [
        ("create", "ORDERS"),
        ("create", "ORDERS/a"),
        ("create", "ORDERS/b"),
    ]
    assert server.told[0][2] == WANTED
    assert outcome.ending is Ending.DONE
    assert all(step.done for step in outcome.value.steps)


def test_only_the_consumer_that_is_missing_is_created() -> None:
    server = Server((_given_stream(a={}, b={"there": False}),))
    server.run(_expected("a", "b"))
    assert [name for _what, name, _config in server.told] == ["ORDERS/b"]


def test_nothing_is_missing() -> None:
    server = Server((_given_stream(a={}),))
    outcome = server.run(_expected("a"))
    assert (outcome.ending, outcome.value.steps, server.told) == (Ending.NOTHING_TO_DO, (), [])


def test_a_dry_run_does_nothing_and_says_what_it_would() -> None:
    server = Server((MISSING,))
    outcome = server.run(_expected("a"), dry_run=True)
    assert server.told == []
    assert [(step.what, step.subject, step.done) for step in outcome.value.steps] == [
        (What.CREATE, "ORDERS", False),
        (What.CREATE, "ORDERS/a", False),
    ]


def test_drift_is_left_alone_unless_somebody_asks() -> None:
    drifted = _given_stream(config={**WANTED, "subjects": ["x"]})
    server = Server((drifted,))
    outcome = server.run(_expected())
    assert server.told == []
    assert (outcome.ending, outcome.value.steps[0].what) == (Ending.NOTHING_TO_DO, What.LEAVE)
    server.run(_expected(), drift=True)
    assert server.told == [("change", "ORDERS", {"subjects": ["orders.>"]})]


def test_what_would_remove_messages_is_never_done() -> None:
    drifted = _given_stream(config={"subjects": ["x"], "max_age": 200, "storage": "memory"})
    server = Server((drifted,))
    outcome = server.run(_expected(), drift=True)
    assert server.told == [("change", "ORDERS", {"subjects": ["orders.>"]})]
    left = outcome.value.steps[1]
    assert (left.what, len(left.said)) == (What.LEAVE, 2)
    assert left.command.startswith("nats stream edit ORDERS --max-age=")


def test_a_consumer_that_drifted_is_changed_when_asked() -> None:
    server = Server((_given_stream(a={"config": {"max_deliver": 9}}),))
    server.run(_expected("a"), drift=True)
    assert server.told == [("change", "ORDERS/a", {"max_deliver": 5})]


@pytest.mark.parametrize(
    "stream",
    [
        StreamSeen(name="ORDERS", problem="it does not answer"),
        _given_stream(a={"problem": "it does not answer"}),
    ],
)
def test_about_what_nobody_knows_nothing_is_done_and_it_is_told(stream: StreamSeen) -> None:
    server = Server((stream, StreamSeen(name="OTHER", there=False)))
    with pytest.raises(
        BrokerUnavailable, match=r"^nobody knows about ORDERS.*: it does not answer$"
    ):
        server.run(_expected("a"), _expected(name="OTHER"), drift=True)
    assert [name for _what, name, _config in server.told] == ["OTHER"]


@pytest.mark.parametrize("jetstream", [JetStream.OFF, JetStream.SILENT])
def test_without_jetstream_nothing_is_tried(jetstream: JetStream) -> None:
    server = Server((MISSING,), jetstream=jetstream)
    with pytest.raises(BrokerUnavailable, match="it is not enabled"):
        server.run(_expected("a"))
    assert server.told == []


def test_what_is_refused_keeps_nothing_else_from_being_done() -> None:
    other = StreamSeen(name="OTHER", there=False)
    server = Server((MISSING, other), refuses="ORDERS/a")
    with pytest.raises(BrokerUnavailable, match="create ORDERS/a: JetStream said: no"):
        server.run(_expected("a", "b"), _expected("c", name="OTHER"))
    done = [name for _what, name, _config in server.told]
    assert done == ["ORDERS", "ORDERS/b", "OTHER", "OTHER/c"]


def test_without_its_stream_no_consumer_is_tried() -> None:
    server = Server((MISSING,), refuses="ORDERS")
    with pytest.raises(BrokerUnavailable, match=r"^create ORDERS: JetStream said: no$"):
        server.run(_expected("a", "b"))
    assert server.told == []
