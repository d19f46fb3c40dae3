"""The child that moves streams: out of NATS into a folder, and back. Started by `transfer`."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import BrokerUnavailable, ConfigError, EiderError, VerificationFailed
from eiderd.outside import clock, files, process
from eiderd.outside.nats_client import (
    jetstream,
    layout,
    messages,
    numbering,
    prints,
    republishing,
    snapshots,
)
from eiderd.outside.nats_client.connection import Server, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client

    Told = Callable[[int], None]
    Progress = Callable[[int, int], None]

_MOST_STREAMS: Final = 10_000
_AWAY: Final = ("unreachable", "refused", "timeout", "lost")


# Out --------------------------------------------------------------------------------------------


def capture(
    *,
    server: dict[str, Any],
    streams: list[str],
    folder: str,
    most_bytes: int,
    settle_seconds: float,
    deadline_seconds: float,
    by_message: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Take each stream into a folder of its name. What cannot be taken is said, no more."""
    where, deadline = _server(server), time.monotonic() + deadline_seconds
    taken: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    away = ""
    for name in streams:
        try:
            if away:
                raise BrokerUnavailable(away)
            left = max(0.0, deadline - time.monotonic())
            one = _capture_one(
                where,
                name,
                Path(folder) / name,
                most_bytes=most_bytes,
                seconds=left,
                by_message=by_message,
                tell=progress,
            )
        except EiderError as error:
            missing.append({"stream": name, "why": error.message})
            if isinstance(error, BrokerUnavailable) and error.how in _AWAY:
                away = error.message  # the next one need not wait as long again
            files.remove_tree(Path(folder) / name)
        else:
            taken.append(one)
            most_bytes -= one.pop("stored_bytes")
    if taken:
        # An application may acknowledge what it holds in memory only: it gets the time to write it.
        time.sleep(min(settle_seconds, max(0.0, deadline - time.monotonic())))
    return {"taken": taken, "missing": missing}


def _capture_one(
    server: Server,
    name: str,
    folder: Path,
    *,
    most_bytes: int,
    seconds: float,
    by_message: bool,
    tell: Progress,
) -> dict[str, Any]:
    captured_at = clock.now()
    files.private_folder(folder)

    async def question(client: Client) -> None:
        await _take(client, name, folder, most_bytes=most_bytes, tell=tell, by_message=by_message)

    ask(server, question, timeout_seconds=seconds)
    stored = layout.check(folder)
    state = stored.state
    return {
        "stream": name,
        "messages": jetstream.number(state.get("messages")),
        "first_seq": jetstream.number(state.get("first_seq")),
        "last_seq": jetstream.number(state.get("last_seq")),
        "bytes": jetstream.number(state.get("bytes")),
        "consumers": jetstream.number(state.get("consumer_count")),
        "method": stored.method,
        "captured_at": captured_at.isoformat(),
        "stored_bytes": stored.data.stat().st_size,
    }


async def _take(
    client: Client,
    name: str,
    folder: Path,
    *,
    most_bytes: int,
    tell: Progress,
    by_message: bool = False,
) -> None:
    info = await jetstream.stream(client, name)
    if info is None:
        raise BrokerUnavailable(f"there is no stream {name}", how="answer")
    total = jetstream.number(jetstream.part(info, "state").get("bytes"))
    told = _counted(tell, total)
    if total > most_bytes:
        raise snapshots.no_space(name, folder)
    if not by_message:
        try:
            await snapshots.take(client, name, folder, most_bytes=most_bytes, told=told)
        except snapshots.Refused:  # as of a stream in memory, before 2.15
            files.remove_tree(folder)
            files.private_folder(folder)
        else:
            return
    await messages.take(client, name, folder, info=info, most_bytes=most_bytes, told=told)


def _counted(tell: Progress, total: int) -> Told:
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        tell(min(done, total), total)

    return told


# Looking ----------------------------------------------------------------------------------------


def look(*, server: dict[str, Any], seconds: float, progress: Progress) -> dict[str, Any]:
    """Return what a server is and has: its version, its limits, their use, every stream."""
    del progress

    async def question(client: Client) -> dict[str, Any]:
        account = await jetstream.api(client, "INFO")
        info = client._server_info  # noqa: SLF001  (only the version has a name of its own)
        streams: dict[str, Any] = {}
        total = 1
        while len(streams) < min(total, _MOST_STREAMS):
            said = await jetstream.api(client, "STREAM.LIST", {"offset": len(streams)})
            page = said.get("streams")
            if not isinstance(page, list) or not page:
                break
            for one in page:
                name = str(jetstream.part(one, "config").get("name"))
                streams[name] = {"config": one["config"], "state": jetstream.part(one, "state")}
            total = jetstream.number(said.get("total"))
        return {
            "version": str(info.get("version", "")),
            "cluster": str(info.get("cluster", "")),
            "servers": len(info.get("connect_urls") or ()),
            "id": str(info.get("server_id", "")),
            "account": account,
            "streams": streams,
        }

    return ask(_server(server), question, timeout_seconds=seconds)


def fingerprints(
    *,
    server: dict[str, Any],
    stream: str,
    through: int,
    target: str,
    deadline_seconds: float,
    progress: Progress,
) -> dict[str, Any]:
    """Write a record of each message of a stream into the file `target`."""

    async def question(client: Client) -> dict[str, Any]:
        return await _fingerprints(
            client, stream, through=through, target=Path(target), tell=progress
        )

    return ask(_server(server), question, timeout_seconds=deadline_seconds)


async def _fingerprints(
    client: Client, stream: str, *, through: int, target: Path, tell: Progress
) -> dict[str, Any]:
    info = await jetstream.stream(client, stream) or {}
    state = jetstream.part(info, "state")
    told, count = _counted(tell, jetstream.number(state.get("bytes"))), 0
    with files.writing_to(target.parent), target.open("xb") as file:
        async for message in messages.read(client, stream, state=state, through=through):
            file.write(prints.record(message))
            told(len(message.data))
            count += 1
    consumers = await jetstream.consumers(client, stream)
    return {"messages": count, "state": state, "consumers": [str(c.get("name")) for c in consumers]}


# Back -------------------------------------------------------------------------------------------


def restore(
    *,
    server: dict[str, Any],
    folder: str,
    changes: dict[str, Any],
    aside: str | None,
    scratch: str,
    deadline_seconds: float,
    progress: Progress,
) -> dict[str, Any]:
    """Make a stream of what is in `folder`, its configuration with `changes`; look at the result.

    One that is there is in the way, unless `aside` names a new folder into which it is taken
    before it is removed: it is made again when the other cannot be made.
    """
    stored = layout.check(Path(folder))
    config = {**stored.config, **changes}

    async def question(client: Client) -> dict[str, Any]:
        told = _counted(progress, stored.data.stat().st_size)
        is_aside = await _out_of_the_way(client, stored.name, aside=aside)
        try:
            await _put_back(client, stored, config=config, told=told)
        except Exception:
            if is_aside and aside and await jetstream.stream(client, stored.name) is None:
                old = layout.check(Path(aside))
                await _put_back(client, old, config=old.config, told=lambda _count: None)
            raise
        verdict = await _verdict(client, stored, scratch=Path(scratch))
        verdict["last_seq"] += await numbering.pass_consumers(client, stored.name)
        return verdict

    return ask(_server(server), question, timeout_seconds=deadline_seconds)


async def _put_back(
    client: Client, stored: layout.Stored, *, config: dict[str, Any], told: Told
) -> None:
    is_snapshot = stored.method == layout.SNAPSHOT_METHOD
    way = snapshots.put_back if is_snapshot else republishing.put_back
    await way(client, stored, config=config, told=told)


async def _out_of_the_way(client: Client, name: str, *, aside: str | None) -> bool:
    """Take what stands where a stream is to go aside, and remove it. Return whether it was there.

    Raise ConfigError when that was not asked for, or when somebody writes into it.
    """
    info = await jetstream.stream(client, name)
    if info is None:
        return False
    if republishing.is_unfinished(jetstream.part(info, "config")):
        await jetstream.delete(client, name)  # only a restore that was killed can have made it
        return False
    if aside is None:
        raise ConfigError(
            f"there is a stream {name} already, so nothing was done",
            hint="Stop the application, then say --replace: it is set aside in a folder first.",
        )
    folder = files.private_folder(Path(aside))
    await _take(client, name, folder, most_bytes=files.free_bytes(folder), tell=lambda *_: None)
    stored = layout.check(folder)
    files.sync_file(stored.data)
    files.sync_folder(folder)
    files.sync_folder(folder.parent)
    now = await jetstream.stream(client, name) or {}
    last = jetstream.number(jetstream.part(now, "state").get("last_seq"))
    if last != jetstream.number(stored.state.get("last_seq")):
        raise ConfigError(
            f"somebody writes into stream {name}, so it was not replaced",
            hint="Stop the application first.",
        )
    await jetstream.delete(client, name)
    return True


async def _verdict(client: Client, stored: layout.Stored, *, scratch: Path) -> dict[str, Any]:
    """Return what the stream is now. Raise VerificationFailed when it is not what it should be."""
    info = await jetstream.stream(client, stored.name)
    if info is None:
        raise _differs(stored.name, "it is not there")
    state, old = jetstream.part(info, "state"), stored.state
    now = {key: jetstream.number(state.get(key)) for key in _COUNTED}
    then = {key: jetstream.number(old.get(key)) for key in _COUNTED}
    expires = bool(jetstream.number(jetstream.part(info, "config").get("max_age")))
    # A snapshot may hold messages that came while it was taken, which its state does not count.
    if now["last_seq"] < then["last_seq"]:
        raise _differs(stored.name, f"it ends with {now['last_seq']}, not {then['last_seq']}")
    expired = max(0, then["messages"] - now["messages"])
    if expired and not expires:
        raise _differs(stored.name, f"it has {now['messages']} messages, not {then['messages']}")
    exact = all(now[key] == then[key] for key in ("messages", "first_seq", "last_seq"))
    is_snapshot = stored.method == layout.SNAPSHOT_METHOD
    if exact and is_snapshot and now["bytes"] != then["bytes"]:
        raise _differs(stored.name, f"it has {now['bytes']} bytes, not {then['bytes']}")
    if not is_snapshot:
        await _compare_with_file(client, stored, scratch=scratch)
    consumers = [str(one.get("name")) for one in await jetstream.consumers(client, stored.name)]
    return {**now, "stream": stored.name, "expired": expired, "consumers": consumers,
            "expected_consumers": jetstream.number(old.get("consumer_count")),
            "method": stored.method}  # fmt: skip


_COUNTED: Final = ("messages", "first_seq", "last_seq", "bytes")


async def _compare_with_file(client: Client, stored: layout.Stored, *, scratch: Path) -> None:
    last = jetstream.number(stored.state.get("last_seq"))
    mine, theirs = scratch / "file", scratch / "server"
    with files.writing_to(scratch):
        with mine.open("xb") as file:
            for message in messages.stored(stored.data):
                file.write(prints.record(message))
        await _fingerprints(client, stored.name, through=last, target=theirs, tell=lambda *_: None)
        with mine.open("rb") as one, theirs.open("rb") as other:
            compared = prints.compare(one, other, expired_before=0.0)
    if not compared.agree:
        raise _differs(stored.name, f"message {compared.first_wrong} is not as it was")


def _differs(name: str, how: str) -> VerificationFailed:
    return VerificationFailed(
        f"stream {name} is not what was restored: {how}",
        hint="It was left as it is, for you to look at: nats stream info",
    )


def compare(*, old: str, new: str, expired_before: float, progress: Progress) -> dict[str, Any]:
    del progress
    with Path(old).open("rb") as one, Path(new).open("rb") as other:
        return dataclasses.asdict(prints.compare(one, other, expired_before=expired_before))


def _server(words: dict[str, Any]) -> Server:
    return Server(**{**words, "urls": tuple(words["urls"])})


if __name__ == "__main__":
    sys.exit(
        process.serve(
            {
                "capture": capture,
                "look": look,
                "fingerprints": fingerprints,
                "compare": compare,
                "restore": restore,
            }
        )
    )
