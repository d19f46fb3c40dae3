"""What setup is going to do: steps with words, made of what was found. Pure.

How eiderd gets to read the data: by an access list (setfacl), not by the application's group. A
group opens whatever it may read, also the file with the application's secrets, often lets it write,
and is worth nothing when the application's umask is 077. An access list names one user and one
folder. DuckDB removes its WAL at a checkpoint and makes it anew, and a restore puts a new database
there: so the folder gets a default entry, which every new file in it inherits whatever the umask
says. Where there are no access lists, the group has to do: `--access group`.

One thing takes an access list away: a chmod of the folder to a mode in which its group has nothing,
since those bits then limit every entry. systemd does that at each start of a unit whose
StateDirectory= it is. So the application's unit is told another mode for it.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, ClassVar, Final

from eiderd.errors import ConfigError
from eiderd.setup.sandbox import STATE, is_hidden

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eiderd.setup.evidence import Data, Disk, Standing
    from eiderd.setup.unit_file import Unit

USER: Final = "eiderd"
BACKUPS: Final = f"{STATE}/backups"
SERVICE_DROP_IN: Final = "/etc/systemd/system/eiderd.service.d/10-application.conf"
MAINTAIN_DROP_IN: Final = "/etc/systemd/system/eiderd-maintain@.service.d/10-application.conf"
MODE_DROP_IN: Final = "10-eiderd.conf"
APPLICATION_RULES: Final = "/etc/polkit-1/rules.d/50-eiderd-application.rules"
RELOAD: Final = ("systemctl", "daemon-reload")
RESTART: Final = ("systemctl", "try-restart", "eiderd.service")
_READ, _WRITE, _ENTER = 4, 2, 1
_ROOM: Final = 5  # another disk should have room for the database so many times
_LEAST_ROOM: Final = 1_000_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change. `what` says it, `why` gives the reason."""

    kind: ClassVar[str] = "step"

    what: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Write(Step):
    """A file. `keeps_old`: what is there is a person's own, and stays beside it."""

    kind: ClassVar[str] = "write"

    path: str
    text: str
    keeps_old: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Remove(Step):
    kind: ClassVar[str] = "remove"

    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Folder(Step):
    """A folder of eiderd's own, which nobody else may enter."""

    kind: ClassVar[str] = "folder"

    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Grant(Step):
    """Entries of an access list: `rights` for the user itself, `inherited` for what is made there.

    `base` are the entries for owner, group and others that what is made there gets, if no default
    was there before: without them it would get those of the folder, also where a umask forbids it.
    """

    kind: ClassVar[str] = "grant"

    path: str
    rights: str
    inherited: str = ""
    base: str = ""
    takes_back: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Command(Step):
    """A command. It is needed when something in `after` was changed, or `makes` is not there.

    `makes` is a path, or the name of a user.
    """

    kind: ClassVar[str] = "command"

    words: tuple[str, ...]
    after: tuple[str, ...] = ()
    makes: str = ""


# Reading the data -------------------------------------------------------------------------------


def is_open(data: Data) -> bool:
    """Say whether everybody may read the data, so that nothing needs to be granted."""
    passes = all(one.mode & _ENTER for one in (*data.above, data.folder))
    return passes and bool(data.folder.mode & _READ) and all(one.mode & _READ for one in data.files)


def grants(data: Data) -> Iterator[Grant]:
    """Return what lets eiderd read the database, its WAL and those that will be there, no more."""
    for one in data.above:
        if not one.mode & _ENTER:
            yield _grant(one, rights="x", why="the way to the database leads through it")
    database = data.files[0]
    yield _grant(
        data.folder,
        rights="rx",
        inherited="rx",
        base=_base(database),
        why="DuckDB makes its WAL anew again and again, a restore a new database: only what is "
        "inherited reaches them. All else that will be made there is readable too",
    )
    for one in data.files:
        yield _grant(one, rights="r", why="eiderd reads its bytes, and writes nothing there")


def _grant(one: Standing, *, rights: str, why: str, inherited: str = "", base: str = "") -> Grant:
    what = {"x": "pass through", "rx": "list", "r": "read"}[rights]
    more = ", and read every file and folder that will be made in it" if inherited else ""
    return Grant(
        what=f"let {USER} {what} {one.path}{more}",
        why=why,
        path=one.path,
        rights=rights,
        inherited=inherited,
        base=base,
    )


def _base(database: Standing) -> str:
    """Return the entries with which new files are as open as the database is, no more."""
    group, others = (database.mode >> 3) & 7, database.mode & 7

    def said(bits: int) -> str:
        return "".join(
            (
                "r" if bits & _READ else "-",
                "w" if bits & _WRITE else "-",
                "x" if bits & _READ else "-",  # counts for folders only
            )
        )

    return f"d:u::rwx,d:g::{said(group)},d:o::{said(others)}"


def words_of(grant: Grant) -> tuple[str, ...]:
    """Return the command that a person could type instead."""
    return ("setfacl", *changes_of(grant, user=USER), "--", grant.path)


def changes_of(grant: Grant, *, user: str) -> tuple[str, ...]:
    """Return what setfacl is to change for `user`, a name or a number."""
    if grant.takes_back:
        if grant.base:
            return ("-k", "-x", f"u:{user}")
        inherited = f",d:u:{user}" if grant.inherited else ""
        return ("-x", f"u:{user}{inherited}")
    entries = [f"u:{user}:{grant.rights}"]
    if grant.inherited:
        entries += [*([grant.base] if grant.base else []), f"d:u:{user}:{grant.inherited}"]
    return ("-m", ",".join(entries))


def mode_that_lasts(unit: Unit, data: Data) -> int | None:
    """Return the mode that a folder of the application's unit needs; None when it has it.

    systemd gives StateDirectory= its mode at each start of the application. To a folder with an
    access list, the bits of the group are a limit to every entry: 0700 takes the reading away.
    """
    needed = 0
    for folder in unit.state_folders:
        if folder == data.folder.path:
            needed |= 0o050
        elif data.folder.path.startswith(f"{folder}/"):
            needed |= 0o010
    return None if unit.state_mode & needed == needed else unit.state_mode | needed


def mode_drop_in(unit: Unit, mode: int) -> tuple[str, str]:
    """Return where the application's unit is told of the mode, and what."""
    path = f"/etc/systemd/system/{unit.name}.d/{MODE_DROP_IN}"
    return path, f"[Service]\nStateDirectoryMode={mode:04o}\n"


def is_granted(grant: Grant, said: str, *, user: int) -> bool:
    """Given what `getfacl -n` says of the path, say whether it is so already."""
    entries = dict(_entries(said))
    mine, inherited = f"user:{user}", f"default:user:{user}"
    if grant.takes_back:
        return mine not in entries and inherited not in entries
    wanted = [(mine, "mask", grant.rights)]
    if grant.inherited:
        wanted.append((inherited, "default:mask", grant.inherited))
    return all(
        set(rights) <= set(entries.get(key, "")) & set(entries.get(mask, "rwx"))
        for key, mask, rights in wanted
    )


def fitting(grant: Grant, said: str) -> Grant:
    """Given what `getfacl` says, return the grant as it is to be made, or taken back.

    A default that is there already stays as it is. One is taken away whole only when there is
    nobody else in it, and the rest is what setup gave.
    """
    entries = dict(_entries(said))
    if not grant.takes_back:
        return dataclasses.replace(grant, base="") if "default:user:" in entries else grant
    named = [key for key in entries if re.fullmatch(r"default:(user|group):.+", key)]
    given = dict(
        _entries(
            grant.base.replace("d:u:", "default:user:")
            .replace("d:g:", "default:group:")
            .replace("d:o:", "default:other:")
            .replace(",", "\n")
        )
    )
    alone = len(named) == 1 and all(entries.get(key) == value for key, value in given.items())
    return grant if alone and given else dataclasses.replace(grant, base="")


def _entries(said: str) -> Iterator[tuple[str, str]]:
    for line in said.splitlines():
        key, _, rights = line.partition("#")[0].strip().rpartition(":")
        if key:
            yield re.sub("(mask|other):$", r"\1", key), rights


def group_of(data: Data) -> str:
    """Return the group through which the data can be read. Raise ConfigError when none can."""
    groups = {one.group_id for one in (data.folder, *data.files)}
    shared = len(groups) == 1 and data.folder.group_id != 0
    readable = all((one.mode >> 3) & _READ for one in (data.folder, *data.files))
    passes = all(one.mode & _ENTER or one.group_id in groups for one in data.above)
    if not (shared and readable and passes and (data.folder.mode >> 3) & _ENTER):
        raise ConfigError(
            f"the group of {data.folder.path} ({data.folder.group}) cannot read the database",
            hint="Install acl (apt-get install acl, or dnf) and run: eider setup --access acl",
        )
    return data.folder.group


# Backups ----------------------------------------------------------------------------------------


def disk_for_backups(data: Data, disks: Iterable[Disk], *, taken: Iterable[int]) -> Disk | None:
    """Return the local disk with the most room that is not one of those `taken`; None if none."""
    room = max(_LEAST_ROOM, _ROOM * data.bytes)
    others = [
        one
        for one in disks
        if one.writable
        and one.mount != "/"
        and one.device not in {data.device, *taken}
        and one.free_bytes >= room
        and one.mount.isprintable()
        and not is_hidden(one.mount)
    ]
    return max(others, key=lambda one: (one.free_bytes, one.mount), default=None)
