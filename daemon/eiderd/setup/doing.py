"""Does the steps of a plan. Each can tell whether it is done: a second run changes nothing."""

from __future__ import annotations

import difflib
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import EiderError
from eiderd.setup import plan as setup_plan
from eiderd.setup.plan import USER, Command, Folder, Grant, Remove, Step, Write

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from eiderd.outside.host import Host

# Of what the doctor says, what setup answers for: a first backup is not among it.
ANSWERS_FOR: Final = frozenset(
    {"configuration", "python", "tools", "database", "state", "backups", "room", "engine", "doctor"}
)


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
            return step.path
        case Remove():
            host.remove(step.path)
            return step.path
        case Folder():
            host.make_private_folder(step.path, owner=host.user(USER))
        case Grant():
            now = setup_plan.fitting(step, host.access_list(step.path))
            # By number: in an image, the name is that of another user, or of none.
            user = host.user(USER)
            host.change_access(
                step.path, *setup_plan.changes_of(now, user=str(user[0]) if user else USER)
            )
        case Command():
            host.run(*step.words)
    return None


def aside(host: Host, step: Step, *, at: datetime.datetime) -> str | None:
    """Return where the old file will stay, if there is one that is a person's."""
    if not isinstance(step, Write) or not step.keeps_old or host.text(step.path) is None:
        return None
    return f"{step.path}.bak-{at.strftime('%Y%m%d-%H%M%S')}"


def difference(host: Host, step: Step) -> str:
    """Return what changes in a file that is there, line by line; of a new one, what it sets."""
    if not isinstance(step, Write):
        return ""
    old, new = host.text(step.path), step.text.splitlines()
    if old is None:
        said = [line for line in new if line and not line.startswith(("#", "//"))]
        after = [*said[1:], "["]
        both = zip(said, after, strict=True)
        empty = [line.startswith("[") and then.startswith("[") for line, then in both]
        return "\n".join(f"+{line}" for line, left in zip(said, empty, strict=True) if not left)
    return "\n".join(
        difflib.unified_diff(old.splitlines(), new, step.path, step.path, n=1, lineterm="")
    )


def command_of(host: Host, step: Step) -> str:
    """Return what a person could type instead, if it is one command."""
    if isinstance(step, Grant):
        return " ".join(setup_plan.words_of(setup_plan.fitting(step, _said(host, step))))
    return " ".join(step.words) if isinstance(step, Command) else ""


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
