"""Does the steps of a plan. Each can tell whether it is done: a second run changes nothing."""

from __future__ import annotations

import dataclasses
import difflib
import glob
import json
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import EiderError
from eiderd.setup import configuration as setup_configuration
from eiderd.setup import plan as setup_plan
from eiderd.setup import record as setup_record
from eiderd.setup.plan import USER, Command, Folder, Grant, Remove, Step, Write

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from eiderd.outside.host import Host

# Of what the doctor says, what setup answers for: a first backup is not among it.
ANSWERS_FOR: Final = frozenset(
    {
        "configuration",
        "python",
        "tools",
        "database",
        "state",
        "backups",
        "room",
        "engine",
        "doctor",
        "sandbox",
    }
)
_OLD_ONES: Final = 3  # configurations that stay beside the one in force
_ASIDE: Final = re.compile(r"\.bak-\d{8}-\d{6}")


def is_done(host: Host, step: Step, *, changed: Sequence[str]) -> bool:
    """Say whether nothing is left to do. `changed` are the paths that were changed in this run."""
    if isinstance(step, Command):
        if not host.is_this_machine:  # its own systemd does it when it boots
            return True
        if step.words[0] == "systemctl" and not host.runs_systemd:
            return True
        if step.makes:
            is_user = "/" not in step.makes
            return bool(host.user(step.makes)) if is_user else host.exists(step.makes)
        return "always" not in step.after and not any(
            path.startswith(step.after) for path in changed
        )
    return _is_done(host, step)


def is_in_vain(step: Step) -> bool:
    """Say whether a step that is done was never needed: nothing that it follows was changed."""
    return isinstance(step, Command) and not step.makes


def _is_done(host: Host, step: Step) -> bool:
    match step:
        case Write():
            return host.text(step.path) == step.text
        case Remove():
            return host.text(step.path) is None
        case Folder():
            return host.exists(step.path)
        case Grant():
            if not host.exists(step.path):  # a WAL, which a checkpoint removed
                return True
            user = host.user(USER)
            said = host.access_list(step.path)
            return user is not None and setup_plan.is_granted(step, said, user=user[0])
        case _:
            return False


def apply(host: Host, step: Step, *, at: datetime.datetime) -> str | None:
    """Do a step. Return the path that it changed, if it is a file."""
    match step:
        case Write():
            host.write(step.path, step.text, aside=aside(host, step, at=at))
            if step.keeps_old:
                for old in _asides(host, step.path)[:-_OLD_ONES]:
                    host.remove(old)
            return step.path
        case Remove():
            host.remove(step.path)
            return step.path
        case Folder():
            host.make_private_folder(step.path, owner=host.user(USER))
        case Grant():
            _change_access(host, setup_plan.fitting(step, host.access_list(step.path)))
        case Command():
            host.run(*step.words)
    return None


def is_left(host: Host, grant: Grant) -> bool:
    """Say whether something that was given is still there. A link in its place is another file."""
    if host.is_link(grant.path):
        return False
    return not _is_done(host, dataclasses.replace(grant, takes_back=True))


def _change_access(host: Host, grant: Grant) -> None:
    # By number: in an image, the name is that of another user, or of none.
    user = host.user(USER)
    who = str(user[0]) if user else USER
    changes = setup_plan.changes_of(grant, user=who)
    noted = host.text(setup_record.PLACE)
    if not grant.takes_back:
        # Noted first: if the power goes in between, it is looked at in vain.
        after = setup_record.added(noted, grant)
        if after != noted:
            host.write(setup_record.PLACE, after)
        host.change_access(grant.path, *changes)
        return
    if grant.inherited:
        # What is made from now on gets nothing; then what has it; last what tells of all this.
        host.change_access(grant.path, "-n", "-x", f"d:u:{who}")
        host.change_access_below(grant.path, "-n", "-x", f"u:{who},d:u:{who}")
    host.change_access(grant.path, *changes)
    left = [one for one in setup_record.grants_in(noted) if is_left(host, one)]
    if left:
        host.write(setup_record.PLACE, setup_record.text_of(left))
    elif noted is not None:
        host.remove(setup_record.PLACE)


def aside(host: Host, step: Step, *, at: datetime.datetime) -> str | None:
    """Return where the old file will stay, or stays already, if there is one that is a person's."""
    if not isinstance(step, Write) or not step.keeps_old:
        return None
    text = host.text(step.path)
    if text is None:
        return None
    same = (one for one in _asides(host, step.path) if host.text(one) == text)
    return next(same, f"{step.path}.bak-{at.strftime('%Y%m%d-%H%M%S')}")


def _asides(host: Host, path: str) -> list[str]:
    """Return the old ones of a file that setup kept, the oldest first."""
    found = host.files([f"{glob.escape(path)}.bak-*"])
    return sorted(one for one in found if _ASIDE.fullmatch(one.removeprefix(path)))


def difference(host: Host, step: Step) -> str:
    """Return what changes of what is in force: comments are none of it."""
    if not isinstance(step, Write):
        return ""
    old = host.text(step.path)
    if step.path.endswith(".toml"):
        return "\n".join(setup_configuration.changes(old, step.text, path=step.path))
    both = (_in_force(old or ""), _in_force(step.text))
    said = list(difflib.unified_diff(*both, n=1, lineterm=""))[2:]
    return "\n".join(line for line in said if not line.startswith("@@"))


def _in_force(text: str) -> list[str]:
    lines = text.splitlines()
    return [line for line in lines if line and not line.startswith(("#", "//", "<!--"))]


def command_of(host: Host, step: Step) -> str:
    """Return what a person could type instead, if it is one command."""
    if isinstance(step, Grant) and step.takes_back and step.inherited:
        entries = f"u:{USER},d:u:{USER}"
        return shlex.join(("setfacl", "-R", "-P", "-x", entries, "--", step.path))
    if isinstance(step, Grant):
        return shlex.join(setup_plan.words_of(setup_plan.fitting(step, _said(host, step))))
    return shlex.join(step.words) if isinstance(step, Command) else ""


def _said(host: Host, step: Grant) -> str:
    try:
        return host.access_list(step.path)
    except EiderError:
        return ""


# What came of it --------------------------------------------------------------------------------


def doctors_word(
    host: Host, *, config_file: str, groups: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return what `eider doctor` finds, looking as the user of the service where there is one."""
    words = [sys.executable, "-m", "eiderd", "--config", config_file, "doctor", "--json"]
    user = host.user(USER) if host.is_root else None
    who = USER if user else "whoever runs this"
    try:
        _code, said = host.heard_as(user, words, groups=groups)
        checks: list[dict[str, Any]] = json.loads(said)["checks"]
    except (EiderError, ValueError, KeyError, TypeError) as error:
        why = error.message if isinstance(error, EiderError) else f"{who} cannot run {words[0]}"
        return [
            {
                "name": "doctor",
                "mark": "problem",
                "said": f"the doctor could not look: {why}",
                "command": "eider doctor",
            }
        ]
    return checks
