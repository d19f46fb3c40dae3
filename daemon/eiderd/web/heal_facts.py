"""What the page and the terminal say of healing: decisions and tries as words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from eiderd.healing import Verdict
from eiderd.units import spoken

if TYPE_CHECKING:
    import datetime

    from eiderd.healing import Attempt, Decision, Healing
    from eiderd.health import Finding, Name
    from eiderd.status import Status

_ATTEMPTS: Final = 5
_VERDICTS: Final = {
    Verdict.ACT: ("good", "acts now"),
    Verdict.AT_WORK: ("good", "at work"),
    Verdict.WAIT: ("quiet", "waits"),
    Verdict.COOLING: ("quiet", "cools down"),
    Verdict.STOPPED: ("bad", "gave up"),
    Verdict.PAUSED: ("warn", "paused"),
    Verdict.OFF: ("quiet", "off"),
    Verdict.PROPOSED: ("warn", "for you"),
}


class Clock(Protocol):
    """Says a time for people, exactly and for machines."""

    def shown(self, moment: datetime.datetime) -> dict[str, Any]: ...


def facts(status: Status, *, clock: Clock) -> dict[str, Any]:
    """Return what is shown of healing."""
    healing = status.healing
    known = {found.name: found for found in status.findings}
    return {
        "said": _said(healing, clock=clock),
        "paused": healing.pause is not None,
        "decisions": [_decision(one, known, healing, clock=clock) for one in healing.decisions],
        "attempts": [_attempt(one, clock=clock) for one in healing.attempts[:_ATTEMPTS]],
    }


def _said(healing: Healing, *, clock: Clock) -> str:
    if not healing.enabled:
        return "off (heal.enabled is false): eiderd only says what to type"
    if healing.pause:
        until = healing.pause.until
        ends = f"until {clock.shown(until)['brief']}" if until else "until: eider resume"
        why = f" ({healing.pause.reason})" if healing.pause.reason else ""
        return f"paused {ends}{why}"
    period = spoken(healing.period.total_seconds())
    return f"on; a repair is given up after {healing.tries} tries within {period}"


def _decision(
    one: Decision, known: dict[Name, Finding], healing: Healing, *, clock: Clock
) -> dict[str, Any]:
    tone, verdict = _VERDICTS[one.verdict]
    found = known.get(one.name)
    tried = f"; tried {one.tries} of {healing.tries}" if one.tries else ""
    return {
        "tone": tone,
        "verdict": verdict,
        "found": found.message if found else _named(one.name),
        "kind": str(one.kind),
        "said": one.said,
        "why": f"{one.why}{tried}",
        "next": clock.shown(one.next_at) if one.next_at else None,
        "command": one.command,
    }


def _attempt(tried: Attempt, *, clock: Clock) -> dict[str, Any]:
    if tried.confirmed_at:
        outcome = "helped, says the check"
    elif tried.outcome is None:
        outcome = "at work"
    else:
        outcome = f"{str(tried.outcome).replace('_', ' ')}, not confirmed by the check"
    return {
        "at": clock.shown(tried.at),
        "job": str(tried.job),
        "found": _named(tried.name),
        "outcome": outcome,
        "why": tried.why,
    }


def _named(name: Name) -> str:
    kind, subject = name
    said = str(kind).replace("_", " ")
    return f"{said} ({subject})" if subject else said
