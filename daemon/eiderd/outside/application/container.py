"""An application in a Docker container, or the one container of a compose service.

`compose:FILE:SERVICE` names the latter: which container it is is asked each time, because a new
`docker compose up` makes a new one.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import signal
import time
from typing import Any, ClassVar, Final

from eiderd.errors import ApplicationFailed, ConfigError
from eiderd.evidence import ApplicationState, Health
from eiderd.outside import kernel
from eiderd.outside.application import ask
from eiderd.outside.application.common import LOOK_SECONDS, THAW_SECONDS, Common, Details

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
_FORM: Final = (
    '--format={"id":{{json .Id}},"restarts":{{json .RestartCount}},"state":{{json .State}},'
    '"probe":{{json (index .Config "Healthcheck")}}}'
)
# How one ends that is told to end, by signals or by itself. Any other way is a failure.
_MEANT: Final = {0, 128 + signal.SIGINT, 128 + signal.SIGKILL, 128 + signal.SIGTERM}
_INTERVAL_NANOSECONDS: Final = 30e9  # Docker's own, between two health checks
_START_INTERVAL_SECONDS: Final = 5.0  # and while a container begins
_PROBED_SECONDS: Final = 60.0  # how long to wait for a moment between two
_ASIDE_SECONDS: Final = 2.0  # for what Docker itself takes to pause and to unpause
_SECONDS_BETWEEN_LOOKS: Final = 0.2
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
            return self._inspect().application_state
        except ApplicationFailed:
            return ApplicationState.UNKNOWN

    def details(self) -> Details:
        found = self._inspect()
        if found.application_state is ApplicationState.UNKNOWN:
            raise ApplicationFailed(
                f"the state of {self.name()} is {found.status!r}", hint="See: docker ps --all"
            )
        return Details(
            state=found.application_state,
            restarts=found.restarts,
            frozen=found.is_paused,
            group=found.id,
            why=found.why,
            to_see_why=f"docker logs --tail 50 {found.shown}",
            to_thaw=f"docker unpause {found.shown}",
        )

    def start(self) -> None:
        self._docker("start", self._id(), seconds=self.timeout_seconds)

    def stop(self) -> None:
        self._refuse_itself(self._inspect())
        patience = str(max(1, int(self.timeout_seconds)))
        seconds = self.timeout_seconds + _MARGIN_SECONDS
        # -t: the long form has another name in each generation of Docker.
        self._docker("stop", "-t", patience, self._id(), seconds=seconds)
        self.await_stopped(self.name(), self.state)

    def await_freezable(self) -> None:
        """Wait until no health check is at work, nor will be for a while.

        Docker does not let go of a paused container before its health check has timed out.
        """
        found = self._inspect()
        self._refuse_itself(found)
        if found.is_paused:  # by somebody who counts on it: a thaw of ours would end it too
            raise ApplicationFailed(
                f"{self.name()} is paused already", hint=f"Unpause it: docker unpause {found.shown}"
            )
        deadline = time.monotonic() + _PROBED_SECONDS
        while not found.is_left_alone(self.frozen_seconds + _ASIDE_SECONDS):
            if time.monotonic() >= deadline:
                raise ApplicationFailed(
                    f"the health check of {self.name()} leaves no time for a freeze",
                    hint="Let it come every ten seconds or less often, or set "
                    "application.allow_stop.",
                )
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            found = self._inspect()

    def freeze(self) -> None:
        self._docker("pause", self._id(), seconds=self.frozen_seconds)

    def thaw(self) -> None:
        # Docker refuses to unpause what is not paused.
        if self._inspect().is_paused:
            self._docker("unpause", self._id(), seconds=THAW_SECONDS)

    def health(self) -> Health:
        """Return what its health URL says; without one, what Docker's own health check says."""
        if self.health_url:
            return self.health_of(self.state)
        try:
            found = self._inspect()
        except ApplicationFailed as error:
            return Health(well=False, why=error.message)
        if found.is_unhealthy:
            return Health(well=False, why="its health check in Docker fails")
        return self.health_of(lambda: found.application_state)

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

    def _inspect(self) -> _Seen:
        id_ = self._id()
        said = self._docker(*_INSPECT, _FORM, id_, seconds=LOOK_SECONDS)
        try:
            document = json.loads(said)
            return _Seen(
                id=str(document["id"]),
                shown=id_,
                restarts=int(document["restarts"]),
                state=dict(document["state"]),
                probe=dict(document["probe"] or {}),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ApplicationFailed(
                "docker inspect did not answer as expected", hint="Update Docker."
            ) from error

    def _refuse_itself(self, found: _Seen) -> None:
        ours = kernel.text("/proc/self/cgroup") + kernel.text("/proc/self/mountinfo")
        if found.id in ours:
            raise ApplicationFailed(
                f"{self.name()} is the one that eiderd runs in",
                hint="Run eiderd in a container of its own.",
            )

    def _docker(self, *words: str, seconds: float) -> str:
        ran = ask.run(("docker", *words), seconds=seconds)
        if ran.code:
            why = _complaint(ran)
            raise ApplicationFailed(
                f"docker {words[0]} failed for {self.name()}: {why}", hint=_hint(why)
            )
        return ran.out


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What Docker says of a container. `shown` is how it was asked for, `state` is Docker's own.

    `probe` is how its health check is configured, empty without one.
    """

    id: str
    shown: str
    restarts: int
    state: dict[str, Any]
    probe: dict[str, Any]

    @property
    def status(self) -> str:
        return str(self.state.get("Status"))

    @property
    def is_paused(self) -> bool:
        return bool(self.state.get("Paused"))

    @property
    def is_unhealthy(self) -> bool:
        return (self.state.get("Health") or {}).get("Status") == "unhealthy"

    @property
    def application_state(self) -> ApplicationState:
        known = _STATES.get(self.status, ApplicationState.UNKNOWN)
        if known is ApplicationState.STOPPED and self.why:
            return ApplicationState.FAILED
        return known

    @property
    def why(self) -> str:
        """Why it does not run, if nobody told it to end."""
        if _STATES.get(self.status) not in (ApplicationState.STOPPED, ApplicationState.FAILED):
            return ""
        code = self.state.get("ExitCode") or 0
        if self.state.get("OOMKilled") and code:
            return "it was killed because its memory ran out"
        if error := self.state.get("Error"):
            return f"Docker could not start it: {ask.shown(str(error))}"
        return f"it ended with exit code {code}" if code not in _MEANT else ""

    def is_left_alone(self, seconds: float) -> bool:
        """Say whether no health check begins within so many seconds, and none is at work."""
        if not self.state.get("Health") or self.probe.get("Test") in (None, [], ["NONE"]):
            return True
        ended = [str(one["End"]) for one in (self.state["Health"].get("Log") or ())]
        if not ended:  # the first one comes when it wants to
            return False
        interval = (self.probe.get("Interval") or _INTERVAL_NANOSECONDS) / 1e9
        if self.probe.get("StartPeriod"):
            interval = min(interval, _START_INTERVAL_SECONDS)
        since = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(ended[-1])
        return 0 <= since.total_seconds() < interval - seconds


def _complaint(ran: ask.Ran) -> str:
    """Return the last line that says why: `docker start` adds one that does not."""
    lines = [line for line in ran.err.splitlines() if not line.startswith("Error: failed to start")]
    why = dataclasses.replace(ran, err="\n".join(lines)).complaint
    return why.removeprefix("Error response from daemon: ")


def _hint(why: str) -> str:
    if "o such container" in why:
        return "See what there is: docker ps --all; then correct application.container."
    if "permission denied" in why:
        return "Let eiderd's user ask Docker: eider setup --docker"
    if "Is the docker daemon running" in why:
        return "Start Docker: systemctl start docker. Or set DOCKER_HOST to where it listens."
    return "See what Docker says: docker ps --all"
