"""What `eider setup --remove` takes away: what setup gave this machine, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from eiderd.setup import configuration as setup_configuration
from eiderd.setup import doing as setup_doing
from eiderd.setup import plan as setup_plan
from eiderd.setup import units as setup_units
from eiderd.setup.app import Plan, Wishes
from eiderd.setup.plan import USER, Command, Grant, Remove, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.evidence import Data
    from eiderd.outside.host import Host


def removal(host: Host, wishes: Wishes) -> Plan:
    """Return the steps that undo what setup did to this machine; data and backups stay."""
    notes, removed = [], []
    paths = (
        *setup_units.PLACES.values(),
        setup_plan.SERVICE_DROP_IN,
        setup_plan.MAINTAIN_DROP_IN,
        setup_plan.APPLICATION_RULES,
        *host.files([f"/etc/systemd/system/*.service.d/{setup_plan.MODE_DROP_IN}"]),
    )
    for path in paths:
        text = host.text(path)
        if text is not None and setup_units.is_sealed(text):
            removed.append(path)
        elif text is not None:
            notes.append(f"{path} stays: setup did not write it, or somebody changed it since")
    steps: list[Step] = []
    if setup_units.PLACES["eiderd.service"] in removed:
        words = ("systemctl", "disable", "--now", "eiderd.service")
        steps.append(
            Command(
                what=f"run {' '.join(words)}",
                why="the service ends; a run at work is ended and leaves only usable things",
                words=words,
                after=("always",),
            )
        )
    steps += _taken_back(host, wishes)
    steps += [Remove(what=f"remove {path}", why="setup wrote it", path=path) for path in removed]
    if any("/systemd/" in path for path in removed):
        steps.append(
            Command(
                what=f"run {' '.join(setup_plan.RELOAD)}",
                why="systemd reads its files anew",
                words=setup_plan.RELOAD,
                after=tuple(removed),
            )
        )
    kept = [wishes.config, setup_plan.STATE]
    notes.append(f"{' and '.join(kept)}, all backups and the user {USER} stay")
    return Plan(application=None, steps=tuple(steps), notes=tuple(notes))


def _taken_back(host: Host, wishes: Wishes) -> Iterator[Grant]:
    user, text = host.user(USER), host.text(wishes.config)
    if not user or text is None or not host.has("getfacl"):
        return
    path = setup_configuration.read(text, path=wishes.config).get("database", {}).get("path")
    if not isinstance(path, str) or not host.is_file(path):
        return
    for granted in setup_plan.grants(_open(host.data(path))):
        back = dataclasses.replace(
            granted,
            what=f"take back what {USER} may do with {granted.path}",
            why="setup gave it",
            takes_back=True,
        )
        if not setup_doing.is_done(host, back, changed=()):
            yield back


def _open(data: Data) -> Data:
    """Return it as if nobody could pass: whatever may have been granted is looked at."""
    above = tuple(dataclasses.replace(one, mode=0o700) for one in data.above if one.path != "/")
    return dataclasses.replace(data, above=above)
