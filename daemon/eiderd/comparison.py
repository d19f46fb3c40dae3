"""Whether a proven backup may count, by what the last verified one held.

A job that is about to make a backup `verified` asks here first. What is suspect pins the last good
one before it is there to be seen: from then on no rule removes that, whatever comes after.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

from eiderd import catalog
from eiderd.model import Backup, Content, ContentVerdict, State

if TYPE_CHECKING:
    from pathlib import Path


class Compare(Protocol):
    """Judge what a backup holds by what the last verified one held, if there is one."""

    def __call__(
        self, *, old: Content | None, new: Content
    ) -> tuple[ContentVerdict, tuple[str, ...]]: ...


def compared(directory: Path, backup: Backup, *, compare: Compare) -> Backup:
    """Return a proven backup with the verdict on its content, `suspect` if it is so.

    One that is older than the newest verified one is not compared: nothing hangs on it.
    """
    good = catalog.newest_verified(directory)
    if good and good.sequence >= backup.sequence:
        return backup
    verdict, reasons = compare(old=good.content if good else None, new=backup.content)
    content = dataclasses.replace(
        backup.content, verdict=verdict, reasons=reasons, compared_with=good.id if good else None
    )
    if verdict is not ContentVerdict.SUSPECT:
        return dataclasses.replace(backup, content=content)
    if good and not good.pinned:
        catalog.rewrite(directory, dataclasses.replace(good, pinned=True))
    return dataclasses.replace(backup, content=content, state=State.SUSPECT)
