"""Did the replacement of a stream end in the middle, because its run died or its server went?

A record beside what the stream held before says so. While a run is at work on it, that is as it
should be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eiderd.errors import EiderError
from eiderd.health import Finding, Kind, Severity
from eiderd.words import plain

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Sequence

    from eiderd.broker.evidence import Replacement


def run(
    *,
    look: Callable[[], Sequence[Replacement]],
    at_work_since: Callable[[], Sequence[datetime.datetime]],
    configured: Callable[[], str],
) -> tuple[Finding, ...]:
    """Return what did not end, one finding for each stream: the first of several has the original.

    `at_work_since` says when the runs began that are at work now. It is asked twice: one may begin
    or end while `look` does. `configured` says which server needs not be named.
    """
    began = [*at_work_since()]
    try:
        records = look()
    except EiderError as error:
        return (_finding("", f"{error.message}.", command=error.hint),)
    began += at_work_since()
    first: dict[tuple[str, str], Replacement] = {}
    for one in sorted(records, key=lambda one: one.begun_at):
        if not any(one.begun_at >= at for at in began):
            first.setdefault((one.stream, one.server), one)
    here = configured() if first else ""
    return tuple(
        _finding(
            one.stream,
            f"A replacement of the stream {one.stream} on {one.server} {one.said}. Put it back.",
            command=one.command(configured=here),
        )
        for one in first.values()
    )


def _finding(stream: str, said: str, *, command: str) -> Finding:
    return Finding(
        kind=Kind.NATS_REPLACE_UNFINISHED,
        subject=plain(stream),
        severity=Severity.CRITICAL,
        message=plain(said),
        command=plain(command),
    )
