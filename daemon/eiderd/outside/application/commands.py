"""An application that the operator's own commands start, stop, freeze and thaw.

`state` answers as init scripts do: 0 runs, 3 is stopped, 1 and 2 died. Without it, whoever holds
the database is the application.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from eiderd.errors import ApplicationFailed
from eiderd.evidence import ApplicationState
from eiderd.outside.application import ask
from eiderd.outside.application.common import LOOK_SECONDS, THAW_SECONDS, Common, Details

if TYPE_CHECKING:
    from eiderd.evidence import Health

_STATES: Final = {
    0: ApplicationState.RUNNING,
    1: ApplicationState.FAILED,
    2: ApplicationState.FAILED,
    3: ApplicationState.STOPPED,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Commands(Common):
    kind: ClassVar[str] = "commands"

    commands: Mapping[str, Sequence[str]]

    def name(self) -> str:
        return "the application"

    def state(self) -> ApplicationState:
        command = self.commands.get("state")
        if not command:
            return self.state_by_lock()
        try:
            code = ask.run(command, seconds=LOOK_SECONDS).code
        except ApplicationFailed:
            return ApplicationState.UNKNOWN
        return _STATES.get(code, ApplicationState.UNKNOWN)

    def details(self) -> Details:
        now = self.state()
        if now is ApplicationState.UNKNOWN:
            raise ApplicationFailed(
                "the command application.commands.state does not tell the application's state",
                hint="It has to end with 0 (runs), 3 (stopped), 1 or 2 (died): try it by hand.",
            )
        return Details(state=now)

    def start(self) -> None:
        # A second one would fail on the lock of the first, and some commands do not ask.
        if self.commands.get("state") and self.state() is ApplicationState.RUNNING:
            return
        self._run("start", seconds=self.timeout_seconds)

    def stop(self) -> None:
        self._run("stop", seconds=self.timeout_seconds)
        self.await_stopped(self.name(), self.state)

    def freeze(self) -> None:
        self._run("freeze", seconds=self.frozen_seconds)

    def thaw(self) -> None:
        self._run("thaw", seconds=THAW_SECONDS)

    def health(self) -> Health:
        return self.health_of(self.state)

    def _run(self, what: str, *, seconds: float) -> None:
        command = self.commands.get(what)
        if not command:
            raise ApplicationFailed(
                f"there is no command to {what} the application",
                hint=f"Set {what} in application.commands.",
            )
        ran = ask.run(command, seconds=seconds)
        if ran.code:
            raise ApplicationFailed(
                f"the application did not {what}: {ran.complaint}",
                hint=f"Try it by hand: {' '.join(command)}",
            )
