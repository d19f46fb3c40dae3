"""What the journal's lines amount to: last runs, totals, findings, clock and disk. Pure.

A journal is a list of JSON documents, each with a `word` that says what it tells. A word that this
version does not know, or a name in one, is passed over and kept for the version that does, so that
a downgrade still reads what it can. A `format` above FORMAT means that nothing here can be sure of
what the rest means.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

from eiderd import heal_memory
from eiderd.heal_memory import HealMemory
from eiderd.health import Kind, Name
from eiderd.model import FROZEN_BOUNDS, Drilled, Job, Run, RunOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Final = 1
_RECENT: Final = 200
_MOST_STRANGE: Final = 1000
_STEADY: Final = datetime.timedelta(hours=24)


@dataclasses.dataclass(slots=True)
class Memory:
    """Built by reading lines one after the other; `who` tells which process a run belongs to."""

    last_number: int = 0
    open: dict[int, tuple[Run, str]] = dataclasses.field(default_factory=dict)
    recent: deque[Run] = dataclasses.field(default_factory=lambda: deque(maxlen=_RECENT))
    last: dict[Job, Run] = dataclasses.field(default_factory=dict)
    last_done: dict[Job, Run] = dataclasses.field(default_factory=dict)
    failures: Counter[Job] = dataclasses.field(default_factory=Counter)  # in a row
    runs: Counter[tuple[Job, RunOutcome]] = dataclasses.field(default_factory=Counter)
    seconds: Counter[Job] = dataclasses.field(default_factory=Counter)
    missed: Counter[Job] = dataclasses.field(default_factory=Counter)
    pruned_backups: int = 0
    pruned_bytes: int = 0
    frozen: Counter[float] = dataclasses.field(default_factory=Counter)  # by their upper bound
    frozen_seconds: float = 0.0
    drilled: Drilled | None = None
    findings: dict[Name, datetime.datetime] = dataclasses.field(default_factory=dict)
    samples: list[Any] = dataclasses.field(default_factory=list)
    heal: HealMemory = dataclasses.field(default_factory=HealMemory)
    service: tuple[datetime.datetime, str] | None = None
    jumped: tuple[datetime.datetime, str, float] | None = None  # when, in which boot, how long up
    first: datetime.datetime | None = None  # when anything was ever recorded
    latest: datetime.datetime | None = None
    format: int = FORMAT
    strange: deque[dict[str, Any]] = dataclasses.field(
        default_factory=lambda: deque(maxlen=_MOST_STRANGE)
    )

    def read(self, lines: Iterable[bytes]) -> None:
        """Take in lines. What is no line of a journal is passed over: it may have been torn."""
        for line in lines:
            try:
                document = json.loads(line)
                word = document["word"]
                self.format = max(self.format, int(document.get("format", FORMAT)))
                heals = word in heal_memory.WORDS
                told = self.heal.read if heals else getattr(self, f"_{word}", self.strange.append)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                continue
            try:
                told(document)
            except ValueError:  # a name that only a newer version knows
                self.strange.append(document)
            except (KeyError, TypeError, AttributeError, OverflowError):
                continue

    def is_clock_doubtful(self, *, at: datetime.datetime, boot: str, up: float) -> bool:
        """Say whether the clock jumped and has not been steady for a day since."""
        if self.jumped is None:
            return False
        when, then_boot, then_up = self.jumped
        steady = datetime.timedelta(seconds=up - then_up) if boot == then_boot else at - when
        return steady < _STEADY

    # One method for each word ------------------------------------------------------------------

    def _began(self, told: dict[str, Any]) -> None:
        self.last_number = max(self.last_number, int(told["number"]))  # also of an unknown job
        run = Run(
            number=int(told["number"]),
            job=Job(told["job"]),
            began_at=_time(told["at"]),
            planned_at=_time(told["planned_at"]) if told.get("planned_at") else None,
            pid=int(str(told["who"]).partition(":")[0]),
        )
        self.open[run.number] = (run, str(told["who"]))
        self._seen(told)

    def _ended(self, told: dict[str, Any]) -> None:
        run, _who = self.open.pop(int(told["number"]))
        run = dataclasses.replace(
            run,
            ended_at=_time(told["at"]),
            seconds=float(told["seconds"]),
            outcome=RunOutcome(told["outcome"]),
            why=str(told.get("why", "")),
            hint=str(told.get("hint", "")),
            backup=str(told.get("backup", "")),
        )
        self.recent.append(run)
        self._count(run)
        self._remember(run)
        self._seen(told)

    def _count(self, run: Run) -> None:
        outcome = run.outcome or RunOutcome.DIED
        self.runs[run.job, outcome] += 1
        self.seconds[run.job] += run.seconds or 0.0  # type: ignore[assignment]  # a sum of floats

    def _remember(self, run: Run) -> None:
        self.last[run.job] = run
        if run.outcome in (RunOutcome.FAILED, RunOutcome.DIED, RunOutcome.UNPROVEN):
            self.failures[run.job] += 1
        elif run.outcome is not RunOutcome.INTERRUPTED:
            self.failures[run.job] = 0
        if run.outcome in (RunOutcome.DONE, RunOutcome.NOTHING_TO_DO):
            self.last_done[run.job] = run

    def _missed(self, told: dict[str, Any]) -> None:
        self.missed[Job(told["job"])] += int(told["count"])

    def _pruned(self, told: dict[str, Any]) -> None:
        self.pruned_backups += int(told["backups"])
        self.pruned_bytes += int(told["bytes"])

    def _froze(self, told: dict[str, Any]) -> None:
        seconds = float(told["seconds"])
        self.frozen[next(bound for bound in FROZEN_BOUNDS if seconds <= bound)] += 1
        self.frozen_seconds += seconds

    def _frozen(self, told: dict[str, Any]) -> None:
        """All of them so far, in a journal that was made shorter."""
        self.frozen.update({float(bound): int(count) for bound, count in told["counts"].items()})
        self.frozen_seconds += float(told["seconds"])

    def _drilled(self, told: dict[str, Any]) -> None:
        self.drilled = Drilled(
            at=_time(told["at"]), seconds=float(told["seconds"]), backup=str(told["backup"])
        )

    def _raised(self, told: dict[str, Any]) -> None:
        self.findings[Kind(told["kind"]), str(told["subject"])] = _time(told["at"])

    def _cleared(self, told: dict[str, Any]) -> None:
        self.findings.pop((Kind(told["kind"]), str(told["subject"])), None)

    def _disk(self, told: dict[str, Any]) -> None:
        self.samples = list(told["samples"])

    def _service(self, told: dict[str, Any]) -> None:
        self.service = (_time(told["at"]), str(told["who"]))
        self._seen(told)

    def _clock(self, told: dict[str, Any]) -> None:
        self.jumped = (_time(told["at"]), str(told["boot"]), float(told["up"]))
        self.latest = _time(told["at"])  # from here on this clock is believed
        self.heal.clock_moved(datetime.timedelta(seconds=float(told.get("by_seconds", 0))))

    def _seen(self, told: dict[str, Any]) -> None:
        at = _time(told["at"])
        self.first = self.first or at
        self.latest = max(self.latest or at, at)

    # Making it shorter -------------------------------------------------------------------------

    def _totals(self, told: dict[str, Any]) -> None:
        self.last_number = int(told["number"])
        self.first = _time(told["first"])
        for job, outcome, count in told["runs"]:
            if job in _JOBS and outcome in _OUTCOMES:
                self.runs[Job(job), RunOutcome(outcome)] = int(count)
        self.seconds.update(_of_known(told["seconds"]))
        self.missed.update(_of_known(told["missed"]))
        self.failures.update(_of_known(told["failures"]))
        self.pruned_backups, self.pruned_bytes = map(int, told["pruned"])
        self._seen(told)

    def _run(self, told: dict[str, Any]) -> None:
        """A run of old, both its lines in one: the totals have counted it already."""
        run = _run(told["run"])
        self.recent.append(run)
        failures = self.failures.copy()
        self._remember(run)
        self.failures = failures

    def shortened(self, *, at: datetime.datetime) -> list[dict[str, Any]]:
        """Return documents that, read anew, give this memory again."""
        kept = {run.number: run for run in (*self.last.values(), *self.last_done.values())}
        kept |= {run.number: run for run in self.recent}
        told: list[dict[str, Any]] = [
            {
                "word": "totals",
                "format": FORMAT,
                "at": (self.latest or at).isoformat(),
                "first": (self.first or at).isoformat(),
                "number": self.last_number,
                "runs": [[job, outcome, count] for (job, outcome), count in self.runs.items()],
                "seconds": dict(self.seconds),
                "missed": dict(self.missed),
                "failures": dict(self.failures),
                "pruned": [self.pruned_backups, self.pruned_bytes],
            },
        ]
        if self.jumped:
            when, boot, up = self.jumped
            told.insert(0, {"word": "clock", "at": when.isoformat(), "boot": boot, "up": up})
        if self.service:
            when, who = self.service
            told.append({"word": "service", "at": when.isoformat(), "who": who})
        counts = {str(bound): count for bound, count in self.frozen.items()}
        told.append({"word": "frozen", "counts": counts, "seconds": self.frozen_seconds})
        if self.drilled:
            told.append(drilled(self.drilled))
        told += [
            {"word": "raised", "at": when.isoformat(), "kind": kind, "subject": subject}
            for (kind, subject), when in self.findings.items()
        ]
        told.append({"word": "disk", "samples": self.samples})
        told += self.heal.shortened()
        told += self.strange  # not ours to forget
        told += [{"word": "run", "run": _said(kept[number])} for number in sorted(kept)]
        told += [began(run, who=who) for run, who in self.open.values()]
        return told


_JOBS: Final = frozenset(Job)
_OUTCOMES: Final = frozenset(RunOutcome)


def _of_known(counts: dict[str, Any]) -> dict[Job, Any]:
    return {Job(job): value for job, value in counts.items() if job in _JOBS}


def began(run: Run, *, who: str) -> dict[str, Any]:
    """Return what the journal says when a run begins."""
    return {
        "word": "began",
        "number": run.number,
        "job": run.job,
        "at": run.began_at.isoformat(),
        "planned_at": run.planned_at.isoformat() if run.planned_at else None,
        "who": who,
    }


def drilled(drill: Drilled) -> dict[str, Any]:
    """Return what the journal says of a backup that was restored to see that it can be."""
    return {
        "word": "drilled",
        "at": drill.at.isoformat(),
        "seconds": drill.seconds,
        "backup": drill.backup,
    }


def _said(run: Run) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime.datetime) else value
        for name, value in dataclasses.asdict(run).items()
    }


def _run(said: dict[str, Any]) -> Run:
    times = {name: _time(said[name]) for name in ("began_at", "ended_at", "planned_at")
             if said.get(name)}  # fmt: skip
    known = {field.name for field in dataclasses.fields(Run)}
    rest = {
        name: value for name, value in said.items() if name in known and not name.endswith("_at")
    }
    rest |= {"job": Job(said["job"]), "outcome": RunOutcome(said["outcome"])}
    return Run(**(rest | times))


def _time(said: object) -> datetime.datetime:
    return datetime.datetime.fromisoformat(str(said)).astimezone(datetime.UTC)
