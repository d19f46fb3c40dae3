"""The unit that may do what the service may not: write in the application's folder.

eiderd-maintain@TASK.service is started through polkit; it runs to its end, under its own limits.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from eiderd.errors import ApplicationFailed
from eiderd.outside.application import ask

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_SECONDS: Final = 10.0
_MARGIN_SECONDS: Final = 60.0


def is_needed(folder: Path) -> bool:
    """Say whether this process may not write there itself."""
    return not os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def may_write(folder: Path, *, task: str) -> bool:
    """Say whether there is such a unit, and it was given this folder."""
    command = ("systemctl", "--no-pager", "show", "--property=LoadState,ReadWritePaths", "--")
    try:
        ran = ask.run((*command, _unit(task)), seconds=_LOOK_SECONDS)
    except ApplicationFailed:  # no systemd, or none that answers
        return False
    said = dict(line.split("=", 1) for line in ran.out.splitlines() if "=" in line)
    given = said.get("ReadWritePaths", "").split()
    places = {os.path.realpath(place.lstrip("-+")) for place in given}
    real = os.path.realpath(folder)
    return said.get("LoadState") == "loaded" and any(
        real == place or real.startswith(f"{place}/") for place in places
    )


def run(task: str, *, seconds: float) -> None:
    """Start the unit and wait for its end. Raise ApplicationFailed when it did not end well."""
    unit = _unit(task)
    command = ("systemctl", "--no-ask-password", "--no-pager", "start", "--", unit)
    ran = ask.run(command, seconds=seconds + _MARGIN_SECONDS)
    if ran.code:
        raise ApplicationFailed(
            f"{unit} did not end well: {ran.complaint}", hint=f"See why: journalctl -u {unit} -n 50"
        )


def _unit(task: str) -> str:
    return f"eiderd-maintain@{task}.service"
