"""Whether an application that was just started is well, and whether it is to be started.

Without a health URL all that can be seen is that it runs and holds its database. One that cannot
read it does so, too, for an instant, and again whenever it is started anew: so it has to last.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from eiderd.errors import ApplicationFailed
from eiderd.evidence import ApplicationState, Health
from eiderd.outside import files, lock_holder
from eiderd.outside.application import until_healthy

if TYPE_CHECKING:
    from pathlib import Path

    from eiderd.outside.application import Application

_LASTING_SECONDS: Final = 2.0
_SECONDS_BETWEEN_LOOKS: Final = 0.1


def until_steady(
    application: Application, *, database: Path, has_url: bool, seconds: float
) -> Health:
    """Return its health as soon as it is well and stays so, or what it is when the time is over.

    One that stays up and has not opened the database by then is well: it may do so when it is
    needed.
    """
    if has_url:
        return until_healthy(application, seconds=seconds)
    deadline = time.monotonic() + seconds
    up_since = open_since = None
    was_up, restarts = False, _restarts(application)
    while True:
        health = application.health()
        is_open = health.well and lock_holder.holder(database) is not None
        before, restarts = restarts, _restarts(application)
        fell = None not in (before, restarts) and before != restarts
        now = time.monotonic()
        if fell or not health.well:
            up_since = open_since = None
        else:
            up_since, was_up = up_since or now, True
            open_since = (open_since or now) if is_open else None
        if open_since and now - open_since >= _LASTING_SECONDS:
            return Health(well=True, why="it runs and has its database open")
        if now >= deadline and not up_since:
            return Health(well=False, why="it does not stay up" if was_up else health.why)
        if now >= deadline and up_since and now - up_since >= _LASTING_SECONDS:
            return Health(well=True, why="it runs, but has not opened its database yet")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def is_back(application: Application, *, database: Path, has_url: bool) -> bool:
    """Whether it is well: by its URL; without one, it runs and keeps its database open."""
    if has_url:
        return application.health().well
    deadline = time.monotonic() + _LASTING_SECONDS
    while application.health().well and lock_holder.holder(database) is not None:
        if time.monotonic() >= deadline:
            return True
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return False


def _restarts(application: Application) -> int | None:
    """Return how often its keeper has started it anew; None where nobody counts, or tells."""
    try:
        return application.details().restarts
    except ApplicationFailed:
        return None


class Remembered:
    """The application; that it was stopped for a restore is remembered until it runs again."""

    def __init__(self, application: Application, *, note: Path) -> None:
        self._application = application
        self._note = note
        self.kind = application.kind
        self.name = application.name
        self.state = application.state

    @property
    def is_noted(self) -> bool:
        return self._note.exists()

    def was_stopped(self) -> bool:
        """Whether a run that died had stopped it.

        Once it is seen running that is forgotten: who started it may stop it on purpose.
        """
        if self.is_noted and self.state() is ApplicationState.RUNNING:
            self._forget()
        return self.is_noted

    def stop(self) -> None:
        with files.writing_to(self._note.parent):
            files.replace(self._note, b"eiderd stopped the application for a restore\n")
        self._application.stop()

    def start(self) -> None:
        self._application.start()
        self._forget()

    def _forget(self) -> None:
        with files.writing_to(self._note.parent):
            self._note.unlink(missing_ok=True)
