"""Do the application, its schema, its engine and its NATS server go together? Would the WAL replay?

What alarms somebody is seen twice in a row, or by a thorough look; that the WAL would not replay is
always seen twice. What cannot be known (no version, an empty table of migrations) is no alarm.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import shlex
from typing import TYPE_CHECKING, Final

from eiderd.health import Finding, Kind, Severity
from eiderd.schema.compatibility import Matrix, is_older, numbers
from eiderd.schema.facts import Facts, Known, Replay, Seen, Table, Upgrade
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eiderd.model import Brief
    from eiderd.schema.compatibility import Row

_TOLD: Final = datetime.timedelta(days=7)  # how long a skipped version is told of
_LOOK: Final = "eider schema"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the configuration says. `engine` is the DuckDB version that the application runs.

    `kind` and `name` say who starts the application, and what it is called there.
    """

    database: str
    matrix: Matrix | None = None
    engine: str | None = None
    kind: str = "none"
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is found, and whether something was suspected that another look has to confirm."""

    findings: tuple[Finding, ...]
    unsure: bool


def run(
    *,
    now: datetime.datetime,
    known: Known,
    briefs: Sequence[Brief],
    expected: Expected,
    nats: str | None = None,
) -> Judgement:
    """Compare. `briefs` are the backups, oldest first; `nats` is the version of the server."""
    lately = known.upgrade if known.upgrade and now - known.upgrade.at < _TOLD else None
    latest, previous = known.latest, known.previous
    found = tuple(_all(latest, upgrade=lately, expected=expected, nats=nats)) if latest else ()
    earlier = (
        {one.name for one in _all(previous, upgrade=lately, expected=expected, nats=nats)}
        if previous
        else set()
    )
    believed = [one for one in found if latest and _is_believed(one, latest, earlier=earlier)]
    return Judgement(
        findings=(*believed, *_changed(latest, briefs)), unsure=len(believed) < len(found)
    )


def _is_believed(finding: Finding, facts: Facts, *, earlier: set[tuple[Kind, str]]) -> bool:
    if finding.severity is Severity.NOTICE or finding.name in earlier:
        return True
    return facts.thorough and finding.kind is not Kind.WAL_WOULD_NOT_REPLAY


def _all(
    facts: Facts, *, upgrade: Upgrade | None, expected: Expected, nats: str | None
) -> Iterator[Finding]:
    matrix = expected.matrix
    row = matrix.of(numbers(facts.application)) if matrix else None
    yield from _replay(facts, expected=expected)
    yield from _failed(facts.seen, expected=expected)
    if matrix:
        yield from _version(facts, row, matrix=matrix, expected=expected)
        if upgrade and matrix.sequential:
            yield from _skipped(upgrade, facts.seen, matrix=matrix)
    yield from _engine(facts, row, expected=expected)
    yield from _nats(nats, row)


# The WAL ------------------------------------------------------------------------------------------


def _replay(facts: Facts, *, expected: Expected) -> Iterator[Finding]:
    seen = facts.seen
    if seen.replay is not Replay.NO:
        return
    engine = f"DuckDB {plain(seen.asked)}" if seen.asked else "the engine"
    whose = ", which the application runs," if seen.by_application else ""
    yield Finding(
        kind=Kind.WAL_WOULD_NOT_REPLAY,
        severity=Severity.CRITICAL if seen.by_application else Severity.WARNING,
        message=f"If the application ended now, its database would not open again: {engine}{whose} "
        f"cannot replay the write-ahead log: {plain(seen.why)}. Do not restart it before it has "
        "run CHECKPOINT by itself, and this is gone. If it is down already: "
        f"eider rescue {plain(shlex.quote(expected.database))}",
        command="eider backup",
    )


# The schema's version -----------------------------------------------------------------------------


def _version(
    facts: Facts, row: Row | None, *, matrix: Matrix, expected: Expected
) -> Iterator[Finding]:
    seen, version = facts.seen, facts.seen.version
    if seen.table is Table.ODD:
        yield _unknown("The table of migrations has no whole number called version.")
    elif version is None:
        return
    elif row and version > row.schema_:
        yield _ahead(version, row, facts, matrix=matrix, kind=expected.kind)
    elif row and version < row.schema_:
        yield Finding(
            kind=Kind.SCHEMA_BEHIND,
            severity=Severity.WARNING,
            message=f"The database has schema version {version}, and version "
            f"{plain(facts.application or '')} of the application has {row.schema_}: a migration "
            "has not run, or failed. It runs when the application starts; its log says why not.",
            command=_log(expected),
        )
    elif not row and version not in matrix.schemas:
        newer = "newer than" if version > max(matrix.schemas) else "not among"
        yield _unknown(
            f"Schema version {version} is {newer} those of the compatibility matrix, and the "
            "application's version is not known or not in it."
        )


def _ahead(version: int, row: Row, facts: Facts, *, matrix: Matrix, kind: str) -> Finding:
    wanted = matrix.with_schema(version)
    if wanted:
        remedy = f"Install version {wanted.application}, the first that knows it."
        command = matrix.command(kind, wanted) or _LOOK
    else:
        remedy = "No version in the compatibility matrix knows it: install the newest there is."
        command = _LOOK
    return Finding(
        kind=Kind.SCHEMA_AHEAD,
        severity=Severity.WARNING,
        message=f"The application, version {plain(facts.application or '')}, is older than its "
        f"database: that has schema version {version}, and it knows {row.schema_}. {remedy} "
        f"Or go back to a backup of schema {row.schema_}: eider list",
        command=command,
    )


def _unknown(message: str) -> Finding:
    return Finding(
        kind=Kind.SCHEMA_UNKNOWN, severity=Severity.NOTICE, message=message, command=_LOOK
    )


def _failed(seen: Seen, *, expected: Expected) -> Iterator[Finding]:
    failed = [migration for migration in seen.migrations if migration.failed]
    for migration in failed[:1]:
        name = f" ({plain(migration.name)})" if migration.name else ""
        yield Finding(
            kind=Kind.SCHEMA_BEHIND,
            subject="failed",
            severity=Severity.WARNING,
            message=f"Migration {migration.version}{name} failed, says the table of migrations. "
            "Read the application's log. To go back to the last verified backup: "
            "eider restore --dry-run",
            command=_log(expected),
        )


def _log(expected: Expected) -> str:
    """Return where the application says what its migrations did."""
    name = shlex.quote(expected.name)
    if expected.kind == "systemd" and expected.name:
        return f"journalctl -u {name} -g migration"
    if expected.kind == "docker" and expected.name.startswith("compose:"):
        _compose, file, service = expected.name.split(":", 2)
        who = f"docker compose -f {shlex.quote(file)} logs {shlex.quote(service)}"
        return f"{who} 2>&1 | grep -i migration"
    if expected.kind == "docker" and expected.name:
        return f"docker logs {name} 2>&1 | grep -i migration"
    return _LOOK


def _skipped(upgrade: Upgrade, seen: Seen, *, matrix: Matrix) -> Iterator[Finding]:
    old, new = numbers(upgrade.old), numbers(upgrade.new)
    if not old or not new or new[0] - old[0] <= 1:
        return
    row = matrix.of(new)
    if row and seen.version == row.schema_:  # all migrations there are have run
        return
    between = [str(major) for major in range(old[0] + 1, new[0])]
    yield Finding(
        kind=Kind.VERSION_SKIPPED,
        severity=Severity.WARNING,
        message=f"The application went from version {plain(upgrade.old)} to {plain(upgrade.new)} "
        f"and skipped major version {', '.join(between)}: its migrations may be missing. "
        "To go back to the backup before that, see the plan:",
        command=f"eider restore --at {upgrade.at:%Y-%m-%dT%H:%M}+00:00 --dry-run",
    )


# Engines and servers ------------------------------------------------------------------------------


def _engine(facts: Facts, row: Row | None, *, expected: Expected) -> Iterator[Finding]:
    said = expected.engine or (row.duckdb if row else None)
    own = numbers(said)
    if own is None:
        return
    needs, created = numbers(facts.seen.storage), numbers(facts.created_by)
    if needs and is_older(own, needs):
        yield Finding(
            kind=Kind.ENGINE_UNSUPPORTED,
            subject="duckdb",
            severity=Severity.WARNING,
            message=f"The database needs DuckDB {_dotted(needs)} or newer, and the application has "
            f"{plain(said or '')}: it cannot open it again. A newer engine wrote the file, or "
            "engine.application is not up to date.",
            command=_LOOK,
        )
    elif created and is_older(own, created):
        yield Finding(
            kind=Kind.ENGINE_UNSUPPORTED,
            subject="duckdb",
            severity=Severity.NOTICE,
            message=f"The database was made by DuckDB {_dotted(created)}, which is newer than the "
            f"application's {plain(said or '')}. It is in a format that both can read.",
            command=_LOOK,
        )


def _nats(nats: str | None, row: Row | None) -> Iterator[Finding]:
    server, wanted = numbers(nats), numbers(row.nats if row else None)
    if row and server and wanted and is_older(server, wanted):
        yield Finding(
            kind=Kind.ENGINE_UNSUPPORTED,
            subject="nats",
            severity=Severity.WARNING,
            message=f"The NATS server is version {plain(nats or '')}, and version "
            f"{row.application} of the application wants {row.nats} or newer.",
            command=_LOOK,
        )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


# Changes ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The schema was another one in `before` than in `after`: ids of backups, or "now"."""

    before: str
    after: str
    at: datetime.datetime
    old_version: int | None
    new_version: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Was:
    """A schema as an engine spelt it at some time."""

    id: str
    at: datetime.datetime
    engine: str
    version: int | None
    digest: str | None


def changes(briefs: Sequence[Brief], *, latest: Facts | None = None) -> tuple[Change, ...]:
    """Return each change of the schema that the verified backups show, the oldest first.

    What two engines said is not compared: each spells the same schema in its own way.
    """
    seen = [
        _Was(
            id=one.id,
            at=one.created_at,
            engine=one.proof.engine or "",
            version=one.content.schema_version,
            digest=one.content.schema_digest,
        )
        for one in briefs
        if one.verified and one.content.schema_digest
    ]
    if latest and latest.seen.digest and (not seen or latest.at > seen[-1].at):
        told = latest.seen
        seen.append(
            _Was(id="now", at=latest.at, engine=told.engine, version=told.version,
                 digest=told.digest)
        )  # fmt: skip
    return tuple(
        Change(
            before=old.id, after=new.id, at=new.at, old_version=old.version, new_version=new.version
        )
        for old, new in itertools.pairwise(seen)
        if old.engine == new.engine and old.digest != new.digest
    )


def _changed(latest: Facts | None, briefs: Sequence[Brief]) -> Iterator[Finding]:
    """Tell of a change until there are two backups that have it."""
    verified = [brief for brief in briefs if brief.verified][-2:]
    silent = [
        change
        for change in changes(verified, latest=latest)
        if change.old_version == change.new_version
    ]
    for change in silent[-1:]:
        version = "it has none" if change.new_version is None else f"still {change.new_version}"
        yield Finding(
            kind=Kind.SCHEMA_CHANGED,
            severity=Severity.NOTICE,
            message=f"The schema is not as it was in backup {change.before}, while its version "
            f"stayed ({version}).",
            command=_LOOK,
        )
