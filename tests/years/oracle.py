"""What should be, said once more and otherwise: the timetable's times, and what the rules keep."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from eiderd.model import State

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
SLACK = datetime.timedelta(minutes=5)

DAILY = "30 2 * * *"  # the hour that DST skips, and repeats
HOURLY = "0 * * * *"
SCRUB = "30 4 * * sun"


@dataclasses.dataclass(slots=True, kw_only=True)
class Made:
    """A backup as the world knows it, without having asked eiderd."""

    id: str
    sequence: int
    created_at: datetime.datetime
    state: State
    bytes: int
    rows: int
    pinned: bool = False

    @property
    def verified(self) -> bool:
        return self.state is State.VERIFIED


# The timetable ----------------------------------------------------------------------------------


def times(line: str, *, after: datetime.datetime) -> Iterator[datetime.datetime]:
    """Yield when a line is due after a moment, by looking at every hour there is."""
    half = 0 if line == HOURLY else 30
    moment = after.replace(minute=half, second=0, microsecond=0) - HOUR
    while True:
        moment += HOUR
        if moment > after and _is_due(line, moment):
            yield moment


def _is_due(line: str, moment: datetime.datetime) -> bool:
    if line == HOURLY:
        return True
    local = moment.astimezone(BERLIN)
    if line == SCRUB:
        return (local.hour, local.weekday()) == (4, 6)
    before = (moment - HOUR).astimezone(BERLIN)
    # In spring there is no half past two: half past three makes up for it.
    return local.hour == 2 or (before.hour, local.hour) == (1, 3)


def due(
    line: str, *, after: datetime.datetime, until: datetime.datetime
) -> list[datetime.datetime]:
    found = []
    for moment in times(line, after=after):
        if moment > until:
            break
        found.append(moment)
    return found


# The rules --------------------------------------------------------------------------------------


def frozen(
    backups: list[Made], *, now: datetime.datetime, unreadable: bool, doubtful: bool
) -> set[str]:
    """Say why nothing may go. The rules of these tests always name something."""
    newest = newest_verified(backups)
    found = {"unreadable"} if unreadable else set()
    if newest is None:
        found.add("no_verified")
    if any(one.state is State.SUSPECT and (newest is None or one.sequence > newest.sequence)
           for one in backups):  # fmt: skip
        found.add("suspect")
    if doubtful or (newest is not None and newest.created_at > now + SLACK):
        found.add("clock")
    return found


def newest_verified(backups: list[Made]) -> Made | None:
    return max((one for one in backups if one.verified), key=lambda one: one.sequence, default=None)


_PERIODS = {"daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m", "yearly": "%Y"}


def kept(backups: list[Made], *, now: datetime.datetime, rules: dict[str, Any]) -> set[str]:
    """Return the ids of what stays when nothing is frozen."""
    least = rules["min_count"]
    good = sorted((one for one in backups if one.verified), key=lambda one: -one.sequence)
    safe = {one.id for one in good[:least]}
    safe |= {one.id for one in backups if one.pinned or one.created_at > now
             or one.state is State.CORRUPT}  # fmt: skip
    recent = datetime.timedelta(hours=rules.get("keep_recent_hours", 0))
    wanted = {one.id for one in good if now - one.created_at < recent}
    for word, form in _PERIODS.items():
        newest: dict[str, str] = {}
        for one in good:
            if one.created_at <= now:
                newest.setdefault(one.created_at.astimezone(BERLIN).strftime(form), one.id)
        wanted |= set(list(newest.values())[: rules.get(word, 0)])
    if not any(rules.get(word) for word in ("keep_recent_hours", *_PERIODS)):
        wanted = {one.id for one in good}  # nothing is said of what to keep, only how much
    left = [one for one in reversed(good) if one.id in wanted | safe]  # oldest first
    longest = datetime.timedelta(days=rules.get("max_age_days", 1_000_000))
    left = [one for one in left if one.id in safe or now - one.created_at <= longest]
    while victims := [one for one in left if one.id not in safe]:
        count, total = len(left), sum(one.bytes for one in left)
        if count <= rules.get("max_count", count) and total <= rules.get("max_total_bytes", total):
            break
        left.remove(victims[0])
    stays = {one.id for one in left} | safe
    for one in backups:  # what is not verified waits until enough of what is came after it
        newer = sum(other.sequence > one.sequence for other in good)
        if not one.verified and (newer < least or now - one.created_at < recent):
            stays.add(one.id)
    return stays
