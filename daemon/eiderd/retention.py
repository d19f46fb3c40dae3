"""Retention: backups, rules, now -> what is kept, what is removed, and why. Pure.

Whatever the rules say: the newest verified backup stays, and so do pinned ones, those whose date
lies ahead, corrupt ones (a person decides) and the `min_count` newest verified ones. Only verified
backups count for anything. Order is that of the sequence numbers, never that of the dates.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Final

from eiderd.model import Brief, State
from eiderd.status import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

CLOCK_SLACK: Final = datetime.timedelta(minutes=5)  # two good clocks may differ by so much


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What `[retention]` says. Zero and None are rules that are not set."""

    min_count: int = 3
    keep_recent_hours: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    max_age_days: int | None = None
    max_count: int | None = None
    max_total_bytes: int | None = None

    @property
    def least(self) -> int:
        """How many verified backups stay in any case. Never none."""
        return max(1, self.min_count)

    @property
    def recent(self) -> datetime.timedelta:
        return datetime.timedelta(hours=max(0, self.keep_recent_hours))

    @property
    def name_some(self) -> bool:
        """Whether only what some rule names is kept."""
        named = (self.keep_recent_hours, self.daily, self.weekly, self.monthly, self.yearly)
        return any(count > 0 for count in named)

    @property
    def cap_some(self) -> bool:
        caps = (self.max_age_days, self.max_count, self.max_total_bytes)
        return any(cap is not None for cap in caps)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of one backup. While pruning is frozen, `keep` holds whatever the rules say."""

    backup: Brief
    keep: bool
    keep_by_rules: bool
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A decision for every backup, oldest first, and why none is removed, if so."""

    decisions: tuple[Decision, ...]
    frozen: tuple[Frozen, ...]

    @property
    def remove(self) -> tuple[Brief, ...]:
        """What is to be removed, oldest first: nothing while frozen."""
        if self.frozen:
            return ()
        return tuple(decision.backup for decision in self.decisions if not decision.keep)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a prune did: its plan, and what was removed (nothing when it was only a look)."""

    plan: Plan
    removed: tuple[Brief, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(backup.bytes for backup in self.removed)


def decide(
    backups: Sequence[Brief],
    *,
    unreadable: int,
    rules: Rules,
    now: datetime.datetime,
    zone: datetime.tzinfo,
    clock_jumped: bool,
) -> Plan:
    """Given all backups there are, say of each whether it stays, and why.

    `unreadable` is how many manifests could not be read, `zone` where days begin and end.
    """
    ordered = sorted(backups, key=lambda backup: (backup.sequence, backup.id))
    verified = [backup for backup in ordered if backup.verified]
    frozen = _frozen(
        ordered, verified, unreadable=unreadable, rules=rules, now=now, clock_jumped=clock_jumped
    )
    stays = _untouchable(ordered, verified, rules=rules, now=now)
    named = _named(verified, rules=rules, now=now, zone=zone)
    spared = {*stays, *named}
    left = [backup for backup in verified if not rules.name_some or backup.id in spared]
    cut = _cut(left, rules=rules, now=now, stays=stays.keys())
    newer = _verified_after(ordered)
    decisions = []
    for backup in ordered:
        if backup.verified:
            keep, reasons = _of_verified(backup, stays, named, cut, rules=rules)
        else:
            keep, reasons = _of_other(backup, stays, newer[backup.id], rules=rules, now=now)
        decisions.append(
            Decision(
                backup=backup,
                keep=keep or bool(frozen),
                keep_by_rules=keep,
                reasons=reasons,
            )
        )
    return Plan(decisions=tuple(decisions), frozen=frozen)


# What freezes all ---------------------------------------------------------------------------------


def _frozen(
    ordered: Sequence[Brief],
    verified: Sequence[Brief],
    *,
    unreadable: int,
    rules: Rules,
    now: datetime.datetime,
    clock_jumped: bool,
) -> tuple[Frozen, ...]:
    newest = verified[-1] if verified else None
    ahead = newest is not None and newest.created_at - now > CLOCK_SLACK
    since = newest.sequence if newest else -1
    doubted = any(
        backup.state is State.SUSPECT and backup.sequence > since for backup in reversed(ordered)
    )
    causes = {
        Frozen.NO_RULES: not (rules.name_some or rules.cap_some),
        Frozen.NO_VERIFIED: newest is None,
        Frozen.UNREADABLE: unreadable > 0,
        Frozen.SUSPECT: doubted,
        Frozen.CLOCK: clock_jumped or ahead,
    }
    return tuple(cause for cause, holds in causes.items() if holds)


# What keeps ---------------------------------------------------------------------------------------


def _untouchable(
    ordered: Sequence[Brief],
    verified: Sequence[Brief],
    *,
    rules: Rules,
    now: datetime.datetime,
) -> dict[str, list[str]]:
    """Return why, by id, of what no rule may remove."""
    found: dict[str, list[str]] = {}
    for backup in verified[-1:]:
        found.setdefault(backup.id, []).append("the newest verified")
    for backup in ordered:
        if backup.pinned:
            found.setdefault(backup.id, []).append("pinned")
        if backup.created_at > now:
            found.setdefault(backup.id, []).append("dated in the future")
        if backup.state is State.CORRUPT:
            found.setdefault(backup.id, []).append("corrupt: a person decides")
    for backup in verified[-rules.least :] if rules.least > 1 else ():
        reason = f"among the {rules.least} newest verified (min_count)"
        found.setdefault(backup.id, []).append(reason)
    return found


def _named(
    verified: Sequence[Brief],
    *,
    rules: Rules,
    now: datetime.datetime,
    zone: datetime.tzinfo,
) -> dict[str, list[str]]:
    """Return, by id, which keep rules name a verified backup."""
    named: dict[str, list[str]] = {}
    # One whose date lies ahead stays anyway, and takes no other's place.
    past = [backup for backup in reversed(verified) if backup.created_at <= now]
    for backup in past:
        if now - backup.created_at < rules.recent:
            reason = f"younger than {rules.keep_recent_hours} h"
            named.setdefault(backup.id, []).append(reason)
    local = {backup.id: backup.created_at.astimezone(zone).date() for backup in past}
    for word, (period, shown) in _PERIODS.items():
        wanted, seen = max(0, getattr(rules, word)), set[object]()
        for backup in past:
            if len(seen) >= wanted:
                break
            day = local[backup.id]
            if period(day) not in seen:
                seen.add(period(day))
                reason = f"{word} {len(seen)} of {wanted} ({shown(day)})"
                named.setdefault(backup.id, []).append(reason)
    return named


def _monday(day: datetime.date) -> datetime.date:
    return day - datetime.timedelta(days=day.weekday())


_Period = tuple["Callable[[datetime.date], object]", "Callable[[datetime.date], str]"]
_PERIODS: Final[dict[str, _Period]] = {
    "daily": (lambda day: day, lambda day: f"{day:%a %d %b %Y}"),
    "weekly": (_monday, lambda day: f"week of {_monday(day):%a %d %b %Y}"),
    "monthly": (lambda day: (day.year, day.month), lambda day: f"{day:%b %Y}"),
    "yearly": (lambda day: day.year, lambda day: f"{day.year}"),
}


# What removes -------------------------------------------------------------------------------------


def _cut(
    left: Sequence[Brief],
    *,
    rules: Rules,
    now: datetime.datetime,
    stays: Collection[str],
) -> dict[str, str]:
    """Return, by id, which cap removes a verified backup that the rules above leave.

    The oldest go first. What stays counts, too.
    """
    cut: dict[str, str] = {}
    free = [backup for backup in left if backup.id not in stays]
    if rules.max_age_days is not None:
        longest = datetime.timedelta(days=rules.max_age_days)
        reason = f"older than {rules.max_age_days} days (max_age_days)"
        cut = {backup.id: reason for backup in free if now - backup.created_at > longest}
    count = len(left) - len(cut)
    total = sum(backup.bytes for backup in left if backup.id not in cut)
    for backup in free:
        if backup.id in cut:
            continue
        if rules.max_count is not None and count > rules.max_count:
            cut[backup.id] = f"more than {rules.max_count} backups (max_count)"
        elif rules.max_total_bytes is not None and total > rules.max_total_bytes:
            cut[backup.id] = f"more than {rules.max_total_bytes:,} bytes (max_total_bytes)"
        else:
            break
        count, total = count - 1, total - backup.bytes
    return cut


def _verified_after(ordered: Sequence[Brief]) -> dict[str, int]:
    """Return, by id, how many verified backups are newer than one that is not verified."""
    newer, count = {}, 0
    for backup in reversed(ordered):
        newer[backup.id] = count
        count += backup.verified
    return newer


# One decision -------------------------------------------------------------------------------------


def _of_verified(
    backup: Brief,
    stays: dict[str, list[str]],
    named: dict[str, list[str]],
    cut: dict[str, str],
    *,
    rules: Rules,
) -> tuple[bool, tuple[str, ...]]:
    reasons = (*stays.get(backup.id, ()), *named.get(backup.id, ()))
    if backup.id in cut:
        return False, (cut[backup.id],)
    if reasons:
        return True, reasons
    if rules.name_some:
        return False, ("no rule keeps it",)
    return True, ("no rule removes it",)


def _of_other(
    backup: Brief,
    stays: dict[str, list[str]],
    newer: int,
    *,
    rules: Rules,
    now: datetime.datetime,
) -> tuple[bool, tuple[str, ...]]:
    """One that is not verified goes only when enough of what is worth more came after it."""
    if backup.id in stays:
        return True, tuple(stays[backup.id])
    if now - backup.created_at < rules.recent:
        return True, (f"younger than {rules.keep_recent_hours} h",)
    if newer < rules.least:
        return True, (f"{backup.state}, and only {newer} of {rules.least} verified ones are newer",)
    if not (rules.name_some or rules.cap_some):
        return True, ("no rule is set",)
    return False, (f"not verified, and {newer} verified ones are newer",)
