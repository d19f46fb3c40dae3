"""What eiderd set aside and leaves for a person to remove, as the doctor tells it. Pure.

Nothing of it is wrong, so it is a note. A command that removes a database is told only while the
live one is there and whole: else what stands aside may be all that is left.
"""

from __future__ import annotations

import datetime
import shlex
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal

from eiderd.doctor import Check, Mark
from eiderd.units import spoken
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eiderd.evidence import DatabaseSeen, Kept

_MOST: Final = 20  # that are told one by one


def of_database(seen: DatabaseSeen, *, at: datetime.datetime) -> Iterator[Check]:
    """Return what is said of the databases that were set aside."""
    if not seen.aside:
        yield Check(name="set aside", mark=Mark.WELL, said="nothing is set aside")
    elif seen.problem or seen.unfinished:
        size = decimal(sum(one.bytes for one in seen.aside))
        first = [one.paths[0] for one in seen.aside[:5]]
        yield Check(
            name="set aside",
            mark=Mark.WARNING,
            said=f"{many(len(seen.aside), 'database')} set aside, {size}: remove none while the "
            "live one is not as it should be",
            command=f"ls -l -- {' '.join(map(shlex.quote, first))}",
        )
    else:
        yield from of_folders(seen.aside, at=at)


def of_folders(kept: Sequence[Kept], *, at: datetime.datetime) -> Iterator[Check]:
    """Return a note of each: how large, how old, and what removes it. The oldest are first."""
    names = dict.fromkeys(one.name for one in kept)
    for name in names:
        own = sorted((one for one in kept if one.name == name), key=lambda one: one.since)
        yield from (_note(one, at=at) for one in own[:_MOST])
        if rest := own[_MOST:]:
            folder = rest[0].paths[0].rpartition("/")[0]
            yield Check(
                name=name,
                mark=Mark.NOTE,
                said=f"and {len(rest)} more in {folder}, {decimal(sum(one.bytes for one in rest))}",
                command=f"ls -l -- {shlex.quote(folder)}",
            )


def _note(one: Kept, *, at: datetime.datetime) -> Check:
    age = max(0.0, (at - datetime.datetime.fromisoformat(one.since)).total_seconds())
    return Check(
        name=one.name,
        mark=Mark.NOTE,
        said=f"{one.paths[0]}, {decimal(one.bytes)}, {spoken(age)} old",
        command=_removal(one),
        bytes=one.bytes,
        age_seconds=age,
    )


def _removal(one: Kept) -> str:
    """Return what removes it; only a look where its name cannot be shown as it is."""
    if any(path != plain(path) for path in one.paths):
        return f"ls -lb -- {shlex.quote(one.paths[0].rpartition('/')[0])}"
    recursive = "-r " if one.is_folder else ""
    return f"rm {recursive}-- {' '.join(map(shlex.quote, one.paths))}"
