"""Create the streams and consumers that are missing, as the configuration has them.

What is there stays as it is, unless a person asks for its drift to be undone: then fields are set
to what is expected, but none that would remove messages, and none that only a new one can have.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Protocol

from eiderd.broker import drift as drifting
from eiderd.broker.drift import Change
from eiderd.broker.evidence import JetStream
from eiderd.errors import BrokerUnavailable
from eiderd.model import Ending, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eiderd.broker.drift import Difference
    from eiderd.broker.evidence import (
        Config,
        ConsumerSeen,
        ExpectedConsumer,
        ExpectedStream,
        NatsSeen,
        StreamSeen,
    )


class OfStream(Protocol):
    """Create or change a stream."""

    def __call__(self, *, name: str, config: Config) -> None: ...


class OfConsumer(Protocol):
    """Create or change a consumer."""

    def __call__(self, *, stream: str, name: str, config: Config) -> None: ...


class What(enum.StrEnum):
    """What is to be done about a stream or consumer."""

    CREATE = "create"
    CHANGE = "change"
    LEAVE = "leave"  # it differs, and that is left to a person


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stream or consumer (`subject`). `done` says whether it was, `problem` why it could not.

    `said` are the fields that differ, in words.
    """

    what: What
    subject: str
    said: tuple[str, ...] = ()
    command: str = ""
    done: bool = False
    problem: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ensured:
    """What was done, or with `dry_run` would be."""

    steps: tuple[Step, ...] = ()


def run(
    *,
    expected: Sequence[ExpectedStream],
    look: Callable[[], NatsSeen],
    create_stream: OfStream,
    create_consumer: OfConsumer,
    change_stream: OfStream,
    change_consumer: OfConsumer,
    drift: bool,
    dry_run: bool,
) -> Outcome[Ensured]:
    """Do it, stream after stream, each before its consumers.

    Raise BrokerUnavailable when NATS does not answer, when something was refused, and when nobody
    knows about something; all that could be done is done then.
    """
    seen = look()
    if seen.jetstream is not JetStream.ON:
        raise BrokerUnavailable(
            f"JetStream is not there: {seen.problem}", hint="eider nats status", how="answer"
        )
    acting = _Acting(create_stream, create_consumer, change_stream, change_consumer)
    there = {stream.name: stream for stream in seen.streams}
    steps: list[Step] = []
    for stream in expected:
        for step, do in _planned(stream, there[stream.name], acting, drift=drift):
            if not dry_run and step.what is not What.LEAVE:
                step = _done(step, do)  # noqa: PLW2901  (what was planned is what was done)
            steps.append(step)
            if step.problem and step.subject == stream.name and step.what is What.CREATE:
                break  # without its stream there can be no consumer
    wrong = [f"{step.what} {step.subject}: {step.problem}" for step in steps if step.problem]
    wrong += [
        f"nobody knows about {what}" for one in expected for what in _unknown(there[one.name])
    ]
    if wrong:
        raise BrokerUnavailable(
            "; ".join(wrong),
            hint="See what is there: eider nats status",
            how="answer",
        )
    todo = any(step.what is not What.LEAVE for step in steps)
    return Outcome(
        ending=Ending.DONE if todo else Ending.NOTHING_TO_DO,
        value=Ensured(steps=tuple(steps)),
        why="" if todo else "nothing is missing",
    )


def _unknown(seen: StreamSeen) -> Iterator[str]:
    """Return what nobody knows about, and why."""
    if seen.problem:
        yield f"{seen.name}: {seen.problem}"
        return  # nor about its consumers
    for consumer in seen.consumers:
        if consumer.problem:
            yield f"{seen.name}/{consumer.name}: {consumer.problem}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Acting:
    create_stream: OfStream
    create_consumer: OfConsumer
    change_stream: OfStream
    change_consumer: OfConsumer


def _planned(
    wanted: ExpectedStream, seen: StreamSeen, acting: _Acting, *, drift: bool
) -> Iterator[tuple[Step, Callable[[], None]]]:
    name, config = wanted.name, wanted.config
    if seen.problem:  # nobody knows: nothing is done
        return
    if not seen.there:
        yield (
            Step(what=What.CREATE, subject=name),
            lambda: acting.create_stream(name=name, config=config),
        )
    else:
        found = drifting.differences(wanted=config, found=seen.config)
        yield from _changes(
            name,
            name,
            found,
            lambda fields: acting.change_stream(name=name, config=fields),
            drift=drift,
        )
    known = {consumer.name: consumer for consumer in seen.consumers}
    for one in wanted.consumers:
        yield from _planned_consumer(one, known.get(one.name), acting, drift=drift)


def _planned_consumer(
    wanted: ExpectedConsumer, seen: ConsumerSeen | None, acting: _Acting, *, drift: bool
) -> Iterator[tuple[Step, Callable[[], None]]]:
    stream, name, config = wanted.stream, wanted.name, wanted.config
    if seen is None or not seen.there:  # None: its stream is missing, and so is it
        yield (
            Step(what=What.CREATE, subject=wanted.subject),
            lambda: acting.create_consumer(stream=stream, name=name, config=config),
        )
    elif not seen.problem:
        found = drifting.differences(wanted=config, found=seen.config)
        yield from _changes(
            stream,
            wanted.subject,
            found,
            lambda fields: acting.change_consumer(stream=stream, name=name, config=fields),
            drift=drift,
        )


def _changes(
    stream: str,
    subject: str,
    found: Sequence[Difference],
    change: Callable[[Config], None],
    *,
    drift: bool,
) -> Iterator[tuple[Step, Callable[[], None]]]:
    plain = [one for one in found if one.change is Change.PLAIN] if drift else []
    left = [one for one in found if one not in plain]
    if plain:
        fields = {one.key: one.wanted for one in plain}
        yield (
            Step(what=What.CHANGE, subject=subject, said=tuple(one.said for one in plain)),
            lambda: change(fields),
        )
    if left:
        step = Step(
            what=What.LEAVE,
            subject=subject,
            said=tuple(one.said for one in left),
            command=drifting.command(stream, left),
        )
        yield step, lambda: None


def _done(step: Step, do: Callable[[], None]) -> Step:
    """Do a step. What is refused must not keep the others from being done."""
    try:
        do()
    except BrokerUnavailable as error:
        return dataclasses.replace(step, problem=error.message)
    return dataclasses.replace(step, done=True)
