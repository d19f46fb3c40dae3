"""What the journal's lines about healing amount to: tries, pauses, what was given up. Pure.

Budgets and cooldowns live here, so they survive restarts. When the clock is set, the times move
with it: neither a year's jump nor a step back gives anybody a new budget or takes a pause away.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from eiderd.healing import Attempt, Decision, Pause, Verdict
from eiderd.health import Kind
from eiderd.model import Job, RunOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST: Final = 500  # tries that are remembered
WORDS: Final = frozenset(
    {"healing", "healed", "confirmed", "stopped", "going_on", "paused", "resumed", "decided",
     "attempt", "heal_totals"}
)  # fmt: skip


@dataclasses.dataclass(slots=True)
class HealMemory:
    """Built by reading documents one after the other."""

    attempts: list[Attempt] = dataclasses.field(default_factory=list)  # oldest first
    pause: Pause | None = None
    resumed_at: datetime.datetime | None = None  # tries before that no longer count
    stopped: dict[Job, datetime.datetime] = dataclasses.field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    counts: Counter[tuple[Job, RunOutcome]] = dataclasses.field(default_factory=Counter)
    confirmed: Counter[Job] = dataclasses.field(default_factory=Counter)

    def read(self, told: dict[str, Any]) -> None:
        """Take in one document. Raise what a strange one makes of it."""
        readers: dict[str, Callable[[dict[str, Any]], None]] = {
            "healing": self._healing,
            "healed": self._healed,
            "confirmed": self._confirmed,
            "stopped": self._stopped,
            "going_on": self._going_on,
            "paused": self._paused,
            "resumed": self._resumed,
            "decided": self._decided,
            "attempt": self._attempt,
            "heal_totals": self._totals,
        }
        readers[told["word"]](told)

    def clock_moved(self, by: datetime.timedelta) -> None:
        """Let every time stand as far from now as it did before the clock was set."""
        self.attempts = [
            dataclasses.replace(
                tried,
                at=tried.at + by,
                ended_at=tried.ended_at and tried.ended_at + by,
                confirmed_at=tried.confirmed_at and tried.confirmed_at + by,
            )
            for tried in self.attempts
        ]
        self.stopped = {job: at + by for job, at in self.stopped.items()}
        self.resumed_at = self.resumed_at and self.resumed_at + by
        if self.pause:
            until = self.pause.until and self.pause.until + by
            self.pause = dataclasses.replace(self.pause, since=self.pause.since + by, until=until)

    @property
    def at_work(self) -> Attempt | None:
        """The try that began and did not end, if there is one."""
        return next((tried for tried in self.attempts if tried.outcome is None), None)

    # One method for each word ------------------------------------------------------------------

    def _healing(self, told: dict[str, Any]) -> None:
        self._add(Attempt(job=Job(told["job"]), name=_name(told), at=_time(told["at"]),
                          why=str(told["why"])))  # fmt: skip

    def _add(self, tried: Attempt) -> None:
        self.attempts = [*self.attempts, tried][-_MOST:]

    def _healed(self, told: dict[str, Any]) -> None:
        job, outcome = Job(told["job"]), RunOutcome(told["outcome"])
        at, why = _time(told["at"]), str(told["why"])
        if outcome is RunOutcome.INTERRUPTED:  # a person ended the service: that was no try
            self.attempts = [one for one in self.attempts if one.outcome or one.job is not job]
            self.counts[job, outcome] += 1
            return
        for place, tried in enumerate(self.attempts):
            if tried.job is job and tried.outcome is None:
                self.attempts[place] = dataclasses.replace(
                    tried, ended_at=at, outcome=outcome, why=why
                )
                self.counts[job, outcome] += 1

    def _confirmed(self, told: dict[str, Any]) -> None:
        """The check no longer finds it: all tries of that job at it have done what they should."""
        job, name = Job(told["job"]), _name(told)
        at = _time(told["at"])
        self.attempts = [
            dataclasses.replace(tried, confirmed_at=at)
            if (tried.job, tried.name) == (job, name) and tried.confirmed_at is None
            else tried
            for tried in self.attempts
        ]
        self.confirmed[job] += 1

    def _stopped(self, told: dict[str, Any]) -> None:
        self.stopped[Job(told["job"])] = _time(told["at"])

    def _going_on(self, told: dict[str, Any]) -> None:
        self.stopped.pop(Job(told["job"]), None)

    def _paused(self, told: dict[str, Any]) -> None:
        until = _time(told["until"]) if told.get("until") else None
        self.pause = Pause(since=_time(told["at"]), until=until, reason=str(told["reason"]))

    def _resumed(self, told: dict[str, Any]) -> None:
        self.pause, self.resumed_at = None, _time(told["at"])
        self.stopped.clear()

    def _decided(self, told: dict[str, Any]) -> None:
        self.decisions = tuple(_decision(said) for said in told["decisions"])

    # Making it shorter -------------------------------------------------------------------------

    def _attempt(self, told: dict[str, Any]) -> None:
        """A try of old, all its lines in one: the totals have counted it already."""
        times = {
            key: _time(told[key]) for key in ("at", "ended_at", "confirmed_at") if told.get(key)
        }
        outcome = RunOutcome(told["outcome"]) if told.get("outcome") else None
        self._add(Attempt(job=Job(told["job"]), name=_name(told), outcome=outcome,
                          why=str(told["why"]), **times))  # fmt: skip

    def _totals(self, told: dict[str, Any]) -> None:
        self.resumed_at = _time(told["resumed_at"]) if told.get("resumed_at") else None
        jobs, outcomes = frozenset(Job), frozenset(RunOutcome)  # a newer version may know others
        for job, outcome, count in told["actions"]:
            if job in jobs and outcome in outcomes:
                self.counts[Job(job), RunOutcome(outcome)] = int(count)
        for job, count in told["confirmed"]:
            if job in jobs:
                self.confirmed[Job(job)] = int(count)

    def shortened(self) -> list[dict[str, Any]]:
        """Return documents that, read anew, give this memory again."""
        told: list[dict[str, Any]] = [
            {
                "word": "heal_totals",
                "actions": [[job, outcome, count] for (job, outcome), count in self.counts.items()],
                "confirmed": list(self.confirmed.items()),
                "resumed_at": _said(self.resumed_at),
            }
        ]
        told += [
            {
                "word": "attempt",
                "job": tried.job,
                "kind": tried.name[0],
                "subject": tried.name[1],
                "at": _said(tried.at),
                "ended_at": _said(tried.ended_at),
                "confirmed_at": _said(tried.confirmed_at),
                "outcome": tried.outcome,
                "why": tried.why,
            }
            for tried in self.attempts
        ]
        told += [
            {"word": "stopped", "job": job, "at": at.isoformat()}
            for job, at in self.stopped.items()
        ]
        if self.pause:
            told.append(paused(self.pause))
        if self.decisions:
            told.append(decided(self.decisions))
        return told


def paused(pause: Pause) -> dict[str, Any]:
    """Return what the journal says of a pause."""
    return {
        "word": "paused",
        "at": pause.since.isoformat(),
        "until": _said(pause.until),
        "reason": pause.reason,
    }


def decided(decisions: tuple[Decision, ...]) -> dict[str, Any]:
    """Return what the journal says of what was decided."""
    said = [{**dataclasses.asdict(one), "next_at": _said(one.next_at)} for one in decisions]
    return {"word": "decided", "decisions": said}


def _decision(said: dict[str, Any]) -> Decision:
    return Decision(
        kind=Kind(said["kind"]),
        subject=str(said["subject"]),
        job=Job(said["job"]) if said["job"] else None,
        verdict=Verdict(said["verdict"]),
        why=str(said["why"]),
        said=str(said["said"]),
        command=str(said["command"]),
        next_at=_time(said["next_at"]) if said["next_at"] else None,
        tries=int(said["tries"]),
    )


def _name(told: dict[str, Any]) -> tuple[Kind, str]:
    return Kind(told["kind"]), str(told["subject"])


def _said(moment: datetime.datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _time(said: object) -> datetime.datetime:
    return datetime.datetime.fromisoformat(str(said)).astimezone(datetime.UTC)
