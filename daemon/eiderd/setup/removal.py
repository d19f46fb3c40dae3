"""What `eider setup --remove` takes away: what setup gave this machine, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from eiderd.setup import configuration as setup_configuration
from eiderd.setup import doing as setup_doing
from eiderd.setup import plan as setup_plan
from eiderd.setup import record as setup_record
from eiderd.setup import units as setup_units
from eiderd.setup.app import Plan, Wishes
from eiderd.setup.plan import USER, Command, Grant, Remove, Step
from eiderd.setup.sandbox import STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.outside.host import Host
    from eiderd.setup.evidence import Data


def removal(host: Host, wishes: Wishes) -> Plan:
    """Return the steps that undo what setup did to this machine; data and backups stay."""
    notes: list[str] = []
    removed = list(_written(host, notes))
    steps: list[Step] = []
    if setup_units.PLACES["eiderd.service"] in removed:
        words = ("systemctl", "disable", "--now", "eiderd.service")
        why = "the service ends; a run at work is ended and leaves only usable things"
        steps.append(_command(words, why=why, after=("always",)))
    elif host.is_active("eiderd.service"):
        notes.append(
            "eiderd.service still runs, and will not be able to read the database any more: "
            "systemctl disable --now eiderd"
        )
    steps += _taken_back(host, wishes, notes)
    steps += [Remove(what=f"remove {path}", why="setup wrote it", path=path) for path in removed]
    if any("/systemd/" in path for path in removed):
        why = "systemd reads its files anew"
        steps.append(_command(setup_plan.RELOAD, why=why, after=tuple(removed)))
    notes.append(f"{wishes.config} and {STATE}, all backups and the user {USER} stay")
    return Plan(application=None, steps=tuple(steps), notes=tuple(notes))


def _written(host: Host, notes: list[str]) -> Iterator[str]:
    """Return the files that setup wrote, and nobody changed since."""
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
            yield path
        elif text is not None:
            notes.append(f"{path} stays: setup did not write it, or somebody changed it since")


def _command(words: tuple[str, ...], *, why: str, after: tuple[str, ...]) -> Command:
    return Command(what=f"run {' '.join(words)}", why=why, words=words, after=after)


def _taken_back(host: Host, wishes: Wishes, notes: list[str]) -> Iterator[Step]:
    """Return the steps for all that setup ever gave, and for the database that is configured."""
    noted = host.text(setup_record.PLACE)
    if not host.user(USER) or not (host.has("setfacl") and host.has("getfacl")):
        if noted is not None:
            notes.append(
                f"what {setup_record.PLACE} lists stays: without acl, or the user {USER}, it "
                "cannot be taken back"
            )
        return
    # Each path once, as the most that was given there.
    text = setup_record.text_of((*setup_record.grants_in(noted), *_configured(host, wishes)))
    given = [one for one in setup_record.grants_in(text) if setup_doing.is_left(host, one)]
    for one in given:
        what = f"take back what {USER} may do with {one.path}"
        if one.inherited:
            what += ", and with all that was made in it"
        yield dataclasses.replace(one, what=what, takes_back=True)
    if noted is not None and not given:  # else it goes with the last that is taken back
        path = setup_record.PLACE
        yield Remove(what=f"remove {path}", why="nothing of what it lists is left", path=path)


def _configured(host: Host, wishes: Wishes) -> Iterator[Grant]:
    text = host.text(wishes.config)
    path = setup_configuration.database_of(text, path=wishes.config) if text else None
    if path is not None and host.is_file(path):
        yield from setup_plan.grants(_open(host.data(path)))


def _open(data: Data) -> Data:
    """Return it as if nobody could pass: whatever may have been granted is looked at."""
    above = tuple(dataclasses.replace(one, mode=0o700) for one in data.above if one.path != "/")
    return dataclasses.replace(data, above=above)
