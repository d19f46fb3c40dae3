"""The parent's side of moving streams: each of these runs in a child process with limits."""

from __future__ import annotations

import dataclasses
import datetime
import sys
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eiderd.errors import ChildFailed
from eiderd.evidence import StreamMissing, StreamsTaken, StreamTaken
from eiderd.outside import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from eiderd.outside.nats_client.connection import Server

    Progress: TypeAlias = Callable[[int, int], None]

_COMMAND: Final = (sys.executable, "-I", "-m", "eiderd.outside.nats_client.transfer_worker")
_ADDRESS_SPACE: Final = 2 << 30  # far above what the work needs: it stops a bomb, not the work
_GRACE_SECONDS: Final = 15.0  # in which the child ends its own way
_LOOK_SECONDS: Final = 60.0


def _run(
    do: str,
    *,
    deadline_seconds: float,
    progress: Progress,
    order: Mapping[str, object],
) -> dict[str, Any]:
    answer = process.run(
        _COMMAND,
        order={"do": do, **order},
        limits=process.Limits(
            address_space=_ADDRESS_SPACE, deadline_seconds=deadline_seconds + _GRACE_SECONDS
        ),
        progress=lambda said: progress(said["done"], said["total"]),
    )
    return answer.result


def capture(
    server: Server,
    streams: Sequence[str],
    *,
    folder: Path,
    most_bytes: int,
    settle_seconds: float,
    deadline_seconds: float,
    progress: Progress,
    by_message: bool = False,
) -> StreamsTaken:
    """Take streams into folders of their names below `folder`; what cannot be taken is said.

    Raise Interrupted, and nothing else: a backup of the database does without its streams.
    """
    try:
        said = _run(
            "capture",
            deadline_seconds=deadline_seconds,
            progress=progress,
            order={
                "server": dataclasses.asdict(server),
                "streams": list(streams),
                "folder": str(folder),
                "most_bytes": most_bytes,
                "settle_seconds": settle_seconds,
                "by_message": by_message,
                "deadline_seconds": deadline_seconds,
            },
        )
    except ChildFailed as error:
        return nothing(streams, why=error.message)
    return StreamsTaken(
        taken=tuple(_taken(one) for one in said["taken"]),
        missing=tuple(StreamMissing(**one) for one in said["missing"]),
    )


def nothing(streams: Sequence[str], *, why: str) -> StreamsTaken:
    return StreamsTaken(missing=tuple(StreamMissing(stream=name, why=why) for name in streams))


def _taken(said: dict[str, Any]) -> StreamTaken:
    at = datetime.datetime.fromisoformat(said.pop("captured_at"))
    return StreamTaken(**said, captured_at=at)


def look(server: Server) -> dict[str, Any]:
    """Return what a server is and has. Raise BrokerUnavailable, ConfigError."""
    order = {"server": dataclasses.asdict(server), "seconds": _LOOK_SECONDS}
    return _run("look", deadline_seconds=_LOOK_SECONDS, progress=lambda *_: None, order=order)


def fingerprints(
    server: Server,
    stream: str,
    *,
    through: int,
    target: Path,
    deadline_seconds: float,
    progress: Progress,
) -> dict[str, Any]:
    """Write a record of each message into `target`; return messages, state and consumers."""
    return _run(
        "fingerprints",
        deadline_seconds=deadline_seconds,
        progress=progress,
        order={
            "server": dataclasses.asdict(server),
            "stream": stream,
            "through": through,
            "target": str(target),
            "deadline_seconds": deadline_seconds,
        },
    )


def compare(
    old: Path, new: Path, *, expired_before: float, deadline_seconds: float
) -> dict[str, Any]:
    """Return how two files of fingerprints agree (`prints.Compared`)."""
    return _run(
        "compare",
        deadline_seconds=deadline_seconds,
        progress=lambda *_: None,
        order={"old": str(old), "new": str(new), "expired_before": expired_before},
    )


def restore(
    server: Server,
    folder: Path,
    *,
    changes: Mapping[str, Any],
    aside: Path | None,
    scratch: Path,
    deadline_seconds: float,
    progress: Progress,
) -> dict[str, Any]:
    """Make a stream of what is in `folder`; return what it is then.

    Raise ConfigError when one is in the way, VerificationFailed, BrokerUnavailable.
    """
    return _run(
        "restore",
        deadline_seconds=deadline_seconds,
        progress=progress,
        order={
            "server": dataclasses.asdict(server),
            "folder": str(folder),
            "changes": dict(changes),
            "aside": str(aside) if aside else None,
            "scratch": str(scratch),
            "deadline_seconds": deadline_seconds,
        },
    )
