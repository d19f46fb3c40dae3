"""Does the application run, does it stay up, is it well, and is it the one that holds the database?

One look may fall into a restart or a pause. What is found counts when two looks in a row found it;
a restart loop is told from the count of restarts, which forgets nothing.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Final

from eiderd.evidence import ApplicationSeen, ApplicationState
from eiderd.health import Finding, Kind, Name, Severity
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOOP: Final = 3  # restarts that nobody asked for
_WITHIN: Final = datetime.timedelta(minutes=15)

Restarts = tuple[datetime.datetime, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What earlier looks left: which findings the last one would have made, and the restarts.

    `suspected` is None when there was no look: whoever looks only once believes it.
    """

    suspected: frozenset[Name] | None = None
    restarts: tuple[Restarts, ...] = ()


NOTHING: Final = Known()


def run(
    *, now: datetime.datetime, seen: ApplicationSeen, known: Known
) -> tuple[tuple[Finding, ...], Known]:
    """Given one look, return what is wrong, and what the next look needs to know."""
    restarts = _remembered(known.restarts, seen.restarts, now=now)
    suspected = tuple(_suspected(seen))
    earlier = known.suspected
    found = [
        *_looping(seen, restarts),
        *(one for one in suspected if earlier is None or one.name in earlier),
    ]
    names = frozenset(one.name for one in suspected)
    return tuple(found), Known(suspected=names, restarts=restarts)


def _suspected(seen: ApplicationSeen) -> Iterator[Finding]:
    if seen.state is ApplicationState.FAILED:
        why = f": {plain(seen.why)}" if seen.why else ""
        said = f"{seen.name} has failed and does not run{why}"
        yield _finding(Kind.APPLICATION_DOWN, seen, said, severity=Severity.WARNING)
    elif seen.state is ApplicationState.STOPPED:
        yield _finding(Kind.APPLICATION_DOWN, seen, f"{seen.name} is stopped")
    elif seen.frozen:
        said = f"{seen.name} is frozen: it does nothing until it is thawed"
        yield _finding(
            Kind.APPLICATION_UNHEALTHY, seen, said, severity=Severity.WARNING, command=seen.to_thaw
        )
    elif seen.health is not None and not seen.health.well:
        said = f"{seen.name} runs and is not well: {plain(seen.health.why)}"
        yield _finding(Kind.APPLICATION_UNHEALTHY, seen, said, severity=Severity.WARNING)
    yield from _stranger(seen)


def _stranger(seen: ApplicationSeen) -> Iterator[Finding]:
    """Somebody else's lock keeps the application from starting, and may be a second writer."""
    if seen.stranger is None:
        return
    yield Finding(
        kind=Kind.LOCK_HELD,
        subject=seen.name,
        severity=Severity.WARNING,
        message=f"The database is held by {plain(seen.stranger.said)}, which is not {seen.name}: "
        "the application cannot open it.",
        command=f"ps -fp {seen.stranger.pid}",
    )


def _looping(seen: ApplicationSeen, restarts: Sequence[Restarts]) -> Iterator[Finding]:
    if not restarts:
        return
    count = restarts[-1][1] - restarts[0][1]
    if count >= _LOOP:
        said = f"{seen.name} started anew {many(count, 'time')} within 15 minutes, unasked"
        yield _finding(Kind.RESTART_LOOP, seen, said, severity=Severity.WARNING)


def _remembered(
    before: Sequence[Restarts], count: int | None, *, now: datetime.datetime
) -> tuple[Restarts, ...]:
    """Return the counts of the last while. A count that fell was set back: it begins anew."""
    if count is None:
        return ()
    if before and count < before[-1][1]:
        before = ()
    young = [one for one in before if datetime.timedelta() <= now - one[0] <= _WITHIN]
    return (*young, (now, count))


def _finding(
    kind: Kind,
    seen: ApplicationSeen,
    said: str,
    *,
    severity: Severity = Severity.NOTICE,
    command: str | None = None,
) -> Finding:
    return Finding(
        kind=kind,
        subject=seen.name,
        severity=severity,
        message=f"{said[:1].upper()}{said[1:].rstrip('.')}.",
        command=command or seen.to_see_why,
    )
