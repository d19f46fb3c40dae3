"""What to type once setup has ended: commands that work when they are copied, one on each line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from eiderd.config import DEFAULT_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eiderd.outside.host import Host

_SERVICE = "eiderd.service"


def commands(
    host: Host, rows: Sequence[Mapping[str, str]], *, config: str, removed: bool
) -> tuple[str, ...]:
    """Return the commands that come next. `rows` say what became of each step."""
    return tuple(_commands(host, rows, config=config, removed=removed))


def _commands(
    host: Host, rows: Sequence[Mapping[str, str]], *, config: str, removed: bool
) -> Iterator[str]:
    # What a person did not want now will not be offered again: nothing changes that it follows.
    for row in rows:
        if row["kind"] == "command" and row["state"] == "declined":
            yield row["command"]
    is_running = host.is_active(_SERVICE)
    if removed:
        if is_running:
            yield "systemctl disable --now eiderd"
        return
    if not host.is_file(config):
        return
    option = "" if config == str(DEFAULT_PATH) else f" --config {shlex.quote(config)}"
    if not is_running:
        yield f"eider{option} backup"
        yield _start(host, option)
    if not is_running or any(row["state"] == "changed" for row in rows):
        yield f"eider{option} doctor"


def _start(host: Host, option: str) -> str:
    boots = host.runs_systemd or not host.is_this_machine
    if boots and not option and _SERVICE in host.units():
        return "systemctl enable --now eiderd"
    return f"eiderd{option}"
