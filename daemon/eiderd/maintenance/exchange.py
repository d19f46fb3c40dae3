"""Binds what every exchange of database files needs: the application, the lock, owner and names."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.errors import ConfigError, StoreUnavailable
from eiderd.evidence import ApplicationState
from eiderd.maintenance import restore_plan as restoring
from eiderd.maintenance.around import Around
from eiderd.outside import clock, engine, lock_holder, moves, swap
from eiderd.outside.steady import Remembered, until_steady

if TYPE_CHECKING:
    from eiderd.config import Settings
    from eiderd.evidence import Exchange, Settled
    from eiderd.outside.application import Application

_NOTE: Final = "stopped-for-restore"
STAMP: Final = "%Y%m%d-%H%M%S"


def stamp() -> str:
    return clock.now().strftime(STAMP)


class Bound:
    """An exchange as a job sees it: the time and the path are bound."""

    def __init__(self, database: Path, work: swap.Swap) -> None:
        self._database = database
        self._work = work
        self.close = work.close
        self.exchange = work.exchange

    @property
    def plan(self) -> Exchange:
        return self._work.plan

    @property
    def is_made(self) -> bool:
        return self._work.is_made

    @property
    def can_go_back(self) -> bool:
        return self._work.can_go_back

    def settle(self) -> Settled:
        return self._work.settle(stamp=stamp())

    def back(self) -> Bound:
        back = self._work.back(database=self._database, kind=restoring.ROLL_BACK, stamp=stamp())
        return Bound(self._database, back)


def unfinished(settings: Settings) -> Bound | None:
    """Return what a run left that died, if there is something."""
    database = settings.database.path
    plan = swap.unfinished(database, state=settings.service.state)
    return Bound(database, swap.Swap(database, plan)) if plan else None


def remembered(application: Application, settings: Settings) -> Remembered:
    return Remembered(application, note=settings.service.state / _NOTE)


def around_of(application: Application, settings: Settings) -> Around:
    """Return the application with its database; that it was stopped is remembered."""
    limit = settings.application.timeout.total_seconds()
    live = swap.real(settings.database.path)
    seconds = 0.0 if application.kind == "none" else limit
    return Around(
        application=remembered(application, settings),
        await_free=functools.partial(lock_holder.wait_until_free, live, seconds=seconds),
        until_healthy=functools.partial(
            until_steady,
            application,
            database=live,
            has_url=settings.application.health_url is not None,
            seconds=limit,
        ),
        database=live,
    )


def own_engine(engines: engine.Engines, *, bounds: engine.Bounds, what_for: str) -> Path:
    """Return the application's own engine. Raise ConfigError when it is not known, or not there."""
    wanted = (engines.application or "").removeprefix("v")
    if not wanted:
        raise ConfigError(
            f"{what_for} only by the application's own engine, and nothing says which that is",
            hint='Set engine.application, as in "1.4.3", and: eider engine add 1.4.3',
        )
    interpreter = engines.others.get(wanted, Path(sys.executable))
    if engine.version(interpreter=interpreter, bounds=bounds) != wanted:
        raise ConfigError(
            f"the application's engine, DuckDB {wanted}, is not installed",
            hint=f"Run: eider engine add {wanted}; and add it to engine.others.",
        )
    return interpreter


def stopped_name(application: Application) -> str:
    """Return what an exchange stops, as people call it; empty: nothing."""
    if application.kind == "none":
        return ""
    runs = application.state() in {ApplicationState.RUNNING, ApplicationState.FAILED}
    return application.name() if runs else ""


def holder_of(database: Path) -> str:
    found = lock_holder.holder(swap.real(database))
    return str(found) if found else ""


def discard(settings: Settings) -> bool:
    """Remove what was made ready. Return whether all is as it was."""
    database = settings.database.path
    if swap.unfinished(database, state=settings.service.state) is not None:
        return False
    swap.sweep(database)
    return True


def give_to_owner(path: Path, *, database: Path, verb: str, steps: moves.Moves) -> None:
    """Give a file that was made ready to whom the database belongs, and sync it.

    Raise StoreUnavailable when this user may not.
    """
    live = swap.real(database)
    owner = moves.owner_of(live if live.exists() else live.parent)
    try:
        steps.own(path, owner)
    except PermissionError as error:
        raise StoreUnavailable(
            f"may not give the new files to user {owner.user}, group {owner.group}",
            hint=f"Run it as root: sudo eider {verb}",
        ) from error


def for_compaction(
    database: Path, incoming: Path, *, restart: bool, steps: moves.Moves
) -> swap.Swap:
    """Return the exchange for a compact copy. It belongs to its owner, and is on disk, by then."""
    give_to_owner(incoming, database=database, verb=restoring.COMPACT, steps=steps)
    steps.sync_folder(incoming.parent)
    plan = swap.plan(
        database=database,
        incoming=incoming,
        wal_base=swap.real(database),
        kind=restoring.COMPACT,
        what=swap.real(database).name,
        stamp=stamp(),
        restart=restart,
        word=swap.BEFORE_COMPACT,
    )
    return swap.Swap(database, plan, moves=steps)
