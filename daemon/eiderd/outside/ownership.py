"""Root and the service's user: root acts in eiderd's folders with the rights of their owner.

Whoever can write there, the process that reads a hostile database among them, must not be able to
make root write, remove or run anything. What needs root all the same gives what it made there to
the owner.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.errors import ConfigError
from eiderd.outside import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def become_owner(folder: Path, *, groups: Callable[[], Iterable[str]] = tuple) -> None:
    """Go on as the owner of `folder`, for good, if this is root and the folder is not root's.

    `groups`, asked only then, names what the service is in besides the groups of its user. Raise
    ConfigError when that user may not read the program itself.
    """
    if os.geteuid() != 0:
        return
    with contextlib.suppress(FileNotFoundError):
        owner = folder.stat()
        if owner.st_uid != 0:
            _become(owner.st_uid, owner.st_gid, also=groups())


def may_write(folder: Path, *, keeper: Path, groups: Iterable[str] = ()) -> bool:
    """Say whether the owner of `keeper` may use `folder`, as far as root asks; else this process.

    `groups` as above. A child asks the kernel, who knows of groups and access lists.
    """
    child = os.fork()
    if child == 0:
        refused = True
        try:
            with contextlib.suppress(OSError):  # not made yet: it will be root's
                owner = keeper.stat()
                if os.geteuid() == 0 and owner.st_uid != 0:
                    _take_on(owner.st_uid, owner.st_gid, also=groups)
            refused = not os.access(folder, os.R_OK | os.W_OK | os.X_OK)
        finally:
            os._exit(refused)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _become(user: int, group: int, *, also: Iterable[str]) -> None:
    _take_on(user, group, also=also)
    home, name = "/", str(user)
    with contextlib.suppress(KeyError):
        known = pwd.getpwuid(user)
        home, name = known.pw_dir, known.pw_name
    os.environ.update(HOME=home, USER=name, LOGNAME=name)
    for place in (sys.prefix, sys.base_prefix):
        if not os.access(place, os.R_OK | os.X_OK):
            raise ConfigError(
                f"{name} may not read {place}, where eider or its Python is installed",
                hint="Install it where that user may, in /opt for example: eider setup --systemd",
            )


def _take_on(user: int, group: int, *, also: Iterable[str]) -> None:
    groups = {group}
    with contextlib.suppress(KeyError):
        groups |= set(os.getgrouplist(pwd.getpwuid(user).pw_name, group))
    for one in also:
        with contextlib.suppress(KeyError):
            groups.add(grp.getgrnam(one).gr_gid)
    os.setgroups(sorted(groups))
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)  # last: it takes away the right to do the others


# What may be run ---------------------------------------------------------------------------------


def ensure_unforgeable(program: Path) -> None:
    """Raise ConfigError when this process has rights that whoever can change `program` has not.

    Root's, or capabilities: what such a process runs must be root's, and so must every folder on
    the way to it, or it would hand them over.
    """
    if not _is_privileged():
        return
    for path in (program, Path(os.path.realpath(program))):
        for step in (path, *path.absolute().parents):
            if _is_for_others(step):
                raise ConfigError(
                    f"{step} can be changed by others than root, so that {program} is not run with "
                    "these rights",
                    hint="Engines belong in a folder of root's (engine.directory): sudo eider "
                    "engine add VERSION",
                )


def owner_of(folder: Path) -> int | None:
    """Return whose a folder is; None where others than root could have put it there."""
    real = Path(os.path.realpath(folder))
    above = {*folder.absolute().parents, *real.parents}
    if folder.is_symlink():
        above.add(folder)
    try:
        return None if any(map(_is_for_others, above)) else real.stat().st_uid
    except OSError:
        return None


def _is_for_others(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False  # it is not there: nothing is run
    if found.st_uid != 0:
        return True
    # In a folder such as /tmp others may make files, but not replace those of root.
    harmless = stat.S_ISLNK(found.st_mode) or found.st_mode & stat.S_ISVTX
    return not harmless and bool(found.st_mode & _WRITABLE_BY_OTHERS)


def _is_privileged() -> bool:
    return os.geteuid() == 0 or kernel.capabilities("CapEff") != 0


# What root made ----------------------------------------------------------------------------------


def hand_over(folder: Path, *, is_ours: Callable[[str], bool]) -> None:
    """Give what is root's in `folder` to its owner: what `is_ours` says by name, and all below it.

    Nothing is done when the folder is root's own, or when this is not root. Links are not followed,
    no other disk is entered, and a file that has other names is left alone: one of them may be
    elsewhere.
    """
    if os.geteuid() != 0:
        return
    with contextlib.suppress(FileNotFoundError):
        owner = folder.stat()
        if owner.st_uid != 0:
            _give(folder, owner, is_ours=is_ours)


def _give(folder: Path, owner: os.stat_result, *, is_ours: Callable[[str], bool]) -> None:
    for path, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        is_given = is_ours if Path(path) == folder else _any
        folders[:] = [
            name for name in folders if is_given(name) and _give_one(name, owner, descriptor)
        ]
        for name in filter(is_given, names):
            _give_one(name, owner, descriptor)


def _any(_name: str) -> bool:
    return True


def _give_one(name: str, owner: os.stat_result, folder: int) -> bool:
    """Return whether it is on the same disk, so that what is below it may be given too."""
    try:  # the service may be at work meanwhile
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if found.st_dev != owner.st_dev:
            return False
        if found.st_uid == 0 and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
            os.chown(name, owner.st_uid, owner.st_gid, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
