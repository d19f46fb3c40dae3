"""Moves streams of NATS from one server to another, and compares what is on both."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eiderd.broker import moving
from eiderd.broker import streams as streams_app
from eiderd.broker.evidence import is_name, is_unfinished, number
from eiderd.broker.moving import StreamPlan, Wish
from eiderd.errors import BrokerUnavailable, ConfigError, VerificationFailed
from eiderd.jobs import migrate as job
from eiderd.jobs.migrate import Agreement, Moved
from eiderd.outside import clock, files
from eiderd.outside.nats_client import layout, transfer
from eiderd.outside.nats_client.connection import Server
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eiderd.broker.streams import Login
    from eiderd.config import Settings
    from eiderd.model import Outcome

_IN_THE_WAY: Final = (
    "A move replaces nothing: see that --to is another server, account or domain, or name the "
    "other streams."
)


@contextlib.contextmanager
def migrating(
    settings: Settings,
    *,
    wanted: Sequence[str],
    old: Login,
    new: Login,
    wish: Wish,
    progress: Callable[[str, int, int], None],
) -> Iterator[Migration]:
    """Yield what moving streams from one server to another will be.

    Raise what refuses all of it: no such stream, no server.
    """
    servers = old.server(settings.nats), new.server(settings.nats)
    here, there = (transfer.look(server) for server in servers)
    names = _names(here, wanted=wanted)
    # What a newer server packs, an older one cannot read: then one message after the other.
    by_message = moving.version_of(here["version"]) >= (2, 15) > moving.version_of(there["version"])
    plans = tuple(
        moving.plan(
            config=here["streams"][name]["config"],
            state=here["streams"][name]["state"],
            method=_method(here["streams"][name], here, by_message=by_message),
            needs_newer=False,
            there=there,
            wish=wish,
            now=clock.now(),
        )
        for name in names
    )
    with files.scratch(settings.service.state / "scratch") as scratch:
        yield Migration(
            deadline_seconds=settings.backup.deadline.total_seconds(),
            progress=progress,
            old=servers[0],
            new=servers[1],
            plans=plans,
            wish=wish,
            by_message=by_message,
            scratch=scratch,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A move of streams that is planned."""

    deadline_seconds: float
    progress: Callable[[str, int, int], None]
    old: Server
    new: Server
    plans: tuple[StreamPlan, ...]
    wish: Wish
    by_message: bool
    scratch: Path

    def run(self) -> Outcome[tuple[Moved, ...]]:
        """Move them. Raise before the first when there is a problem with one."""
        streams_app.refuse(self.plans, in_the_way=_IN_THE_WAY)
        return job.run(streams=[one.stream for one in self.plans], move=self._move)

    def _move(self, name: str) -> Moved:
        folder = files.private_folder(self.scratch / "taken")
        taken = transfer.capture(
            self.old,
            [name],
            folder=folder,
            most_bytes=files.free_bytes(folder),
            settle_seconds=0.0,
            deadline_seconds=self.deadline_seconds,
            by_message=self.by_message,
            progress=self._phase(f"read {plain(name)}"),
        )
        if taken.missing:
            raise VerificationFailed(
                f"stream {plain(name)} cannot be read: {plain(taken.missing[0].why)}",
                hint="Nothing was moved of it. See how it is: eider nats status",
            )
        said = transfer.restore(
            self.new,
            folder / name,
            changes=self.wish.changes(),
            aside=None,
            scratch=files.private_folder(self.scratch / "look" / name),
            deadline_seconds=self.deadline_seconds,
            progress=self._phase(f"write {plain(name)}"),
        )
        agreement = self._agreement(name, through=taken.taken[0].last_seq)
        files.remove_tree(folder)
        return Moved(
            stream=name,
            messages=said["messages"],
            first_seq=said["first_seq"],
            last_seq=said["last_seq"],
            bytes=said["bytes"],
            method=said["method"],
            agreement=agreement,
        )

    def _phase(self, name: str) -> Callable[[int, int], None]:
        return functools.partial(self.progress, name)

    def _agreement(self, name: str, *, through: int) -> Agreement:
        """Compare both, message by message, up to the last one that was taken."""
        prints = [self.scratch / f"{word}-{name}.prints" for word in ("old", "new")]
        old, new = (
            transfer.fingerprints(
                server,
                name,
                through=through,
                target=path,
                deadline_seconds=self.deadline_seconds,
                progress=self._phase(f"compare {plain(name)}"),
            )
            for server, path in zip((self.old, self.new), prints, strict=True)
        )
        max_age = self._max_age(name)
        before = clock.now().timestamp() - max_age if max_age else 0.0
        found = transfer.compare(
            *prints, expired_before=before, deadline_seconds=self.deadline_seconds
        )
        consumers = [one for one in old["consumers"] if one not in new["consumers"]]
        wrong = ""
        if found["missing"] or found["different"]:
            wrong = f"message {found['first_wrong']} is missing or different"
        elif consumers:
            wrong = f"consumer {plain(consumers[0])} is missing"
        return Agreement(
            same=found["same"],
            gone=found["gone"],
            later=max(0, number(old["state"].get("last_seq")) - through),
            consumers=tuple(new["consumers"]),
            wrong=wrong,
        )

    def _max_age(self, name: str) -> float:
        if self.wish.keep_expired:
            return 0.0
        folder = self.scratch / "taken" / name
        return number(layout.read(folder).config.get("max_age")) / 1e9


# What these use ---------------------------------------------------------------------------------


def _method(stream: dict[str, Any], here: dict[str, Any], *, by_message: bool) -> str:
    old = moving.version_of(here["version"]) < (2, 15)
    one_by_one = by_message or (old and stream["config"].get("storage") == "memory")
    return layout.MESSAGES_METHOD if one_by_one else layout.SNAPSHOT_METHOD


def _names(here: dict[str, Any], *, wanted: Sequence[str]) -> list[str]:
    """Return the streams that are meant: those named, or all but eiderd's own unfinished ones."""
    for name in wanted:
        if name not in here["streams"]:
            raise ConfigError(
                f"there is no stream {plain(name)} there, only "
                f"{plain(', '.join(here['streams']) or 'none')}",
                hint="See: eider nats status",
            )
    if here.get("unknown") and not wanted:
        raise BrokerUnavailable(
            plain(here["unknown"]),
            hint="Bring the cluster back; or name the streams to move.",
            how="answer",
        )
    others = (name for name, one in here["streams"].items() if not is_unfinished(one["config"]))
    names = list(wanted or others)
    for name in names:
        if not is_name(name):  # it becomes the name of a folder
            raise ConfigError(
                f"the server says that a stream is called {plain(name)!r}, which none can be",
                hint="Is it the server that is meant? Else name the streams to move.",
            )
    return names
