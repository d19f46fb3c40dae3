"""Requests to the JetStream API about whole streams: who is there, what they hold, out of the way.

What a server answers is bounded and of a known form, or refused: it may be anybody's.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import nats.errors

from eiderd.broker import evidence
from eiderd.errors import BrokerUnavailable

if TYPE_CHECKING:
    from nats.aio.client import Client

# Of a stream's configuration while it is filled, so that nothing is removed to make room.
RELAXED: Final[dict[str, Any]] = {
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "discard": "old",
    "discard_new_per_subject": False,
}

Document: TypeAlias = dict[str, Any]

PATIENCE_SECONDS: Final = 10.0  # for an answer that takes no work
_STREAM_NOT_FOUND: Final = 10059
_MOST_LISTED: Final = 10_000
_WHOLE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.5
_LONGEST_SAID: Final = 200
_HINT: Final = "See how it is: eider nats status"


class ApiRefused(BrokerUnavailable):
    """JetStream said no. `code` is its own number for why."""

    def __init__(self, message: str, *, hint: str, code: int) -> None:
        super().__init__(message, hint=hint, how="answer")
        self.code = code


async def api(
    client: Client, subject: str, order: Document | None = None, *, patience: float | None = None
) -> Document:
    """Return what JetStream answers. Raise ApiRefused when it says no, BrokerUnavailable."""
    seconds = PATIENCE_SECONDS if patience is None else patience
    try:
        return await request(client, subject, order, patience=seconds)
    except nats.errors.NoRespondersError as error:
        raise BrokerUnavailable(
            "JetStream is not enabled there, or not for this user",
            hint="Enable it (jetstream {} in the server's configuration), or use another user.",
            how="answer",
        ) from error
    except TimeoutError as error:
        raise BrokerUnavailable("JetStream does not answer", hint=_HINT, how="timeout") from error


async def request(
    client: Client, subject: str, order: Document | None = None, *, patience: float
) -> Document:
    """Return what JetStream answers. Raise ApiRefused, TimeoutError, NoRespondersError."""
    data = b"" if order is None else json.dumps(order).encode()
    return answer((await client.request(f"$JS.API.{subject}", data, timeout=patience)).data)


def answer(data: bytes) -> Document:
    """Return what an answer of JetStream says. Raise ApiRefused when it says no."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ApiRefused("JetStream answers what is no JSON", hint=_HINT, code=0)
    error = said.get("error")
    if error is not None:
        why = error.get("description") if isinstance(error, dict) else error
        code = error.get("err_code") if isinstance(error, dict) else 0
        raise ApiRefused(
            f"JetStream said: {str(why)[:_LONGEST_SAID]}",
            hint=_HINT,
            code=code if isinstance(code, int) else 0,
        )
    return said


async def stream(client: Client, name: str) -> Document | None:
    """Return what is known of a stream: config, state, cluster. None: there is no such stream."""
    try:
        return await api(client, f"STREAM.INFO.{name}")
    except ApiRefused as error:
        if error.code == _STREAM_NOT_FOUND:
            return None
        raise


async def consumers(client: Client, name: str) -> list[Document]:
    """Return what is known of each consumer of a stream: config, and how far it is."""
    return await listed(client, f"CONSUMER.LIST.{name}", "consumers")


class PartlyKnown(BrokerUnavailable):
    """Of a list not all was answered. `found` is what was."""

    def __init__(self, why: str, *, found: list[Document]) -> None:
        message = f"JetStream does not know of all that is there: {why}"
        super().__init__(message, hint=_HINT, how="answer")
        self.found = found


async def listed(client: Client, subject: str, key: str) -> list[Document]:
    """Return all of a list that is answered page by page. Raise PartlyKnown if it is not all.

    A cluster without one of its servers leaves out what is there, and so does one that is still
    choosing who leads what was just made: so it is asked again for a while.
    """
    ends = time.monotonic() + _WHOLE_SECONDS
    while True:
        try:
            return await _listed(client, subject, key)
        except PartlyKnown:
            if time.monotonic() >= ends:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


async def _listed(client: Client, subject: str, key: str) -> list[Document]:
    found: list[Document] = []
    silent: list[str] = []
    seen, total = 0, 1
    while seen < min(total, _MOST_LISTED):
        said = await api(client, subject, {"offset": seen})
        page = _several(said.get(key))
        absent = {str(name) for way in ("missing", "offline") for name in _several(said.get(way))}
        total = number(said.get("total"))
        if not page and not absent:
            break
        seen += len(page) + len(absent)
        found += [one for one in page if isinstance(one, dict)]
        silent += sorted(absent)
    if silent:
        names = ", ".join(silent)[:_LONGEST_SAID]
        raise PartlyKnown(f"nobody answers for {names}", found=found)
    if seen < total:
        raise PartlyKnown(f"it lists {seen} of {total}", found=found)
    return found


def _several(said: object) -> list[Any]:
    return list(said) if isinstance(said, list | dict) else []


async def delete(client: Client, name: str) -> None:
    await api(client, f"STREAM.DELETE.{name}")


def part(said: Document, key: str) -> Document:
    """Return a table of an answer; an empty one if there is none."""
    found = said.get(key)
    return found if isinstance(found, dict) else {}


number: Final = evidence.number
