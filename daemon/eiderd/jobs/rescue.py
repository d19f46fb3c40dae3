"""Bring a database back that its engine cannot bring back: on copies, judged by content alone.

A file that opens and holds what the last verified backup held is left alone. Of one that does not,
copies are tried in rounds, the gentlest first: fold the WAL in by an explicit CHECKPOINT, with the
application's engine and with every other one that is installed; leave the WAL out; go back to the
older of the two headers. The first round with an acceptable result ends it.

The older header is the last resort, because the blocks it points to may have been used again since:
such a file can open without complaint and hold wrong rows. So there a table counts only when it is
the very table of the last verified backup, or the one that the newer header shows.
"""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.errors import VerificationFailed
from eiderd.evidence import Damage, Opened
from eiderd.model import ContentVerdict, Ending, Outcome
from eiderd.proof import content_of
from eiderd.words import many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eiderd.comparison import Compare
    from eiderd.model import Backup, Content

_SHOWN: Final = 5
# What an engine says of itself and not of the database: too little memory, time, no key.
_SAY_NOTHING: Final = frozenset({Damage.OUT_OF_MEMORY, Damage.DEADLINE, Damage.KEY_NEEDED})
# What makes a file one that the application cannot open either, or not read.
_UNSOUND: Final = frozenset(
    {Damage.WAL_REPLAY, Damage.CANNOT_OPEN, Damage.ENGINE_DIED, Damage.BLOCKS, Damage.TABLE}
)


class How(enum.StrEnum):
    """What is done to a copy before it is read."""

    AS_IT_IS = "as it is"
    CHECKPOINT = "an explicit CHECKPOINT"
    WITHOUT_WAL = "without its WAL"
    OLDER_HEADER = "the older header"
    OLDER_HEADER_WITHOUT_WAL = "the older header, without its WAL"

    @property
    def goes_back(self) -> bool:
        return self in {How.OLDER_HEADER, How.OLDER_HEADER_WITHOUT_WAL}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to try. `engine` is the version that folds the WAL in, empty where none does."""

    how: How
    engine: str = ""

    @property
    def said(self) -> str:
        return f"{self.how} by DuckDB {self.engine}" if self.engine else str(self.how)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of a step: what an engine read, and why it is not good enough, if it is not.

    `damage` is what the engine met, reading or folding the WAL in.
    """

    step: Step
    opened: Opened | None
    problems: tuple[str, ...]
    damage: Damage | None = None

    @property
    def is_acceptable(self) -> bool:
        return not self.problems

    @property
    def rows(self) -> int:
        return self.opened.rows if self.opened else 0

    @property
    def says_nothing(self) -> bool:
        """Whether it was cut short by what says nothing about the database."""
        return self.damage in _SAY_NOTHING


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """One table. None: it is not there, or there is nothing to compare with.

    `best` is the most that any attempt read of it, acceptable or not.
    """

    rescued: int | None
    backup: int | None
    best: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """What was found. `file` is the rescued database, None when the one given needs no rescue."""

    file: Path | None
    compared_with: str | None
    chosen: Tried
    tried: tuple[Tried, ...]
    tables: dict[str, Rows]

    @property
    def is_cut_short(self) -> bool:
        """Whether an attempt that might have brought more back ended for want of memory or time."""
        return any(found.says_nothing for found in self.tried)

    @property
    def missing(self) -> int:
        """How many rows there are in the backup or in another attempt, and not in what is kept."""
        return sum(
            max(0, max(rows.backup or 0, rows.best) - (rows.rescued or 0))
            for rows in self.tables.values()
        )


class NotFolded(VerificationFailed):
    """An engine did not fold the WAL into a copy, because of `damage`."""

    def __init__(self, message: str, *, damage: Damage) -> None:
        super().__init__(message)
        self.damage = damage


class NotRescued(VerificationFailed):
    """Nothing that was tried gives a database that can be vouched for."""

    def __init__(self, message: str, *, hint: str, tried: tuple[Tried, ...]) -> None:
        super().__init__(message, hint=hint)
        self.tried = tried

    @property
    def is_about_the_database(self) -> bool:
        """Whether the file is unsound as it is, and every attempt was made to its end.

        Else it is no reason to replace it: one that opens is a person's to judge, and where memory
        or time was too short, with more of it nothing may be lost.
        """
        unsound = self.tried[0].damage in _UNSOUND
        return unsound and not any(found.says_nothing for found in self.tried)


def run(
    *,
    engines: Sequence[str],
    backup: Backup | None,
    attempt: Callable[[Step], Opened],
    keep: Callable[[], None],
    deliver: Callable[[], Path],
    compare: Compare,
) -> Outcome[Rescued]:
    """Given the installed engines, the application's first, return the rescued database.

    `attempt` does a step on a fresh copy and reads all of it; `keep` puts its result by, in place
    of what was put by before; `deliver` puts that where it was asked for. Raise NotRescued.
    """
    judge = _Judge(backup=backup, compare=compare)
    first = _try(Step(how=How.AS_IT_IS), attempt=attempt, judge=judge)
    tried = [first]
    if first.is_acceptable:
        return Outcome(
            ending=Ending.NOTHING_TO_DO,
            value=_rescued(None, first, tried, backup),
            why="the database opens as it is, and holds what it should",
        )
    if first.says_nothing:
        raise _not_rescued(tried, backup)
    opens = bool(first.opened and not first.opened.damage)
    judge.trusted = content_of(first.opened) if first.opened and opens else None
    for steps in rounds(engines, is_replayed=opens):
        best: Tried | None = None
        for step in steps:
            found = _try(step, attempt=attempt, judge=judge)
            tried.append(found)
            if found.is_acceptable and (best is None or found.rows > best.rows):
                best = found
                keep()
        if best:
            return Outcome(ending=Ending.DONE, value=_rescued(deliver(), best, tried, backup))
    raise _not_rescued(tried, backup)


def rounds(engines: Sequence[str], *, is_replayed: bool) -> Iterator[tuple[Step, ...]]:
    """Yield what to try, the gentlest first. A WAL that is replayed already needs no other engine.

    Leaving it out is no cure for a file that opens either: what it took away, it was told to.
    """
    if not is_replayed:
        yield tuple(Step(how=How.CHECKPOINT, engine=engine) for engine in engines)
        yield (Step(how=How.WITHOUT_WAL),)
    yield (
        Step(how=How.OLDER_HEADER, engine=engines[0]),
        Step(how=How.OLDER_HEADER_WITHOUT_WAL),
    )


def _try(step: Step, *, attempt: Callable[[Step], Opened], judge: _Judge) -> Tried:
    try:
        opened = attempt(step)
    except NotFolded as error:
        return Tried(step=step, opened=None, problems=(error.message,), damage=error.damage)
    except VerificationFailed as error:
        return Tried(step=step, opened=None, problems=(error.message,))
    return Tried(step=step, opened=opened, problems=judge(step, opened), damage=opened.damage)


class _Judge:
    """Says why a result is not good enough. `trusted` is what opens as it is, if that does."""

    def __init__(self, *, backup: Backup | None, compare: Compare) -> None:
        self._backup = backup
        self._compare = compare
        self.trusted: Content | None = None

    def __call__(self, step: Step, opened: Opened) -> tuple[str, ...]:
        if opened.damage:
            return (opened.message or str(opened.damage),)
        if not opened.tables:
            return ("no table was read",)
        new = content_of(opened)
        problems: list[str] = []
        if self._backup:
            old = self._backup.content
            verdict, reasons = self._compare(old=old, new=new)
            gone = [f"{name} is gone" for name in old.tables if name not in new.tables]
            problems += [*gone, *(reasons if verdict is ContentVerdict.SUSPECT else ())]
        if step.how.goes_back:
            problems += self._unvouched(new)
        return tuple(problems)

    def _unvouched(self, new: Content) -> Iterator[str]:
        if not self._backup:
            yield "there is no verified backup to compare it with"
            return
        known = [self._backup.content, *([self.trusted] if self.trusted else [])]
        for name, table in new.tables.items():
            same = any(
                content.fingerprint_kind == new.fingerprint_kind
                and name in content.tables
                and content.tables[name].fingerprint == table.fingerprint
                for content in known
            )
            if not same:
                yield f"nothing vouches for the {many(table.rows, 'row')} of {name}"


def _rescued(
    file: Path | None, chosen: Tried, tried: Sequence[Tried], backup: Backup | None
) -> Rescued:
    was = backup.content.tables if backup else {}
    read = [found.opened.tables for found in tried if found.opened]
    now = chosen.opened.tables if chosen.opened else {}
    names = dict.fromkeys([*was, *(name for tables in read for name in tables)])
    return Rescued(
        file=file,
        compared_with=backup.id if backup else None,
        chosen=chosen,
        tried=tuple(tried),
        tables={
            name: Rows(
                rescued=now[name].rows if name in now else None,
                backup=was[name].rows if name in was else None,
                best=max((tables[name].rows for tables in read if name in tables), default=0),
            )
            for name in names
        },
    )


def _not_rescued(tried: Sequence[Tried], backup: Backup | None) -> NotRescued:
    lines = "".join(f"\n  - {found.step.said}: {_shortened(found.problems)}" for found in tried)
    damages = {found.damage for found in tried}
    if Damage.OUT_OF_MEMORY in damages:
        hint = "Raise engine.memory_limit and run the same command again."
    elif Damage.DEADLINE in damages:
        hint = "Raise engine.deadline and run the same command again."
    elif Damage.KEY_NEEDED in damages:
        hint = "Open it with its key, in the application."
    elif backup:
        hint = f"Restore the last verified backup: eider restore {backup.id}; or install another "
        hint += "engine and try again: eider engine add VERSION"
    else:
        hint = "Install another engine and try again: eider engine add VERSION"
    return NotRescued(f"the database cannot be rescued:{lines}", hint=hint, tried=tuple(tried))


def _shortened(problems: Sequence[str]) -> str:
    more = len(problems) - _SHOWN
    return "; ".join([*problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])
