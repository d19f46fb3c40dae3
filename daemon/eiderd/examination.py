"""Lets the doctor look: gathers what is there, asks nothing of a disk that does not answer.

Nothing is written. What touches a disk in this process does so only after a child has shown, within
a deadline, that the disk answers.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd import doctor, kept, own_folders, room
from eiderd.app import App
from eiderd.errors import EiderError, NotPermitted
from eiderd.evidence import EngineSeen
from eiderd.health import Kind
from eiderd.lookout import look_around
from eiderd.outside import environments, looks, rights, sandbox
from eiderd.outside.application import looking
from eiderd.setup import in_force

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable, Iterator

    from eiderd.config import Settings
    from eiderd.doctor import Check
    from eiderd.evidence import DatabaseSeen, FolderSeen

# What App.problems() says of these has been looked at more closely.
_LOOKED_AT: Final = (
    "database.path:",
    "backup.directory:",
    "service.state:",
    "engine.others:",
    "application.unit:",
)


def examine(
    settings: Settings,
    file: Path | None,
    *,
    at: datetime.datetime,
    zone: datetime.tzinfo,
    typed: str = "eider doctor",
) -> tuple[Check, ...]:
    """Return every check there is, in the order in which a person reads them.

    To a person who may not look into eiderd's folders, it says that and judges nothing. `typed` is
    what to type with other rights then.
    """
    missing = looks.missing_tools()
    checks = [*_machine(file), doctor.of_tools(missing)]
    if missing:  # without them no child can be started, and nothing is asked without one
        return tuple(checks)
    return (*checks, *_Examination(settings, file, at=at, zone=zone, typed=typed).run())


def refused(error: EiderError) -> tuple[Check, ...]:
    """Return what there is to say when the configuration cannot be meant."""
    return (
        doctor.Check(
            name="configuration",
            mark=doctor.Mark.PROBLEM,
            said=error.message.replace(":\n  - ", ": ", 1).replace("\n  - ", "; "),
            command=error.hint,
        ),
        doctor.of_python(looks.python_version()),
        doctor.of_tools(looks.missing_tools()),
    )


def _machine(file: Path | None) -> Iterator[Check]:
    try:
        owner, group, mode = looks.owner_and_mode(file) if file else ("", "", 0)
        path = str(file) if file else None
        yield doctor.of_configuration(path, owner=owner, group=group, mode=mode)
    except EiderError as error:
        yield doctor.unseen("configuration", why=error.message, command=error.hint)
    yield doctor.of_python(looks.python_version())


class _Examination:
    """One visit. `answers`: every disk has answered, so this process may ask them too."""

    def __init__(
        self,
        settings: Settings,
        file: Path | None,
        *,
        at: datetime.datetime,
        zone: datetime.tzinfo,
        typed: str,
    ) -> None:
        self._settings, self._file, self._typed = settings, file, typed
        self._app = App(settings)
        self._at, self._zone = at, zone
        self._groups = sandbox.groups_of_the_service() if looks.me() == "root" else ()
        self._answers = True
        self._is_barred = False
        self._database: DatabaseSeen | None = None
        self._folders: dict[str, FolderSeen] = {}

    def run(self) -> Iterator[Check]:
        settings = self._settings
        state, backups = settings.service.state, settings.backup.directory
        folders = [
            check
            for name, path in (("state", state), ("backups", backups))
            for check in self._seen(name, functools.partial(self._look_at, name, path))
        ]
        if self._is_barred and rights.is_stranger(state):
            yield from folders[:1]  # nothing else would be true with these eyes
            return
        yield from self._seen("database", self._look_at_database)
        yield from folders
        yield from self._of_folders()
        yield from doctor.of_engines(
            tuple(self._engines()), application=settings.engine.application
        )
        if self._answers:
            yield from self._told()
        yield from self._seen("application", self._of_application)
        yield from self._seen("sandbox", self._of_sandbox)

    def _seen(self, name: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
        try:
            yield from list(look())
        except EiderError as error:
            if name in {"database", "state", "backups"}:
                self._answers = False
            if isinstance(error, NotPermitted):
                self._is_barred = True
            yield doctor.unseen(name, why=error.message, command=error.hint)

    def _look_at_database(self) -> Iterable[Check]:
        path = self._settings.database.path
        self._database = looks.database(path, state=self._settings.service.state)
        return (
            *doctor.of_database(str(path), self._database),
            *kept.of_database(self._database, at=self._at),
        )

    def _look_at(self, name: str, path: Path) -> Iterable[Check]:
        state = self._settings.service.state
        seen = looks.folder(path, state=state, groups=self._groups)
        # Its disk has answered a child: this process may ask it now.
        rights.ensure_visible((path,), state=state, verb=self._typed)
        self._folders[name] = seen
        return ()

    def _of_folders(self) -> Iterator[Check]:
        paths = {"state": self._settings.service.state, "backups": self._settings.backup.directory}
        busy = bool(self._answers and self._app.journal.running())
        for name, seen in self._folders.items():
            yield from own_folders.of_folder(
                name,
                str(paths[name]),
                seen,
                user=self._keeper() if looks.me() == "root" else looks.me(),
                keeper=self._keeper(),
                database_device=self._database.device if self._database else 0,
                busy=busy,
            )
            yield from kept.of_folders(seen.kept, at=self._at)

    def _keeper(self) -> str:
        """Return whose eiderd's folders are, or will be."""
        state = self._folders.get("state")
        return state.owner if state and state.exists else looks.me()

    def _engines(self) -> Iterator[EngineSeen]:
        chosen = self._app.engines()
        every = {"": Path(sys.executable), **chosen.others}
        for version, interpreter in every.items():
            proves = interpreter == chosen.interpreter()
            found = environments.trial(interpreter, spatial=proves)
            wrong = found.version != version if version and found.version else False
            yield EngineSeen(
                version=version or found.version,
                bundled=not version,
                problem=found.problem or (f"it is DuckDB {found.version}" if wrong else ""),
                spatial=found.spatial,
            )

    def _told(self) -> Iterator[Check]:
        """Return what the watchers, the catalog and the journal say."""
        yield from self._seen("room", self._of_room)
        status = look_around(self._settings, at=self._at, zone=self._zone)
        newest = status.newest_verified
        yield from doctor.of_backups(
            age_seconds=status.age_seconds,
            fresh_seconds=status.fresh_seconds,
            newest=newest.id if newest else "",
            rules=self._settings.retention.model_dump(exclude_none=True),
            known=not status.is_blind,
        )
        yield from doctor.of_findings(status.findings)
        others = [said for said in self._app.problems() if not said.startswith(_LOOKED_AT)]
        yield from doctor.of_problems(others)
        trouble = self._app.journal.trouble
        runs = sum(status.totals.runs.values())
        yield doctor.of_journal(
            trouble.message if trouble else "", command=trouble.hint if trouble else "", runs=runs
        )
        doubtful = any(found.kind is Kind.CLOCK_JUMPED for found in status.findings)
        yield doctor.of_clock(doubtful=doubtful, synchronised=looks.is_clock_synchronised())
        server = self._settings.server
        yield doctor.of_service(
            running=status.service.since is not None,
            address=server.listen,
            seen=looks.service(server.address, tls=server.tls_certificate is not None),
        )

    def _of_room(self) -> Iterable[Check]:
        needs = self._app.needs()
        try:
            room.ensure(needs, critical_bytes=self._settings.disk.critical)
        except EiderError as error:
            return (doctor.of_room(error.message, command=error.hint, needed=0),)
        return (doctor.of_room("", command="", needed=sum(need.bytes for need in needs)),)

    def _of_application(self) -> Iterable[Check]:
        if self._settings.application.kind == "none":
            return (doctor.of_no_application(),)
        database = self._settings.database.path
        return (doctor.of_application(looking.look(self._app.application(), database=database)),)

    def _of_sandbox(self) -> Iterable[Check]:
        lacks = in_force.lacks(self._settings, self._file)
        return () if lacks is None else doctor.of_sandbox(lacks)
