"""What setup learned of this machine, and what an application's own settings amount to. Pure.

What stands in other people's files is hostile until it has been looked at: a path or a URL that
cannot be meant is left out, and a note says so. A password is never taken over.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KNOWN: Final = "cartographus"  # the one application whose settings are understood
_DATABASE: Final = "/data/cartographus.duckdb"
_PORT: Final = 3857
_NATS: Final = "nats://127.0.0.1:4222"
_HEALTH: Final = "/api/v1/health"
_LARGEST_PORT: Final = 65535
_LONGEST_PATH: Final = 4000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An application that was found. `database` is where it stands on this machine.

    `found_in` are the files that told; `notes` what a person should know of it. `nats_url` is None
    when eiderd cannot reach its NATS, or there is none.
    """

    kind: str
    name: str
    database: str
    known: bool
    health_url: str | None = None
    nats_url: str | None = None
    found_in: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the settings of Cartographus say, its defaults where they say nothing."""

    database: str
    port: int
    nats_url: str | None
    nats_within: bool  # it runs its own NATS, on its own loopback
    notes: tuple[str, ...]


def told(environment: Mapping[str, str], file: Mapping[str, Any] | None = None) -> Told:
    """Given its environment and its YAML file, return what they say; the environment wins."""
    notes: list[str] = []

    def said(variable: str, section: str, key: str, default: str) -> str:
        if environment.get(variable):
            return environment[variable]
        inner = file.get(section) if file else None
        value = inner.get(key) if isinstance(inner, dict) else None
        return str(value) if isinstance(value, str | int | bool) else default

    database = said("DUCKDB_PATH", "database", "path", _DATABASE)
    port = said("HTTP_PORT", "server", "port", str(_PORT))
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= _LARGEST_PORT):
        notes.append("HTTP_PORT is no port: the usual one is taken")
        port = str(_PORT)
    within = _is_on(said("NATS_EMBEDDED", "nats", "embedded_server", "true"))
    url: str | None = None
    if _is_on(said("NATS_ENABLED", "nats", "enabled", "true")):
        # Its own server listens on the usual port, whatever NATS_URL says.
        url = _NATS if within else _without_password(said("NATS_URL", "nats", "url", _NATS), notes)
    return Told(
        database=database, port=int(port), nats_url=url, nats_within=within, notes=tuple(notes)
    )


def health_url(port: int) -> str:
    return f"http://127.0.0.1:{port}{_HEALTH}"


def usable_path(path: str) -> bool:
    """Say whether that can be the path of a database: absolute, printable, not too long."""
    return (
        posixpath.isabs(path)
        and path.isprintable()
        and len(path) < _LONGEST_PATH
        and posixpath.basename(path) not in ("", ".", "..")
    )


def _is_on(said: str) -> bool:
    return said.strip().lower() in {"true", "1", "t", "yes", "y", "on"}


def _without_password(url: str, notes: list[str]) -> str | None:
    """Return a URL of NATS without what logs in to it; None when it cannot be one."""
    found = []
    for one in url.split(","):
        try:
            parts = urllib.parse.urlsplit(one.strip())
            well = parts.scheme in ("nats", "tls") and parts.hostname and parts.port != 0
        except ValueError:
            well = False
        if not well or not re.fullmatch(r"[!-~]+", one.strip()):
            notes.append("NATS_URL cannot be understood: set nats.url yourself")
            return None
        if "@" in parts.netloc:
            notes.append(
                "NATS_URL has a password in it, which is not taken over: put it into a file and "
                "set nats.user and nats.password_file"
            )
        found.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    return ",".join(found)
