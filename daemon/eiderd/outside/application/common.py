"""What all kinds of application have: a health URL, a database that somebody holds, a patience."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.errors import ApplicationFailed
from eiderd.evidence import ApplicationState, Health
from eiderd.outside import lock_holder
from eiderd.outside.application import health_url

if TYPE_CHECKING:
    from collections.abc import Callable

THAW_SECONDS: Final = 10.0
HEALTH_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 10.0  # how long it may take to tell a state
_SECONDS_BETWEEN_LOOKS: Final = 0.05


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What the application's keeper tells of it in one look.

    `group` is the control group of its processes, as a path or as the id of its container; None
    when nobody can tell. `why` is why it does not run, where its keeper tells that.
    """

    state: ApplicationState
    restarts: int | None = None
    frozen: bool = False
    group: str | None = None
    why: str = ""
    to_see_why: str = "eider doctor"
    to_thaw: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """`timeout_seconds` is how long it may take to start or to stop."""

    health_url: str | None
    database: Path | None
    timeout_seconds: float
    frozen_seconds: float

    def await_freezable(self) -> None:
        """Return when it may be frozen at once. Raise ApplicationFailed when it may not."""

    def state_by_lock(self) -> ApplicationState:
        """Return RUNNING when somebody holds the database: that is all there is to go by."""
        if self.database is None:
            return ApplicationState.UNKNOWN
        held = lock_holder.holder(self.database) is not None
        return ApplicationState.RUNNING if held else ApplicationState.STOPPED

    def health_of(self, state: Callable[[], ApplicationState]) -> Health:
        """Return what the health URL says; without one, a running application is well."""
        if self.health_url:
            return health_url.ask(self.health_url, seconds=HEALTH_SECONDS)
        now = state()
        return Health(well=now is ApplicationState.RUNNING, why=f"its state is {now}")

    def await_stopped(self, name: str, state: Callable[[], ApplicationState]) -> None:
        """Return when the application has stopped. Raise ApplicationFailed when it does not."""
        deadline = time.monotonic() + self.timeout_seconds
        while (now := state()) not in (ApplicationState.STOPPED, ApplicationState.FAILED):
            if time.monotonic() >= deadline:
                raise ApplicationFailed(
                    f"{name} was stopped, but its state is {now}",
                    hint="Something may start it again: stop that first. "
                    "Or raise application.timeout.",
                )
            time.sleep(_SECONDS_BETWEEN_LOOKS)
