"""What the unit of the service lets through, as systemd says it, and what a name means here.

Nothing is changed. Where there is no systemd, or no such unit, there is nothing to say.
"""

from __future__ import annotations

import contextlib
import grp
import ipaddress
import os
import pwd
import shlex
from typing import TYPE_CHECKING, Final

from eiderd.errors import ApplicationFailed
from eiderd.outside.application import ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SECONDS: Final = 10.0
_LOOK_UP_SECONDS: Final = 5.0
# Each path that cannot be passed, or read, with a NUL after it.
_TRY: Final = """
for path; do
    if [ -d "$path" ]; then [ -x "$path" ]; else [ -r "$path" ]; fi || printf '%s\\0' "$path"
done
"""


def in_force(unit: str, names: Iterable[str]) -> dict[str, tuple[str, ...]] | None:
    """Return the words of these properties as systemd has loaded them; None: no such unit."""
    wanted = ",".join(("LoadState", *names))
    command = ("systemctl", "--no-pager", "show", f"--property={wanted}", "--", unit)
    try:
        ran = ask.run(command, seconds=_SECONDS)
    except ApplicationFailed:  # no systemd, or none that answers
        return None
    said = dict(line.split("=", 1) for line in ran.out.splitlines() if "=" in line)
    if ran.code or said.pop("LoadState", "") != "loaded":
        return None
    return {name: tuple(_words(value)) for name, value in said.items()}


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:  # a quote without its end
        return value.split()


def groups_of_the_service() -> tuple[str, ...]:
    """Return the groups that its unit gives it: Docker's, or that of the application's data."""
    found = in_force("eiderd.service", ("SupplementaryGroups",)) or {}
    return found.get("SupplementaryGroups", ())


def groups_of(user: str) -> tuple[str, ...]:
    """Return the groups that a user is in, whatever unit it runs in."""
    try:
        known = pwd.getpwnam(user)
        numbers = os.getgrouplist(user, known.pw_gid)
    except (KeyError, OSError):
        return ()
    found = []
    for number in numbers:
        with contextlib.suppress(KeyError):
            found.append(grp.getgrgid(number).gr_name)
    return tuple(found)


def unreadable(paths: Sequence[str], *, user: str, groups: Iterable[str]) -> list[str]:
    """Return which of these a user cannot pass through, or read. Only root can tell of others."""
    try:
        known = pwd.getpwnam(user)
    except KeyError:
        return []
    is_root = os.geteuid() == 0
    if not paths or not (is_root or os.geteuid() == known.pw_uid):
        return []
    numbers = set(os.getgrouplist(user, known.pw_gid))
    for name in groups:
        with contextlib.suppress(KeyError):
            numbers.add(grp.getgrnam(name).gr_gid)
    who = (f"--reuid={known.pw_uid}", f"--regid={known.pw_gid}", "--no-new-privs")
    also = f"--groups={','.join(map(str, sorted(numbers)))}"
    before = ("setpriv", *who, also, "--") if is_root else ()
    try:
        ran = ask.run((*before, "/bin/sh", "-c", _TRY, "sh", *paths), seconds=_SECONDS)
    except ApplicationFailed:
        return []
    return [path for path in ran.out.split("\0") if path in paths]


# Names ------------------------------------------------------------------------------------------


def addresses(host: str, *, literally: bool = False) -> tuple[str, ...]:
    """Return the addresses of a name, of an address itself; none when it cannot be looked up.

    `literally`: nobody is asked.
    """
    with contextlib.suppress(ValueError):
        return (str(ipaddress.ip_address(host)),)
    if host == "localhost":
        return ("127.0.0.1",)
    if literally or host.startswith("-"):
        return ()
    try:  # a command, which can be given up
        ran = ask.run(("getent", "ahosts", host), seconds=_LOOK_UP_SECONDS)
    except ApplicationFailed:
        return ()
    firsts = (line.split()[0].partition("%")[0] for line in ran.out.splitlines() if line.strip())
    return tuple(sorted(dict.fromkeys(firsts)))
