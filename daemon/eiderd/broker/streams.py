"""Binds the streams of NATS: into a backup, and back from one."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from eiderd import beside
from eiderd.broker import look as broker
from eiderd.broker import moving, unfinished
from eiderd.broker.moving import StreamPlan, Wish
from eiderd.config import Settings
from eiderd.errors import ConfigError, EiderError, NoSuchBackup, VerificationFailed
from eiderd.jobs import nats_restore as restore_job
from eiderd.jobs.nats_restore import Returned
from eiderd.maintenance import exchange as exchange_app
from eiderd.outside import archive, clock, copier, files
from eiderd.outside.nats_client import layout, s2, transfer
from eiderd.outside.nats_client.connection import Server
from eiderd.outside.nats_client.layout import Stored
from eiderd.sections.nats import NatsSection
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eiderd.evidence import Checked, StreamsTaken
    from eiderd.model import Backup, Outcome

    Progress = Callable[[str, int, int], None]

_IN_THE_WAY: Final = (
    "Stop the application, then say --replace: what is there is set aside in a folder first."
)


class Check(Protocol):
    """Read an archive once, writing nothing."""

    def __call__(
        self,
        *,
        archive: Path,
        sha256: str | None,
        members: Any,  # noqa: ANN401  (of the catalog, or None)
        id_: str | None,
        beside: Any = None,  # noqa: ANN401
    ) -> Checked: ...


def captured(
    section: NatsSection,
    *,
    folder: Path,
    most_bytes: int,
    deadline_seconds: float,
    progress: Callable[[int, int], None],
) -> StreamsTaken:
    """Take the streams that belong into a backup, each into a folder of its name."""
    try:
        server = broker.server_of(section)
    except ConfigError as error:
        return transfer.nothing(section.backup, why=error.message)
    settle = section.settle or datetime.timedelta(0)
    return transfer.capture(
        server,
        tuple(dict.fromkeys(section.backup)),
        folder=files.private_folder(folder),
        most_bytes=most_bytes,
        settle_seconds=settle.total_seconds(),
        deadline_seconds=deadline_seconds,
        progress=progress,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a person says of another server. The configured one needs none."""

    url: str | None = None
    credentials: Path | None = None
    tls_ca: Path | None = None

    def server(self, section: NatsSection) -> Server:
        """Return the server that is meant. Raise ConfigError."""
        said_more = self.credentials is not None or self.tls_ca is not None
        if self.url is None and said_more:
            raise ConfigError(
                "how to log in is said of another server, and none is named",
                hint="Name it: --server URL; or set what the configured one needs below [nats].",
            )
        if self.url is None or (self.url in section.urls and not said_more):
            return broker.server_of(section)
        try:
            urls = NatsSection.model_validate({"url": self.url}).urls
        except ValidationError as error:
            said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise ConfigError(f"a server {said}", hint="See: eider nats --help") from error
        return Server(
            urls=urls,
            credentials=str(self.credentials.absolute()) if self.credentials else None,
            tls_ca=str(self.tls_ca) if self.tls_ca else None,
        )


# Back -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Streams in folders, to be made on a server."""

    server: Server
    stored: tuple[Stored, ...]
    plans: tuple[StreamPlan, ...]
    wish: Wish


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamMover:
    """Moves streams for one configuration."""

    settings: Settings
    check: Check
    progress: Progress

    @property
    def _deadline(self) -> float:
        return self.settings.backup.deadline.total_seconds()

    def _phase(self, name: str) -> Callable[[int, int], None]:
        return functools.partial(self.progress, name)

    @contextlib.contextmanager
    def restoring(
        self, source: Backup | Path, *, wanted: Sequence[str], login: Login, wish: Wish
    ) -> Iterator[Streams]:
        """Yield the streams of a backup, an archive or a folder, with what making them will be.

        Raise what refuses all of them: no such stream, a bad archive, no server.
        """
        server = login.server(self.settings.nats)
        with files.scratch(self.settings.service.state / "scratch") as scratch:
            folders = self._folders(source, scratch=scratch)
            stored = _chosen([layout.check(folder) for folder in folders], wanted=wanted)
            plans = _plans(stored, there=transfer.look(server), wish=wish)
            yield Streams(
                server=server,
                stored=stored,
                plans=tuple(self._warned(plan, server=server) for plan in plans),
                wish=wish,
            )

    def _warned(self, plan: StreamPlan, *, server: Server) -> StreamPlan:
        """Say of a stream what an earlier run left."""
        begun = unfinished.of(self.settings, stream=plan.stream, server=server.shown)
        if not begun:
            return plan
        said = f"an earlier replacement {begun[0].said}"
        return dataclasses.replace(plan, warnings=(said, *plan.warnings))

    def restore(self, streams: Streams) -> Outcome[tuple[Returned, ...]]:
        """Make the streams. Raise before the first when there is a problem with one."""
        refuse(streams.plans, in_the_way=_IN_THE_WAY)
        by_name = {one.name: one for one in streams.stored}
        stamp = exchange_app.stamp()

        def put_back(name: str) -> Returned:
            aside = self._aside(name, stamp) if streams.wish.replace else None
            return self._put_back(streams, by_name[name], aside=aside)

        return restore_job.run(streams=list(by_name), put_back=put_back)

    def _put_back(self, streams: Streams, stored: Stored, *, aside: Path | None) -> Returned:
        with (
            files.scratch(self.settings.service.state / "scratch") as scratch,
            self._telling(stored.name, server=streams.server),
        ):
            said = transfer.restore(
                streams.server,
                stored.folder,
                changes=streams.wish.changes(),
                aside=aside,
                scratch=scratch,
                deadline_seconds=self._deadline,
                progress=self._phase(f"stream {plain(stored.name)}"),
            )
            unfinished.end(self.settings, stream=stored.name, server=streams.server.shown)
        return Returned(
            stream=stored.name,
            messages=said["messages"],
            first_seq=said["first_seq"],
            last_seq=said["last_seq"],
            bytes=said["bytes"],
            method=stored.method,
            consumers=tuple(said["consumers"]),
            expired=said["expired"],
            warnings=tuple(said["warnings"]),
            aside=str(aside) if aside and aside.exists() else None,
        )

    @contextlib.contextmanager
    def _telling(self, stream: str, *, server: Server) -> Iterator[None]:
        """Whatever fails while a stream is not back, nobody has to look for what it held."""
        try:
            yield
        except EiderError as error:
            if begun := unfinished.of(self.settings, stream=stream, server=server.shown):
                command = begun[0].command(configured=unfinished.configured(self.settings))
                error.hint = (
                    f"What was there before is in {begun[0].folder}. Put it back: {command}"
                )
            raise

    def _aside(self, name: str, stamp: str) -> Path:
        return unfinished.folder(self.settings) / f"{name}-{stamp}"

    def _folders(self, source: Backup | Path, *, scratch: Path) -> list[Path]:
        """Return the folders with the streams of a source, unpacked if they are in an archive."""
        if isinstance(source, Path) and source.is_dir():
            return _folders_in(source)
        path = source if isinstance(source, Path) else self._archive(source)
        checked = self._checked(source)
        if checked.damage:
            raise VerificationFailed(
                f"{path.name} cannot be trusted: {checked.message}",
                hint="Take another one: eider list",
            )
        copier.unpack_extras(
            archive=path,
            folder=scratch,
            members=checked.members,
            inside=archive.STREAM_FOLDER,
            deadline_seconds=self._deadline,
            progress=self._phase("unpack"),
        )
        inside = scratch / archive.STREAM_FOLDER
        if not inside.is_dir():
            raise NoSuchBackup(f"there is no stream of NATS in {path.name}", hint="eider list")
        return sorted(inside.iterdir())

    def _archive(self, backup: Backup) -> Path:
        return self.settings.backup.directory / backup.archive

    def _checked(self, source: Backup | Path) -> Checked:
        if isinstance(source, Path):
            sha256 = beside.sidecar_sha256(source)
            record = beside.record(source)
            return self.check(archive=source, sha256=sha256, members=None, id_=None, beside=record)
        return self.check(
            archive=self._archive(source),
            sha256=source.sha256,
            members=source.members,
            id_=source.id,
        )


# What these use ---------------------------------------------------------------------------------


def _plans(
    stored: Sequence[Stored], *, there: dict[str, Any], wish: Wish
) -> tuple[StreamPlan, ...]:
    return tuple(
        moving.plan(
            config=one.config,
            state=one.state,
            method=one.method,
            needs_newer=one.method == layout.SNAPSHOT_METHOD and s2.is_archive(one.data),
            there=there,
            wish=wish,
            now=clock.now(),
        )
        for one in stored
    )


def refuse(plans: Sequence[StreamPlan], *, in_the_way: str) -> None:
    """Raise ConfigError when something speaks against one of them.

    `in_the_way` is the hint about a stream that is there already.
    """
    for plan in plans:
        if plan.problems:
            hint = in_the_way if plan.in_the_way else "See all of it: --dry-run"
            raise ConfigError(
                f"stream {plain(plan.stream)} cannot be made there: {plan.problems[0]}", hint=hint
            )


def _folders_in(folder: Path) -> list[Path]:
    """Return the folder itself, or those in it, as `nats account backup` writes them."""
    if (folder / layout.DESCRIPTION).is_file():
        return [folder]
    inside = sorted(path.parent for path in folder.glob(f"*/{layout.DESCRIPTION}"))
    if not inside:
        raise NoSuchBackup(
            f"there is no backup of a stream in {folder}",
            hint="Name a backup (eider list), or a folder that `nats stream backup` wrote.",
        )
    return inside


def _chosen(stored: Sequence[Stored], *, wanted: Sequence[str]) -> tuple[Stored, ...]:
    known = {one.name: one for one in stored}
    for name in wanted:
        if name not in known:
            raise NoSuchBackup(
                f"there is no stream {plain(name)} in it, only {plain(', '.join(known))}",
                hint="eider show",
            )
    return tuple(known[name] for name in (wanted or known))
