"""The exchange of one set of database files for another, safe at every instant.

A set is a database file and the WAL files beside it. A file without its WAL has lost rows; beside a
WAL that is not its own it is ruined. No two renames happen at once, so this is the order, each line
on disk before the next begins:

1. the plan, a file beside the database, says what is to happen;
2. copies of the old WAL files stand under their set-aside names, of the new ones under hidden
   names;
3. the old file is renamed aside: with its copies, the old set is whole there. An engine that opens
   the missing file now makes an empty one and removes the WAL it finds: nothing is lost by that;
4. the live WAL files are removed: nothing is left that could stand beside a foreign file;
5. the new WAL files are renamed in; 6. the new file is renamed in: the new set is whole;
7. the plan says so; what is left over is removed; the plan is closed by whoever saw it work.

Until 3 a run that died is undone, from then on it is finished: `settle` does either, and may die
anywhere itself. A roll back that is undone leaves the plan of what it was to take back: that has
not ended. The files that move are locked as engines lock them: none can open them meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.errors import StoreUnavailable
from eiderd.evidence import Exchange, Settled
from eiderd.outside import files
from eiderd.outside.aside import aside_name, names_aside, real, set_aside, suffix_of, wals
from eiderd.outside.exchange_plan import (
    BEFORE_RESTORE,
    IN,
    is_whole,
    place_of,
    plan,
    staging,
    sweep,
    unfinished,
)
from eiderd.outside.moves import Moves, held, undisturbed

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BEFORE_RESTORE", "Exchange", "Swap", "aside_name", "is_whole", "names_aside", "plan", "real",
    "set_aside", "staging", "sweep", "unfinished", "wals",
]  # fmt: skip

BEFORE_COMPACT: Final = "before-compact"
FAILED_RESTORE: Final = "failed-restore"  # what was ill after a restore and was put away again
UNEXPECTED: Final = "unexpected"  # what an application made while there was no database
_FAILED: Final = {"compact": "failed-compact"}  # by kind, else FAILED_RESTORE


# The exchange -----------------------------------------------------------------------------------


class Swap:
    """One exchange of the files of `database`, at work."""

    def __init__(self, database: Path, plan: Exchange, *, moves: Moves | None = None) -> None:
        self._moves = moves or Moves()
        self._folder = real(database).parent
        self._record = place_of(database)
        self._follow(plan)

    def _follow(self, plan: Exchange) -> None:
        self.plan = plan
        self._live = self._folder / plan.live
        self._aside = self._folder / plan.aside
        self._incoming = self._folder / plan.incoming
        base = self._folder / plan.wal_base
        self._new_wals = [
            (
                self._incoming.with_name(self._incoming.name + suffix),
                base.with_name(f".{base.name}{suffix}.eider-in"),
                base.with_name(base.name + suffix),
            )
            for suffix in plan.incoming_wals
        ]
        self._old_wals = [(self._folder / a, self._folder / b) for a, b in plan.aside_wals]
        self._live_wals = [self._folder / name for name in plan.live_wals]

    @property
    def is_made(self) -> bool:
        """Whether the new set is live."""
        return is_whole(self.plan)

    @property
    def can_go_back(self) -> bool:
        """Whether the set that was live before still stands aside."""
        return self.plan.had_live and self._aside.exists()

    def exchange(self) -> None:
        """Exchange the sets, or fail and leave all as it was. The plan stays until `close`.

        Raise Busy when a process has one of the files open, NoSpace, StoreUnavailable.
        """
        with self._guarded():
            try:
                # The new set is there before anything says so.
                self._moves.sync_folder(self._incoming.parent)
                self._moves.sync_folder(self._folder)
                self._write_plan(self.plan)
                self._copy_old_wals()
                self._copy_new_wals()
            except BaseException:
                with contextlib.suppress(OSError, StoreUnavailable):
                    self._take_back()
                raise
            self._set_aside()
            self._finish()

    def settle(self, *, stamp: str) -> Settled:
        """Put right what a run left that died: undo it, or finish it. `close` it when finished.

        Of a roll back that is undone, `plan` is what it was to take back: that is finished.
        """
        if self.plan.phase == IN:
            self._tidy()
            return Settled.FINISHED
        moved = self._aside.exists() or not self.plan.had_live
        if not self._incoming.exists():
            if not self._live.exists():
                raise _neither(self._live)
            if moved:
                self._tidy()
                return Settled.FINISHED
        if not moved:
            return self._undo()
        with self._guarded():
            self._move_stranger(stamp=stamp)
            self._copy_new_wals()
            self._finish()
        return Settled.FINISHED

    def _undo(self) -> Settled:
        self._take_back()
        if self.plan.before is None:
            return Settled.UNDONE
        self._follow(self.plan.before)
        return Settled.FINISHED

    def back(self, *, database: Path, kind: str, stamp: str) -> Swap:
        """Return the exchange that puts the set back that was live before this one."""
        old = next((old for old, _aside in self._old_wals), None)
        base = old and old.with_name(old.name.removesuffix(suffix_of(old)))
        again = plan(
            database=database,
            incoming=self._aside,
            wal_base=base or self._folder / self.plan.wal_base,
            kind=kind,
            what=self.plan.what,
            stamp=stamp,
            restart=self.plan.restart,
            word=_FAILED.get(self.plan.kind, FAILED_RESTORE),
            staged=False,
        )
        again = dataclasses.replace(again, before=self.plan)
        return Swap(database, again, moves=self._moves)

    def close(self) -> None:
        """Forget the plan: what is live now was seen to work, or is what was there before."""
        with files.writing_to(self._folder):
            self._moves.remove(self._record)
            self._moves.sync_folder(self._folder)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Keep engines from the files, and signals from the steps; tell refusals of the kernel."""
        with (
            undisturbed(),
            files.writing_to(self._folder),
            held(self._live),
            held(self._incoming),
        ):
            yield

    # The steps

    def _write_plan(self, plan: Exchange) -> None:
        aside = self._record.with_name(f"{self._record.name}.new")
        self._moves.write(aside, json.dumps(dataclasses.asdict(plan)).encode())
        self._moves.sync_file(aside)
        self._moves.rename(aside, self._record)
        self._moves.sync_folder(self._folder)

    def _copy_old_wals(self) -> None:
        if self.plan.had_live:  # without their file they are no set: they are renamed later
            for old, aside in self._old_wals:
                self._moves.copy(old, aside)
                self._moves.sync_file(aside)

    def _copy_new_wals(self) -> None:
        """Copy the new WAL files, and make all copies last."""
        for new, hidden, _live in self._new_wals:
            self._moves.copy(new, hidden)
            self._moves.sync_file(hidden)
        self._sync_wal_folders()

    def _set_aside(self) -> None:
        if self.plan.had_live:
            self._moves.rename(self._live, self._aside)
            self._moves.sync_folder(self._folder)

    def _finish(self) -> None:
        self._empty()
        for _new, hidden, live in self._new_wals:
            self._moves.rename(hidden, live)
        self._sync_wal_folders()
        self._moves.rename(self._incoming, self._live)
        self._moves.sync_folder(self._folder)
        self._moves.sync_folder(self._incoming.parent)
        self._tidy()

    def _empty(self) -> None:
        """Leave no WAL where the next file is to stand."""
        for old, aside in self._old_wals if not self.plan.had_live else ():
            if os.path.lexists(old) and not os.path.lexists(aside):
                self._moves.rename(old, aside)
        for path in self._live_wals:
            if os.path.lexists(path):
                self._moves.remove(path)
        self._sync_wal_folders()

    def _tidy(self) -> None:
        with files.writing_to(self._folder):
            if self.plan.phase != IN:
                self.plan = dataclasses.replace(self.plan, phase=IN)
                self._write_plan(self.plan)
            for new, hidden, _live in self._new_wals:
                self._moves.remove(new)
                self._moves.remove(hidden)
            if self.plan.staging:
                self._moves.remove_folder(self._folder / self.plan.staging)
            self._sync_wal_folders()

    def _take_back(self) -> None:
        """Nothing live was touched yet: remove what was made ready."""
        if self.plan.had_live and not self._live.exists():
            raise _neither(self._live)
        with files.writing_to(self._folder):
            for _old, aside in self._old_wals:
                self._moves.remove(aside)
            for new, hidden, _live in self._new_wals:
                self._moves.remove(hidden)
                if self.plan.staging:
                    self._moves.remove(new)
            if self.plan.staging:
                self._moves.remove(self._incoming)
                self._moves.remove_folder(self._folder / self.plan.staging)
            self._sync_wal_folders()
            if self.plan.before:  # its set is live still, and its end is not known
                self._write_plan(self.plan.before)
            else:
                self.close()

    def _move_stranger(self, *, stamp: str) -> None:
        """Set aside what an application made where there was no database for an instant."""
        if not os.path.lexists(self._live):
            return
        aside = aside_name(self._live, word=UNEXPECTED, stamp=stamp)
        logs = names_aside(aside, list(filter(os.path.lexists, self._live_wals)))
        for path, copy in logs.items():
            self._moves.copy(path, copy)
            self._moves.sync_file(copy)
        self._moves.sync_folder(self._folder)
        self._moves.rename(self._live, aside)
        self._moves.sync_folder(self._folder)

    def _sync_wal_folders(self) -> None:
        bases = (self._folder / name for name in (self.plan.wal_base, *self.plan.live_wals))
        folders = dict.fromkeys((self._folder, *(Path(os.path.realpath(b.parent)) for b in bases)))
        for folder in folders:
            self._moves.sync_folder(folder)


def _neither(live: Path) -> StoreUnavailable:
    return StoreUnavailable(
        f"an exchange of database files did not end, and {live} is gone",
        hint="Move a set-aside copy, with its WAL files, to its name, then remove "
        f"{place_of(live)}; look: ls -la {live.parent}",
    )
