"""What a person is shown of a prune: what went, or for each backup the rule that decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal

from eiderd.cli.reports import columns, taken
from eiderd.cli.terminal import BOLD, paint, say
from eiderd.model import Ending, State
from eiderd.status import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eiderd.model import Outcome
    from eiderd.retention import Decision, Plan, Pruned

_HINTS = {
    Frozen.NO_RULES: "Say in [retention] what to keep, as in daily = 7; see: eider config example",
    Frozen.NO_VERIFIED: "Take one: eider backup",
    Frozen.UNREADABLE: "See which it is: eider list",
    Frozen.SUSPECT: "eider show {suspect}; if it is right: eider accept {suspect}",
    Frozen.CLOCK: "Is the time right? timedatectl",
}


def pruned(outcome: Outcome[Pruned], *, dry_run: bool) -> None:
    """Print what was removed, or would be, and what stays. Why nothing may be is said elsewhere."""
    plan = outcome.value.plan
    if outcome.ending is Ending.REFUSED:
        return
    gone = plan.remove if dry_run else outcome.value.removed
    left = f"{len(plan.decisions) - len(gone):,} left"
    if not gone:
        say(f"nothing to prune: {outcome.why}" + (f"; {left}" if plan.decisions else ""))
        return
    going = {backup.id for backup in gone}
    rows = [_row(decision) for decision in plan.decisions if decision.backup.id in going]
    _, *lines = columns(("", "", "", ""), rows, right={"SIZE"})
    say("\n".join(lines))
    size = decimal(sum(backup.bytes for backup in gone))
    done = "would be removed" if dry_run else "removed"
    say(f"{paint(_counted(len(gone)), BOLD)} {done}, {size}; {left}")


def _counted(count: int) -> str:
    return "1 backup" if count == 1 else f"{count:,} backups"


def _row(decision: Decision) -> tuple[str, ...]:
    backup = decision.backup
    return backup.id, taken(backup), decimal(backup.bytes), _why(decision.reasons)


def _why(reasons: Sequence[str]) -> str:
    return "; ".join(reasons)


_TITLES = ("ID", "TAKEN", "STATE", "SIZE", "RULES", "WHY")


def explained(plan: Plan) -> None:
    """Print every backup, the newest first, with what the rules say of it."""
    if not plan.decisions:
        say("there is no backup")
        return
    rows = [
        (
            decision.backup.id,
            taken(decision.backup),
            str(decision.backup.state),
            decimal(decision.backup.bytes),
            "keep" if decision.keep_by_rules else "remove",
            _why(decision.reasons),
        )
        for decision in reversed(plan.decisions)
    ]
    say("\n".join(columns(_TITLES, rows, right={"SIZE"})))


def hint(plan: Plan) -> str:
    """Return what to type about the first cause that freezes a plan."""
    suspects = [
        decision.backup.id for decision in plan.decisions if decision.backup.state is State.SUSPECT
    ]
    return _HINTS[plan.frozen[0]].format(suspect=suspects[-1] if suspects else "")
