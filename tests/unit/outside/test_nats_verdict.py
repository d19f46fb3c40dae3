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


def _looked(
    monkeypatch: pytest.MonkeyPatch, *, config: dict[str, Any] | None = None, **now: int
) -> dict[str, Any]:
    """Return what is said of a stream that is to be WHOLE, and is `now`."""

    async def stream(*_words: object) -> dict[str, Any]:
        return {"config": config or {}, "state": {**WHOLE, **now}}

    async def consumers(*_words: object) -> list[dict[str, Any]]:
        return [{"name": "worker"}]

    monkeypatch.setattr(jetstream, "stream", stream)
    monkeypatch.setattr(jetstream, "consumers", consumers)
    stored = Stored(
        folder=Path("/s"),
        config={"name": "EVENTS"},
        state=WHOLE,
        consumers=(),
        data=Path("/s") / layout.SNAPSHOT,
    )
    client: Any = None
    return asyncio.run(verdict.look_at(client, stored, scratch=Path("/s")))


def test_the_same_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _looked(monkeypatch)
    assert (said["messages"], said["expired"], said["consumers"]) == (10, 0, ["worker"])


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
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], now: dict[str, int]
) -> None:
    with pytest.raises(VerificationFailed, match="EVENTS is not what was restored"):
        _looked(monkeypatch, config=config, **now)


def test_a_message_with_a_time_of_its_own_may_go_from_anywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _looked(monkeypatch, config={"allow_msg_ttl": True}, messages=7)["expired"] == 3
