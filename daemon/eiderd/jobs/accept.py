"""Accept a suspect backup: a person says that its content is right, so it counts as verified."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from eiderd import catalog, proof
from eiderd.model import Backup, ContentVerdict, Ending, Level, Outcome, State

if TYPE_CHECKING:
    from pathlib import Path


def run(*, directory: Path, name: str) -> Outcome[Backup]:
    """Make a suspect backup verified. What is not proven nobody can vouch for: it is refused.

    Raise NoSuchBackup, or VerificationFailed for one whose manifest cannot be believed.
    """
    found = catalog.find(directory, name)
    if found.state is State.VERIFIED:
        why = f"backup {found.id} is not suspect, it is verified"
        return Outcome(ending=Ending.NOTHING_TO_DO, value=found, why=why)
    if found.state is not State.SUSPECT:
        why = f"backup {found.id} is not suspect but {found.state}, which nobody can accept"
        return Outcome(ending=Ending.REFUSED, value=found, why=why)
    if found.proof.level < Level.RESTORE:  # what its content is like says nothing of that
        why = f"the last proof of backup {found.id} failed: {proof.explain(found.proof)[0]}"
        return Outcome(ending=Ending.REFUSED, value=found, why=why)
    content = dataclasses.replace(found.content, verdict=ContentVerdict.ACCEPTED)
    accepted = dataclasses.replace(found, state=State.VERIFIED, content=content)
    catalog.rewrite(directory, accepted)
    return Outcome(ending=Ending.DONE, value=accepted)
