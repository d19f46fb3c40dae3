"""Looks for an application on this machine: its unit or Compose file, and what those name."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any, Final

import yaml

from eiderd.errors import ConfigError, EiderError
from eiderd.setup import compose as setup_compose
from eiderd.setup import env_file as setup_env_file
from eiderd.setup import unit_file as setup_unit_file
from eiderd.setup.facts import KNOWN, Application, health_url, told, usable_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eiderd.outside.host import Host

# As its documents name them; the unit may name another.
_ENV_FILES: Final = (f"/etc/{KNOWN}/env", f"/etc/{KNOWN}/{KNOWN}.env")
_YAML_FILES: Final = (f"/etc/{KNOWN}/config.yaml", f"/etc/{KNOWN}/config.yml")
_COMPOSE_FOLDERS: Final = (
    f"/opt/{KNOWN}", f"/srv/{KNOWN}", f"/etc/{KNOWN}", f"/opt/stacks/{KNOWN}", f"/root/{KNOWN}",
    f"/var/lib/{KNOWN}", f"/opt/docker/{KNOWN}", f"/home/*/{KNOWN}", f"/home/*/docker/{KNOWN}",
)  # fmt: skip


def find(
    host: Host,
    *,
    database: str | None,
    unit: str | None,
    compose: str | None,
    container: str | None,
    configured: str | None = None,
) -> Application:
    """Return the application that is meant. Raise ConfigError when it is none, or several.

    `configured` is the database that is meant while nothing at all is named.
    """
    if database and not usable_path(database):
        raise ConfigError(
            f"{database!r} is not the path of a database",
            hint="It begins with a slash: eider setup --database /path/to/the.duckdb",
        )
    if compose:
        found = _of_compose(host, compose, container=container, database=database)
    elif unit:
        found = [_of_unit(host, unit, database=database)]
    elif container and database:
        found = [_alone(database, kind="docker", name=container)]
    else:
        database = database or (None if container else configured)
        found = _everywhere(host, told_anyway=bool(database))
    if database:
        # The one that has it; or the one that was named, though its own settings say another.
        same = [one for one in found if one.database == database]
        return same[0] if same else _alone(database, kind="none", name="")
    return _only(host, found)


def _only(host: Host, found: list[Application]) -> Application:
    there = [one for one in found if host.is_file(one.database)] or found
    if len(there) > 1:
        names = ", ".join(f"{one.name} ({one.database})" for one in there)
        raise ConfigError(
            f"there are {len(there)} applications: {names}",
            hint="Name one: eider setup --unit UNIT, --compose FILE or --database FILE",
        )
    if not there:
        raise ConfigError(
            "no application that eiderd knows was found on this machine",
            hint="Name the database: eider setup --database /path/to/the.duckdb",
        )
    return there[0]


def _alone(database: str, *, kind: str, name: str) -> Application:
    return Application(kind=kind, name=name, database=database, known=False)


def _everywhere(host: Host, *, told_anyway: bool) -> list[Application]:
    """Return what is found where it usually is. What cannot be read fails only if it is all."""
    found, problems = [], []
    names = sorted(name for name in host.units() if KNOWN in name and "@" not in name)
    for name in [f"{KNOWN}.service"] if f"{KNOWN}.service" in names else names:
        try:
            found.append(_of_unit(host, name, database=None))
        except EiderError as error:
            problems.append(error)
    files = [f"{folder}/{name}" for folder in _COMPOSE_FOLDERS for name in setup_compose.NAMES]
    for file in host.files(files):
        try:
            found += _of_compose(host, file, container=None, database=None)
        except EiderError as error:
            problems.append(error)
    if problems and not found and not told_anyway:
        raise problems[0]
    return found


# A unit -----------------------------------------------------------------------------------------


def _of_unit(host: Host, name: str, *, database: str | None) -> Application:
    name = name if name.endswith(".service") else f"{name}.service"
    texts = host.unit_texts(name)
    if not texts:
        raise ConfigError(
            f"there is no unit {name}", hint="See: systemctl list-units --type=service"
        )
    unit = setup_unit_file.parse(name, texts.values())
    if KNOWN not in name and not any(KNOWN in command for command in unit.commands):
        if database:
            return _alone(database, kind="systemd", name=name)
        raise ConfigError(
            f"where {name} has its database cannot be told",
            hint=f"Name it: eider setup --unit {name} --database /path/to/the.duckdb",
        )
    environment, read = _environment(host, unit)
    file, config = _yaml(host, environment)
    said = told(environment, config)
    path = database or posixpath.join(unit.working_directory, said.database)
    return Application(
        kind="systemd",
        name=name,
        database=_checked(posixpath.normpath(path), of=name),
        known=True,
        health_url=health_url(said.port),
        nats_url=said.nats_url,
        found_in=(*texts, *read, *([file] if file else [])),
        notes=said.notes,
    )


def _environment(host: Host, unit: setup_unit_file.Unit) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the variables that the unit gets, a later file winning, and the files read."""
    named = unit.environment_files or tuple(path for path in _ENV_FILES if host.is_file(path))
    environment, read = dict(unit.environment), []
    for path in named:
        text = host.text(path)
        if text is not None:
            environment |= setup_env_file.systemd(text)
            read.append(path)
        elif path not in unit.optional:
            raise ConfigError(
                f"{unit.name} names {path}, which cannot be read",
                hint="Run this as root, or name the database with --database.",
            )
    return environment, tuple(read)


def _yaml(host: Host, environment: Mapping[str, str]) -> tuple[str | None, dict[str, Any] | None]:
    named = environment.get("CONFIG_PATH", "")
    for path in (*([named] if usable_path(named) else []), *_YAML_FILES):
        text = host.text(path)
        if text is None:
            continue
        try:
            document = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise ConfigError(
                f"{path} is not YAML", hint="Correct it, or name the database with --database."
            ) from error
        return path, document if isinstance(document, dict) else None
    return None, None


# A Compose file ---------------------------------------------------------------------------------


def _of_compose(
    host: Host, file: str, *, container: str | None, database: str | None
) -> list[Application]:
    text = host.text(file)
    if text is None:
        raise ConfigError(f"{file} cannot be read", hint="Name another file with --compose.")
    every = setup_compose.services(file, text, read=host.text)
    if container:
        meant = [one for one in every if container in (one.container, one.name)]
    else:
        meant = [one for one in every if _is_known(one)]
    if len(meant) != 1:
        raise ConfigError(
            f"which of {len(every)} services of {file} is meant cannot be told",
            hint=f"Name it: eider setup --compose {file} --container NAME",
        )
    return [_of_service(meant[0], database=database)]


def _of_service(one: setup_compose.Service, *, database: str | None) -> Application:
    name = one.container or f"compose:{one.file}:{one.name}"
    if database and not _is_known(one):
        return _alone(database, kind="docker", name=name)
    said = told(one.environment)
    notes = [*said.notes]
    path = database or one.on_this_machine(posixpath.normpath(said.database))
    if path is None:
        raise ConfigError(
            f"the database of {name} ({said.database}) is in no volume of {one.file}",
            hint="Give the container a volume for its data: without one, it is lost with it.",
        )
    url = said.nats_url
    if url and (said.nats_within or "127.0.0.1" in url or "localhost" in url):
        notes.append("its NATS listens within the container only, so eiderd cannot watch it")
        url = None
    port = one.ports.get(said.port)
    if port is None:
        notes.append(f"its port {said.port} is not published: set application.health_url yourself")
    return Application(
        kind="docker",
        name=name,
        database=_checked(path, of=name),
        known=True,
        health_url=health_url(port) if port else None,
        nats_url=url,
        found_in=(one.file,),
        notes=tuple(notes),
    )


def _is_known(one: setup_compose.Service) -> bool:
    return KNOWN in f"{one.image} {one.container} {one.name}".lower()


def _checked(database: str, *, of: str) -> str:
    if not usable_path(database):
        raise ConfigError(
            f"{of} names a database that cannot be one: {database!r}",
            hint="Name the database: eider setup --database /path/to/the.duckdb",
        )
    return database
