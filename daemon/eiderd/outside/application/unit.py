"""An application that is a systemd unit, through systemctl."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, ClassVar, Final

from eiderd.errors import ApplicationFailed, ConfigError
from eiderd.evidence import ApplicationState
from eiderd.outside import kernel
from eiderd.outside.application import ask
from eiderd.outside.application.common import LOOK_SECONDS, THAW_SECONDS, Common, Details

if TYPE_CHECKING:
    from eiderd.evidence import Health

_NAME: Final = re.compile(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*\.service")
_DENIED: Final = re.compile("denied|authentication", re.IGNORECASE)
_PROPERTIES: Final = (
    "LoadState",
    "ActiveState",
    "SubState",
    "CanFreeze",
    "FreezerState",
    "WatchdogUSec",
    "NRestarts",
    "ControlGroup",
)
_STATES: Final = {
    "active": ApplicationState.RUNNING,
    "reloading": ApplicationState.RUNNING,
    "refreshing": ApplicationState.RUNNING,
    "activating": ApplicationState.RUNNING,
    "deactivating": ApplicationState.RUNNING,  # its process is still there
    "inactive": ApplicationState.STOPPED,
    "failed": ApplicationState.FAILED,
}
_WATCHDOG_MARGIN: Final = 10  # so much longer than a freeze the watchdog has to be
_SECONDS: Final = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
    "month": 2629800.0, "y": 31557600.0,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unit(Common):
    kind: ClassVar[str] = "systemd"

    unit: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.unit):
            raise ConfigError(
                f"{self.unit!r} is not the name of a service",
                hint='Set application.unit, as in "app.service".',
            )

    def name(self) -> str:
        return f"unit {self.unit}"

    def state(self) -> ApplicationState:
        try:
            return _state(self._show())
        except ApplicationFailed:
            return ApplicationState.UNKNOWN

    def is_missing(self) -> bool:
        """Say whether systemd answers that there is no such unit."""
        try:
            found = self._show()
        except ApplicationFailed:  # no systemd, or none that answers
            return False
        return found.get("LoadState") == "not-found" and found.get("ActiveState") == "inactive"

    def details(self) -> Details:
        found = self._show()
        now = _state(found)
        if now is ApplicationState.UNKNOWN:
            raise ApplicationFailed(
                f"there is no {self.name()}, or its state is unknown",
                hint=f"See: systemctl status {self.unit}; correct application.unit.",
            )
        restarts = found.get("NRestarts", "")
        return Details(
            state=now,
            restarts=int(restarts) if restarts.isdecimal() else None,
            frozen=found.get("FreezerState", "running") != "running",
            group=found.get("ControlGroup", "").rstrip("/") or None,
            to_see_why=f"systemctl status {self.unit}",
            to_thaw=f"systemctl thaw {self.unit}",
        )

    def start(self) -> None:
        # One that died too often may not be started until that is forgotten.
        ask.run(self._command("reset-failed"), seconds=LOOK_SECONDS)
        self._do("start", seconds=self.timeout_seconds)

    def stop(self) -> None:
        self._refuse_itself(self._show())
        self._do("stop", seconds=self.timeout_seconds)
        self.await_stopped(self.name(), self.state)

    def await_freezable(self) -> None:
        found = self._show()
        self._refuse_itself(found)
        self._refuse_unfreezable(found)

    def freeze(self) -> None:
        self._do("freeze", seconds=self.frozen_seconds)

    def thaw(self) -> None:
        self._do("thaw", seconds=THAW_SECONDS)
        freezer = self._show().get("FreezerState", "running")
        if freezer != "running":
            raise ApplicationFailed(
                f"{self.name()} is {freezer} after it was thawed",
                hint=f"Restart it: systemctl restart {self.unit}",
            )

    def health(self) -> Health:
        return self.health_of(self.state)

    def _refuse_itself(self, found: dict[str, str]) -> None:
        theirs = found.get("ControlGroup", "").rstrip("/")
        if not found.get("ControlGroup"):
            return
        for line in kernel.text("/proc/self/cgroup").splitlines():
            ours = line.split(":", 2)[2]
            if ours == theirs or ours.startswith(f"{theirs}/"):
                raise ApplicationFailed(
                    f"{self.name()} is the one that eiderd itself runs in",
                    hint="Run eiderd as a unit of its own.",
                )

    def _refuse_unfreezable(self, found: dict[str, str]) -> None:
        if found.get("ActiveState") != "active":
            why, hint = "is not active", f"See: systemctl status {self.unit}"
        elif found.get("CanFreeze") != "yes":
            why = "cannot be frozen on this machine"
            hint = "It needs cgroups version 2 and Linux 5.2. Or set application.allow_stop."
        elif found.get("FreezerState") != "running":
            why, hint = "is frozen already", f"Thaw it: systemctl thaw {self.unit}"
        elif _is_short(found.get("WatchdogUSec", ""), bound=self.frozen_seconds):
            why = "has a watchdog that may fire while it is frozen"
            least = _WATCHDOG_MARGIN * self.frozen_seconds
            hint = f"Set its WatchdogSec to {least:g} or more, or to 0."
        else:
            return
        raise ApplicationFailed(f"{self.name()} {why}", hint=hint)

    def _show(self) -> dict[str, str]:
        properties = f"--property={','.join(_PROPERTIES)}"
        ran = ask.run(self._command("show", properties), seconds=LOOK_SECONDS)
        if ran.code:
            raise self._failed("answer", ran)
        pairs = (line.partition("=") for line in ran.out.splitlines())
        return {key: value for key, _, value in pairs}

    def _do(self, what: str, *, seconds: float) -> None:
        ran = ask.run(self._command(what), seconds=seconds)
        if ran.code:
            raise self._failed(what, ran)

    def _command(self, verb: str, *options: str) -> tuple[str, ...]:
        return ("systemctl", "--no-ask-password", "--no-pager", verb, *options, "--", self.unit)

    def _failed(self, what: str, ran: ask.Ran) -> ApplicationFailed:
        hint = f"See why: systemctl status {self.unit}"
        if _DENIED.search(ran.complaint):
            hint = "Let eiderd's user do that, by a rule for polkit: eider setup"
        return ApplicationFailed(f"{self.name()} did not {what}: {ran.complaint}", hint=hint)


def _state(found: dict[str, str]) -> ApplicationState:
    if found.get("LoadState") == "not-found" and found.get("ActiveState") == "inactive":
        return ApplicationState.UNKNOWN
    if found.get("SubState") == "auto-restart":
        return ApplicationState.FAILED
    return _STATES.get(found.get("ActiveState", ""), ApplicationState.UNKNOWN)


def _is_short(watchdog: str, *, bound: float) -> bool:
    """Given WatchdogUSec as systemctl spells it ("1min 30s"), say whether a freeze may trip it."""
    if watchdog in ("infinity", "0"):
        return False
    seconds = 0.0
    for part in watchdog.split():
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", part)
        if not found or found[2] not in _SECONDS:
            return True  # what cannot be read may be anything
        seconds += float(found[1]) * _SECONDS[found[2]]
    return seconds < _WATCHDOG_MARGIN * bound
