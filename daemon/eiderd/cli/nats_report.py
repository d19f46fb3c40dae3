"""What a person is shown of NATS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal

from eiderd.broker.evidence import JetStream
from eiderd.cli.reports import columns
from eiderd.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, paint, say
from eiderd.health import Condition, Severity, condition
from eiderd.jobs.ensure import What
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eiderd.broker.evidence import ConsumerSeen, NatsSeen, NatsStanding, StreamSeen
    from eiderd.health import Finding
    from eiderd.jobs.ensure import Ensured, Step
    from eiderd.model import Outcome

_COLOURS = {Condition.WELL: GREEN, Condition.DEGRADED: YELLOW, Condition.ILL: RED}
_STREAM = ("STREAM", "MESSAGES", "SIZE", "FIRST", "LAST", "LEADER")
_CONSUMER = ("CONSUMER", "WAITING", "UNACKNOWLEDGED", "AGAIN", "ACKNOWLEDGED UP TO")
_SEVERITIES = {Severity.CRITICAL: RED, Severity.WARNING: YELLOW, Severity.NOTICE: DIM}


def status(standing: NatsStanding, found: Sequence[Finding]) -> None:
    seen = standing.seen
    worst = condition(found)
    mark = "✓" if worst is Condition.WELL else "✗"
    said = _server(seen) if seen else "NATS cannot be reached"
    say(f"{paint(f'{mark} {worst}', BOLD, _COLOURS[worst])}  {said}")
    if seen and seen.account:
        limit = seen.account.max_storage_bytes or standing.store_limit_bytes
        most = f" of {decimal(limit)}" if limit else ""
        say(
            f"  {decimal(seen.account.storage_bytes)}{most} stored, "
            f"{many(seen.account.streams, 'stream')}, {many(seen.account.consumers, 'consumer')}"
        )
    for one in found:
        say(f"\n{paint(str(one.severity), _SEVERITIES[one.severity])}  {plain(one.message)}")
        say(f"    {paint(plain(one.command), BOLD)}")
    if seen and seen.streams and seen.jetstream is JetStream.ON:
        _tables(seen)


def one_line(standing: NatsStanding, found: Sequence[Finding]) -> str:
    """Return the worst finding, or that there is none, as a probe says it."""
    seen = standing.seen
    grave = [one for one in found if one.severity is not Severity.NOTICE]
    if grave:
        more = f" (and {len(grave) - 1} more)" if len(grave) > 1 else ""
        return f"{grave[0].severity}: {plain(grave[0].message)}{more}"
    if seen is None:  # what cannot be reached is always found
        return f"critical: {plain(standing.why)}"
    expected = many(len(standing.expected), "stream")
    consumers = many(sum(map(len, standing.expected.values())), "consumer")
    return f"ok: {_server(seen)}; {expected} and {consumers} as expected"


def ensured(outcome: Outcome[Ensured], *, dry_run: bool) -> None:
    for step in outcome.value.steps:
        _step(step, dry_run=dry_run)
    if outcome.why:
        say(f"nothing to do: {outcome.why}")


def _step(step: Step, *, dry_run: bool) -> None:
    subject = paint(plain(step.subject), BOLD)
    if step.what is What.LEAVE:
        say(f"{paint('-', YELLOW)} {subject} stays as it is: {plain('; '.join(step.said))}")
        say(f"    {plain(step.command)}")
        return
    said = {What.CREATE: "create", What.CHANGE: "change"} if dry_run else _DONE
    mark = "+" if dry_run else "✓"
    fields = f": {plain('; '.join(step.said))}" if step.said else ""
    would = "would " if dry_run else ""
    say(f"{paint(mark, GREEN)} {would}{said[step.what]} {subject}{fields}")


_DONE = {What.CREATE: "created", What.CHANGE: "changed"}


def _server(seen: NatsSeen) -> str:
    cluster = f" of the cluster {plain(seen.cluster)}" if seen.cluster else ""
    return (
        f"NATS {plain(seen.version)} at {plain(seen.url)}{cluster} answers in "
        f"{seen.rtt_seconds * 1000:.1f} ms"
    )


def _tables(seen: NatsSeen) -> None:
    _print(_STREAM, [_stream(one) for one in seen.streams], right=set(_STREAM[1:5]))
    consumers = [_consumer(one) for stream in seen.streams for one in stream.consumers]
    if consumers:
        _print(_CONSUMER, consumers, right=set(_CONSUMER[1:]))


def _print(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: set[str]) -> None:
    title, *lines = columns(titles, rows, right=right)
    say("\n".join(("", paint(title, BOLD), *lines)))


def _stream(seen: StreamSeen) -> tuple[str, ...]:
    if seen.problem or not seen.there:
        return seen.name, seen.problem or "missing", "", "", "", ""
    leader = seen.cluster.leader if seen.cluster else ""
    return (
        seen.name,
        f"{seen.messages:,}",
        decimal(seen.bytes),
        f"{seen.first_sequence:,}",
        f"{seen.last_sequence:,}",
        leader,
    )


def _consumer(seen: ConsumerSeen) -> tuple[str, ...]:
    name = f"{seen.stream}/{seen.name}"
    if seen.problem or not seen.there:
        return name, seen.problem or "missing", "", "", ""
    return (
        name,
        f"{seen.pending:,}",
        f"{seen.ack_pending:,}",
        f"{seen.redelivered:,}",
        f"{seen.acked_sequence:,}",
    )
