"""Drill: restore a backup for practice, into scratch, and say how long that took.

It goes the way that `eider restore --to DIR` goes, so what is measured is what a person will wait
for. Backups take turns: the one whose proof is oldest is next.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

from eiderd import catalog, proof
from eiderd.errors import VerificationFailed
from eiderd.model import Drilled, Ending, Level, Outcome, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from eiderd.model import Backup, Brief, Proof


class Rehearse(Protocol):
    """Restore a backup into a folder that is gone afterwards.

    Return the proof of what came back, and how many seconds all of it took. Raise
    VerificationFailed, NoSpace, SourceUnavailable.
    """

    def __call__(self, backup: Backup, /) -> tuple[Proof, float]: ...


class Verify(Protocol):
    """Prove a backup of the catalog again and record what was found."""

    def __call__(self, *, backup: Backup) -> Outcome[Backup]: ...


def next_in_turn(backups: Sequence[Brief]) -> Brief | None:
    """Given the backups, return the one that was proven longest ago, of those that would restore.

    A scrub, which goes less deep, is no turn.
    """
    good = [
        backup
        for backup in backups
        if backup.proof.level >= Level.RESTORE and backup.state is not State.CORRUPT
    ]
    return min(good, key=lambda backup: (backup.proof.at, backup.sequence), default=None)


def run(
    *,
    directory: Path,
    id_: str | None,
    rehearse: Rehearse,
    verify: Verify,
    record: Callable[[Drilled], None],
) -> Outcome[Backup | None]:
    """Drill one backup, or the next in turn, and record what was found.

    What was not proven yet is proven first, with its content. Raise VerificationFailed when it does
    not come back, with the reason recorded as by a proof.
    """
    if id_ is None:
        chosen = next_in_turn(catalog.briefs(directory).backups)
        if chosen is None:
            why = "there is no backup that was proven"
            return Outcome(ending=Ending.NOTHING_TO_DO, value=None, why=why)
        id_ = chosen.id
    backup = catalog.recorded(directory, id_)
    if backup.state not in {State.VERIFIED, State.SUSPECT}:
        # A drill would make it count, and compares nothing: an emptied database restores perfectly.
        backup = verify(backup=backup).value
        _refuse_unread(backup.proof)
    try:
        found, seconds = rehearse(backup)
        _refuse_unread(found)
    except VerificationFailed as error:
        verify(backup=backup)
        raise VerificationFailed(
            f"backup {backup.id} does not restore: {error.message}",
            hint=f"See what is wrong with it: eider verify {backup.id}",
        ) from error
    verdict = dataclasses.replace(found, level=Level.DRILL, seconds=seconds)
    drilled = proof.recorded(backup, verdict, None)
    catalog.rewrite(directory, drilled)
    record(Drilled(at=verdict.at, seconds=seconds, backup=backup.id))
    return Outcome(
        ending=Ending.DONE, value=drilled, why=f"{backup.id} was restored in {seconds:.1f} s"
    )


def _refuse_unread(found: Proof) -> None:
    """Refuse what was not read: an encrypted database, or one that no engine opens."""
    if found.level < Level.RESTORE:
        said, hint = proof.explain(found)
        raise VerificationFailed(said, hint=hint)
