"""Do the backups hold what they should? What the catalog already knows, said to a person."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final, TypeVar

from eiderd import proof
from eiderd.health import Finding, Kind, Severity
from eiderd.model import State, newest_verified
from eiderd.status import Frozen
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from eiderd.model import Brief, Unreadable

_MOST_SAID: Final = 5
_OTHERS: Final = "others"

Doubtful = TypeVar("Doubtful")


def run(
    *,
    briefs: Sequence[Brief],
    unreadable: Sequence[Unreadable],
    frozen: Collection[Frozen],
) -> tuple[Finding, ...]:
    """Return what is wrong with the backups themselves. `briefs` are oldest first.

    `frozen` says why nothing may be pruned.
    """
    newest = newest_verified(briefs)
    base = newest.sequence if newest else 0
    suspects = [brief for brief in briefs if brief.state is State.SUSPECT and brief.sequence > base]
    corrupt = [brief for brief in briefs if brief.state is State.CORRUPT]
    severity = Severity.WARNING if newest else Severity.CRITICAL
    return (
        *_suspect(suspects, newest=newest),
        *_bounded(corrupt, Kind.CORRUPT_BACKUP, severity, _corrupt),
        *_bounded(unreadable, Kind.UNREADABLE_MANIFEST, Severity.WARNING, _unreadable),
        *_frozen(frozen, suspects=suspects),
    )


def _suspect(suspects: Sequence[Brief], *, newest: Brief | None) -> Iterator[Finding]:
    if not suspects:
        return
    first, *others = suspects
    why = "; ".join(map(plain, first.content.reasons)) or "its content is not as it was"
    more = f" and in {len(others)} later" if others else ""
    good = f"; the last good one is {newest.id}" if newest else ""
    yield Finding(
        kind=Kind.SUSPECT_CONTENT,
        subject=first.id,
        severity=Severity.CRITICAL,
        message=f"Data may be lost, first in backup {first.id} of "
        f"{first.created_at:%Y-%m-%d %H:%M} UTC{more}: {why}{good}. "
        f"If that is as it should be: eider accept {first.id}",
        command=f"eider show {first.id}",
    )


def _corrupt(brief: Brief) -> tuple[str, str, str]:
    why = proof.explain(brief.proof)[0] or "its archive is gone, or not as long as it was"
    return brief.id, f"Backup {brief.id} is corrupt: {plain(why)}.", f"eider verify {brief.id}"


def _unreadable(other: Unreadable) -> tuple[str, str, str]:
    name = plain(other.id)
    return name, f"Backup {name} cannot be believed: {plain(other.problem)}.", "eider list"


def _bounded(
    doubtful: Sequence[Doubtful],
    kind: Kind,
    severity: Severity,
    say: Callable[[Doubtful], tuple[str, str, str]],
) -> Iterator[Finding]:
    """Say each of the newest few, and how many more there are."""
    for one in doubtful[-_MOST_SAID:]:
        subject, message, command = say(one)
        yield Finding(
            kind=kind, subject=subject, severity=severity, message=message, command=command
        )
    if more := len(doubtful[:-_MOST_SAID]):
        yield Finding(
            kind=kind,
            subject=_OTHERS,
            severity=severity,
            message=f"{more} more backups are so too, {len(doubtful)} in all.",
            command="eider list",
        )


_FROZEN: Final = {
    Frozen.UNREADABLE: ("there are backups whose manifests cannot be believed", "eider list"),
    Frozen.CLOCK: ("the clock jumped, so no age can be trusted", "timedatectl"),
}


def _frozen(frozen: Collection[Frozen], *, suspects: Sequence[Brief]) -> Iterator[Finding]:
    said = dict(_FROZEN)
    accept = f"eider accept {shlex.quote(suspects[0].id)}" if suspects else "eider list"
    said[Frozen.SUSPECT] = ("the content of the newest backup is suspect", accept)
    for reason, (why, command) in said.items():
        if reason in frozen:
            yield Finding(
                kind=Kind.PRUNE_FROZEN,
                subject=str(reason),
                severity=Severity.WARNING,
                message=f"Nothing is pruned: {why}.",
                command=command,
            )
    if Frozen.NO_RULES in frozen:
        yield Finding(
            kind=Kind.NO_RETENTION_RULES,
            severity=Severity.NOTICE,
            message="Nothing is ever pruned: the configuration has no rules for it.",
            command="eider config example",
        )
