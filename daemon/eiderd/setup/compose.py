"""A Compose file: which of its services is meant, its variables, and where its folders are. Pure.

Only what is needed is understood: `${NAME}` with a default, both spellings of volumes, ports and
variables. What is there and not understood is as if it were not said.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from eiderd.errors import ConfigError
from eiderd.setup.env_file import dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAMES: Final = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_VARIABLE: Final = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)"
    r"|\{(?P<name>[A-Za-z_]\w*)(?::?(?P<how>[-+?])(?P<other>[^}]*))?\})"
)
_DOCKER: Final = "/var/lib/docker/volumes"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """`folders`: inside the container -> on this machine; `ports`: inside -> on this machine."""

    file: str
    name: str
    container: str | None
    image: str
    environment: dict[str, str]
    folders: dict[str, str]
    ports: dict[int, int]

    def on_this_machine(self, path: str) -> str | None:
        """Return where a path of the container stands; None when it is in no volume."""
        inside = max(
            (
                folder
                for folder in self.folders
                if path == folder or path.startswith(folder.rstrip("/") + "/")
            ),
            key=len,
            default=None,
        )
        if inside is None:
            return None
        return posixpath.normpath(
            posixpath.join(self.folders[inside], posixpath.relpath(path, inside))
        )


def services(path: str, text: str, *, read: Callable[[str], str | None]) -> tuple[Service, ...]:
    """Return the services of a Compose file. `read` gives the text of other files, None if none.

    Raise ConfigError when it is no Compose file.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(
            f"{path} is not YAML", hint=f"Check it: docker compose -f {path} config"
        ) from error
    every = document.get("services") if isinstance(document, dict) else None
    if not isinstance(every, dict):
        raise ConfigError(
            f"{path} has no services", hint=f"Check it: docker compose -f {path} config"
        )
    variables = dotenv(read(posixpath.join(posixpath.dirname(path), ".env")) or "")
    filled = _filled(document, variables)
    return tuple(
        _service(path, str(name), said, document=filled, read=read)
        for name, said in filled["services"].items()
        if isinstance(said, dict)
    )


def _service(
    path: str,
    name: str,
    said: Mapping[str, Any],
    *,
    document: Mapping[str, Any],
    read: Callable[[str], str | None],
) -> Service:
    container = said.get("container_name")
    return Service(
        file=path,
        name=name,
        container=container if isinstance(container, str) else None,
        image=_scalar(said.get("image")),
        environment=_environment(path, said, read=read),
        folders=dict(_folders(path, said, document=document)),
        ports=dict(_ports(said)),
    )


def _environment(
    path: str, said: Mapping[str, Any], *, read: Callable[[str], str | None]
) -> dict[str, str]:
    found: dict[str, str] = {}
    files = said.get("env_file") or []
    for one in files if isinstance(files, list) else [files]:
        name = one.get("path") if isinstance(one, dict) else one
        if isinstance(name, str):
            found |= dotenv(
                read(posixpath.normpath(posixpath.join(posixpath.dirname(path), name))) or ""
            )
    told = said.get("environment")
    if isinstance(told, dict):
        found |= {
            str(key): _word(value)
            for key, value in told.items()
            if isinstance(value, str | int | float)
        }
    elif isinstance(told, list):
        pairs = (one.partition("=") for one in told if isinstance(one, str))
        found |= {key: value for key, sign, value in pairs if sign}
    return found


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _folders(
    path: str, said: Mapping[str, Any], *, document: Mapping[str, Any]
) -> list[tuple[str, str]]:
    found = []
    volumes = said.get("volumes")
    for one in volumes if isinstance(volumes, list) else []:
        if isinstance(one, dict):
            source, target = one.get("source"), one.get("target")
        else:
            parts = one.split(":") if isinstance(one, str) else []
            source, target = (parts[0], parts[1]) if len(parts) > 1 else (None, None)
        if isinstance(source, str) and isinstance(target, str):
            found.append((posixpath.normpath(target), _source(path, source, document=document)))
    return found


def _source(path: str, source: str, *, document: Mapping[str, Any]) -> str:
    """Return where a volume is on this machine: a path, or Docker's folder of a named one."""
    folder = posixpath.dirname(path)
    if source.startswith(("/", ".")):
        return posixpath.normpath(posixpath.join(folder, source))
    project = document.get("name")
    if not isinstance(project, str):
        project = re.sub(r"[^a-z0-9_-]", "", posixpath.basename(folder).lower()).lstrip("_-")
    named = document.get("volumes")
    volume = named.get(source) if isinstance(named, dict) else None
    volume = volume if isinstance(volume, dict) else {}
    name = volume.get("name")
    if not isinstance(name, str):
        name = source if volume.get("external") else f"{project}_{source}"
    return f"{_DOCKER}/{name}/_data"


def _ports(said: Mapping[str, Any]) -> list[tuple[int, int]]:
    found = []
    ports = said.get("ports")
    for one in ports if isinstance(ports, list) else []:
        if isinstance(one, dict):
            inside, outside = _scalar(one.get("target")), _scalar(one.get("published"))
        else:
            inside, outside = [*_scalar(one).removesuffix("/tcp").split(":")[::-1], ""][:2]
        if inside.isdecimal() and outside.isdecimal():
            found.append((int(inside), int(outside)))
    return found


def _filled(document: dict[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the document with its variables in place.

    What an alias repeats is done once: a file of a few lines can repeat itself into gigabytes.
    """
    done: dict[int, Any] = {}

    def filled(value: Any) -> Any:  # noqa: ANN401  (any YAML)
        if isinstance(value, str):
            return _VARIABLE.sub(lambda seen: _variable(seen, variables), value)
        if not isinstance(value, dict | list):
            return value
        if id(value) not in done:
            done[id(value)] = None  # what holds itself holds nothing
            done[id(value)] = (
                {key: filled(inner) for key, inner in value.items()}
                if isinstance(value, dict)
                else [filled(inner) for inner in value]
            )
        return done[id(value)]

    result: dict[str, Any] = filled(document)
    return result


def _variable(seen: re.Match[str], variables: Mapping[str, str]) -> str:
    if seen["escaped"]:
        return "$"
    known = variables.get(seen["bare"] or seen["name"], "")
    if seen["how"] == "-":
        return known or seen["other"]
    if seen["how"] == "+":
        return seen["other"] if known else ""
    return known
