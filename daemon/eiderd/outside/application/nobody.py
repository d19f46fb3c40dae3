"""No application is managed: it can be looked at, and a person has to do the rest."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, NoReturn

from eiderd.errors import ApplicationFailed
from eiderd.outside.application.common import Common, Details

if TYPE_CHECKING:
    from eiderd.evidence import ApplicationState, Health


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Nobody(Common):
    kind: ClassVar[str] = "none"

    def name(self) -> str:
        return "the application"

    def state(self) -> ApplicationState:
        return self.state_by_lock()

    def details(self) -> Details:
        return Details(state=self.state())

    def start(self) -> None:
        self._refuse("start")

    def stop(self) -> None:
        self._refuse("stop")

    def freeze(self) -> None:
        self._refuse("freeze")

    def thaw(self) -> None:
        self._refuse("thaw")

    def health(self) -> Health:
        return self.health_of(self.state)

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        raise ApplicationFailed(
            f"eiderd does not know how to {what} the application",
            hint=f"Set application.kind (systemd, docker or commands), or {what} it by hand.",
        )
