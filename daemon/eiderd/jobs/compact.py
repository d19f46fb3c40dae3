"""Write the database anew, without what was deleted from it, and put that in its place.

It is tried first, on the mirror and without stopping anything: a copy that is not the same in every
object and every row, or not smaller by enough, ends it there. Then the same is done once more while
the application is down and nobody else can open the database, and the files are exchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from eiderd.errors import VerificationFailed
from eiderd.evidence import Captured, Opened, Survey
from eiderd.maintenance import around as exchanges
from eiderd.maintenance import compact_plan as compacting
from eiderd.maintenance.around import Exchanged
from eiderd.maintenance.compact_plan import Measured
from eiderd.model import Ending, Outcome

if TYPE_CHECKING:
    import datetime

    from eiderd.maintenance.around import Around, Work


One = TypeVar("One")
Other = TypeVar("Other")


class Together(Protocol):
    """Run both at once and return both results. Raise the first failure, having ended the other."""

    def __call__(
        self, one: Callable[[], One], other: Callable[[], Other], /
    ) -> tuple[One, Other]: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """How a compact copy is made, in one place.

    `refresh` brings the mirror up to date, `write` makes the copy and returns its size in bytes.
    """

    refresh: Callable[[], Captured]
    survey_old: Callable[[], Survey]
    read_old: Callable[[], Opened]
    write: Callable[[], int]
    survey_new: Callable[[], Survey]
    read_new: Callable[[], Opened]
    together: Together


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How many bytes the database and its WAL had before and after."""

    old_bytes: int
    new_bytes: int


class StandIn(Protocol):
    """Make the copy for good, let `accept` see it, and return the exchange for it."""

    def __call__(self, *, restart: bool, accept: Callable[[Measured], None]) -> Work: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What came of it. `exchanged` is None when the database was left as it is.

    `asked` says what the application made of its database when it was asked to compact it itself.
    """

    measured: Measured | None = None
    exchanged: Exchanged | None = None
    asked: Asked | None = None


def copied(*, now: Callable[[], datetime.datetime], copying: Copying) -> Measured:
    """Make a compact copy, and see that it is the same database.

    Raise VerificationFailed when it is not, naming what differs, or when the database itself cannot
    be read whole.
    """
    began = now()
    captured = copying.refresh()
    if captured.encrypted:
        raise VerificationFailed(
            "the database is encrypted: an engine needs its key to write it anew",
            hint="Nothing was changed. Compact it with the application's own means.",
        )
    old = copying.survey_old()
    # Both at once: the application may be down for as long as this takes.
    before, size = copying.together(copying.read_old, copying.write)
    compacting.ensure_readable(before, what="the database")
    new, after = copying.together(copying.survey_new, copying.read_new)
    compacting.ensure_readable(after, what="the copy")
    compacting.ensure_same(compacting.differences(old=old, new=new, before=before, after=after))
    return compacting.measured(
        old=old,
        before=before,
        old_bytes=captured.bytes + captured.wal_bytes,
        new_bytes=size,
        seconds=(now() - began).total_seconds(),
    )


def run(
    *,
    around: Around,
    rehearse: Callable[[], Measured],
    min_gain: float,
    seconds_left: Callable[[], float] | None,
    stand_in: StandIn,
    discard: Callable[[], bool],
) -> Outcome[Compacted]:
    """Put a compact copy in the place of the database, if that is worth it.

    `rehearse` makes one on the mirror; `stand_in` makes one of the database as it is when nobody
    uses it any more; `seconds_left` is what is left of the window, if there is one. Raise what they
    raise, with all as it was.
    """
    if around.application.kind == "none":
        around.await_free()  # sooner refused than after a long rehearsal
    tried = rehearse()
    final = [tried]
    if why := _why_not(tried, min_gain=min_gain, seconds_left=seconds_left):
        return Outcome(ending=Ending.REFUSED, value=Compacted(measured=tried), why=why)

    def accept(found: Measured) -> None:
        if why := _why_not(found, min_gain=min_gain):
            raise VerificationFailed(f"nothing was changed: {why}", hint="Try it again later.")
        final.append(found)

    ended = exchanges.run(
        around=around,
        was_stopped_for_it=False,
        prepare=lambda: None,
        work=lambda restart: stand_in(restart=restart, accept=accept),
        discard=discard,
    )
    return Outcome(
        ending=Ending.DONE,
        value=Compacted(measured=final[-1], exchanged=ended.value),
        why=f"the database is {final[-1].gain:.0%} smaller",
    )


def measure(*, rehearse: Callable[[], Measured], min_gain: float) -> Outcome[Compacted]:
    """Say what a compaction would bring; `refused` when that is not enough."""
    tried = rehearse()
    why = _why_not(tried, min_gain=min_gain)
    return Outcome(
        ending=Ending.REFUSED if why else Ending.NOTHING_TO_DO,
        value=Compacted(measured=tried),
        why=why or f"a look: the database would be {tried.gain:.0%} smaller",
    )


def _why_not(
    found: Measured, *, min_gain: float, seconds_left: Callable[[], float] | None = None
) -> str:
    if found.gain < min_gain:
        return f"it would save {max(0.0, found.gain):.1%}, and compact.min_gain is {min_gain:.1%}"
    if seconds_left and (left := max(0.0, seconds_left())) < found.seconds:
        return f"it takes {found.seconds:,.0f} s, and {left:,.0f} s of the window are left"
    return ""


def ask(*, post: Callable[[], None], size: Callable[[], int]) -> Outcome[Compacted]:
    """Let the application compact its database itself, and see whether that made it smaller.

    Raise ApplicationFailed when it does not say that it has.
    """
    before = size()
    post()
    asked = Asked(old_bytes=before, new_bytes=size())
    if asked.new_bytes < before:
        why = f"the database is {1 - asked.new_bytes / before:.0%} smaller"
        return Outcome(ending=Ending.DONE, value=Compacted(asked=asked), why=why)
    why = "the application says that it is done, but its database is not smaller"
    return Outcome(ending=Ending.REFUSED, value=Compacted(asked=asked), why=why)
