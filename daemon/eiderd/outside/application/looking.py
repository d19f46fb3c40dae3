"""One look at the application: its state, restarts, health, and whether the lock is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eiderd.evidence import ApplicationSeen, ApplicationState, Stranger
from eiderd.outside import kernel, lock_holder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from eiderd.outside.application import Application
    from eiderd.outside.application.common import Details


def look(application: Application, *, database: Path) -> ApplicationSeen:
    """Return how the application is. Raise ApplicationFailed when nobody can tell."""
    details = application.details()
    running = details.state is ApplicationState.RUNNING
    return ApplicationSeen(
        name=application.name(),
        state=details.state,
        health=application.health() if running and not details.frozen else None,
        restarts=details.restarts,
        frozen=details.frozen,
        stranger=_stranger(details, database=database),
        why=details.why,
        to_see_why=details.to_see_why,
        to_thaw=details.to_thaw,
    )


def _stranger(details: Details, *, database: Path) -> Stranger | None:
    """Return who holds the database, if it is certain that it is not the application."""
    held = lock_holder.holder(database)
    if held is None or not held.pid:
        return None
    if details.group is None:  # nobody can tell whose processes are whose
        is_own = details.state is ApplicationState.RUNNING
    else:
        is_own = is_in(_groups(held.pid), details.group)
    return None if is_own else Stranger(pid=held.pid, said=str(held))


def _groups(pid: int) -> list[str]:
    """Return what the kernel says of a process's control groups; nothing of one that is gone."""
    try:
        return kernel.text(f"/proc/{pid}/cgroup").splitlines()
    except OSError:
        return []


def is_in(lines: Sequence[str], group: str) -> bool:
    """Given /proc/PID/cgroup, say whether the process may be in a control group.

    `group` is its path, or the id of a container. Of a process without any, nothing is certain.
    """
    paths = [line.split(":", 2)[2] for line in lines if line.count(":") >= 2]  # noqa: PLR2004
    if not paths:
        return True
    if group.startswith("/"):
        return any(path == group or path.startswith(f"{group}/") for path in paths)
    return any(group in path for path in paths)
