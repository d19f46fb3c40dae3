"""What the doctor concludes about the folders in which eiderd keeps state and backups. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal

from eiderd.doctor import Check, Mark
from eiderd.words import many

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.evidence import FolderSeen

_WORLD: Final = 0o077
_FEW_INODES: Final = 10_000
_NAMED: Final = 5


def of_folder(
    name: str,
    path: str,
    seen: FolderSeen,
    *,
    user: str,
    keeper: str,
    database_device: int,
    busy: bool,
) -> Iterator[Check]:
    """Return how one of the folders is. `user` wants to use it; the folders are `keeper`'s."""
    shown = shlex.quote(path)
    if not seen.is_folder:
        said = f"{path} is no folder"
        yield Check(name=name, mark=Mark.PROBLEM, said=said, command=f"ls -ld {shown}")
        return
    yield _of_rights(name, path, seen, user=user, keeper=keeper)
    if name == "backups" and database_device and seen.device == database_device:
        yield _warning(
            "same disk",
            "backups stand on the disk of the database: whatever loses it loses both (archives are "
            "not encrypted: copy them only to where others may not read them)",
            f"rsync -a {shown}/ OTHER-MACHINE:backups/",
        )
    if seen.total_inodes and seen.free_inodes < _FEW_INODES:
        said = f"only {many(seen.free_inodes, 'inode')} free"
        yield _warning(f"{name} inodes", said, f"df -i {shown}")
    if seen.leftovers and not busy:
        more = len(seen.leftovers) - _NAMED
        said = f"a run that did not end left {', '.join(seen.leftovers[:_NAMED])}"
        said += f" and {more} more" if more > 0 else ""
        yield _warning(f"{name} leftovers", said, "eider clean")


def _warning(name: str, said: str, command: str) -> Check:
    return Check(name=name, mark=Mark.WARNING, said=said, command=command)


def _of_rights(name: str, path: str, seen: FolderSeen, *, user: str, keeper: str) -> Check:
    shown = shlex.quote(path)
    if not seen.writable:
        where = path if seen.exists else f"the folder in which {path} will be made"
        command = _opening(shown, seen, user=user, keeper=keeper)
        said = f"{user} cannot write in {where}"
        return Check(name=name, mark=Mark.PROBLEM, said=said, command=command)
    if seen.exists and seen.mode & _WORLD:
        said = f"{path} is open to others than its owner, {seen.owner} (mode {seen.mode:04o})"
        return _warning(name, said, f"chmod 0700 {shown}")
    there = f"of {seen.owner}, mode {seen.mode:04o}" if seen.exists else "will be made"
    said = f"{path}, {there}, {decimal(seen.free_bytes)} free ({seen.filesystem or '?'})"
    return Check(name=name, mark=Mark.WELL, said=said)


def _opening(shown: str, seen: FolderSeen, *, user: str, keeper: str) -> str:
    """Return what lets the user whose eiderd's folders are write there. Nobody else should."""
    if user != keeper:
        return "sudo eider doctor"
    if seen.read_only:
        return f"findmnt -T {shown}"
    if not seen.exists:
        return f"install -d -m 0700 -o {shlex.quote(user)} {shown}"
    if seen.owner != user:
        return f"chown {shlex.quote(user)} {shown}"
    return f"chmod u+rwx {shown}"
