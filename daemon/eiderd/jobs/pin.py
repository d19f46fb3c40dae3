"""Pin a backup, so that no rule ever removes it, or unpin it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from eiderd import catalog
from eiderd.model import Backup, Ending, Outcome

if TYPE_CHECKING:
    from pathlib import Path


def run(*, directory: Path, name: str, pinned: bool, note: str | None = None) -> Outcome[Backup]:
    """Pin or unpin the backup of that name; a note, if there is one, takes the place of its own.

    Raise NoSuchBackup, or VerificationFailed for one whose manifest cannot be believed.
    """
    found = catalog.find(directory, name)
    # Only this becomes known of it: that its archive is not there today is not for its manifest.
    known = catalog.recorded(directory, found.id)
    wanted = dataclasses.replace(known, pinned=pinned, note=known.note if note is None else note)
    if wanted == known:
        why = f"backup {found.id} is {'pinned already' if pinned else 'not pinned'}"
        return Outcome(ending=Ending.NOTHING_TO_DO, value=found, why=why)
    catalog.rewrite(directory, wanted)
    return Outcome(ending=Ending.DONE, value=dataclasses.replace(wanted, state=found.state))
