"""What happened: one file of JSON lines that every run of the service and of `eider` adds to.

It says when a run began before the run does anything, so that one whose process was killed is
found: begun, not ended, and nobody there. Budgets, totals and last successes live here; which
backups exist does not, that is the catalog's.

A journal that cannot be written (a full disk) stops nothing: what could not be written is kept in
this process's memory until it can be, and `trouble` says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from eiderd import heal_memory, memory
from eiderd.errors import EiderError, StoreUnavailable
from eiderd.memory import Memory
from eiderd.model import Job, Run, RunOutcome
from eiderd.outside.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eiderd.healing import Decision, Pause
    from eiderd.health import Finding, Name
    from eiderd.model import Drilled
    from eiderd.outside.clock import Reading

_LONGEST: Final = 1 << 20  # bytes, until it is shortened
_LONGEST_TEXT: Final = 2000
_MOST_UNWRITTEN: Final = 10_000
_JUMP: Final = datetime.timedelta(minutes=5)
_DIED: Final = "its process was killed, or the machine went down"


class Who(Protocol):
    """Say which process has this number, as nobody else ever will; None if there is none."""

    def __call__(self, pid: int, /) -> str | None: ...


class Journal:
    """The file, and what it amounts to. `pid` is this process."""

    def __init__(self, path: Path, *, pid: int, who: Who) -> None:
        self._lines = Lines(path)
        self._pid = pid
        self._who = who
        self._me = who(pid) or f"{pid}:0:0"
        self._memory = Memory()
        self._unwritten: deque[bytes] = deque(maxlen=_MOST_UNWRITTEN)
        self._clock: Reading | None = None
        self._shortest = 0  # how long it was when it was shortened last
        self.trouble: EiderError | None = None

    # Reading

    @contextlib.contextmanager
    def memory(self) -> Iterator[Memory]:
        """Yield what is known now, also of what other processes wrote. No thread writes meanwhile.

        When the file cannot be read, `trouble` says so and what was known before has to do.
        """
        with self._lines.guard:
            try:
                lines, anew = self._lines.unread()
                if anew:
                    self._memory = Memory()
                self._memory.read(lines)
            except EiderError as error:
                self.trouble = error
            if self._memory.format > memory.FORMAT:
                self.trouble = self._newer()
            yield self._memory

    def running(self) -> list[Run]:
        """Return the runs that are at work at this moment, in whatever process."""
        with self.memory() as known:
            return [run for run, who in known.open.values() if self._is_alive(who)]

    def service_since(self) -> datetime.datetime | None:
        """Return since when the service runs; None when it does not."""
        with self.memory() as known:
            service = known.service
        return service[0] if service and self._is_alive(service[1]) else None

    def is_clock_doubtful(self, reading: Reading, *, since: Reading | None = None) -> bool:
        """Say whether the clock was set, and has not been steady for a day since.

        Also when nobody has noticed yet: since the last look, or since an earlier reading.
        """
        for before in (self._clock, since):
            if before and before.boot == reading.boot and abs(_jump(before, reading)) >= _JUMP:
                return True  # and noticed by the next look, which others wait for
        with self.memory() as known:
            return known.is_clock_doubtful(at=reading.at, boot=reading.boot, up=reading.up)

    def _is_alive(self, who: str) -> bool:
        return self._who(int(who.partition(":")[0])) == who

    # Writing

    def begin(
        self, job: Job, *, at: datetime.datetime, planned_at: datetime.datetime | None
    ) -> Run:
        """Record that a run begins and return it, with its number."""
        run = Run(number=0, job=job, began_at=at, planned_at=planned_at, pid=self._pid)

        def make() -> dict[str, Any]:
            nonlocal run
            with self.memory() as known:
                run = dataclasses.replace(run, number=known.last_number + 1)
            return memory.began(run, who=self._me)

        self._append(make)
        return run

    def ran(
        self,
        job: Job,
        *,
        began: datetime.datetime,
        at: datetime.datetime,
        outcome: RunOutcome,
        why: str,
        hint: str,
    ) -> None:
        """Record a run that ended before the runner could begin it."""
        seconds = (at - began).total_seconds()
        run = self.begin(job, at=began, planned_at=None)
        self.end(run, at=at, seconds=seconds, outcome=outcome, why=why, hint=hint)

    def end(
        self,
        run: Run,
        *,
        at: datetime.datetime,
        seconds: float,
        outcome: RunOutcome,
        why: str = "",
        hint: str = "",
        backup: str = "",
    ) -> None:
        self._tell(
            {
                "word": "ended",
                "number": run.number,
                "at": at.isoformat(),
                "seconds": round(seconds, 3),
                "outcome": outcome,
                "why": why[:_LONGEST_TEXT],
                "hint": hint[:_LONGEST_TEXT],
                "backup": backup,
            }
        )

    def missed(self, job: Job, *, count: int) -> None:
        self._tell({"word": "missed", "job": job, "count": count})

    def pruned(self, *, backups: int, size: int) -> None:
        self._tell({"word": "pruned", "backups": backups, "bytes": size})

    def froze(self, *, seconds: float) -> None:
        """Record that the application was held still for a backup."""
        self._tell({"word": "froze", "seconds": round(seconds, 4)})

    def drilled(self, drill: Drilled) -> None:
        self._tell(memory.drilled(drill))

    def raised(self, finding: Finding, *, at: datetime.datetime) -> None:
        self._tell({"word": "raised", "at": at.isoformat(), **_name(finding)})

    def cleared(self, finding: Finding, *, at: datetime.datetime) -> None:
        self._tell({"word": "cleared", "at": at.isoformat(), **_name(finding)})

    def disk(self, samples: list[Any]) -> None:
        self._tell({"word": "disk", "samples": samples})

    # Healing

    def healing(self, job: Job, name: Name, *, at: datetime.datetime, why: str) -> None:
        """Record that a repair is about to be tried: one whose process is killed was tried too."""
        self._heal("healing", job, at=at, kind=name[0], subject=name[1], why=why[:_LONGEST_TEXT])

    def healed(self, job: Job, *, at: datetime.datetime, outcome: RunOutcome, why: str) -> None:
        """Record how the run ended. Whether it helped is not for the run to say."""
        self._heal("healed", job, at=at, outcome=outcome, why=why[:_LONGEST_TEXT])

    def confirmed(self, job: Job, name: Name, *, at: datetime.datetime) -> None:
        """Record that the check finds it no more."""
        self._heal("confirmed", job, at=at, kind=name[0], subject=name[1])

    def stopped(self, job: Job, *, at: datetime.datetime) -> None:
        self._heal("stopped", job, at=at)

    def going_on(self, job: Job, *, at: datetime.datetime) -> None:
        self._heal("going_on", job, at=at)

    def _heal(self, word: str, job: Job, *, at: datetime.datetime, **more: str) -> None:
        self._tell({"word": word, "job": job, "at": at.isoformat(), **more})

    def decided(self, decisions: tuple[Decision, ...]) -> None:
        self._tell(heal_memory.decided(decisions))

    def paused(self, pause: Pause) -> None:
        self._tell(heal_memory.paused(pause))

    def resumed(self, *, at: datetime.datetime) -> None:
        self._tell({"word": "resumed", "at": at.isoformat()})

    def begin_service(self, *, at: datetime.datetime) -> list[Run]:
        """Record that the service begins, and the end of every run whose process is gone.

        Return those runs.
        """
        with self.memory() as known:
            died = [run for run, who in known.open.values() if not self._is_alive(who)]
            tried = known.heal.at_work
        for run in died:
            self.end(run, at=at, seconds=0.0, outcome=RunOutcome.DIED, why=_DIED)
        if tried:  # only a service heals, and there is one: that try has nobody any more
            self.healed(tried.job, at=at, outcome=RunOutcome.DIED, why=_DIED)
        self.keep_short(at=at)
        self._tell({"word": "service", "at": at.isoformat(), "who": self._me})
        return died

    def keep_short(self, *, at: datetime.datetime) -> None:
        """Shorten the journal if it has become long. What it must keep may be long itself."""
        with self._lines.guard:  # first of all, as when a line is told
            if self._lines.length <= max(_LONGEST, 2 * self._shortest) or self.trouble:
                return
            self._shorten(at=at)
            with self.memory():  # so that it is read, and its length known
                self._shortest = self._lines.length

    def look_at_clock(self, reading: Reading) -> datetime.timedelta | None:
        """Compare the clock with what it should be by now. Return by how much it jumped, if it did.

        Within one boot, the clock that only counts tells; else time may not have gone backwards.
        """
        before, self._clock = self._clock, reading
        if before and before.boot == reading.boot:
            jump = _jump(before, reading)
        else:
            with self.memory() as known:
                latest = known.latest
            jump = (
                min(reading.at - latest, datetime.timedelta(0)) if latest else datetime.timedelta(0)
            )
        if abs(jump) < _JUMP:
            return None
        told = {"at": reading.at.isoformat(), "boot": reading.boot, "up": reading.up}
        self._tell({"word": "clock", "by_seconds": jump.total_seconds(), **told})
        return jump

    def _newer(self) -> StoreUnavailable:
        path = self._lines.path
        return StoreUnavailable(
            f"a newer eiderd wrote the journal {path} (format {self._memory.format}): "
            "this one adds nothing to it",
            hint=f"Install the newer eiderd again, or begin a new one: mv {path} {path}.newer",
        )

    def _shorten(self, *, at: datetime.datetime) -> None:
        def make() -> list[bytes]:
            with self.memory() as known:
                if self.trouble:  # not all of it was read or understood, or written
                    raise self.trouble
                return [_line(document) for document in known.shortened(at=at)]

        try:
            self._lines.rewrite(make)
        except EiderError as error:
            self.trouble = error

    def _tell(self, document: dict[str, Any]) -> None:
        self._append(lambda: document)

    def _append(self, make: Callable[[], dict[str, Any]]) -> None:
        with self._lines.guard:
            try:
                with self.memory() as known:
                    if known.format > memory.FORMAT:
                        raise self._newer()
                self._lines.append(lambda: b"\n".join((*self._unwritten, _line(make()))))
            except EiderError as error:
                self.trouble = error
                self._unwritten.append(_line(make()))
                self._memory.read([self._unwritten[-1]])
                return
            self.trouble = None
            if self._unwritten:  # they are read once more now, so all is counted anew
                self._unwritten.clear()
                self._lines.forget()


def _jump(before: Reading, reading: Reading) -> datetime.timedelta:
    """Return by how much the clock was set between two looks within one boot."""
    return (reading.at - before.at) - datetime.timedelta(seconds=reading.up - before.up)


def _name(finding: Finding) -> dict[str, str]:
    return {"kind": finding.kind, "subject": finding.subject}


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
