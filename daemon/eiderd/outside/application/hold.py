"""Hold the application still for a while: frozen or stopped, never for longer than was said.

    with kept(words, hold="freeze", seconds=1) as keeper:    # in the process that decides
        with keeper.held() as still: ...                     # there, or in a child with its ends

The keeper is started first. Whatever becomes of this process or its child, it lets go.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from eiderd.errors import ApplicationFailed, from_json
from eiderd.outside.application import application_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Way: TypeAlias = Literal["freeze", "stop"]

_COMMAND: Final = (sys.executable, "-I", "-m", "eiderd.outside.application.keeper")
_FIRST: Final = Path("/proc/1/cmdline")
_READY_SECONDS: Final = 30.0
_UNDOING_SECONDS: Final = 60.0  # the keeper tries for half as long, and its last try may hang


@dataclasses.dataclass(slots=True, kw_only=True)
class Still:
    """The application stands still until `deadline` (monotonic). `seconds` is known in the end."""

    deadline: float
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """The ends of the two pipes to a keeper. `patience` is how long a hold may take to begin."""

    asking: int
    answers: int
    seconds: float
    patience: float

    @contextlib.contextmanager
    def held(self) -> Iterator[Still]:
        """Hold the application still. Raise ApplicationFailed when that, or letting go, fails."""
        self._ask("hold")
        since = self.answer("held", seconds=self.patience)
        still = Still(deadline=time.monotonic() - since + self.seconds)
        try:
            yield still
        finally:
            self._ask("release")
            still.seconds = self.answer("released", seconds=_UNDOING_SECONDS)

    def _ask(self, word: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # what it said last is still to be read
            os.write(self.asking, f"{word}\n".encode())

    def answer(self, wanted: str, *, seconds: float) -> float:
        """Return the number that comes with a word of the keeper."""
        said = _line(self.answers, seconds=seconds)
        if "error" in said:
            raise from_json(said["error"])
        if wanted not in said:
            raise ApplicationFailed(
                "the process that holds the application still has died",
                hint="Look whether the application runs.",
            )
        return float(said[wanted])


@contextlib.contextmanager
def kept(words: Mapping[str, Any], *, hold: Way, seconds: float) -> Iterator[Keeper]:
    """Start a keeper for the application that `words` describe to `application_of`.

    It lets go `seconds` after the hold began, at the latest. Whatever happens inside, the
    application is held no more when this returns or raises, unless it cannot be let go:
    ApplicationFailed. So it is where a keeper could not outlive eiderd.
    """
    _refuse_mortal()
    child = subprocess.Popen(
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends eiderd's group does not end it
    )
    asking, answers = cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout)
    patience = max(words.get("timeout_seconds", 0.0), _READY_SECONDS) + _UNDOING_SECONDS
    order = {"application": _spelled(words), "hold": hold, "seconds": seconds}
    try:
        os.write(asking.fileno(), json.dumps(order).encode() + b"\n")
        keeper = Keeper(
            asking=asking.fileno(),
            answers=answers.fileno(),
            seconds=seconds,
            patience=patience,
        )
        keeper.answer("ready", seconds=_READY_SECONDS)
        yield keeper
    finally:
        asking.close()  # nobody asks any more: it lets go and ends
        _await_end(child, words, hold=hold, seconds=patience)
        answers.close()


def _refuse_mortal() -> None:
    """When the first process of a container ends, the kernel kills all others, keepers too."""
    with contextlib.suppress(OSError):
        words = _FIRST.read_bytes().split(b"\0")
        if any(word.rpartition(b"/")[2] == b"eiderd" for word in words):
            raise ApplicationFailed(
                "eiderd is the first process of its container: if it were killed, nobody would "
                "let the application go on",
                hint="Run eiderd on the host for that, or remove application.allow_freeze and "
                "application.allow_stop.",
            )


def _await_end(
    child: subprocess.Popen[bytes], words: Mapping[str, Any], *, hold: Way, seconds: float
) -> None:
    """Return when the keeper is gone. If it did not end well, do here what it should have done."""
    code: int | None = None
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = child.wait(timeout=seconds)
    if code != 0:
        child.kill()
        child.wait()
        application = application_of(**words)
        undo = application.thaw if hold == "freeze" else application.start
        undo()


def _spelled(words: Mapping[str, Any]) -> dict[str, Any]:
    database: Path | None = words.get("database")
    return {**words, "database": database and str(database)}


def _line(descriptor: int, *, seconds: float) -> dict[str, Any]:
    """Return the next line that a keeper says; nothing when it is gone or silent.

    Byte by byte: what follows may be for another process, with which these ends are shared.
    """
    deadline, line = time.monotonic() + seconds, b""
    while not line.endswith(b"\n"):
        left = max(0.0, deadline - time.monotonic())
        if not select.select([descriptor], [], [], left)[0]:
            return {}
        sign = os.read(descriptor, 1)
        if not sign:
            return {}
        line += sign
    said = json.loads(line)
    return said if isinstance(said, dict) else {}
