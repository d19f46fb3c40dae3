"""What a configuration needs of the unit that reads it: whom it names, and which files. No world.

Whoever asks lends eyes for it: `look_up` gives the addresses of a name (of an address, itself), and
`real` where a path leads.
"""

from __future__ import annotations

import dataclasses
import posixpath
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from eiderd.setup.sandbox import STATE, Needs, Peer, Place, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.config import Settings

_BESIDES: Final = 1 << 30  # what the service takes besides the buffers of an engine
_HANDED_OVER: Final = "/run/credentials/"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """What whoever asks sees of this machine."""

    look_up: Callable[[str], tuple[str, ...]]
    real: Callable[[str], str]
    nameservers: tuple[str, ...] = ()


def of(settings: Settings, eyes: Eyes, *, writes: bool = False) -> Needs:
    """Return what is needed. `writes`: of the unit that writes in the folder of the database."""
    peers = (
        Peer(host=host, setting=setting, addresses=eyes.look_up(host))
        for host, setting in dict(_hosts(settings)).items()
    )
    return Needs(
        peers=tuple(peers),
        nameservers=tuple(dict.fromkeys(_without_zone(one) for one in eyes.nameservers)),
        served=not writes and _is_served(settings, eyes),
        places=tuple(_places(settings, eyes, writes=writes)),
        groups=("docker",) if settings.application.kind == "docker" else (),
        memory_bytes=settings.engine.memory_limit + _BESIDES,
    )


def _without_zone(address: str) -> str:
    return address.partition("%")[0]  # systemd allows addresses, not interfaces


def is_changed(settings: Settings) -> bool:
    """Say whether eiderd may change the database by itself: only then a unit may write there."""
    return settings.heal.restore or bool(settings.compact.window and not settings.compact.url)


def files(settings: Settings) -> Iterator[tuple[str, str]]:
    """Return the files that are read, each with its setting."""
    server, nats, application = settings.server, settings.nats, settings.application
    compose = (application.container or "").split(":")
    named = {
        "database.path": settings.database.path,
        "server.tls_certificate": server.tls_certificate,
        "server.tls_key": server.tls_key,
        "server.basic_auth": server.basic_auth,
        "nats.credentials": nats.credentials,
        "nats.nkey": nats.nkey,
        "nats.token_file": nats.token_file,
        "nats.password_file": nats.password_file,
        "nats.tls_ca": nats.tls_ca,
        "nats.tls_certificate": nats.tls_certificate,
        "nats.tls_key": nats.tls_key,
        "compact.url_headers": settings.compact.url_headers,
        "schema.compatibility": settings.schema_.compatibility,
        "application.container": compose[1] if compose[0] == "compose" else None,
        "application.version_command": next(iter(application.version_command or ()), None),
        **{f"application.commands.{verb}": words[0] for verb, words in _commands(settings)},
    }
    for setting, path in named.items():
        # Other names are those of credentials, or of commands that are found in the path.
        if path and str(path).startswith("/") and not str(path).startswith(_HANDED_OVER):
            yield str(path), setting


def _commands(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    application = settings.application
    if application.kind == "commands":
        yield from application.commands.items()


def _hosts(settings: Settings) -> Iterator[tuple[str, str]]:
    application = settings.application
    urls = [
        *((url, "nats.url") for url in settings.nats.urls),
        (settings.compact.url, "compact.url"),
        (application.version_url, "application.version_url"),
        (application.health_url, "application.health_url"),
    ]
    for url, setting in urls:
        host = urllib.parse.urlsplit(url).hostname if url else None
        if host:
            yield host, setting


def _is_served(settings: Settings, eyes: Eyes) -> bool:
    """Say whether others are meant to ask the service. Whoever listens on all, means others."""
    host, _port = settings.server.address
    found = eyes.look_up(host)
    return host in ("0.0.0.0", "::") or not found or not all(map(is_loopback, found))  # noqa: S104


def _places(settings: Settings, eyes: Eyes, *, writes: bool) -> Iterator[Place]:
    data = eyes.real(str(settings.database.path))
    written = [posixpath.dirname(data)] if writes else []
    yield from (Place(path=path, setting="database.path", written=True) for path in written)
    for folder, setting in (
        (settings.service.state, "service.state"),
        (settings.backup.directory, "backup.directory"),
    ):
        written.append(_own(str(folder), eyes))
        yield Place(path=written[-1], setting=setting, written=True, is_own=True)
    for path, setting in dict(reversed([*_read(settings, eyes)])).items():
        if not any(f"{path}/".startswith(f"{one}/") for one in written):
            yield Place(path=path, setting=setting)


def _read(settings: Settings, eyes: Eyes) -> Iterator[tuple[str, str]]:
    for path, setting in files(settings):
        # A file that is exchanged for another would stay the old one: its folder is shown.
        for one in (eyes.real(path), path):
            yield posixpath.dirname(one), setting
    for folder in settings.backup.include:
        yield eyes.real(str(folder)), "backup.include"
    for name in settings.engine.others:
        yield eyes.real(str(settings.engine_folder(name))), "engine.others"


def _own(path: str, eyes: Eyes) -> str:
    """Return where a folder of eiderd's really is. What is above the unit's own may be links."""
    real, state = eyes.real(path), eyes.real(STATE)
    return STATE + real.removeprefix(state) if f"{real}/".startswith(f"{state}/") else real
