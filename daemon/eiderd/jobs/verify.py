"""Verify an archive again: ours, by what its manifest says, or any other, by what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eiderd import catalog, proof
from eiderd.comparison import compared
from eiderd.evidence import Damage
from eiderd.model import Backup, Ending, Failure, Level, Outcome, Proof

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from eiderd.comparison import Compare
    from eiderd.evidence import Checked, Member, Opened


class Check(Protocol):
    """Read an archive once, writing nothing."""

    def __call__(
        self,
        *,
        archive: Path,
        sha256: str | None,
        members: tuple[Member, ...] | None,
        id_: str | None,
    ) -> Checked: ...


class OpenArchive(Protocol):
    """Unpack the database of a checked archive into scratch and let an engine read all of it."""

    def __call__(self, *, archive: Path, checked: Checked) -> Opened: ...


def run(
    *,
    now: Callable[[], datetime.datetime],
    directory: Path,
    backup: Backup,
    level: Level,
    check: Check,
    open_archive: OpenArchive,
    compare: Compare,
) -> Outcome[Backup]:
    """Prove a backup of the catalog up to `level` and record what was found."""
    backup = catalog.recorded(directory, backup.id)  # it may have been pinned since it was found
    archive = directory / backup.archive
    if not archive.exists():
        verdict, opened = _fallen(Damage.MISSING, f"{archive.name} is gone", now=now), None
    elif not catalog.sidecar_fits(directory, backup):
        said = f"{archive.name}.sha256 is gone or was changed"
        verdict, opened = _fallen(Damage.CHECKSUM, said, now=now), None
    else:
        checked = check(
            archive=archive, sha256=backup.sha256, members=backup.members, id_=backup.id
        )
        verdict, opened = _prove(archive, checked, level=level, open_archive=open_archive, now=now)
    found = proof.recorded(backup, verdict, opened)
    if found.verified and not backup.verified:  # as a new one, it must not count unseen
        found = compared(directory, found, compare=compare)
    if found != backup:
        catalog.rewrite(directory, found)
    return Outcome(ending=Ending.DONE, value=found, why=proof.explain(verdict)[0])


class Verify(Protocol):
    """Prove one backup of the catalog again and record what was found."""

    def __call__(self, *, backup: Backup) -> Outcome[Backup]: ...


def run_all(*, backups: Sequence[Backup], verify: Verify) -> Outcome[tuple[Backup, ...]]:
    """Prove all of them, those whose proof is oldest first, and return them as they are now.

    Verifying nothing is nothing to be content with: that there was nothing is what is returned.
    """
    oldest_first = sorted(backups, key=lambda backup: backup.proof.at)
    found = tuple(verify(backup=backup).value for backup in oldest_first)
    if not found:
        return Outcome(ending=Ending.NOTHING_TO_DO, value=(), why="there is no backup")
    failed = [backup for backup in found if backup.proof.failure]
    why = f"{len(failed)} of {len(found)} archives do not hold what they should" if failed else ""
    return Outcome(ending=Ending.DONE, value=found, why=why)


def _fallen(kind: Damage, message: str, *, now: Callable[[], datetime.datetime]) -> Proof:
    failure = Failure(level=Level.CHECKSUM, kind=kind, message=message)
    return Proof(level=Level.NONE, at=now(), failure=failure)


def run_file(
    *,
    now: Callable[[], datetime.datetime],
    archive: Path,
    sha256: str | None,
    level: Level,
    check: Check,
    open_archive: OpenArchive,
) -> Outcome[Proof]:
    """Prove an archive that stands anywhere. Nothing is recorded."""
    checked = check(archive=archive, sha256=sha256, members=None, id_=None)
    verdict, _opened = _prove(archive, checked, level=level, open_archive=open_archive, now=now)
    return Outcome(ending=Ending.DONE, value=verdict, why=proof.explain(verdict)[0])


def _prove(
    archive: Path,
    checked: Checked,
    *,
    level: Level,
    open_archive: OpenArchive,
    now: Callable[[], datetime.datetime],
) -> tuple[Proof, Opened | None]:
    opened = None
    if level >= Level.RESTORE and not checked.damage and not checked.encrypted:
        opened = open_archive(archive=archive, checked=checked)
    return proof.judge(checked=checked, opened=opened, at=now()), opened
