"""What a stream needs of the server that it is to go to, told before anything is done. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import TYPE_CHECKING, Any, Final

from eiderd.broker.evidence import COUNTER, is_unfinished, number
from eiderd.units import spoken
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NO_NUMBER: Final = (0, 0)
_OLDEST: Final = (2, 10)  # first_seq and subject transforms are needed, and tested
_ARCHIVE_SINCE: Final = (2, 15)
_LEVEL: Final = "_nats.req.level"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """A stream that is to be made somewhere, and what speaks against it.

    `needs_newer` says that its data is readable only from nats-server 2.15 on. `problems` refuse
    it, `warnings` should be known before saying yes.
    """

    stream: str
    messages: int
    first_seq: int
    last_seq: int
    bytes: int
    consumers: int
    method: str
    replicas: int
    in_the_way: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a stream is to be made otherwise than it was. None, False: as it was."""

    replace: bool = False
    replicas: int | None = None
    keep_expired: bool = False

    def changes(self) -> dict[str, Any]:
        """Return what this sets in the configuration of a stream."""
        found: dict[str, Any] = {}
        if self.replicas is not None:
            found["num_replicas"] = self.replicas
        if self.keep_expired:
            found["max_age"] = 0
        return found


def plan(
    *,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    method: str,
    needs_newer: bool,
    there: Mapping[str, Any],
    wish: Wish,
    now: datetime.datetime,
) -> StreamPlan:
    """Return what making a stream on a server will be. `there` is what that server is and has."""
    name = str(config.get("name"))
    wanted = {**config, **wish.changes()}
    replicas = max(1, number(wanted.get("num_replicas")))
    others = _part(there, "streams")
    in_the_way = name in others and not is_unfinished(_part(others[name], "config"))
    problems = [
        *([COUNTER] if method == "messages" and config.get("allow_msg_counter") else []),
        *_of_the_version(wanted, there, needs_newer=needs_newer),
        *_of_the_name(wanted, others, in_the_way=in_the_way, replace=wish.replace),
        *_of_the_room(state, there, replicas=replicas, storage=str(wanted.get("storage", "file"))),
        *_of_the_replicas(replicas, there),
    ]
    return StreamPlan(
        stream=name,
        messages=number(state.get("messages")),
        first_seq=number(state.get("first_seq")),
        last_seq=number(state.get("last_seq")),
        bytes=number(state.get("bytes")),
        consumers=number(state.get("consumer_count")),
        method=method,
        replicas=replicas,
        in_the_way=in_the_way,
        problems=tuple(problems),
        warnings=(
            *([str(there["unknown"])] if there.get("unknown") else []),
            *_warnings(wanted, state, method=method, now=now),
        ),
    )


def version_of(text: object) -> tuple[int, int]:
    """Return the first two numbers of a version, zeros for what is none."""
    found = re.match(r"v?(\d{1,6})\.(\d{1,6})", text if isinstance(text, str) else "")
    return (int(found[1]), int(found[2])) if found else _NO_NUMBER


def overlap(one: str, other: str) -> bool:
    """Whether there is a subject that both match."""
    left, right = one.split("."), other.split(".")
    for mine, theirs in zip(left, right, strict=False):
        if ">" in {mine, theirs}:
            return True
        if mine != theirs and "*" not in {mine, theirs}:
            return False
    # `>` stands for one token at least, so the end of the shorter one does not meet it.
    return len(left) == len(right)


def _of_the_version(
    config: Mapping[str, Any], there: Mapping[str, Any], *, needs_newer: bool
) -> Iterable[str]:
    version = version_of(there.get("version"))
    said = plain(str(there.get("version")))
    if version < _OLDEST:
        yield f"it is nats-server {said}: 2.10 is the oldest that will do"
    elif needs_newer and version < _ARCHIVE_SINCE:
        yield (
            f"it is nats-server {said}, and the snapshot was made by 2.15 or newer, which it "
            "cannot read"
        )
    level = number(_part(_part(there, "account"), "api").get("level"))
    wanted = str(_part(config, "metadata").get(_LEVEL, "0"))
    if re.fullmatch(r"[0-9]{1,9}", wanted) and int(wanted) > level:
        yield f"its configuration needs API level {wanted}; nats-server {said} has level {level}"


def _of_the_name(
    config: Mapping[str, Any], others: Mapping[str, Any], *, in_the_way: bool, replace: bool
) -> Iterable[str]:
    if in_the_way and not replace:
        yield "there is a stream of that name"
    mine = _subjects(config)
    for name, other in others.items():
        if name == config.get("name"):
            continue
        taken = [s for s in _subjects(_part(other, "config")) for one in mine if overlap(one, s)]
        if taken:
            yield f"stream {plain(str(name))} has the subject {plain(taken[0])} already"


def _of_the_room(
    state: Mapping[str, Any], there: Mapping[str, Any], *, replicas: int, storage: str
) -> Iterable[str]:
    account = _part(there, "account")
    limits = _part(account, "limits")
    if tiers := _part(account, "tiers"):
        account = _part(tiers, f"R{replicas}")
        limits = _part(account, "limits")
    memory = storage == "memory"
    limit = number(limits.get("max_memory" if memory else "max_storage"))
    used = number(account.get("memory" if memory else "storage"))
    needed = number(state.get("bytes")) * (1 if tiers else replicas)
    if limit > 0 and used + needed > limit:
        yield f"the account may store {limit} bytes, {used} are used, and it needs {needed}"
    largest = number(
        limits.get("memory_max_stream_bytes" if memory else "storage_max_stream_bytes")
    )
    if 0 < largest < number(state.get("bytes")):
        yield f"the account allows {largest} bytes a stream"
    most, have = number(limits.get("max_streams")), number(account.get("streams"))
    if 0 < most <= have:
        yield f"the account may have {many(most, 'stream')}, and has them"


def _of_the_replicas(replicas: int, there: Mapping[str, Any]) -> Iterable[str]:
    if replicas == 1:
        return
    if not there.get("cluster"):
        yield f"it has {replicas} replicas, and the server is alone: --replicas 1"
    elif 0 < number(there.get("servers")) < replicas:
        yield f"it has {replicas} replicas, and the cluster fewer servers: --replicas 1"


def _warnings(
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    *,
    method: str,
    now: datetime.datetime,
) -> Iterable[str]:
    max_age = number(config.get("max_age")) / 1e9
    first = _time(state.get("first_ts"))
    if max_age and first and number(state.get("messages")) and method == "snapshot":
        age = (now - first).total_seconds()
        if age > max_age:
            last = _time(state.get("last_ts"))
            every = last is not None and (now - last).total_seconds() > max_age
            which = "all of its messages" if every else "its oldest messages"
            yield (
                f"{which} are older than {spoken(max_age)}, the most that it keeps: the server "
                "removes them at once, unless it keeps everything: --keep-expired"
            )
    if method == "messages":
        yield "it is made anew of its messages: their times will be those of now"


def _subjects(config: Mapping[str, Any]) -> list[str]:
    found = config.get("subjects")
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _time(said: object) -> datetime.datetime | None:
    """Return a time of the server; None for its zero, and for what is none."""
    text = re.sub(r"\.\d+", "", said) if isinstance(said, str) else ""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo and moment.year > 1 else None
