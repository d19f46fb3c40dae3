"""The application whose database this is: its state and health; start, stop, freeze and thaw it.

Four kinds: a systemd unit, a Docker container or compose service, commands from the configuration,
and none, which can only be looked at.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol, TypedDict

from eiderd.outside.application.commands import Commands
from eiderd.outside.application.container import Container
from eiderd.outside.application.nobody import Nobody
from eiderd.outside.application.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from eiderd.evidence import ApplicationState, Health
    from eiderd.outside.application.common import Details

# How long it may be frozen. Far below any WatchdogSec: systemd 252 does not thaw a unit whose
# watchdog fired.
MOST_FROZEN_SECONDS: Final = 1.0
_SECONDS_BETWEEN_LOOKS: Final = 0.1


class _Common(TypedDict):
    health_url: str | None
    database: Path | None
    timeout_seconds: float
    frozen_seconds: float


class Application(Protocol):
    """Everything that eiderd may ask of the application. Each call ends, whatever hangs.

    `start`, `stop`, `freeze` and `thaw` raise ApplicationFailed when it is not so afterwards. A
    freeze belongs into the hands of a `keeper`, which thaws whatever happens to the caller.
    """

    @property
    def kind(self) -> str: ...
    def name(self) -> str:
        """Return what people call it: "unit cartographus.service"."""
        ...

    def state(self) -> ApplicationState: ...
    def details(self) -> Details:
        """Return all that its keeper tells. Raise ApplicationFailed when it tells no state."""
        ...

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def await_freezable(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def health(self) -> Health: ...


def application_of(
    *,
    kind: str,
    unit: str | None = None,
    container: str | None = None,
    commands: Mapping[str, Sequence[str]] | None = None,
    health_url: str | None = None,
    database: Path | None = None,
    timeout_seconds: float = 60.0,
    frozen_seconds: float = MOST_FROZEN_SECONDS,
) -> Application:
    """Return the application that the settings describe. Raise ConfigError when they do not.

    `database` lets the lock holder stand for a state that nobody else can tell.
    """
    common: _Common = {
        "health_url": health_url,
        "database": database,
        "timeout_seconds": timeout_seconds,
        "frozen_seconds": frozen_seconds,
    }
    match kind:
        case "systemd":
            return Unit(unit=unit or "", **common)
        case "docker":
            return Container(container=container or "", **common)
        case "commands":
            return Commands(commands=commands or {}, **common)
        case _:
            return Nobody(**common)


def until_healthy(application: Application, *, seconds: float) -> Health:
    """Return its health as soon as it is well, or what it is when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        health = application.health()
        left = deadline - time.monotonic()
        if health.well or left <= 0:
            return health
        time.sleep(min(_SECONDS_BETWEEN_LOOKS, left))
