"""Whether an application that was just started is well, and whether it is to be started.

Without a health URL all that can be seen is that it runs and holds its database. One that cannot
read it does so, too, for an instant: so it has to last.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from eiderd.evidence import Health
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

    One that runs and has not opened the database by then is well: it may do so when it is needed.
    """
    if has_url:
        return until_healthy(application, seconds=seconds)
    deadline = time.monotonic() + seconds
    since = None
    while True:
        health = application.health()
        now = time.monotonic()
        held = health.well and lock_holder.holder(database) is not None
        since = (since or now) if held else None
        if since is not None and now - since >= _LASTING_SECONDS:
            return Health(well=True, why="it runs and has its database open")
        if now >= deadline:
            said = "it runs, but has not opened its database yet" if health.well else health.why
            return Health(well=health.well, why=said)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


class Remembered:
    """The application; that it was stopped for a restore is remembered until it runs again."""

    def __init__(self, application: Application, *, note: Path) -> None:
        self._application = application
        self._note = note
        self.kind = application.kind
        self.name = application.name
        self.state = application.state

    @property
    def was_stopped(self) -> bool:
        return self._note.exists()

    def stop(self) -> None:
        with files.writing_to(self._note.parent):
            files.replace(self._note, b"eiderd stopped the application for a restore\n")
        self._application.stop()

    def start(self) -> None:
        self._application.start()
        with files.writing_to(self._note.parent):
            self._note.unlink(missing_ok=True)
