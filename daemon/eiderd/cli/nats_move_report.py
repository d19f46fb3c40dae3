"""What a person and a script are told of streams that are put back or moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal

from eiderd.cli import documents
from eiderd.cli.terminal import BOLD, GREEN, RED, YELLOW, paint, say
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eiderd.broker.moving import StreamPlan
    from eiderd.jobs.migrate import Moved
    from eiderd.jobs.nats_restore import Returned
    from eiderd.model import Outcome


def planned(plans: Sequence[StreamPlan], *, title: str, dry_run: bool) -> None:
    say(paint(plain(title), BOLD))
    for plan in plans:
        said = _counts(plan.messages, plan.first_seq, plan.last_seq, plan.bytes)
        replicas = f", {plan.replicas} replicas" if plan.replicas > 1 else ""
        consumers = many(plan.consumers, "consumer")
        say(f"  {plain(plan.stream)}: {said}, {consumers}{replicas}, by {plan.method}")
        for problem in plan.problems:
            say(f"    {paint('✗', RED)} {plain(problem)}")
        for warning in plan.warnings:
            say(f"    {paint('!', YELLOW)} {plain(warning)}")
    if not plans:
        say("  no stream")
    if dry_run:
        say("nothing was done: this was a look")


def restored(outcome: Outcome[tuple[Returned, ...]]) -> None:
    for one in outcome.value:
        said = _counts(one.messages, one.first_seq, one.last_seq, one.bytes)
        consumers = many(len(one.consumers), "consumer")
        say(f"{paint('✓ restored', GREEN)} {plain(one.stream)}: {said}, {consumers}")
        if one.expired:
            say(f"  {many(one.expired, 'message')} were too old and were removed by the server")
        for warning in one.warnings:
            say(f"  {paint('!', YELLOW)} {plain(warning)}")
        if one.aside:
            say(f"  what was there before: {plain(one.aside)}")
    if not outcome.value:
        say(outcome.why)


def moved(outcome: Outcome[tuple[Moved, ...]]) -> None:
    for one in outcome.value:
        said = _counts(one.messages, one.first_seq, one.last_seq, one.bytes)
        same = many(one.agreement.same, "message")
        consumers = many(len(one.agreement.consumers), "consumer")
        say(f"{paint('✓ moved', GREEN)} {plain(one.stream)}: {said}, {consumers}")
        say(f"  compared: {same} the same, byte by byte")
        if one.agreement.gone:
            say(f"  {many(one.agreement.gone, 'message')} were too old and were removed")
        if one.agreement.later:
            later = many(one.agreement.later, "message")
            say(f"  {paint('!', YELLOW)} {later} came to the old server since and stayed there")
    if not outcome.value:
        say(outcome.why)


def plan_document(plans: Sequence[StreamPlan], *, server: str) -> None:
    documents.anything({"dry_run": True, "server": server, "streams": tuple(plans)})


def restored_document(outcome: Outcome[tuple[Returned, ...]], *, server: str) -> None:
    documents.anything(
        {
            "ending": outcome.ending,
            "why": outcome.why,
            "server": server,
            "streams": outcome.value,
        }
    )


def moved_document(outcome: Outcome[tuple[Moved, ...]]) -> None:
    documents.anything({"ending": outcome.ending, "why": outcome.why, "streams": outcome.value})


def _counts(messages: int, first: int, last: int, size: int) -> str:
    return f"{many(messages, 'message')} ({first} to {last}), {decimal(size)}"
