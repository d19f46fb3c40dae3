"""The nouns of healing: a repair, a try of one, what was decided and why. Pure.

A repair is just another run of a job, so jobs name the actions: the word in a metric, in the
journal and on the command line is one.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping

from eiderd.health import Finding, Kind, Name
from eiderd.model import Job, RunOutcome

OTHERS = "others"  # the subject of a finding that counts what is too much to name


class Switch(enum.StrEnum):
    """The keys of [heal] that allow a repair."""

    BACKUP = "backup"
    MISSED = "missed"
    QUARANTINE = "quarantine"
    DISK = "disk"
    STREAMS = "streams"
    RESTORE = "restore"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What answers one kind of finding.

    `job` is None when nothing is ever done by itself: then the command is proposed. `subject`
    narrows it to findings about that; `watcher` is the check that says whether it helped. `counted`
    says that no try is made while the journal, which counts them, cannot be written.
    """

    kind: Kind
    job: Job | None
    watcher: Job
    said: str
    switch: Switch | None = None
    subject: str = ""
    command: str = ""
    counted: bool = True

    def answers(self, found: Finding) -> bool:
        if found.kind is not self.kind or found.subject == OTHERS:
            return False
        return not self.subject or self.subject in found.subject.split("+")

    def typed(self, found: Finding) -> str:
        """Return what a person types for it."""
        return self.command.format(subject=found.subject) if self.command else found.command


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a repair. `outcome` is None while it lasts; `confirmed_at` is the check's word."""

    job: Job
    name: Name
    at: datetime.datetime
    ended_at: datetime.datetime | None = None
    outcome: RunOutcome | None = None
    why: str = ""
    confirmed_at: datetime.datetime | None = None

    @property
    def settled_at(self) -> datetime.datetime:
        """From when on a look at things sees what it did."""
        return self.ended_at or self.at


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Somebody told eiderd to leave everything alone. `until` is None: until `eider resume`."""

    since: datetime.datetime
    until: datetime.datetime | None = None
    reason: str = ""

    def holds(self, now: datetime.datetime) -> bool:
        return self.until is None or now < self.until


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What [heal] says. `cooldown` doubles with each try that did not help.

    A check that has not looked for `stale` is blind: what it found then may be over.
    """

    enabled: bool = True
    allowed: frozenset[Switch] = frozenset()
    tries: int = 5
    cooldown: datetime.timedelta = datetime.timedelta(minutes=5)
    period: datetime.timedelta = datetime.timedelta(hours=24)
    stale: datetime.timedelta = datetime.timedelta(minutes=10)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A finding that is there now, and the last looks in a row that found it, oldest first."""

    finding: Finding
    looks: tuple[datetime.datetime, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """Whether a repair may be tried and could help. None: that cannot be told, so it is not."""

    met: bool | None
    why: str = ""


class Verdict(enum.StrEnum):
    """What is decided about one finding and one repair of it."""

    ACT = "act"
    AT_WORK = "at_work"
    WAIT = "wait"
    COOLING = "cooling"
    STOPPED = "stopped"
    PAUSED = "paused"
    OFF = "off"
    PROPOSED = "proposed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is done about a finding, or why nothing is, and what a person can type instead.

    `next_at` is the earliest time of the next try, where the clock is what is waited for. `tries`
    counts those of the job within the period.
    """

    kind: Kind
    subject: str
    job: Job | None
    verdict: Verdict
    why: str
    said: str
    command: str
    next_at: datetime.datetime | None = None
    tries: int = 0

    @property
    def name(self) -> Name:
        return self.kind, self.subject


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Healing:
    """All that is known of healing at one moment. Attempts are newest first."""

    enabled: bool = True
    tries: int = 5
    period: datetime.timedelta = datetime.timedelta(hours=24)
    pause: Pause | None = None
    decisions: tuple[Decision, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    stopped: Mapping[Job, datetime.datetime] = dataclasses.field(default_factory=dict)
    counts: Mapping[tuple[Job, RunOutcome], int] = dataclasses.field(default_factory=dict)
    confirmed: Mapping[Job, int] = dataclasses.field(default_factory=dict)
