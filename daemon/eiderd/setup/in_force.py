"""Compares a configuration with the units in force: what the shell of root sees and they do not."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.outside import resolver, sandbox
from eiderd.setup import needs as setup_needs
from eiderd.setup import sandbox as setup_sandbox
from eiderd.setup.sandbox import Lack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eiderd.config import Settings

SERVICE: Final = "eiderd.service"
MAINTAIN: Final = "eiderd-maintain@restore.service"
_CONFIGURATION: Final = "the configuration"
_SECRETS: Final = frozenset(
    {
        "nats.credentials",
        "nats.nkey",
        "nats.token_file",
        "nats.password_file",
        "compact.url_headers",
        "server.basic_auth",
    }
)


def lacks(settings: Settings, file: Path | None) -> tuple[Lack, ...] | None:
    """Return what the units do not let through; None when no unit reads this configuration."""
    service = _in_force(SERVICE, file)
    if service is None or file is None:
        return None
    user = next(iter(service.get("User", ())), "root")
    given = service.get("SupplementaryGroups", ())
    groups = (*sandbox.groups_of(user), *given)
    eyes = setup_needs.Eyes(
        look_up=sandbox.addresses, real=os.path.realpath, nameservers=resolver.nameservers()
    )
    found = [
        *setup_sandbox.missing(
            setup_needs.of(settings, eyes), setup_sandbox.allowed(service, groups=groups)
        ),
        *_unreadable(settings, file, user=user, groups=given),
    ]
    maintain = _in_force(MAINTAIN, file) if setup_needs.is_changed(settings) else None
    if maintain is not None:
        more = setup_sandbox.missing(
            setup_needs.of(settings, eyes, writes=True),
            setup_sandbox.allowed(
                maintain,
                groups=(*sandbox.groups_of(user), *maintain.get("SupplementaryGroups", ())),
            ),
        )
        found += [dataclasses.replace(one, said=f"{MAINTAIN}: {one.said}") for one in more]
    return tuple(found)


def _in_force(unit: str, file: Path | None) -> Mapping[str, tuple[str, ...]] | None:
    said = sandbox.in_force(unit, (*setup_sandbox.PROPERTIES, "User", "ExecStart"))
    if said is None or file is None or str(file.absolute()) not in said.get("ExecStart", ()):
        return None
    return said


def _unreadable(
    settings: Settings, file: Path, *, user: str, groups: tuple[str, ...]
) -> Iterator[Lack]:
    """Return what the user of the service cannot read, as far as whoever asks can tell."""
    files = [(str(file.absolute()), _CONFIGURATION), *setup_needs.files(settings)]
    files += [(str(path), "backup.include") for path in settings.backup.include]
    ways = {
        path: [*map(str, reversed(Path(path).parents)), path]
        for path, _setting in files
        if _is_there(path)
    }
    every = list(dict.fromkeys(one for way in ways.values() for one in way))
    closed = set(sandbox.unreadable(every, user=user, groups=groups))
    for path, setting in files:
        shut = next((one for one in ways.get(path, ()) if one in closed), None)
        if shut is not None:
            yield Lack(
                said=f"{user} cannot read {path} ({setting})"
                + ("" if shut == path else f": it may not pass through {shut}"),
                command=_opening(shut, path, setting=setting, user=user),
            )


def _is_there(path: str) -> bool:
    """Say whether there is something, or nobody can tell because the way to it is closed."""
    try:
        Path(path).stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _opening(shut: str, path: str, *, setting: str, user: str) -> str:
    if setting == "database.path":
        return "eider setup"
    if setting == _CONFIGURATION and shut == path:  # an access list would go when it is rewritten
        return f"chgrp {user} {shlex.quote(path)} && chmod g+r {shlex.quote(path)}"
    if shut != path:
        return f"setfacl -m u:{user}:x {shlex.quote(shut)}"
    if setting in _SECRETS:  # nobody else may read it, so it has to be its own
        return f"chown {user} {shlex.quote(path)}"
    return f"setfacl -m u:{user}:rX {shlex.quote(path)}"
