"""What befalls a machine in years: each day its own troubles, by the dice of a seed."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING

from eiderd.errors import EiderError, NoSpace, NotConverged, SourceUnavailable
from eiderd.model import State
from tests.years import oracle

if TYPE_CHECKING:
    from tests.years.world import World

HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
MINUTE = datetime.timedelta(minutes=1)
_FAILURES: tuple[Callable[[], EiderError], ...] = (
    lambda: SourceUnavailable("there is no database", hint="start it"),
    lambda: NotConverged("it changes too fast", hint="later"),
    lambda: NoSpace("no space left", hint="df -h"),
)


class Story:
    """Tells a world what happens. What began ends again at its time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = world.rng
        self._elapsed = datetime.timedelta()
        self._ends: list[tuple[datetime.timedelta, Callable[[], object]]] = []
        self._wrong_by = datetime.timedelta()

    def tell(self, duration: datetime.timedelta) -> None:
        """Live that long, as a clock that nobody sets would count it."""
        rolled = -1
        while self._elapsed < duration:
            if self._elapsed.days > rolled:
                rolled = self._elapsed.days
                self._roll()
            self._pass(self._until_next())
            self.world.turn()
        while self._ends:
            self._pass(DAY)
            self.world.turn()

    def _until_next(self) -> datetime.timedelta:
        """Mostly the next time of the timetable, or a look at some other time; at times a sleep."""
        world, rng = self.world, self.rng
        due = max(world.next_due - world.wall, MINUTE * 2)
        choice = rng.random()
        if choice < 0.02:
            return due + rng.random() * 60 * HOUR  # suspended
        if choice < 0.3:
            return min(due, MINUTE * rng.randint(2, 600))
        return due + datetime.timedelta(seconds=rng.randint(0, 3))

    def _pass(self, by: datetime.timedelta) -> None:
        self.world.go_on(by)
        self._count(by)

    def _count(self, by: datetime.timedelta) -> None:
        self._elapsed += by
        for moment, end in list(self._ends):
            if moment <= self._elapsed:
                self._ends.remove((moment, end))
                end()

    def _for(self, duration: datetime.timedelta, end: Callable[[], object]) -> None:
        self._ends.append((self._elapsed + duration, end))

    def _roll(self) -> None:
        """Let some of all this begin today."""
        for share, begin in (
            (0.05, self._a_failure), (0.03, self._unproven), (0.006, self._full),
            (0.006, self._full_journal), (0.03, self._off), (0.06, self._kill),
            (0.03, self._restart), (0.02, self._clock), (0.01, self._empty), (0.06, self._pin),
            (0.06, self._unpin), (0.006, self._strange), (0.004, self._rot),
            (0.1, self._prune), (1, self._grow),
        ):  # fmt: skip
            if self.rng.random() < share:
                begin()

    # What happens ------------------------------------------------------------------------------

    def _a_failure(self) -> None:
        self._troubled(self.rng.choice(_FAILURES), self.rng.random() * 2 * DAY)

    def _full(self) -> None:
        self._troubled(_FAILURES[2], 7 * DAY)

    def _troubled(self, trouble: Callable[[], EiderError], duration: datetime.timedelta) -> None:
        def end() -> None:
            self.world.trouble = None

        self.world.trouble = trouble
        self._for(duration, end)

    def _unproven(self) -> None:
        self._set("unproven", self.rng.random() * 2 * DAY)

    def _full_journal(self) -> None:
        self._set("journal_full", self.rng.random() * 7 * DAY)

    def _set(self, name: str, duration: datetime.timedelta) -> None:
        self.world.happened[name] += 1
        setattr(self.world, name, True)
        self._for(duration, lambda: setattr(self.world, name, False))

    def _off(self) -> None:
        if self.world.is_unwritten:  # what was not written does not survive: that is no promise
            return
        duration = HOUR * self.rng.choice((1, 5, 12, 30, 80, 200, 600)) * (0.5 + self.rng.random())
        self.world.off(duration)
        self._count(duration)

    def _kill(self) -> None:
        if not self.world.is_unwritten:
            self.world.kill_next = self.rng.randint(1, 30)

    def _restart(self) -> None:
        if not self.world.is_unwritten:
            self.world.end()
            self._pass(MINUTE)
            self.world.begin()

    def _clock(self) -> None:
        """It goes wrong, and after a while somebody sets it right."""
        if self._wrong_by or self.world.is_unwritten:
            return
        self._wrong_by = self.rng.choice((-1, 1)) * self.rng.choice(
            (3 * MINUTE, 7 * MINUTE, HOUR, DAY, 366 * DAY)
        )

        def right() -> None:
            self.world.set_clock(-self._wrong_by)
            self._wrong_by = datetime.timedelta()

        self.world.set_clock(self._wrong_by)
        self._for(self.rng.random() * 5 * DAY, right)

    def _empty(self) -> None:
        """The database is suddenly empty; then the data comes back, or somebody accepts it."""
        self._set("empty", self.rng.random() * 6 * DAY)
        if self.rng.random() < 0.5:
            self._for(self.rng.random() * 6 * DAY, self._accept)

    def _accept(self) -> None:
        suspects = [one for one in self.world.backups if one.state is State.SUSPECT]
        if suspects and not self.world.is_unwritten:
            self.world.accept(suspects[-1])

    def _pin(self) -> None:
        if self.world.made and not self.world.is_unwritten:
            one = self.rng.choice(self.world.backups)
            self.world.pin(one, pinned=True)

    def _unpin(self) -> None:
        pinned = [one for one in self.world.backups if one.pinned]
        good = oracle.newest_verified(self.world.backups)
        for one in pinned[:-2]:
            if one is not good and not self.world.is_unwritten:
                self.world.pin(one, pinned=False)

    def _prune(self) -> None:
        """Somebody prunes by hand, when nothing was backed up before as well."""
        if not self.world.is_unwritten:
            self.world.operator(lambda app: app.prune())

    def _strange(self) -> None:
        """Somebody copies a manifest of something else into the folder, and removes it again."""
        self.world.happened["strange manifest"] += 1
        path = self.world.place.backups / "backup-strange.json"
        path.write_text('{"sequence": 7}')
        self.world.touched = True

        def end() -> None:
            path.unlink(missing_ok=True)
            self.world.touched = True

        self._for(self.rng.random() * 4 * DAY, end)

    def _rot(self) -> None:
        if self.world.made:
            self.world.happened["rot"] += 1
            self.world.damaged.add(self.rng.choice(self.world.backups).id)

    def _grow(self) -> None:
        self.world.rows += self.rng.randint(-50_000, 60_000)
        self.world.rows = max(500_000, self.world.rows)
