"""An application in a Docker container, or the one container of a compose service.

`compose:FILE:SERVICE` names the latter: which container it is is asked each time, because a new
`docker compose up` makes a new one.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from eiderd.errors import ApplicationFailed, ConfigError
from eiderd.evidence import ApplicationState
from eiderd.outside.application import ask
from eiderd.outside.application.common import LOOK_SECONDS, THAW_SECONDS, Common, Details

if TYPE_CHECKING:
    from eiderd.evidence import Health

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_COMPOSE: Final = re.compile(r"compose:(?P<file>/[^:]+):(?P<service>[A-Za-z0-9][A-Za-z0-9_.-]*)")
_STATES: Final = {
    "running": ApplicationState.RUNNING,
    "paused": ApplicationState.RUNNING,
    "created": ApplicationState.STOPPED,
    "exited": ApplicationState.STOPPED,
    "restarting": ApplicationState.FAILED,
    "dead": ApplicationState.FAILED,
}
_INSPECT: Final = ("inspect", "--type=container")
_MARGIN_SECONDS: Final = 10.0  # for docker itself, after it has killed what would not stop


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Container(Common):
    kind: ClassVar[str] = "docker"

    container: str

    def __post_init__(self) -> None:
        if not (_NAME.fullmatch(self.container) or _COMPOSE.fullmatch(self.container)):
            raise ConfigError(
                f"{self.container!r} is not the name of a container",
                hint='Set application.container, as in "app" or "compose:/srv/compose.yaml:app".',
            )

    def name(self) -> str:
        return f"container {self.container}"

    def state(self) -> ApplicationState:
        try:
            status = str(self._inspect().get("Status"))
        except ApplicationFailed:
            return ApplicationState.UNKNOWN
        return _STATES.get(status, ApplicationState.UNKNOWN)

    def details(self) -> Details:
        id_ = self._id()
        found = self._inspect()
        status = str(found.get("Status"))
        if status not in _STATES:
            raise ApplicationFailed(
                f"the state of {self.name()} is {status!r}", hint="See: docker ps --all"
            )
        counted, full = self._docker(
            *_INSPECT, "--format={{.RestartCount}} {{.Id}}", id_, seconds=LOOK_SECONDS
        ).split()
        return Details(
            state=_STATES[status],
            restarts=int(counted),
            frozen=bool(found.get("Paused")),
            group=full,
            to_see_why=f"docker logs --tail 50 {id_}",
            to_thaw=f"docker unpause {id_}",
        )

    def start(self) -> None:
        self._docker("start", self._id(), seconds=self.timeout_seconds)

    def stop(self) -> None:
        patience = f"--time={max(1, int(self.timeout_seconds))}"
        seconds = self.timeout_seconds + _MARGIN_SECONDS
        self._docker("stop", patience, self._id(), seconds=seconds)
        self.await_stopped(self.name(), self.state)

    def freeze(self) -> None:
        id_ = self._id()
        self._refuse_itself(id_)
        self._docker("pause", id_, seconds=self.frozen_seconds)

    def thaw(self) -> None:
        # Docker refuses to unpause what is not paused.
        if self._inspect().get("Paused"):
            self._docker("unpause", self._id(), seconds=THAW_SECONDS)

    def health(self) -> Health:
        return self.health_of(self.state)

    def _id(self) -> str:
        compose = _COMPOSE.fullmatch(self.container)
        if not compose:
            return self.container
        command = ("compose", "--file", compose["file"], "ps", "--all", "--quiet")
        ids = self._docker(*command, compose["service"], seconds=LOOK_SECONDS).split()
        if len(ids) != 1:
            raise ApplicationFailed(
                f"service {compose['service']} has {len(ids)} containers instead of one",
                hint=f"See them: docker compose --file {compose['file']} ps --all",
            )
        return ids[0]

    def _inspect(self) -> dict[str, Any]:
        form = "--format={{json .State}}"
        said = self._docker(*_INSPECT, form, self._id(), seconds=LOOK_SECONDS)
        try:
            state = json.loads(said)
        except ValueError:
            state = None
        if isinstance(state, dict):
            return state
        raise ApplicationFailed("docker inspect did not answer with JSON", hint="Update Docker.")

    def _refuse_itself(self, id_: str) -> None:
        full = self._docker(*_INSPECT, "--format={{.Id}}", id_, seconds=LOOK_SECONDS).strip()
        ours = Path("/proc/self/cgroup").read_text() + Path("/proc/self/mountinfo").read_text()
        if full and full in ours:
            raise ApplicationFailed(
                f"{self.name()} is the one that eiderd runs in",
                hint="Run eiderd in a container of its own.",
            )

    def _docker(self, *words: str, seconds: float) -> str:
        ran = ask.run(("docker", *words), seconds=seconds)
        if ran.code:
            raise ApplicationFailed(
                f"docker {words[0]} failed for {self.name()}: {ran.complaint}",
                hint="See what Docker says: docker ps --all; eiderd's user needs to be allowed to.",
            )
        return ran.out
