"""Whether a stream that was made counts as what it was made of."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from eiderd.errors import VerificationFailed
from eiderd.outside.nats_client import jetstream, layout, verdict
from eiderd.outside.nats_client.layout import Stored

WHOLE = {"messages": 10, "first_seq": 1, "last_seq": 10, "bytes": 1000}


def _stored(**more: Any) -> Stored:
    return Stored(
        **{
            "folder": Path("/s"),
            "config": {"name": "EVENTS"},
            "state": WHOLE,
            "consumers": (),
            "data": Path("/s") / layout.SNAPSHOT,
            "removed": 0,
            "durables": ("worker",),
            **more,
        }
    )


OURS = _stored()


def _looked(
    monkeypatch: pytest.MonkeyPatch,
    *,
    config: dict[str, Any] | None = None,
    stored: Stored = OURS,
    **now: Any,
) -> dict[str, Any]:
    """Return what is said of a stream that is to be as stored, and is `now`, with one consumer."""

    async def stream(*_words: object) -> dict[str, Any]:
        return {"config": config or {}, "state": {**WHOLE, **now}}

    async def consumers(*_words: object) -> list[dict[str, Any]]:
        return [{"name": "worker"}]

    monkeypatch.setattr(jetstream, "stream", stream)
    monkeypatch.setattr(jetstream, "consumers", consumers)
    client: Any = None
    return asyncio.run(verdict.look_at(client, stored, scratch=Path("/s")))


def test_the_same_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _looked(monkeypatch)
    assert (said["messages"], said["expired"], said["consumers"]) == (10, 0, ["worker"])
    assert said["warnings"] == []


def test_messages_that_were_too_old_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _looked(monkeypatch, config={"max_age": 10**9}, messages=7, first_seq=4, bytes=700)
    assert said["expired"] == 3


@pytest.mark.parametrize(
    ("config", "now"),
    [
        ({}, {"messages": 7, "first_seq": 4}),
        ({"max_age": 10**9}, {"messages": 7}),  # the first is there: they did not go of age
        ({}, {"last_seq": 9}),
        ({}, {"bytes": 900}),
    ],
)
def test_what_is_not_the_same_is_refused(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], now: dict[str, Any]
) -> None:
    with pytest.raises(VerificationFailed, match="EVENTS is not what was restored"):
        _looked(monkeypatch, config=config, **now)


def test_a_message_with_a_time_of_its_own_may_go_from_anywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _looked(monkeypatch, config={"allow_msg_ttl": True}, messages=7)["expired"] == 3


@pytest.mark.parametrize("first", [1, 4])
def test_what_left_while_it_was_packed_is_not_missing(
    monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    said = _looked(monkeypatch, stored=_stored(removed=3), messages=7, first_seq=first)
    assert (said["expired"], len(said["warnings"])) == (0, 1)
    with pytest.raises(VerificationFailed, match="it has 7 messages, not 10"):
        _looked(monkeypatch, stored=_stored(removed=2), messages=7, first_seq=first)
    aged = _looked(
        monkeypatch, stored=_stored(removed=2), config={"max_age": 1}, messages=7, first_seq=4
    )
    assert aged["expired"] == 1


def test_a_folder_of_the_official_client_does_not_say_what_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = _stored(config={"name": "EVENTS", "retention": "workqueue"}, removed=None)
    assert len(_looked(monkeypatch, stored=queue, messages=7)["warnings"]) == 1
    with pytest.raises(VerificationFailed):
        _looked(monkeypatch, stored=_stored(removed=None), messages=7)


def test_a_consumer_that_did_not_come_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VerificationFailed, match="it has no consumer other"):
        _looked(monkeypatch, stored=_stored(durables=("worker", "other")))


def test_the_official_client_may_have_taken_no_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = _stored(durables=None, state={**WHOLE, "consumer_count": 2})
    (warning,) = _looked(monkeypatch, stored=theirs)["warnings"]
    assert "--consumers" in warning


@pytest.mark.parametrize(("after", "asked"), [(3, 4), (10**9, 0)])
def test_consumers_are_waited_for(monkeypatch: pytest.MonkeyPatch, after: int, asked: int) -> None:
    """A cluster makes them after the stream, or never."""
    count = 0

    async def consumers(*_words: object) -> list[dict[str, Any]]:
        nonlocal count
        count += 1
        return [{"name": "worker"}] if count > after else []

    monkeypatch.setattr(jetstream, "consumers", consumers)
    monkeypatch.setattr(verdict, "_CONSUMERS_SECONDS", 30.0 if asked else 0.05)
    monkeypatch.setattr(verdict, "_PAUSE_SECONDS", 0.01)
    client: Any = None
    asyncio.run(verdict.await_consumers(client, OURS))
    assert count == asked or not asked
