"""Remove the backups that the rules no longer keep, oldest first. Under the store lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eiderd import catalog, retention
from eiderd.errors import StoreUnavailable
from eiderd.model import Ending, Outcome
from eiderd.retention import Plan, Pruned
from eiderd.status import Frozen

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from eiderd.catalog import BriefListing
    from eiderd.model import Brief

_WHY = {
    Frozen.NO_RULES: "no rule in [retention] says what to keep or how much",
    Frozen.NO_VERIFIED: "there is no verified backup",
    Frozen.UNREADABLE: "a manifest cannot be read, so not all backups are known",
    Frozen.SUSPECT: "the content of a backup newer than the newest verified one is suspect",
    Frozen.CLOCK: "the clock jumped, or the newest verified backup is dated in the future",
}


class Record(Protocol):
    """Note for good what was removed, even when more should have been."""

    def __call__(self, *, backups: int, size: int) -> None: ...


def run(
    *,
    now: Callable[[], datetime.datetime],
    directory: Path,
    look: Callable[[], BriefListing],
    rules: retention.Rules,
    zone: datetime.tzinfo,
    clock_jumped: Callable[[], bool],
    dry_run: bool,
    record: Record,
) -> Outcome[Pruned]:
    """Decide, remove and say what was removed. `dry_run` removes nothing and says what would be.

    Raise StoreUnavailable when some could not be removed; all that could be are gone then.
    """
    listing = look()
    plan = retention.decide(
        listing.backups,
        unreadable=len(listing.unreadable),
        rules=rules,
        now=now(),
        zone=zone,
        clock_jumped=clock_jumped(),  # after the time was read: it may be set at any moment
    )
    if not listing.backups and not listing.unreadable:
        return Outcome(
            ending=Ending.NOTHING_TO_DO, value=Pruned(plan=plan), why="there is no backup"
        )
    if plan.frozen:
        return Outcome(ending=Ending.REFUSED, value=Pruned(plan=plan), why=why_frozen(plan.frozen))
    if not plan.remove:
        return Outcome(ending=Ending.NOTHING_TO_DO, value=Pruned(plan=plan), why="no backup is due")
    removed = () if dry_run else _remove(directory, plan, look=look, record=record)
    return Outcome(ending=Ending.DONE, value=Pruned(plan=plan, removed=removed))


def why_frozen(frozen: Iterable[Frozen]) -> str:
    """Say in words why nothing is removed; empty when it is not so."""
    return "; ".join(_WHY[cause] for cause in frozen)


def _remove(
    directory: Path, plan: Plan, *, look: Callable[[], BriefListing], record: Record
) -> tuple[Brief, ...]:
    removed: list[Brief] = []
    stuck: list[StoreUnavailable] = []
    for backup in plan.remove:
        try:
            catalog.remove(directory, backup.id)
            removed.append(backup)
        except StoreUnavailable as error:  # one must not keep all the others on a full disk
            stuck.append(error)
    catalog.point_latest(directory, look=look)
    if removed:
        record(backups=len(removed), size=sum(backup.bytes for backup in removed))
    if stuck:
        raise StoreUnavailable(
            f"{len(removed)} backups were removed, {len(stuck)} could not be: {stuck[0].message}",
            hint=f"Look at them: ls -l {directory} and lsattr {directory}",
        )
    return tuple(removed)
