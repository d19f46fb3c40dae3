"""What the doctor looks at, each look in a child with a deadline: a disk that hangs hangs only it.

Nothing is written, anywhere.
"""

from __future__ import annotations

import contextlib
import grp
import http.client
import os
import platform
import pwd
import shutil
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import ChildFailed, EiderError, StoreUnavailable
from eiderd.evidence import DatabaseSeen, FolderSeen, ServiceSeen
from eiderd.outside import aside, duckdb_file, files, lock_holder, process, swap

if TYPE_CHECKING:
    from collections.abc import Mapping

DEADLINE_SECONDS: Final = 10.0
TOOLS: Final = ("setpriv", "prlimit", "ionice", "nice", "stat")

_COMMAND: Final = (sys.executable, "-I", "-m", "eiderd.outside.looks")
_ADDRESS_SPACE: Final = 2 << 30
_NETWORK_SECONDS: Final = 3.0
_MOST_LEFTOVERS: Final = 50


def database(path: Path, *, deadline_seconds: float = DEADLINE_SECONDS) -> DatabaseSeen:
    """Return what can be seen of the database without an engine. Raise when nothing answers."""
    seen = _look("database", path, deadline_seconds=deadline_seconds)
    return DatabaseSeen(
        **{**seen, "aside": tuple((name, size) for name, size in seen["aside"])},
    )


def folder(path: Path, *, deadline_seconds: float = DEADLINE_SECONDS) -> FolderSeen:
    """Return what can be seen of a folder of eiderd's own. Raise when nothing answers."""
    seen = _look("folder", path, deadline_seconds=deadline_seconds)
    return FolderSeen(**{**seen, "leftovers": tuple(seen["leftovers"])})


def missing_tools() -> tuple[str, ...]:
    return tuple(name for name in TOOLS if shutil.which(name) is None)


def python_version() -> str:
    return platform.python_version()


def me() -> str:
    return _user(os.geteuid())


def owner_and_mode(path: Path) -> tuple[str, str, int]:
    """Return user, group and permissions of the configuration file."""
    with files.reading_own(path):
        seen = path.stat()
    return _user(seen.st_uid), _group(seen.st_gid), stat.S_IMODE(seen.st_mode)


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


def _look(what: str, path: Path, *, deadline_seconds: float) -> dict[str, Any]:
    try:
        return process.run(
            _COMMAND,
            order={"do": what, "path": str(path)},
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


def _database(*, path: str, progress: object) -> dict[str, Any]:
    del progress
    live = Path(path)
    try:
        with files.reading_from(live), os.fdopen(files.open_regular(live), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            headers = duckdb_file.read_headers(file.read(duckdb_file.HEADER_BYTES), of=live)
    except EiderError as error:
        return {**_NOTHING_SEEN, "problem": error.message, "hint": error.hint, **_beside(live)}
    return {
        **_NOTHING_SEEN,
        "bytes": size,
        "engine": headers.engine,
        "storage_version": headers.storage_version,
        "encrypted": headers.encrypted,
        "device": live.stat().st_dev,
        **_beside(live),
    }


_NOTHING_SEEN: Final[Mapping[str, Any]] = {
    "problem": "", "hint": "", "bytes": 0, "engine": "", "storage_version": 0, "encrypted": False,
    "device": 0,
}  # fmt: skip


def _beside(live: Path) -> dict[str, Any]:
    holder = lock_holder.holder(live)
    sets: list[tuple[str, int]] = []
    with contextlib.suppress(EiderError):
        sets = [(one.path, one.bytes) for one in aside.set_aside(live)]
    logs = {}
    for path in aside.wals(live):
        with contextlib.suppress(OSError):
            logs[path.name] = path.stat().st_size
    try:
        begun = swap.unfinished(live)
        unfinished = f"{begun.kind} ({begun.what})" if begun else ""
    except EiderError as error:
        unfinished = error.message
    return {
        "logs": logs,
        "holder": str(holder) if holder else "",
        "aside": sets,
        "unfinished": unfinished,
    }


def _folder(*, path: str, progress: object) -> dict[str, Any]:
    del progress
    wanted = Path(path)
    real = next(one for one in (wanted, *wanted.parents) if one.exists())
    seen = real.stat()
    disk = os.statvfs(real)
    return {
        "exists": real == wanted,
        "is_folder": stat.S_ISDIR(seen.st_mode),
        "owner": _user(seen.st_uid),
        "mode": stat.S_IMODE(seen.st_mode),
        "writable": os.access(real, os.R_OK | os.W_OK | os.X_OK),
        "device": seen.st_dev,
        "filesystem": _filesystem(seen.st_dev),
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "total_inodes": disk.f_files,
        "free_inodes": disk.f_favail,
        "leftovers": sorted(_leftovers(wanted))[:_MOST_LEFTOVERS],
    }


def _leftovers(folder: Path) -> list[str]:
    """Return what runs that did not end have left: staged backups, removals that were begun."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        found += [path.name for path in folder.iterdir() if path.name.endswith(".pruned")]
    for name in (".staging", "scratch", "engines"):
        with contextlib.suppress(OSError):
            inside = (folder / name).iterdir()
            hidden = name == "engines"
            found += [f"{name}/{path.name}" for path in inside
                      if not hidden or path.name.startswith(".")]  # fmt: skip
    return found


def _filesystem(device: int) -> str:
    """Return type and mount point."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            before, _dash, after = line.partition(" - ")
            words = before.split()
            if words[2] == f"{os.major(device)}:{os.minor(device)}":
                return f"{after.split()[0]} on {words[4]}"
    return ""


def _user(number: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)


def _group(number: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)


if __name__ == "__main__":
    sys.exit(process.serve({"database": _database, "folder": _folder}))
