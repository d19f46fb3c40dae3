"""Looks at the schema, in the mirror: for the service every few minutes, for `eider schema` now.

The live database is only read, as a backup reads it. Nobody waits for a look: it gives way to
whatever wants into the store.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from eiderd import room
from eiderd.errors import Busy, ConfigError, EiderError, NotConverged
from eiderd.jobs import mirror as mirror_job
from eiderd.model import Outcome
from eiderd.outside import duckdb_file, engine, files, mark, unchanged
from eiderd.outside.application import version
from eiderd.schema import facts as schema_facts
from eiderd.schema.facts import Described, Facts, Known, Replay, Seen, Table
from eiderd.units import NEVER
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from eiderd.config import Settings
    from eiderd.evidence import Captured
    from eiderd.kit import Progress
    from eiderd.model import Backup
    from eiderd.outside.engine import Bounds, Engines

FRESH_SECONDS: Final = 60.0
_DEADLINE_SECONDS: Final = 120.0
# Where no filesystem shares blocks, a larger database is not copied for a look.
_SPARE_BYTES: Final = 500_000_000
_FILE: Final = "schema.json"
_LARGEST: Final = 4 << 20
_KNOWN: Final = TypeAdapter(Known)
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def recall(state: Path) -> Known:
    """Return what the last look of the service found. What cannot be read was never known."""
    with contextlib.suppress(OSError, ValueError, ValidationError, EiderError):
        return _KNOWN.validate_json(files.read_regular(state / _FILE, most=_LARGEST))
    return Known()


def remember(state: Path, known: Known) -> None:
    with files.writing_to(state):
        files.replace(state / _FILE, _KNOWN.dump_json(known))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A look for a person. `why_old` says why the mirror could not be brought up to date."""

    facts: Facts
    mirrored_at: datetime.datetime
    why_old: str
    tables: tuple[str, ...]
    table: Described | None


class SchemaLook:
    """The tools of one configuration. `collect` makes what refreshes the mirror, `spare` holds it.

    `needs` says what room that takes. `newest` has the id of the newest verified backup, empty when
    there is none, and `recorded` all that is known of it.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        engines: Engines,
        bounds: Bounds,
        collect: Callable[..., Callable[..., Captured]],
        needs: Callable[[], tuple[room.Need, room.Need]],
        newest: Callable[[], str],
        recorded: Callable[[str], Backup],
        spare: Callable[[], AbstractContextManager[Callable[[], None]]],
        progress: Progress,
    ) -> None:
        self.settings = settings
        self.engines = engines
        self.bounds = bounds
        self.collect = collect
        self.needs = needs
        self.newest = newest
        self.recorded = recorded
        self.spare = spare
        self.progress = progress

    # For the service ------------------------------------------------------------------------------

    def follow(self, known: Known, *, unsure: bool, at: datetime.datetime) -> Outcome[Known]:
        """Return what is known after this turn. `unsure`: the last look has to be confirmed."""
        there = not self.settings.mirror.keep or self._mirrored.exists()
        taken = self._is_compared(known, at=at)
        question = self._question(known, taken=taken) if there else ""
        outcome = mirror_job.follow(
            there=there,
            written=taken or question != known.question,
            unsure=unsure and self.settings.mirror.keep,
            look=functools.partial(self._looked, taken=taken, at=at),
        )
        if outcome.value:
            facts = known.named(outcome.value, application=self._heard(), at=at)
            # A mirror that is taken as it is may be older than what the question stands for.
            known = known.and_then(facts, question="" if taken else question)
        elif known.latest:
            facts = known.named(known.latest, application=self._heard(), at=at)
            if facts.application != known.latest.application:
                # The same schema under another application: as good as another look.
                facts = dataclasses.replace(facts, at=at, thorough=False)
                known = known.and_then(facts, question=known.question)
        stamp = self._stamp()
        known = dataclasses.replace(known, refreshed_at=_time(stamp[1]) if stamp else None)
        return Outcome(ending=outcome.ending, value=known, why=outcome.why)

    def _question(self, known: Known, *, taken: bool) -> str:
        """Return what differs when a look would tell something new."""
        interpreter, table = self.engines.interpreter(), self.settings.schema_.table
        if not self.settings.mirror.keep:
            return f"backup {self.newest()}"
        if self._is_still:
            return "" if taken else known.question
        return f"{unchanged.signature(self.settings.database.path)} {interpreter} {table}"

    def _is_compared(self, known: Known, *, at: datetime.datetime) -> bool:
        """Say whether a backup has just brought the mirror up to date, comparing every byte."""
        stamp, mirror = self._stamp(), self._mirrored
        if not self.settings.mirror.keep or stamp is None:
            return False
        is_anothers = _time(stamp[1]) != known.refreshed_at
        is_new = self._is_still or _age_seconds(stamp, at=at) < FRESH_SECONDS
        return is_anothers and is_new and mark.was_thorough(mirror.parent, name=mirror.name)

    @property
    def _is_still(self) -> bool:
        """Whether only backups bring the mirror up to date."""
        return self.settings.mirror.interval == NEVER

    def _looked(self, *, thorough: bool, taken: bool, at: datetime.datetime) -> Facts:
        if not self.settings.mirror.keep:
            return self._recorded(at=at)
        with self._scratch() as scratch, self.spare() as give_way:
            if not taken:
                self._bring_up(thorough=thorough, give_way=give_way)
            seen, _answer = self._ask(scratch)
            return self._facts(seen, thorough=thorough or taken, at=at)

    def _recorded(self, *, at: datetime.datetime) -> Facts:
        """Return what the newest verified backup says, which was compared byte by byte."""
        name = self.newest()
        if not name:
            return Facts(at=at, thorough=True, seen=Seen())
        newest = self.recorded(name)
        content = newest.content
        return Facts(
            at=newest.created_at,
            thorough=True,
            created_by=newest.source.engine,
            wal_bytes=newest.consistency.wal_bytes,
            seen=Seen(
                engine=newest.proof.engine or "",
                asked=newest.proof.engine or "",
                replay=Replay.YES,
                table=Table.UNREAD if content.schema_version is None else Table.FILLED,
                version=content.schema_version,
                digest=content.schema_digest,
                tables=len(content.tables),
                indexes=newest.proof.indexes,
            ),
        )

    def _heard(self) -> str | None:
        """Return what the application says of its version now, None when it says nothing."""
        wanted = self.settings.application
        if wanted.version_url:
            return version.by_url(wanted.version_url, field=wanted.version_field)
        if wanted.version_command:
            return version.by_command(wanted.version_command)
        return wanted.version

    # For a person ---------------------------------------------------------------------------------

    def now(
        self, *, at: datetime.datetime, table: str | None = None, thorough: bool = False
    ) -> Shown:
        """Look at the schema as it is now, or, while the store is busy, as it was at last.

        Raise Busy when there is no mirror to look at, or it is written meanwhile, and ConfigError
        when there is no such table.
        """
        with self._scratch() as scratch, contextlib.ExitStack() as held:
            why_old = self._bring_up_for(held, at=at, thorough=thorough)
            before = self._stamp()
            if before is None:
                raise Busy(
                    f"there is no mirror to look at yet: {why_old or 'it was removed'}",
                    hint="Run the same command again in a moment.",
                )
            seen, answer = self._ask(scratch, table=table)
            facts = self._facts(seen, thorough=thorough and not why_old, at=at)
            if self._stamp() != before:
                raise Busy(
                    "the mirror was brought up to date meanwhile",
                    hint="Run the same command again.",
                )
        tables = tuple(answer.get("tables") or ())
        if table and not answer.get("table"):
            raise _no_table(table, tables, seen)
        heard = self._heard()
        return Shown(
            facts=dataclasses.replace(facts, application=heard, heard_at=at if heard else None),
            mirrored_at=_time(before[1]),
            why_old=why_old,
            tables=tables,
            table=schema_facts.described(answer["table"]) if table else None,
        )

    def _bring_up_for(
        self, held: contextlib.ExitStack, *, at: datetime.datetime, thorough: bool
    ) -> str:
        """Refresh an old mirror, if nobody is in the store. Return why not, if not."""
        stamp = self._stamp()
        if stamp and not thorough and _age_seconds(stamp, at=at) < FRESH_SECONDS:
            return ""
        try:
            give_way = held.enter_context(self.spare())
            if not self.settings.mirror.keep:
                held.callback(files.remove_tree, self._mirrored.parent)
            self._bring_up(thorough=thorough, give_way=give_way)
        except (Busy, NotConverged) as error:
            return error.message
        return ""

    # The mirror and the engine --------------------------------------------------------------------

    @property
    def _mirrored(self) -> Path:
        return self.settings.service.state / "mirror" / self.settings.database.path.name

    def _stamp(self) -> tuple[int, int] | None:
        return mark.stamp(self._mirrored.parent, name=self._mirrored.name)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        files.private_folder(self.settings.service.state)
        with files.scratch(self.settings.service.state / "scratch") as folder:
            yield folder

    def _bring_up(self, *, thorough: bool, give_way: Callable[[], None]) -> None:
        need, _archive = self.needs()
        room.ensure((need,), critical_bytes=self.settings.disk.critical, what="a mirror")

        def told(done: int, total: int) -> None:
            give_way()
            self.progress("copy", done, total)

        self.collect(thorough=thorough)(progress=told)

    def _ask(self, scratch: Path, *, table: str | None = None) -> tuple[Seen, dict[str, Any]]:
        """Ask the application's engine; when it cannot open the mirror, eiderd's own as well."""
        interpreter = self.engines.interpreter()
        answer = self._answer(interpreter, scratch=scratch, table=table)
        seen = self._seen(answer)
        own = Path(sys.executable)
        if seen.replay is Replay.NO and interpreter != own:
            second = self._answer(own, scratch=scratch, table=table)
            return schema_facts.beside(seen, self._seen(second)), second
        return seen, answer

    def _answer(self, interpreter: Path, *, scratch: Path, table: str | None) -> dict[str, Any]:
        seconds = min(self.bounds.deadline_seconds, _DEADLINE_SECONDS)
        return engine.ask_schema(
            database=self._mirrored,
            interpreter=interpreter,
            scratch=scratch,
            bounds=dataclasses.replace(self.bounds, deadline_seconds=seconds),
            schema_table=self.settings.schema_.table,
            spare_bytes=_SPARE_BYTES,
            table=table,
        )

    def _seen(self, answer: dict[str, Any]) -> Seen:
        runs = (self.engines.application or "").removeprefix("v")
        seen = schema_facts.seen(answer, by_application=answer["engine"] == runs)
        # The path of a copy tells nobody anything.
        return dataclasses.replace(seen, why=seen.why.replace(f"{self._mirrored.parent}/", ""))

    def _facts(self, seen: Seen, *, thorough: bool, at: datetime.datetime) -> Facts:
        with files.reading_own(self._mirrored), self._mirrored.open("rb") as file:
            headers = duckdb_file.read_headers(
                file.read(duckdb_file.HEADER_BYTES), of=self._mirrored
            )
        logs = duckdb_file.wal_names(self._mirrored.name)
        present = (path for name in logs if (path := self._mirrored.with_name(name)).exists())
        return Facts(
            at=at,
            thorough=thorough,
            seen=seen,
            created_by=headers.engine,
            wal_bytes=sum(path.stat().st_size for path in present),
        )


def _no_table(table: str, tables: tuple[str, ...], seen: Seen) -> EiderError:
    if seen.replay is not Replay.YES and not tables:
        return ConfigError(
            f"the mirror cannot be opened: {plain(seen.why)}",
            hint="See the whole: eider schema",
        )
    some = ", ".join(plain(name) for name in tables[:20])
    return ConfigError(f"there is no table {table!r}", hint=f"There are: {some}")


def _age_seconds(stamp: tuple[int, int], *, at: datetime.datetime) -> float:
    return abs((at - _time(stamp[1])).total_seconds())  # one from the future is as strange as old


def _time(nanoseconds: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(microseconds=nanoseconds // 1000)
