"""The configuration: one TOML file, a profile below it, the environment above it, frozen settings.

`EIDER_DATABASE__PATH` style variables override the file; the file overrides the profile. Unknown
keys are refused, everything wrong is said at once. Units stand in the values: "5m", "2GB".
"""

from __future__ import annotations

import contextlib
import os
import shlex
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, ValidationError

from eiderd import resources, schedule, toml
from eiderd.errors import ConfigError
from eiderd.outside import rights
from eiderd.schema import matrices
from eiderd.sections import environment, places, wording
from eiderd.sections.application import ApplicationSection
from eiderd.sections.compact import CompactSection
from eiderd.sections.heal import HealSection
from eiderd.sections.nats import NatsSection
from eiderd.sections.section import AbsolutePath, Text, usable
from eiderd.sections.section import Section as _Section
from eiderd.sections.server import Server
from eiderd.units import Duration, Interval, Size, duration_between, size_between
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH = Path("/etc/eiderd/eiderd.toml")
_LARGEST_FILE = 1_000_000
_MOST_TOLD, _LONGEST_TOLD = 50, 1000  # of problems; a file that is none of ours has any number

Cron = Annotated[str, AfterValidator(schedule.checked_cron)]
CronOrOff = Annotated[
    str, AfterValidator(lambda line: line if line == "off" else schedule.checked_cron(line))
]
Count = Annotated[int, Field(ge=0, le=100_000)]
RateLimit = Annotated[Size, size_between(10**6, 10**12)]
BallastSize = Annotated[Size, size_between(10**6, 10**12)]
Compatibility = Annotated[Text, AfterValidator(matrices.checked)]
LookEvery = Annotated[Duration, duration_between(timedelta(seconds=1), timedelta(hours=1))]
MemoryLimit = Annotated[Size, size_between(64 * 10**6, 10**12)]


class Service(_Section):
    state: AbsolutePath = Field(
        Path("/var/lib/eiderd"), description="Where eiderd keeps its own files: mirror, scratch."
    )
    look_every: LookEvery = Field(
        timedelta(minutes=1), description="How often the watchers look: 1s to 1h."
    )


class Database(_Section):
    path: AbsolutePath = Field(description="The live database that the application holds open.")


class Mirror(_Section):
    interval: Interval = Field(
        timedelta(minutes=5),
        description="How often the mirror is brought up to date between backups, and the schema "
        'looked at in it; "never": only after backups. It gives way to whatever else eiderd does.',
    )
    rate_limit: RateLimit | None = Field(
        None,
        description="At most this many bytes a second are read from the live database; from 1MB.",
    )
    keep: bool = Field(
        True, description="Keep the mirror between runs; false: it exists while a job needs it."
    )
    passes: int = Field(
        300,
        ge=2,
        le=10_000,
        description="Give up after this many passes over a changing database: 2 to 10000.",
    )
    timeout: Duration = Field(
        timedelta(minutes=1), description="Give up this long after the first pass."
    )


class BackupSection(_Section):
    directory: AbsolutePath = Field(
        Path("/var/lib/eiderd/backups"), description="Where archives and manifests stand."
    )
    schedule: Cron = Field(
        "15 3 * * *",
        description="When a backup is taken, as cron says it (minute hour day month weekday), in "
        "local time. One that was missed is taken as soon as eiderd runs.",
    )
    fresh_within: Duration | None = Field(
        None,
        description="Alarm when the newest verified backup is older than this; if it is not set, "
        "than two intervals of the schedule.",
    )
    include: tuple[AbsolutePath, ...] = Field(
        (), description="Extra files or folders that go into each archive, under files/."
    )
    deadline: Duration = Field(
        timedelta(hours=4), description="A copy, an archive or a check that takes longer is ended."
    )


class Retention(_Section):
    min_count: int = Field(
        3,
        ge=1,
        le=100_000,
        description="So many of the newest verified backups stay, whatever the other rules say.",
    )
    keep_recent_hours: Count = Field(0, description="Keep every backup younger than this.")
    daily: Count = Field(0, description="Keep the last backup of so many days that have one.")
    weekly: Count = Field(0, description="The same, of weeks, which begin on Monday.")
    monthly: Count = Field(0, description="The same, of months.")
    yearly: Count = Field(0, description="The same, of years.")
    max_age_days: Count | None = Field(
        None, ge=1, description="Remove what is older, whatever the rules above say."
    )
    max_count: Count | None = Field(
        None, ge=1, description="Remove the oldest when there are more than this."
    )
    max_total_bytes: Size | None = Field(
        None, description="Remove the oldest when all archives together are larger than this."
    )


class VerifySection(_Section):
    scrub_schedule: Cron = Field(
        "30 4 * * sun",
        description="When every byte of every archive is read back and compared, as cron says it.",
    )
    drill_schedule: CronOrOff = Field(
        "0 5 1 * *",
        description="When one backup, in turn, is restored into service.state for practice, so "
        'that it is known how long a restore takes; as cron says it, or "off".',
    )


class ContentSection(_Section):
    max_row_loss: float = Field(
        0.2,
        gt=0,
        le=1,
        description="A backup is suspect when a table lost more than this share of its rows since "
        "the last verified one. Nothing is pruned until a person accepts it.",
    )
    min_rows: int = Field(
        100, ge=1, le=10**12, description="Tables that had fewer rows than this may lose them."
    )
    time_columns: dict[str, str] = Field(
        default_factory=dict,
        description="Per table, the column whose newest value is recorded with each backup.",
    )
    trimmed: tuple[Text, ...] = Field(
        (),
        description="Tables from which the application itself removes old rows: they may shrink, "
        "but a backup is suspect when one of them became empty.",
    )


class Schema(_Section):
    table: str = Field(
        "schema_migrations", description="The table whose highest version is the schema's version."
    )
    compatibility: Compatibility | None = Field(
        None,
        description="Which version of the application goes with which schema, DuckDB and NATS: a "
        'file like the one that ships with eiderd, or "cartographus" for that one.',
    )


class Engine(_Section):
    directory: AbsolutePath = Field(
        Path("/usr/local/lib/eiderd/engines"),
        description="Where `eider engine add` puts other engines. Root runs them too, so it is "
        "root's; whoever runs eiderd without root names a folder of their own.",
    )
    memory_limit: MemoryLimit = Field(
        ByteSize(1_000_000_000),
        description="The most an engine may hold in memory while it proves a backup, 64MB to 1TB. "
        "It begins with 150MB, which is enough for most.",
    )
    threads: int = Field(
        2,
        ge=1,
        le=256,
        description="How many cores an engine may use while it proves a backup: 1 to 256.",
    )
    deadline: Duration = Field(
        timedelta(hours=1),
        description="An engine that takes longer is ended, and the backup stays unverified.",
    )
    application: str | None = Field(
        None,
        pattern=r"^v?\d+\.\d+\.\d+$",
        description="The DuckDB version that the application runs; it proves if it is installed.",
    )
    others: tuple[Text, ...] = Field(
        (),
        description="Other engines: virtual environments, by version below engine.directory or by "
        "path, the last part of which is the version.",
    )


class DiskSection(_Section):
    warn: Size = Field(ByteSize(5 * 10**9), description="Warn when less than this is free.")
    critical: Size = Field(
        ByteSize(10**9),
        description="Alarm when less than this is free. On a small disk, 5 percent of it is enough "
        "and for the warning 10.",
    )
    forecast: Duration = Field(
        timedelta(hours=48), description="Warn when a disk will be full within this time."
    )
    ballast: BallastSize | None = Field(
        None,
        description="Keep a file of this size, 1MB to 1TB, beside the backups, and remove it when "
        "the disk is critically full, so that there is room to put things right.",
    )


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is logged to standard error."
    )
    format: Literal["text", "json"] = Field("text", description="How it is logged.")


class Settings(BaseModel):
    """The whole configuration. Every field may come from the file, a profile or the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: str | None = Field(None, description="Defaults for a known application.")
    service: Service = Service()
    database: Database
    mirror: Mirror = Mirror()
    backup: BackupSection = BackupSection()
    retention: Retention = Retention()
    verify: VerifySection = VerifySection()
    content: ContentSection = ContentSection()
    schema_: Schema = Field(Schema(), alias="schema")
    engine: Engine = Engine()
    application: ApplicationSection = ApplicationSection()
    compact: CompactSection = CompactSection()
    disk: DiskSection = DiskSection()
    heal: HealSection = HealSection()
    nats: NatsSection = NatsSection()
    server: Server = Server()
    log: Log = Log()

    def engine_folder(self, name: str) -> Path:
        return Path(name) if "/" in name else self.engine.directory / name


_NOTHING_SAID = "database is missing: set database.path"


def load(path: Path | None) -> tuple[Settings, Path | None]:
    """Return the settings and the file they came from (None: only defaults and environment).

    Raise ConfigError with every problem there is, each with its place.
    """
    wanted = path or Path(os.environ.get(environment.CONFIG) or DEFAULT_PATH)
    explicit = path is not None or environment.CONFIG in os.environ
    document, found = _read(wanted, explicit=explicit)
    problems: list[str] = []
    said, _wrong = environment.read(os.environ, Settings, below=document)  # which profile, for one
    below = environment.merge(_profile(said, problems), document)
    merged, wrong = environment.read(os.environ, Settings, below=below)
    problems += wrong
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        problems += [_said(problem) for problem in error.errors()]
    problems += places.contradictions(
        database=_path(merged, "database", "path"),
        backups=_path(merged, "backup", "directory", BackupSection().directory),
        state=_path(merged, "service", "state", Service().state),
        engines=_path(merged, "engine", "directory", Engine().directory),
        include=_paths(merged, "backup", "include"),
    )
    if problems or settings is None:
        raise _refused(problems, where=found)
    return settings, found


def shown(settings: Settings) -> dict[str, Any]:
    """Return the settings as they would stand in a file."""
    return settings.model_dump(mode="json", by_alias=True, exclude_none=True)


def _refused(problems: list[str], *, where: Path | None) -> ConfigError:
    if problems == [_NOTHING_SAID]:
        said = f"there is no configuration: neither {DEFAULT_PATH} nor EIDER_DATABASE__PATH"
        if where:
            said = f"eiderd is not set up: {where} names no database (database.path)"
        return ConfigError(said, hint=_setting_up(where))
    place = plain(str(where)) if where else "the environment"
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    told = [wording.short(plain(problem), most=_LONGEST_TOLD) for problem in problems[:_MOST_TOLD]]
    if len(problems) > _MOST_TOLD:
        told.append(f"and {len(problems) - _MOST_TOLD} more")
    lines = "".join(f"\n  - {line}" for line in told)
    return ConfigError(
        f"{count} in {place}:{lines}",
        hint="Correct it and run: eider config check",
    )


def _setting_up(path: Path | None) -> str:
    is_own = path not in {None, DEFAULT_PATH}
    verb = f"eider --config {shlex.quote(str(path))} setup" if is_own else "sudo eider setup"
    return f"Let it be written: {verb}; or begin with: eider config example"


def _read(path: Path, *, explicit: bool) -> tuple[dict[str, Any], Path | None]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise ConfigError(f"{path} is too large", hint="Name another file with --config.")
        return toml.read(data.decode()), path
    except FileNotFoundError as error:
        if not explicit:
            return {}, None
        raise ConfigError(f"there is no configuration at {path}", hint=_setting_up(path)) from error
    except PermissionError as error:
        raise rights.unreadable(path) from error
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", hint="Name another file with --config."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is no text in UTF-8", hint=f"See what it is: file {shlex.quote(str(path))}"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{path} is not TOML: {error}", hint="Strings need quotes, sections look like [backup]."
        ) from error


def _profile(document: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    name = document.get("profile")
    if not isinstance(name, str):
        return {}
    known = resources.profiles()
    if name not in known:
        said = wording.short(repr(name))
        problems.append(f"profile: there is no profile {said}, only {', '.join(sorted(known))}")
        return {}
    return toml.read(known[name].read_text())


def _said(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if (variable := environment.variable_of(problem["loc"])) in os.environ:
        place += f" ({variable})"
    match problem["type"]:
        case "missing":
            return _NOTHING_SAID if place == "database" else f"{place} is missing"
        case "extra_forbidden":
            return f"{place} is not a setting{wording.suggestion(Settings, problem['loc'])}"
        case _:
            return f"{place}: {wording.wrong(problem)} (it is {wording.shown(problem)})"


def _path(
    merged: Mapping[str, Any], section: str, key: str, default: Path | None = None
) -> Path | None:
    """Return a path before all the rest is known to be well. None: none is set, or a bad one."""
    return next(iter(_paths(merged, section, key)), default)


def _paths(merged: Mapping[str, Any], section: str, key: str) -> list[Path]:
    inner = merged.get(section)
    said = inner.get(key) if isinstance(inner, dict) else None
    found = []
    for value in said if isinstance(said, list) else [said]:
        with contextlib.suppress(ValueError):
            if isinstance(value, str):
                found.append(usable(Path(value)))
    return found
