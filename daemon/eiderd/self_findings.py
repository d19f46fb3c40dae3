"""What the service finds about itself. Pure."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from eiderd.health import Finding, Kind, Severity
from eiderd.units import spell_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eiderd.errors import EiderError
    from eiderd.schedule import Entry


def all_of(
    *,
    at_work: Sequence[tuple[Entry, float]],
    refused: str,
    unfollowed: Sequence[str],
    trouble: EiderError | None,
    is_clock_doubtful: bool,
) -> Iterator[Finding]:
    """Yield every finding. `at_work` has each entry at work, and for how many seconds."""
    for entry, seconds in at_work:
        if seconds > entry.limit.total_seconds():
            yield _overran(entry, seconds)
    if refused:
        yield Finding(
            kind=Kind.CONFIG_REFUSED,
            severity=Severity.WARNING,
            message=f"the new configuration was refused, the old one stays in force: {refused}",
            command="eider config check",
        )
    for section in unfollowed:
        yield Finding(
            kind=Kind.RESTART_NEEDED,
            subject=section,
            severity=Severity.NOTICE,
            message=f"[{section}] was changed, which only a restart can follow",
            command="systemctl restart eiderd",
        )
    if trouble:
        yield Finding(
            kind=Kind.JOURNAL_UNWRITABLE,
            severity=Severity.WARNING,
            message=f"the journal cannot be kept: {trouble.message}",
            command=trouble.hint,
        )
    if is_clock_doubtful:
        yield Finding(
            kind=Kind.CLOCK_JUMPED,
            severity=Severity.WARNING,
            message="the clock was set by more than five minutes; nothing is pruned until it has "
            "been steady for a day",
            command="timedatectl",
        )


def _overran(entry: Entry, seconds: float) -> Finding:
    limit = spell_duration(entry.limit)
    return Finding(
        kind=Kind.JOB_OVERRAN,
        subject=str(entry.job),
        severity=Severity.WARNING,
        message=f"{entry.job} has been at work for {_minutes(seconds)}; its limit is {limit}",
        command=f"journalctl -u eiderd -g {entry.job}",
    )


def _minutes(seconds: float) -> str:
    return spell_duration(datetime.timedelta(minutes=max(1, round(seconds / 60))))
