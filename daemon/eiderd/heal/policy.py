"""What is found, what was tried, what time it is -> what is done about it now, and why. Pure.

Two looks of the check must have found it, after the last thing that was tried; what the repair
needs must be known to be there; the last try must be long enough ago, and there must not have been
too many. Then one repair is chosen, never two. A repair that was given up stays so until the check
finds nothing more, or a person says `eider resume`.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from eiderd.healing import Attempt, Decision, Limits, Pause, Ready, Repair, Seen, Verdict
from eiderd.model import Job
from eiderd.units import spoken

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eiderd.health import Finding, Name

_LOOKS: Final = 2
_LONGEST_SHARE: Final = 4  # of the period: the longest wait between two tries


class Ask(Protocol):
    """Say whether what a repair of a finding needs is there, and whether there is work for it."""

    def __call__(self, repair: Repair, found: Finding, /) -> Ready: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the journal remembers.

    Attempts are oldest first; none of before `resumed_at` counts against a budget any more.
    """

    attempts: Sequence[Attempt] = ()
    stopped: Mapping[Job, datetime.datetime] = dataclasses.field(default_factory=dict)
    pause: Pause | None = None
    resumed_at: datetime.datetime | None = None

    @property
    def counted(self) -> list[Attempt]:
        """Return the tries since a person last said `eider resume`."""
        since = self.resumed_at
        return [tried for tried in self.attempts if since is None or tried.at >= since]

    @property
    def settled_at(self) -> datetime.datetime | None:
        """When the last try of anything ended: what was seen before that may be over."""
        return max((tried.settled_at for tried in self.attempts), default=None)


def decide(
    *,
    seen: Iterable[Seen],
    repairs: Sequence[Repair],
    ask: Ask,
    past: Past,
    limits: Limits,
    busy: str,
    now: datetime.datetime,
) -> tuple[Decision, ...]:
    """Return a decision for each finding and each repair of it; at most one is to act.

    `seen` is worst first, `repairs` in the order in which they are to be tried. `busy` says who
    holds the store, empty when nobody does.
    """
    decisions: list[Decision] = []
    chosen: Decision | None = None
    for one in seen:
        earlier: list[Decision] = []
        for repair in repairs:
            if not repair.answers(one.finding):
                continue
            if repair.job is None and any(_is_open(before) for before in earlier):
                continue  # it is proposed when nothing else is left to be done
            found = _judged(one, repair, ask=ask, past=past, limits=limits, busy=busy, now=now)
            if found.verdict is Verdict.ACT and chosen:
                found = _with(found, Verdict.WAIT, f"one repair at a time: {chosen.said} first")
            if found.verdict is Verdict.ACT:
                chosen = found
            earlier.append(found)
        decisions += earlier
    return tuple(decisions)


def _is_open(decision: Decision) -> bool:
    """Whether that repair is still to come by itself."""
    return decision.verdict in {Verdict.ACT, Verdict.AT_WORK, Verdict.COOLING}


def _judged(
    one: Seen,
    repair: Repair,
    *,
    ask: Ask,
    past: Past,
    limits: Limits,
    busy: str,
    now: datetime.datetime,
) -> Decision:
    found, job = one.finding, repair.job
    tries = within(past.counted, job, limits=limits, now=now) if job else []
    base = Decision(
        kind=found.kind, subject=found.subject, job=job, verdict=Verdict.PROPOSED, why="",
        said=repair.said, command=repair.typed(found), tries=len(tries),
    )  # fmt: skip
    if job is None:
        return _with(base, Verdict.PROPOSED, "this is for a person to decide")
    return (
        _forbidden(base, repair, past=past, limits=limits, now=now)
        or _spent(base, job, past=past, tries=len(tries), limits=limits)
        or _unsure(base, one, past=past, limits=limits, now=now)
        or _cooling(base, job, past=past, limits=limits, now=now)
        or _unready(base, ask(repair, found), busy=busy)
        or _with(base, Verdict.ACT, f"the check found it {_LOOKS} times and nothing speaks against")
    )


def _forbidden(
    base: Decision, repair: Repair, *, past: Past, limits: Limits, now: datetime.datetime
) -> Decision | None:
    if not limits.enabled:
        return _with(base, Verdict.OFF, "heal.enabled is false")
    if repair.switch not in limits.allowed:
        return _with(base, Verdict.OFF, f"heal.{repair.switch} is false")
    if past.pause and past.pause.holds(now):
        return _with(base, Verdict.PAUSED, "somebody paused healing", past.pause.until)
    at_work = next((tried for tried in past.attempts if tried.outcome is None), None)
    if at_work is None:
        return None
    if at_work.job is base.job:
        return _with(base, Verdict.AT_WORK, "it is being tried now")
    return _with(base, Verdict.WAIT, f"one repair at a time: {at_work.job} is at work")


def _spent(base: Decision, job: Job, *, past: Past, tries: int, limits: Limits) -> Decision | None:
    if job not in past.stopped and tries < limits.tries:
        return None
    last = next((tried for tried in reversed(past.attempts) if tried.job is job), None)
    said = f", the last time: {last.why}" if last and last.why else ""
    times = max(tries, limits.tries)
    told = f"it was tried {times} times within {spoken(limits.period.total_seconds())}{said}"
    return _with(base, Verdict.STOPPED, told)


def _unsure(
    base: Decision, one: Seen, *, past: Past, limits: Limits, now: datetime.datetime
) -> Decision | None:
    settled = past.settled_at
    looks = [at for at in one.looks if (settled is None or at > settled) and at <= now]
    if not one.looks or now - one.looks[-1] > limits.stale:
        return _with(base, Verdict.WAIT, "its check does not look, so whether it is still so is"
                     " not known")  # fmt: skip
    if len(looks) < _LOOKS:
        since = " since the last repair" if settled and len(looks) < len(one.looks) else ""
        return _with(base, Verdict.WAIT, f"the check must find it {_LOOKS} times; it was seen"
                     f" {('not yet', 'once')[len(looks)]}{since}")  # fmt: skip
    return None


def _cooling(
    base: Decision, job: Job, *, past: Past, limits: Limits, now: datetime.datetime
) -> Decision | None:
    until = cool_until(past.counted, job, limits=limits)
    if until is None or until <= now:
        return None
    streak = len(in_vain(past.counted, job))
    why = (
        f"{'one try' if streak == 1 else f'{streak} tries'} did not help"
        if streak
        else "the last one was a moment ago"
    )
    return _with(base, Verdict.COOLING, why, until)


def _unready(base: Decision, ready: Ready, *, busy: str) -> Decision | None:
    if ready.met is None:
        return _with(base, Verdict.WAIT, f"whether it may be done is not known: {ready.why}")
    if not ready.met:
        return _with(base, Verdict.WAIT, ready.why)
    if busy:
        return _with(base, Verdict.WAIT, f"it waits until {busy} has ended")
    return None


def _with(
    base: Decision, verdict: Verdict, why: str, next_at: datetime.datetime | None = None
) -> Decision:
    return dataclasses.replace(base, verdict=verdict, why=why, next_at=next_at)


# Budgets ----------------------------------------------------------------------------------------


def within(
    attempts: Iterable[Attempt], job: Job, *, limits: Limits, now: datetime.datetime
) -> list[Attempt]:
    """Return the tries of a job that its budget counts now, helpful ones and others."""
    return [tried for tried in attempts if tried.job is job and now - tried.at < limits.period]


def in_vain(attempts: Sequence[Attempt], job: Job) -> list[Attempt]:
    """Return the last tries of a job in a row that the check has not confirmed."""
    found: list[Attempt] = []
    for tried in reversed([tried for tried in attempts if tried.job is job]):
        if tried.confirmed_at:
            break
        found.append(tried)
    return found


def cool_until(
    attempts: Sequence[Attempt], job: Job, *, limits: Limits
) -> datetime.datetime | None:
    """Return from when on a job may be tried again: later with each try that did not help."""
    last = next((tried for tried in reversed(attempts) if tried.job is job), None)
    if last is None:
        return None
    doublings = min(max(0, len(in_vain(attempts, job)) - 1), 30)
    longest = max(limits.cooldown, limits.period / _LONGEST_SHARE)
    wait: datetime.timedelta = min(limits.cooldown * 2**doublings, longest)
    return last.settled_at + wait


# What follows ------------------------------------------------------------------------------------


def confirmed(
    attempts: Iterable[Attempt],
    *,
    present: Iterable[Name],
    looked: Mapping[Job, datetime.datetime],
    repairs: Iterable[Repair],
) -> tuple[tuple[Job, Name], ...]:
    """Return what the checks say was repaired: looked for after the try, and found no more."""
    there = set(present)
    found: dict[tuple[Job, Name], None] = {}
    watchers = {(repair.job, repair.kind): repair.watcher for repair in repairs}
    for tried in attempts:
        watcher = watchers.get((tried.job, tried.name[0]))
        if tried.confirmed_at or tried.outcome is None or tried.name in there or watcher is None:
            continue
        at = looked.get(watcher)
        if at and at > tried.settled_at:
            found[tried.job, tried.name] = None
    return tuple(found)


def over(
    stopped: Iterable[Job],
    *,
    seen: Iterable[Seen],
    looked: Mapping[Job, datetime.datetime],
    repairs: Sequence[Repair],
) -> tuple[Job, ...]:
    """Return the jobs that were given up and are needed no more: every check says so."""
    needed = {repair.job for one in seen for repair in repairs if repair.answers(one.finding)}
    return tuple(
        job
        for job in stopped
        if job not in needed
        and all(repair.watcher in looked for repair in repairs if repair.job is job)
    )
