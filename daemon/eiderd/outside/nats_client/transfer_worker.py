"""The child that moves streams: out of NATS into a folder, and back. Started by `transfer`."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eiderd.broker.evidence import is_name, is_unfinished
from eiderd.errors import BrokerUnavailable, ConfigError, EiderError
from eiderd.outside import clock, files, process
from eiderd.outside.nats_client import (
    jetstream,
    layout,
    messages,
    numbering,
    prints,
    replacing,
    republishing,
    snapshots,
    verdict,
)
from eiderd.outside.nats_client.connection import Server, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client

    Told = Callable[[int], None]
    Progress = Callable[[int, int], None]

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
        if not is_name(name):  # it is not made a path, nor removed as one
            missing.append({"stream": name, "why": "no stream can be called so"})
            continue
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
        unknown = ""
        try:
            listed = await jetstream.listed(client, "STREAM.LIST", "streams")
        except jetstream.PartlyKnown as error:
            listed, unknown = error.found, error.message
        for one in listed:
            config = jetstream.part(one, "config")
            streams[str(config.get("name"))] = {
                "config": config,
                "state": jetstream.part(one, "state"),
            }
        return {
            "version": str(info.get("version", "")),
            "cluster": str(info.get("cluster", "")),
            "servers": len(info.get("connect_urls") or ()),
            "id": str(info.get("server_id", "")),
            "account": account,
            "streams": streams,
            "unknown": unknown,  # why these are not all
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
        info = await jetstream.stream(client, stream) or {}
        state = jetstream.part(info, "state")
        told = _counted(progress, jetstream.number(state.get("bytes")))
        count = await verdict.write_fingerprints(
            client, stream, state=state, through=through, target=Path(target), told=told
        )
        consumers = [str(one.get("name")) for one in await jetstream.consumers(client, stream)]
        return {"messages": count, "state": state, "consumers": consumers}

    return ask(_server(server), question, timeout_seconds=deadline_seconds)


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
    before it is removed: it is made again when the other cannot be made. From its removal until
    one of them was looked at, a record in that folder says so.
    """
    stored = layout.check(Path(folder))
    config = {**stored.config, **changes}
    where = _server(server)

    async def question(client: Client) -> dict[str, Any]:
        told = _counted(progress, stored.data.stat().st_size)
        old = await _out_of_the_way(client, stored.name, aside=aside, shown=where.shown)
        try:
            await _put_back(client, stored, config=config, told=told)
        except Exception:
            if old and await jetstream.stream(client, stored.name) is None:
                await _put_back(client, old, config=old.config, told=lambda _count: None)
                await _looked_at(client, old, scratch=Path(scratch))
                replacing.end(old.folder)
            raise
        said = await _looked_at(client, stored, scratch=Path(scratch))
        if old:
            replacing.end(old.folder)
        return said

    return ask(where, question, timeout_seconds=deadline_seconds)


async def _put_back(
    client: Client, stored: layout.Stored, *, config: dict[str, Any], told: Told
) -> None:
    is_snapshot = stored.method == layout.SNAPSHOT_METHOD
    way = snapshots.put_back if is_snapshot else republishing.put_back
    await way(client, stored, config=config, told=told)


async def _looked_at(client: Client, stored: layout.Stored, *, scratch: Path) -> dict[str, Any]:
    await verdict.await_consumers(client, stored)
    await numbering.pass_consumers(client, stored.name)
    return await verdict.look_at(client, stored, scratch=scratch)


async def _out_of_the_way(
    client: Client, name: str, *, aside: str | None, shown: str
) -> layout.Stored | None:
    """Take what stands where a stream is to go aside, and remove it. Return it if it was there.

    Raise ConfigError when that was not asked for, or when somebody writes into it.
    """
    info = await jetstream.stream(client, name)
    if info is None:
        return None
    if is_unfinished(jetstream.part(info, "config")):
        await jetstream.delete(client, name)  # only a restore that was killed can have made it
        return None
    if aside is None:
        raise ConfigError(
            f"there is a stream {name} already, so nothing was done",
            hint="Stop the application, then say --replace: it is set aside in a folder first.",
        )
    folder = _new_folder(Path(aside))
    try:
        stored = await _set_aside(client, name, folder)
    except BaseException:
        files.remove_tree(folder)  # the stream is as it was
        raise
    replacing.begin(folder, stream=name, server=shown, at=clock.now())
    await jetstream.delete(client, name)
    return stored


def _new_folder(path: Path) -> Path:
    """Make a folder that is not there: what another run has set aside is never written over."""
    files.private_folder(path.parent)
    with files.writing_to(path):
        path.mkdir(mode=files.PRIVATE_FOLDER)
    return path


async def _set_aside(client: Client, name: str, folder: Path) -> layout.Stored:
    """Take a stream into a folder, and see it on disk there."""
    await _take(client, name, folder, most_bytes=files.free_bytes(folder), tell=lambda *_: None)
    stored = layout.check(folder)
    files.sync_file(stored.data)
    now = await jetstream.stream(client, name) or {}
    last = jetstream.number(jetstream.part(now, "state").get("last_seq"))
    if last != jetstream.number(stored.state.get("last_seq")):
        raise ConfigError(
            f"somebody writes into stream {name}, so it was not replaced",
            hint="Stop the application first.",
        )
    return stored


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
