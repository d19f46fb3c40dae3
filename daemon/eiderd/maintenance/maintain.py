"""What eiderd-maintain@.service does, once, with the rights that the service has not.

It stops the application and changes its database, as the service itself would if it might write
there: under the same locks, in the same journal. The service starts it, for two things only, and
polkit lets it do so whatever is configured: so what is not wanted there is refused here.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from eiderd import config as configuration
from eiderd import log
from eiderd.app import App
from eiderd.errors import ConfigError, ExitCode, Interrupted
from eiderd.maintenance import bring_back as bringing_back
from eiderd.model import Ending
from eiderd.outside import capabilities, clock, signals
from eiderd.runner import LONG_PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from eiderd.config import Settings
    from eiderd.model import Outcome


class Task(enum.StrEnum):
    """The instances that there are of the unit."""

    COMPACT = "compact"  # if its window is open
    RESTORE = "restore"  # rescue, else the newest verified backup


def run(path: Path | None, task: Task) -> int:
    """Do it, and return the exit code. Raise EiderError when it failed: the journal has it too.

    Raise ConfigError when the configuration does not want it: then nothing was begun.
    """
    capabilities.keep_from_children()
    settings, found = configuration.load(path)
    _ensure_wanted(settings, task, file=found)
    log.configure(level=settings.log.level, format_=settings.log.format)
    app = App(settings, patience_seconds=LONG_PATIENCE_SECONDS)
    tasks: dict[Task, Callable[[], Outcome[Any]]] = {
        Task.COMPACT: lambda: app.compact_in_window(zone=clock.zone()),
        Task.RESTORE: lambda: bringing_back.run(app),
    }
    signals.raise_ended()
    try:
        outcome = tasks[task]()
    except signals.Ended as ended:
        raise Interrupted(f"interrupted ({ended.name})", hint="Look: eider status") from ended
    finally:
        signals.end_at_once()
    return ExitCode.DEGRADED if outcome.ending is Ending.REFUSED else ExitCode.DONE


def _ensure_wanted(settings: Settings, task: Task, *, file: Path | None) -> None:
    wanted = {
        Task.COMPACT: (settings.compact.window is not None, "compact.window is not set"),
        Task.RESTORE: (settings.heal.restore, "heal.restore is not true"),
    }
    is_wanted, why_not = wanted[task]
    if not is_wanted:
        raise ConfigError(
            f"eiderd may not {task} by itself: {why_not} in {file or 'the configuration'}",
            hint=f"Do it yourself: sudo eider {task}",
        )
