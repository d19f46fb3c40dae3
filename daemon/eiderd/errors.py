"""Every failure eiderd reports: whose fault it is, whether trying again helps, and what to type.

The class decides the exit code and whether a retry makes sense; the message names the fault and the
hint the next thing to do. Whatever is raised that is not an `EiderError` is a bug of eiderd.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar


class ExitCode(enum.IntEnum):
    """What `eider` exits with. The table is printed by `eider --help` and held by a test."""

    DONE = 0
    BUG = 1
    USAGE = 2
    DEGRADED = 3
    NO_SUCH_BACKUP = 10
    BUSY = 11
    VERIFICATION_FAILED = 12
    NO_SPACE = 13
    SOURCE_UNAVAILABLE = 14
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.BUG: "a bug in eiderd",
    ExitCode.USAGE: "usage or configuration, or the answer was no",
    ExitCode.DEGRADED: "done, but something needs attention",
    ExitCode.NO_SUCH_BACKUP: "no such backup",
    ExitCode.BUSY: "another run holds the lock",
    ExitCode.VERIFICATION_FAILED: "verification failed",
    ExitCode.NO_SPACE: "no space left",
    ExitCode.SOURCE_UNAVAILABLE: "the database, its application or NATS cannot be reached",
    ExitCode.INTERRUPTED: "interrupted",
}


class Fault(enum.StrEnum):
    """Who has to act."""

    OPERATOR = "operator"
    ENVIRONMENT = "environment"
    DATA = "data"
    BUG = "bug"


class EiderError(Exception):
    """A failure that eiderd understands. Subclasses fix the code, the fault and the retry."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    fault: ClassVar[Fault] = Fault.BUG
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def to_json(self) -> dict[str, Any]:
        return {
            # A class that only one module knows crosses processes as the nearest one that all know.
            "kind": next(c.__name__ for c in type(self).__mro__ if c in _CROSSING),
            "message": self.message,
            "hint": self.hint,
            "fault": str(self.fault),
            "retry": self.retry,
        }


class ConfigError(EiderError):
    """What was asked for, or configured, cannot be meant."""

    exit_code = ExitCode.USAGE
    fault = Fault.OPERATOR


class StoreUnavailable(ConfigError):
    """The backup or state folder cannot be used: missing, not ours, not writable, removed."""

    retry = True


class NotPermitted(ConfigError):
    """This process may not look: nothing is known of what is there, nor that nothing is."""


class NoSuchBackup(EiderError):
    """The catalog does not know the backup that was named."""

    exit_code = ExitCode.NO_SUCH_BACKUP
    fault = Fault.OPERATOR


class Busy(EiderError):
    """Another run holds the store lock. The lock is the kernel's and dies with its process."""

    exit_code = ExitCode.BUSY
    fault = Fault.ENVIRONMENT
    retry = True


class VerificationFailed(EiderError):
    """An archive does not hold what it should, or does not come back. Never healed by deletion."""

    exit_code = ExitCode.VERIFICATION_FAILED
    fault = Fault.DATA


class NoSpace(EiderError):
    """A disk is full, or would be."""

    exit_code = ExitCode.NO_SPACE
    fault = Fault.ENVIRONMENT
    retry = True


class SourceUnavailable(EiderError):
    """The database cannot be read: not there, not permitted, not a DuckDB file."""

    exit_code = ExitCode.SOURCE_UNAVAILABLE
    fault = Fault.ENVIRONMENT
    retry = True


class NotADatabase(SourceUnavailable):
    """The file is there and was read, and what was read is not the beginning of a database."""


class NotConverged(SourceUnavailable):
    """The database changed faster than it could be copied, within the bounds that were set."""


class ApplicationFailed(EiderError):
    """The application did not start, stop, freeze or thaw, or there is nobody to ask for it."""

    exit_code = ExitCode.SOURCE_UNAVAILABLE
    fault = Fault.ENVIRONMENT
    retry = True


class BrokerUnavailable(EiderError):
    """NATS cannot be reached, refuses the login, or does not do what it is asked.

    `how` says which: unreachable, refused, timeout, lost, answer.
    """

    exit_code = ExitCode.SOURCE_UNAVAILABLE
    fault = Fault.ENVIRONMENT
    retry = True

    def __init__(self, message: str, *, hint: str = "", how: str = "") -> None:
        super().__init__(message, hint=hint)
        self.how = how


class ChildFailed(EiderError):
    """A child process of eiderd itself died, hung or spoke nonsense. `how` says which."""

    retry = True

    def __init__(self, message: str, *, hint: str = "", how: str = "") -> None:
        super().__init__(message, hint=hint)
        self.how = how


class Interrupted(EiderError):
    """Somebody asked for the end: Ctrl-C, a stop of the service, a closed terminal."""

    exit_code = ExitCode.INTERRUPTED
    fault = Fault.OPERATOR
    retry = True


class Bug(EiderError):
    """What nobody thought of."""


KINDS: dict[str, type[EiderError]] = {
    kind.__name__: kind
    for kind in (
        ConfigError,
        StoreUnavailable,
        NotPermitted,
        NoSuchBackup,
        Busy,
        VerificationFailed,
        NoSpace,
        SourceUnavailable,
        NotADatabase,
        NotConverged,
        ApplicationFailed,
        BrokerUnavailable,
        ChildFailed,
        Interrupted,
        Bug,
    )
}


_CROSSING = {EiderError, *KINDS.values()}


def from_json(document: dict[str, Any]) -> EiderError:
    """Given what `to_json` gave in a child process, return the same error here."""
    kind = KINDS.get(str(document.get("kind")), EiderError)
    return kind(str(document.get("message", "")), hint=str(document.get("hint", "")))
