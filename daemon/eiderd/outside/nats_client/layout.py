"""A stream in a folder, as the official CLI writes it (`nats stream backup`) and reads it.

`backup.json` holds what JetStream answered: `config` and `state`. Beside it stands the server's own
snapshot, messages and consumers, in S2 (Snappy's framing with S2 blocks): `stream.tar.s2`, a tar,
or from nats-server 2.15 on `stream.arc.s2`, of another kind, which older servers cannot read.

A stream that gives no snapshot (in memory before 2.15, or refused) has `messages.jsonl` instead, of
eiderd's own: one message a line, in sequence, `{"seq", "time", "subject", "hdrs", "data"}` as
JetStream's STREAM.MSG.GET says it, `hdrs` and `data` in base64. `backup.json` then has
`consumers` too, as CONSUMER.LIST says them. What else eiderd writes there, see `Stored`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eiderd.broker.evidence import is_name, number
from eiderd.errors import SourceUnavailable, VerificationFailed
from eiderd.outside import files
from eiderd.outside.nats_client import s2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DESCRIPTION: Final = "backup.json"
SNAPSHOT: Final = "stream.tar.s2"
SNAPSHOT_SINCE_2_15: Final = "stream.arc.s2"
MESSAGES: Final = "messages.jsonl"
SNAPSHOT_METHOD: Final = "snapshot"
MESSAGES_METHOD: Final = "messages"

_DATA: Final = (SNAPSHOT, SNAPSHOT_SINCE_2_15, MESSAGES)
_LARGEST: Final = 16 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A stream in a folder. `config`, `state` and `consumers` as JetStream said them.

    `removed` messages of the state may not be in the data: they left the stream while it was
    packed. `durables` are the consumers that must come back. None: the official client, which
    wrote it, does not say.
    """

    folder: Path
    config: dict[str, Any]
    state: dict[str, Any]
    consumers: tuple[dict[str, Any], ...]
    data: Path
    removed: int | None = None
    durables: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def method(self) -> str:
        return MESSAGES_METHOD if self.data.name == MESSAGES else SNAPSHOT_METHOD


def describe(
    folder: Path,
    *,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    removed: int,
    durables: Sequence[str] | None,
    consumers: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write what stands beside the data. `consumers`: of a stream whose data does not have them."""
    more = {"removed": removed, "durables": durables, "consumers": consumers}
    document: dict[str, Any] = {"config": config, "state": state}
    document |= {key: value for key, value in more.items() if value is not None}
    with files.writing_to(folder):
        files.write_new(folder / DESCRIPTION, json.dumps(document, indent=2).encode() + b"\n")


def read(folder: Path) -> Stored:
    """Return the stream in a folder.

    Raise SourceUnavailable when there is none, VerificationFailed when it cannot be one.
    """
    path = folder / DESCRIPTION
    try:
        document = json.loads(files.read_regular(path, most=_LARGEST))
    except OSError as error:
        raise SourceUnavailable(
            f"there is no backup of a stream in {folder}: {DESCRIPTION}: {error.strerror}",
            hint="Name a backup (eider list), or a folder that `nats stream backup` wrote.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unfit(path, "it is no JSON, or too long") from error
    if not isinstance(document, dict):
        raise _unfit(path, "it describes no stream")
    config, state, listed, durables = (
        document.get(key) for key in ("config", "state", "consumers", "durables")
    )
    if not isinstance(config, dict) or not isinstance(state, dict):
        raise _unfit(path, "it describes no stream")
    if not isinstance(config.get("name"), str) or not is_name(config["name"]):
        raise _unfit(path, "it has no name that a stream can have")
    data = [folder / name for name in _DATA if (folder / name).is_file()]
    if len(data) != 1:
        raise _unfit(path, f"one of {', '.join(_DATA)} should stand beside it")
    return Stored(
        folder=folder,
        config=config,
        state=state,
        consumers=tuple(one for one in listed if isinstance(one, dict))
        if isinstance(listed, list)
        else (),
        data=data[0],
        removed=number(document["removed"]) if "removed" in document else None,
        durables=tuple(map(str, durables)) if isinstance(durables, list) else None,
    )


def durables(consumers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return those of some consumers that outlive their users, and their server."""
    configs = [one["config"] for one in consumers if isinstance(one.get("config"), dict)]
    kept = [one for one in configs if one.get("durable_name") and not one.get("mem_storage")]
    return [str(one["durable_name"]) for one in kept]


def check(folder: Path) -> Stored:
    """Return the stream in a folder, whose data looks whole. Raise as `read` does.

    Of a snapshot both ends are looked at and every frame between them is followed; of messages,
    the first and the last.
    """
    stored = read(folder)
    if stored.method == SNAPSHOT_METHOD:
        if problem := s2.problem_of(stored.data, stream=stored.name):
            raise _unfit(stored.data, problem)
    elif problem := _problem_of_messages(stored.data):
        raise _unfit(stored.data, problem)
    return stored


def _problem_of_messages(path: Path) -> str:
    with files.reading_own(path), path.open("rb") as file:
        size = file.seek(0, 2)
        if not size:
            return ""
        file.seek(size - 1)
        if file.read(1) != b"\n":
            return "it ends in the middle of a message"
        file.seek(0)
        first = file.readline(_LARGEST)
    try:
        said = json.loads(first)
    except (ValueError, RecursionError):
        return "its first line is no JSON"
    return "" if isinstance(said, dict) and "seq" in said else "its first line is no message"


def _unfit(path: Path, why: str) -> VerificationFailed:
    return VerificationFailed(
        f"{path} is no sound backup of a stream: {why}",
        hint="Take another backup; find out what became of this one.",
    )
