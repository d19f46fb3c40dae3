"""What `eider status --heal` says: for every finding what is done, why not, when, what to type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eiderd.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, paint, say
from eiderd.healing import Verdict
from eiderd.web import page_facts
from eiderd.words import plain

if TYPE_CHECKING:
    from datetime import tzinfo

    from eiderd.status import Status

_COLOURS: Final = {Verdict.STOPPED: RED, Verdict.ACT: GREEN, Verdict.AT_WORK: GREEN}


def show(status: Status, *, zone: tzinfo) -> None:
    facts = page_facts.facts(status, zone=zone)["healing"]
    say(f"{paint('healing', BOLD)}  {plain(facts['said'])}")
    if status.service.since is None:
        say(paint("The service is not running, so nothing is repaired.", YELLOW))
        say(paint("    systemctl start eiderd", BOLD))
    for one, shown in zip(status.healing.decisions, facts["decisions"], strict=True):
        mark = paint(shown["verdict"], _COLOURS.get(one.verdict, YELLOW))
        say(f"\n{mark}  {plain(shown['found'])}")
        say(f"    to do: {plain(shown['said'])}")
        say(f"    {plain(shown['why'])}")
        if shown["next"]:
            say(f"    next try {shown['next']['brief']}")
        say(f"    {paint(plain(shown['command']), BOLD)}")
    if not status.healing.decisions:
        say("\nNothing that was found has a repair.")
    if facts["attempts"]:
        say(f"\n{paint('tried lately', BOLD)}")
    for tried in facts["attempts"]:
        said = f"  {tried['at']['brief']}  {tried['job']}  {tried['outcome']}"
        say(f"{said}: {plain(tried['found'])}  {paint(plain(tried['why']), DIM)}".rstrip())


def document(status: Status) -> dict[str, Any]:
    """Return what `eider status --heal --json` says."""
    healing = status.healing
    return {
        "enabled": healing.enabled,
        "service": {"running": status.service.since is not None, "since": status.service.since},
        "paused": healing.pause is not None,
        "pause": healing.pause,
        "tries": healing.tries,
        "period_seconds": healing.period.total_seconds(),
        "decisions": [
            {
                "kind": one.kind,
                "subject": plain(one.subject),
                "action": one.job,
                "verdict": one.verdict,
                "why": plain(one.why),
                "said": one.said,
                "command": plain(one.command),
                "next_at": one.next_at,
                "tries": one.tries,
            }
            for one in healing.decisions
        ],
        "attempts": [
            {
                "action": tried.job,
                "kind": tried.name[0],
                "subject": plain(tried.name[1]),
                "at": tried.at,
                "ended_at": tried.ended_at,
                "outcome": tried.outcome,
                "why": plain(tried.why),
                "confirmed_at": tried.confirmed_at,
            }
            for tried in healing.attempts
        ],
        "stopped": {str(job): at for job, at in healing.stopped.items()},
    }
