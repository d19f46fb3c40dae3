"""What is expected of NATS, and what was seen of it: plain values, in the words of its API. Pure.

A `config` is as the JetStream API has it, times in nanoseconds and sizes in bytes. What a server
says (names, descriptions) was chosen by others: it goes through `words.plain` before it is shown.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

Config = Mapping[str, Any]

COUNTER: Final = "it counts (allow_msg_counter): it cannot be made anew of its messages"
OWN: Final = "_eiderd"  # what a stream listens to while it is made anew, and nobody else
_NUMBERS: Final = 1 << 64
_NAME: Final = re.compile(r"[^\s.*>/\\]{1,255}")


def is_name(text: str) -> bool:
    """Whether a stream may be called so: then it is a safe name for a folder, too."""
    return bool(_NAME.fullmatch(text)) and text.isprintable() and len(text.encode()) <= 255  # noqa: PLR2004


def number(said: object) -> int:
    """Return a number that a server says; 0 for what is none that it can count to."""
    if not isinstance(said, int) or isinstance(said, bool):
        return 0
    return said if 0 <= said < _NUMBERS else 0


def is_unfinished(config: Config) -> bool:
    """Whether a stream is one that was being made, by a run that was killed meanwhile."""
    subjects = config.get("subjects")
    return (
        isinstance(subjects, list)
        and bool(subjects)
        and all(isinstance(one, str) and one.startswith(f"{OWN}.") for one in subjects)
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedConsumer:
    """A consumer that should be there. Only what `config` has is compared."""

    stream: str
    name: str
    config: Config
    max_lag: int
    max_redelivered: int

    @property
    def subject(self) -> str:
        return f"{self.stream}/{self.name}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedStream:
    """A stream that should be there. Only what `config` has is compared."""

    name: str
    config: Config
    consumers: tuple[ExpectedConsumer, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSeen:
    """A copy on another server of the cluster. `lag` counts what it has not taken over yet."""

    name: str
    current: bool
    offline: bool
    lag: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSeen:
    """Who leads a stream or a consumer (nobody: empty), and the other copies."""

    leader: str
    replicas: tuple[ReplicaSeen, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSeen:
    """A consumer, if it is `there`; `problem` says why nobody knows.

    `acked_sequence` is up to where the stream was acknowledged without a gap. `bound` says whether
    somebody takes what is pushed; None for a consumer that is pulled from.
    """

    stream: str
    name: str
    there: bool = True
    problem: str = ""
    created: str = ""
    config: Config = dataclasses.field(default_factory=dict)
    pending: int = 0
    ack_pending: int = 0
    redelivered: int = 0
    delivered_sequence: int = 0
    acked_sequence: int = 0
    bound: bool | None = None
    cluster: ClusterSeen | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamSeen:
    """A stream, if it is `there`; `problem` says why nobody knows."""

    name: str
    there: bool = True
    problem: str = ""
    created: str = ""
    config: Config = dataclasses.field(default_factory=dict)
    messages: int = 0
    bytes: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    cluster: ClusterSeen | None = None
    consumers: tuple[ConsumerSeen, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AccountSeen:
    """What the account uses of JetStream. A limit is None when the server names none."""

    memory_bytes: int
    max_memory_bytes: int | None
    storage_bytes: int
    max_storage_bytes: int | None
    streams: int
    consumers: int


class JetStream(enum.StrEnum):
    """Whether JetStream does what it is asked."""

    ON = "on"
    OFF = "off"  # not enabled, on this server or for this account
    SILENT = "silent"  # it should answer, and does not: a cluster without a leader


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NatsSeen:
    """One look at NATS: a server that took the connection, and the streams that are expected."""

    url: str
    server: str
    version: str
    cluster: str
    rtt_seconds: float
    jetstream: JetStream
    problem: str = ""  # why JetStream is not on
    account: AccountSeen | None = None
    streams: tuple[StreamSeen, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """A stream that a run was to replace that did not end.

    `folder` holds what was there before; it may be nowhere else. `server`: its urls, as shown.
    """

    stream: str
    server: str
    begun_at: datetime.datetime
    folder: str

    @property
    def said(self) -> str:
        return (
            f"was begun at {self.begun_at:%Y-%m-%d %H:%M:%S} UTC and did not end: what was there "
            f"before is in {self.folder}"
        )

    def command(self, *, configured: str) -> str:
        """Return what puts it back. The configured server need not be named."""
        words = ["eider", "nats", "restore", self.folder, "--replace"]
        elsewhere = self.server and self.server != configured
        return shlex.join([*words, "--server", self.server] if elsewhere else words)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NatsStanding:
    """What is known of NATS, and what the configuration expects (consumers by stream).

    `seen` is None while nobody has looked, and when it cannot be reached: then `why` says it.
    """

    expected: Mapping[str, tuple[str, ...]]
    seen: NatsSeen | None = None
    why: str = ""
    store_limit_bytes: int | None = None
