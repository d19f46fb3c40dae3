"""The configuration: one TOML file, a profile below it, the environment above it, frozen settings.

`EIDER_DATABASE__PATH` style variables override the file; the file overrides the profile. Unknown
keys are refused, everything wrong is said at once. Units stand in the values: "5m", "2GB".
"""

from __future__ import annotations

import difflib
import os
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from eiderd import resources
from eiderd.errors import ConfigError
from eiderd.units import Duration, Size  # noqa: TC001  (pydantic reads them)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_PATH = Path("/etc/eiderd/eiderd.toml")
PREFIX = "EIDER_"
_OWN_VARIABLES = {"EIDER_CONFIG"}  # read by the command itself


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Service(_Section):
    state: AbsolutePath = Field(
        Path("/var/lib/eiderd"), description="Where eiderd keeps its own files: mirror, scratch."
    )


class Database(_Section):
    path: AbsolutePath = Field(description="The live database that the application holds open.")


class Mirror(_Section):
    rate_limit: Size | None = Field(
        None, description="At most this many bytes a second are read from the live database."
    )
    keep: bool = Field(
        True, description="Keep the mirror between runs; false: it exists while a job needs it."
    )
    passes: int = Field(
        60, ge=2, le=10_000, description="Give up after this many passes over a changing database."
    )
    timeout: Duration = Field(
        timedelta(minutes=1), description="Give up this long after the first pass."
    )


class BackupSection(_Section):
    directory: AbsolutePath = Field(
        Path("/var/lib/eiderd/backups"), description="Where archives and manifests stand."
    )
    include: tuple[AbsolutePath, ...] = Field(
        (), description="Extra files or folders that go into each archive, under files/."
    )
    deadline: Duration = Field(
        timedelta(hours=4), description="A copy, an archive or a check that takes longer is ended."
    )


class ContentSection(_Section):
    time_columns: dict[str, str] = Field(
        default_factory=dict,
        description="Per table, the column whose newest value is recorded with each backup.",
    )


class Schema(_Section):
    table: str = Field(
        "schema_migrations", description="The table whose highest version is the schema's version."
    )


class Engine(_Section):
    memory_limit: Size = Field(
        ByteSize(200_000_000),
        description="How much an engine may hold in memory while it proves a backup.",
    )
    threads: int = Field(
        2, ge=1, le=256, description="How many cores an engine may use while it proves a backup."
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
    others: tuple[str, ...] = Field(
        (),
        description="Other engines: virtual environments, by version below <state>/engines or by "
        "path, the last part of which is the version.",
    )


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is logged to standard error."
    )
    format: Literal["text", "json"] = Field("text", description="How it is logged.")


class Settings(BaseSettings):
    """The whole configuration. Every field may come from the file, a profile or the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    profile: str | None = Field(None, description="Defaults for a known application.")
    service: Service = Service()
    database: Database
    mirror: Mirror = Mirror()
    backup: BackupSection = BackupSection()
    content: ContentSection = ContentSection()
    schema_: Schema = Field(Schema(), alias="schema")
    engine: Engine = Engine()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    def engine_folder(self, name: str) -> Path:
        return Path(name) if "/" in name else self.service.state / "engines" / name


def load(path: Path | None) -> tuple[Settings, Path | None]:
    """Return the settings and the file they came from (None: only defaults and environment).

    Raise ConfigError with every problem there is, each with its place.
    """
    wanted = path or Path(os.environ.get("EIDER_CONFIG") or DEFAULT_PATH)
    explicit = path is not None or "EIDER_CONFIG" in os.environ
    document, found = _read(wanted, explicit=explicit)
    problems = list(_unknown_variables(os.environ))
    merged = _merge(_profile(document, problems), document)
    settings: Settings | None = None
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems += [_said(problem) for problem in error.errors()]
    problems += _contradictions(merged)
    if problems or settings is None:
        raise _refused(problems, where=found)
    return settings, found


def _refused(problems: list[str], *, where: Path | None) -> ConfigError:
    place = str(where) if where else "the environment"
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ConfigError(
        f"{count} in {place}:" + "".join(f"\n  - {problem}" for problem in problems),
        hint="Correct it and run: eider config check",
    )


def _read(path: Path, *, explicit: bool) -> tuple[dict[str, Any], Path | None]:
    try:
        return tomllib.loads(path.read_text()), path
    except FileNotFoundError as error:
        if not explicit:
            return {}, None
        raise ConfigError(
            f"there is no configuration at {path}",
            hint="Start from the annotated example: eider config example > eiderd.toml",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", hint="Name another file with --config."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not TOML: {error}", hint="Strings need quotes, sections look like [backup]."
        ) from error


def _profile(document: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    name = os.environ.get(f"{PREFIX}PROFILE") or document.get("profile")
    if not isinstance(name, str):
        return {}
    known = resources.profiles()
    if name not in known:
        problems.append(f"profile: there is no profile {name!r}, only {', '.join(sorted(known))}")
        return {}
    return tomllib.loads(known[name].read_text())


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _said(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "missing":
            return f"{place or 'database.path'} is missing" + (
                ": set database.path" if place == "database" else ""
            )
        case "extra_forbidden":
            return f"{place} is not a setting{_suggestion(problem['loc'])}"
        case _:
            said = str(problem["msg"]).removeprefix("Value error, ")
            return f"{place}: {said} (it is {problem['input']!r})"


def _suggestion(place: tuple[int | str, ...]) -> str:
    known = list(_words(Settings, depth=len(place) - 1, path=place))
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _words(model: type[BaseModel], *, depth: int, path: tuple[int | str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        word = field.alias or name
        if not depth:
            yield word
        elif word == path[0] and isinstance(field.annotation, type):
            yield from _words(field.annotation, depth=depth - 1, path=path[1:])


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A misspelt section in a variable's name is nobody's field: pydantic-settings ignores it."""
    known = {(field.alias or name).upper() for name, field in Settings.model_fields.items()}
    for variable in sorted(environment):
        section = variable.removeprefix(PREFIX).split("__")[0]
        if variable.startswith(PREFIX) and variable not in _OWN_VARIABLES and section not in known:
            yield f"{variable} (environment) is not a setting"


def _contradictions(merged: Mapping[str, Any]) -> Iterator[str]:
    """What can each be meant, but not together."""
    database = _path(merged, "database", "path")
    if database is None:
        return
    data = Path(os.path.realpath(database.parent))
    for section, key, default in (
        ("backup", "directory", BackupSection().directory),
        ("service", "state", Service().state),
    ):
        folder = _path(merged, section, key) or default
        if Path(os.path.realpath(folder)).is_relative_to(data):
            yield (
                f"{section}.{key} ({folder}) is the folder of the database or lies in it: "
                "whatever loses one would lose both"
            )


def _path(merged: Mapping[str, Any], section: str, key: str) -> Path | None:
    value = os.environ.get(f"{PREFIX}{section}__{key}".upper())
    inner = merged.get(section)
    if value is None and isinstance(inner, dict):
        value = inner.get(key)
    return Path(value) if isinstance(value, str) and value.startswith("/") else None
