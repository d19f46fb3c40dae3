"""Commands that ask something of the application's keeper: systemctl, docker, the operator's own.

They get a deadline and a session of their own. What they leave running is not ours to end: it may
be the application.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Final

from eiderd.errors import ApplicationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEPT: Final = 64 << 10  # bytes of what a command said
_LONGEST_SHOWN: Final = 300
_SECONDS_TO_DIE: Final = 2.0
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
# systemctl would tell systemd how it ended, as if it were the service.
_OURS: Final = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """What it said last, on one line, for people."""
        said = (self.err.strip() or self.out.strip()).splitlines()
        line = said[-1] if said else f"it ended with {self.code}"
        return shown(line)


def shown(said: str) -> str:
    """Return what a command said, so short and plain that it can stand in a message."""
    return "".join(sign if sign.isprintable() else "?" for sign in said)[:_LONGEST_SHOWN]


def run(command: Sequence[str], *, seconds: float) -> Ran:
    """Run a command to its end. Raise ApplicationFailed when it cannot begin or does not end."""
    # Files, not pipes: whatever it leaves running holds them open for ever.
    with _file() as out, _file() as err:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name not in _OURS}
                | _ENVIRONMENT,
            )
        except OSError as error:
            raise ApplicationFailed(
                f"cannot run {command[0]}: {error.strerror}",
                hint="Install it, or correct [application] in the configuration.",
            ) from error
        try:
            code = child.wait(timeout=seconds)
        except BaseException as error:
            _end(child)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ApplicationFailed(
                    f"{' '.join(command)} did not end within {seconds:g} s",
                    hint="See what it waits for, or raise application.timeout.",
                ) from error
            raise
        return Ran(code=code, out=_said(out), err=_said(err))


def _file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise ApplicationFailed(
            f"there is no room for what a command says: {error.strerror}",
            hint="Make /tmp writable: in a container with --tmpfs /tmp.",
        ) from error


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=_SECONDS_TO_DIE)


def _said(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _KEPT))
    return file.read(_KEPT).decode("utf-8", "replace")
