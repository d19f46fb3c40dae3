"""What the doctor looks at, each look in a child with a deadline: a disk that hangs hangs only it.

Nothing is written, anywhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import http.client
import os
import platform
import shutil
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import ChildFailed, EiderError, SourceUnavailable, StoreUnavailable
from eiderd.evidence import DatabaseSeen, FolderSeen, Kept, ServiceSeen
from eiderd.outside import (
    aside,
    files,
    kernel,
    leftovers,
    lock_holder,
    ownership,
    process,
    rights,
    ruin,
    swap,
)
from eiderd.outside.nats_client import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from eiderd.evidence import SetAside

DEADLINE_SECONDS: Final = 10.0
TOOLS: Final = ("setpriv", "prlimit", "ionice", "nice", "stat")

_COMMAND: Final = (sys.executable, "-I", "-m", "eiderd.outside.looks")
_ADDRESS_SPACE: Final = 2 << 30
_NETWORK_SECONDS: Final = 3.0
_MOST_LEFTOVERS: Final = 50
# Folders of folders that eiderd fills and never empties, and what each holds.
KEPT: Final = {
    "quarantine": "quarantine",
    "rescued": "rescued",
    "streams-set-aside": "stream set aside",
}


def database(
    path: Path, *, state: Path, deadline_seconds: float = DEADLINE_SECONDS
) -> DatabaseSeen:
    """Return what can be seen of the database without an engine. Raise when nothing answers."""
    seen = _look("database", path, deadline_seconds=deadline_seconds, state=str(state))
    return DatabaseSeen(
        **{**seen, "aside": _kept(seen["aside"])},
    )


def folder(
    path: Path,
    *,
    state: Path,
    groups: Iterable[str] = (),
    deadline_seconds: float = DEADLINE_SECONDS,
) -> FolderSeen:
    """Return what can be seen of a folder of eiderd's own. Raise when nothing answers.

    Root may write anywhere, so it is said of the owner of the state folder, who is in `groups` too,
    whether it can be written.
    """
    more = {"state": str(state), "groups": " ".join(groups)}
    seen = _look("folder", path, deadline_seconds=deadline_seconds, **more)
    return FolderSeen(
        **{**seen, "leftovers": tuple(seen["leftovers"]), "kept": _kept(seen["kept"])}
    )


def _kept(documents: list[dict[str, Any]]) -> tuple[Kept, ...]:
    return tuple(Kept(**{**one, "paths": tuple(one["paths"])}) for one in documents)


def missing_tools() -> tuple[str, ...]:
    return tuple(name for name in TOOLS if shutil.which(name) is None)


def python_version() -> str:
    return platform.python_version()


def me() -> str:
    return rights.me()


def owner_and_mode(path: Path) -> tuple[str, str, int]:
    """Return user, group and permissions of the configuration file."""
    with files.reading_own(path):
        seen = path.stat()
    return rights.user_name(seen.st_uid), rights.group_name(seen.st_gid), stat.S_IMODE(seen.st_mode)


def is_clock_synchronised() -> bool | None:
    """Return what systemd says; None when it says nothing."""
    command = ["timedatectl", "show", "-p", "NTPSynchronized", "--value"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_NETWORK_SECONDS
        ).stdout.strip()
        return {"yes": True, "no": False}.get(said)
    return None


def service(address: tuple[str, int], *, tls: bool) -> ServiceSeen:
    """Ask the service whether it lives, where it should listen."""
    host, port = address
    where = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (any is not one)
    if tls:  # whether the certificate is right is a browser's question
        trust = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            where, port, timeout=_NETWORK_SECONDS, context=trust
        )
    else:
        connection = http.client.HTTPConnection(where, port, timeout=_NETWORK_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read(1000)
    except (OSError, http.client.HTTPException) as error:
        return ServiceSeen(answers=False, said=str(error) or type(error).__name__)
    finally:
        connection.close()
    return ServiceSeen(answers=answer.status == http.HTTPStatus.OK, said=f"HTTP {answer.status}")


def _look(what: str, path: Path, *, deadline_seconds: float, **more: str) -> dict[str, Any]:
    try:
        return process.run(
            _COMMAND,
            order={"do": what, "path": str(path), **more},
            limits=process.Limits(address_space=_ADDRESS_SPACE, deadline_seconds=deadline_seconds),
            progress=lambda _said: None,
        ).result
    except ChildFailed as error:
        if error.how != "deadline":
            raise
        raise StoreUnavailable(
            f"{path} does not answer within {deadline_seconds:g} s",
            hint="Check that the disk is mounted and well: dmesg | tail",
        ) from error


# In the child -----------------------------------------------------------------------------------


def _database(*, path: str, state: str, progress: object) -> dict[str, Any]:
    del progress
    live = Path(path)
    beside = _beside(live, state=Path(state))
    try:
        headers = ruin.headers(live)
        with files.reading_from(live):
            seen = live.stat()
    except EiderError as error:
        return {**_NOTHING_SEEN, "problem": error.message, "hint": error.hint, **beside}
    return {
        **_NOTHING_SEEN,
        "bytes": seen.st_size,
        "engine": headers.engine,
        "storage_version": headers.storage_version,
        "encrypted": headers.encrypted,
        "device": seen.st_dev,
        **beside,
    }


_NOTHING_SEEN: Final[Mapping[str, Any]] = {
    "problem": "", "hint": "", "bytes": 0, "engine": "", "storage_version": 0, "encrypted": False,
    "device": 0,
}  # fmt: skip


def _beside(live: Path, *, state: Path) -> dict[str, Any]:
    holder = lock_holder.holder(live)
    sets: list[dict[str, Any]] = []
    with contextlib.suppress(EiderError, OSError):  # one that is removed meanwhile
        sets = [_set_aside(one) for one in aside.set_aside(live)]
    logs = {}
    for path in aside.wals(live):
        with contextlib.suppress(OSError):
            logs[path.name] = path.stat().st_size
    return {
        "logs": logs,
        "holder": str(holder) if holder else "",
        "aside": sets,
        **_unfinished(live, state=state),
    }


def _unfinished(live: Path, *, state: Path) -> dict[str, str]:
    unfinished = to_end = ""
    try:
        if begun := swap.unfinished(live, state=state):
            unfinished, to_end = f"{begun.kind} ({begun.what})", f"{begun.verb} --dry-run"
    except StoreUnavailable as error:  # there is one, but it is not believed
        unfinished, to_end = error.message, error.hint
    except SourceUnavailable:  # nothing is known of the database either, which is told of
        pass
    return {"unfinished": unfinished, "to_end": to_end}


def _set_aside(one: SetAside) -> dict[str, Any]:
    main = Path(one.path)
    logs = [*aside.own_wals(main), *aside.own_wals(main.with_name(f"{main.name}.other"))]
    since = datetime.datetime.strptime(one.at, "%Y%m%d-%H%M%S").replace(tzinfo=datetime.UTC)
    return dataclasses.asdict(
        Kept(
            name="set aside",
            paths=(one.path, *map(str, logs)),
            is_folder=False,
            bytes=sum(path.lstat().st_size for path in (main, *logs)),
            since=since.isoformat(),
        )
    )


def _folder(*, path: str, state: str, groups: str, progress: object) -> dict[str, Any]:
    del progress
    wanted = Path(path)
    real = next(one for one in (wanted, *wanted.parents) if _is_seen(one))
    seen = real.stat()
    disk = os.statvfs(real)
    return {
        "exists": real == wanted,
        "is_folder": stat.S_ISDIR(seen.st_mode),
        "owner": rights.user_name(seen.st_uid),
        "mode": stat.S_IMODE(seen.st_mode),
        "writable": ownership.may_write(real, keeper=Path(state), groups=groups.split()),
        "device": seen.st_dev,
        "filesystem": _filesystem(seen.st_dev),
        "read_only": bool(disk.f_flag & os.ST_RDONLY),
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "total_inodes": disk.f_files,
        "free_inodes": disk.f_favail,
        "leftovers": sorted(_leftovers(wanted))[:_MOST_LEFTOVERS],
        "kept": [dataclasses.asdict(one) for one in _kept_in(wanted)],
    }


def _is_seen(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # what is nearer to the root says whose it is
        return False


def _kept_in(folder: Path) -> Iterator[Kept]:
    for inner, name in KEPT.items():
        with contextlib.suppress(EiderError, OSError):  # one that is removed meanwhile
            for path, size in leftovers.found(folder / inner, locked=False):
                if replacing.is_begun(path):  # it may be all that is left: a finding tells of it
                    continue
                since = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
                yield Kept(
                    name=name,
                    paths=(str(path),),
                    is_folder=True,
                    bytes=size,
                    since=since.isoformat(),
                )


def _leftovers(folder: Path) -> list[str]:
    """Return what runs that did not end have left: staged backups, removals that were begun."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        found += [path.name for path in folder.iterdir() if path.name.endswith(".pruned")]
    for name, beginning in ((".staging", ""), ("scratch", files.SCRATCH)):
        with contextlib.suppress(OSError):
            inside = (folder / name).glob(f"{beginning}*")
            found += [f"{name}/{path.name}" for path in inside]
    return found


def _filesystem(device: int) -> str:
    """Return type and mount point."""
    with contextlib.suppress(OSError):
        for line in kernel.text("/proc/self/mountinfo").splitlines():
            before, _dash, after = line.partition(" - ")
            words = before.split()
            if words[2] == f"{os.major(device)}:{os.minor(device)}":
                return f"{after.split()[0]} on {kernel.plain(words[4])}"
    return ""


if __name__ == "__main__":
    sys.exit(process.serve({"database": _database, "folder": _folder}))
