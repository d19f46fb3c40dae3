"""What a unit has to let through for a configuration, and what it does not. Pure.

Root in a shell reaches every address and sees every folder; the service, in the sandbox of its
unit, does not. Both are compared here: for `eider doctor` with the unit in force, for `eider setup`
with the unit's files but for its own drop-in, which then says the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from rich.filesize import decimal

from eiderd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

STATE: Final = "/var/lib/eiderd"
PROPERTIES: Final = (
    "IPAddressAllow", "IPAddressDeny", "ReadWritePaths", "BindPaths", "BindReadOnlyPaths",
    "ProtectHome", "ProtectSystem", "PrivateTmp", "SupplementaryGroups", "MemoryMax",
    "InaccessiblePaths",
)  # fmt: skip
SERVED: Final = (
    "link-local", "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",
)  # fmt: skip
_HOMES: Final = ("/home", "/root", "/run/user")  # what ProtectHome=yes hides
_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108  (what PrivateTmp=yes hides)
_WORDS: Final = {
    "any": ("0.0.0.0/0", "::/0"),
    "localhost": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/64"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
}
_SIZES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_GIB: Final = 1 << 30
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./@+,=%-]+")
_JOINED: Final = ("SupplementaryGroups", "IPAddressAllow")
_COMMAND: Final = "eider setup"
_DOCKER: Final = ("/run/docker.sock", "/run/podman")  # the second, where Podman plays Docker


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What is spoken with: as the setting names it, and the addresses it has now."""

    host: str
    setting: str
    addresses: tuple[str, ...]

    @property
    def is_name(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder or file that is read, or also written. `is_own`: eiderd's, which it makes."""

    path: str
    setting: str
    written: bool = False
    is_own: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a configuration needs of a unit. `served`: others than this machine may ask it."""

    peers: tuple[Peer, ...] = ()
    nameservers: tuple[str, ...] = ()
    served: bool = False
    places: tuple[Place, ...] = ()
    groups: tuple[str, ...] = ()
    memory_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What a unit lets through. `memory_bytes` is None where there is no limit.

    `shut` has the words of InaccessiblePaths= as they stand there.
    """

    allowed: tuple[Network, ...]
    denied: tuple[Network, ...]
    written: tuple[str, ...]
    bound: tuple[str, ...]
    hides_homes: bool
    hides_temporary: bool
    is_strict: bool
    groups: frozenset[str]
    memory_bytes: int | None
    shut: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """One thing that a unit does not let through, and the lines of a drop-in that would."""

    said: str
    lines: tuple[str, ...] = ()
    command: str = _COMMAND


# What is let through ----------------------------------------------------------------------------


def allowed(said: Mapping[str, tuple[str, ...]], *, groups: Iterable[str] = ()) -> Allowed:
    """Given the words of each property, return what they let through.

    `groups` are those that the unit's user is in anyway.
    """
    bound = [_destination(word) for word in said.get("BindPaths", ())]
    return Allowed(
        allowed=_networks(said.get("IPAddressAllow", ())),
        denied=_networks(said.get("IPAddressDeny", ())),
        written=(STATE, *bound, *(word.lstrip("-+") for word in said.get("ReadWritePaths", ()))),
        bound=(*bound, *map(_destination, said.get("BindReadOnlyPaths", ()))),
        hides_homes=_last(said, "ProtectHome") in ("yes", "true", "1", "on", "tmpfs"),
        hides_temporary=_last(said, "PrivateTmp") in ("yes", "true", "1", "on", "disconnected"),
        is_strict=_last(said, "ProtectSystem") == "strict",
        groups=frozenset(said.get("SupplementaryGroups", ())) | frozenset(groups),
        memory_bytes=_size(_last(said, "MemoryMax")),
        shut=said.get("InaccessiblePaths", ()),
    )


def _last(said: Mapping[str, tuple[str, ...]], name: str) -> str:
    return next(reversed(said.get(name, ())), "")


def _networks(words: Iterable[str]) -> tuple[Network, ...]:
    found: list[Network] = []
    for word in words:
        for one in _WORDS.get(word, (word,)):
            with contextlib.suppress(ValueError):
                found.append(ipaddress.ip_network(one, strict=False))
    return tuple(found)


def _destination(word: str) -> str:
    source, _, rest = word.lstrip("-").partition(":")
    return rest.partition(":")[0] or source


def _size(said: str) -> int | None:
    found = re.fullmatch(r"(\d+)([KMGT]?)", said)
    return int(found[1]) * _SIZES[found[2]] if found else None


# What is not ------------------------------------------------------------------------------------


def missing(needs: Needs, unit: Allowed) -> Iterator[Lack]:
    """Return what a unit does not let through of what is needed."""
    for group in sorted(set(needs.groups) - unit.groups):
        said = f"the service is not in the group {group}"
        yield Lack(said=said, lines=(f"SupplementaryGroups={group}",))
    rest = [word for word in unit.shut if word.lstrip("-+") not in _DOCKER]
    if "docker" in needs.groups and len(rest) < len(unit.shut):
        others = [f"InaccessiblePaths={' '.join(map(spelled, rest))}"] if rest else []
        yield Lack(
            said="it may not speak with Docker: InaccessiblePaths= of its unit has the socket",
            lines=("InaccessiblePaths=", *others),
        )
    if unit.memory_bytes is not None and unit.memory_bytes < needs.memory_bytes:
        most = needs.memory_bytes // _GIB + 2
        has = decimal(unit.memory_bytes)
        yield Lack(
            said=f"engine.memory_limit does not fit into MemoryMax= of the unit ({has})",
            lines=(f"MemoryMax={most}G",),
        )
    yield from _unreachable(needs, unit)
    for place in needs.places:
        yield from _out_of_sight(place, unit)


def _unreachable(needs: Needs, unit: Allowed) -> Iterator[Lack]:
    beyond = [one for one in needs.peers if not _is_this_machine(one)]
    for peer in beyond:
        if not peer.addresses and not _reaches_all(unit):
            yield Lack(
                said=f"{peer.host} ({peer.setting}) cannot be looked up, so it is not known "
                "whether the service may reach it",
                command=f"getent ahosts {peer.host}",
            )
        for address in peer.addresses:
            if not _reaches(unit, address):
                which = f"{peer.host}, {peer.setting}" if peer.is_name else peer.setting
                yield Lack(
                    said=f"the service may not reach {address} ({which}): "
                    "IPAddressAllow= of its unit does not have it",
                    lines=(f"IPAddressAllow={address}",),
                )
    if any(one.is_name for one in beyond):
        for address in needs.nameservers:
            if not _reaches(unit, address):
                yield Lack(
                    said=f"the service may not ask {address} (/etc/resolv.conf) for addresses: "
                    "IPAddressAllow= of its unit does not have it",
                    lines=(f"IPAddressAllow={address}",),
                )
    if needs.served and not _serves(needs, unit):
        yield Lack(
            said="server.listen is not for this machine alone, but IPAddressAllow= of the unit "
            "lets nobody else reach the service",
            lines=(f"IPAddressAllow={' '.join(SERVED)}",),
        )


def _is_this_machine(peer: Peer) -> bool:
    return bool(peer.addresses) and all(map(is_loopback, peer.addresses))


def is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified


def _reaches(unit: Allowed, address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return True  # nothing that a filter could be about
    if any(found in network for network in unit.allowed):
        return True
    return found.is_unspecified or not any(found in network for network in unit.denied)


def _reaches_all(unit: Allowed) -> bool:
    return not unit.denied or any(network.prefixlen == 0 for network in unit.allowed)


def _serves(needs: Needs, unit: Allowed) -> bool:
    """Say whether somebody else may come, who is not merely one that the service itself asks."""
    asked = {*needs.nameservers, *(one for peer in needs.peers for one in peer.addresses)}
    others = [
        network
        for network in unit.allowed
        if not network.is_loopback
        and not (network.num_addresses == 1 and str(network.network_address) in asked)
    ]
    return not unit.denied or bool(others)


def _out_of_sight(place: Place, unit: Allowed) -> Iterator[Lack]:
    hidden = (unit.hides_homes and _is_in(place.path, _HOMES)) or (
        unit.hides_temporary and _is_in(place.path, _TEMPORARY)
    )
    is_seen = not hidden or _is_in(place.path, unit.bound)
    is_open = not unit.is_strict or _is_in(place.path, unit.written)
    if is_seen and (is_open or not place.written):
        return
    verb, why = "see", "ProtectHome=" if _is_in(place.path, _HOMES) else "PrivateTmp="
    if is_seen:
        verb, why = "write in", "ReadWritePaths="
    yield Lack(
        said=f"the service cannot {verb} {place.path} ({place.setting}): {why} of its unit",
        lines=tuple(_opening(place)),
    )


def _opening(place: Place) -> Iterator[str]:
    if place.written:
        yield f"ReadWritePaths={spelled(place.path)}"
    if is_hidden(place.path):
        if _is_in(place.path, _HOMES):  # everything there stays hidden but this
            yield "ProtectHome=tmpfs"
        how = "BindPaths" if place.written else "BindReadOnlyPaths"
        yield f"{how}={spelled(place.path, bound=True)}"


def is_hidden(path: str) -> bool:
    """Say whether the sandbox hides what stands there."""
    return _is_in(path, (*_HOMES, *_TEMPORARY))


def _is_in(path: str, folders: Iterable[str]) -> bool:
    return any(path == one or path.startswith(f"{one.rstrip('/')}/") for one in folders)


# The drop-in ------------------------------------------------------------------------------------


def opened(lacks: Iterable[Lack], needs: Needs) -> list[str]:
    """Return the folders of eiderd's own that become writable: they have to be there."""
    lines = {line for lack in lacks for line in lack.lines}
    return [
        one.path
        for one in needs.places
        if one.is_own and f"ReadWritePaths={spelled(one.path)}" in lines
    ]


def drop_in(lacks: Iterable[Lack], needs: Needs) -> str | None:
    """Return the drop-in that lets through what is missing; None when nothing is."""
    lacks = tuple(lacks)
    lines = dict.fromkeys(line for lack in lacks for line in lack.lines)
    if not lines:
        return None
    # A disk that is not mounted must not be mistaken for an empty folder.
    mounts = [f"RequiresMountsFor={spelled(path)}" for path in opened(lacks, needs)]
    head = ["[Unit]", *mounts, ""] if mounts else []
    return "\n".join([*head, "[Service]", *_together(lines), ""])


def _together(lines: Iterable[str]) -> Iterator[str]:
    """Return the lines, those that are lists as one each, where the first of it stands."""
    lists: dict[str, dict[str, None]] = {}
    for line in lines:
        key, _, value = line.partition("=")
        lists.setdefault(key, {}).update(dict.fromkeys(value.split()))
    for line in lines:
        key = line.partition("=")[0]
        if key not in _JOINED:
            yield line
        elif key in lists:
            yield f"{key}={' '.join(lists.pop(key))}"


def groups_in(text: str) -> list[str]:
    """Return the groups that a drop-in adds."""
    lines = (line.partition("=") for line in text.splitlines())
    return [
        name for key, _, value in lines if key == "SupplementaryGroups" for name in value.split()
    ]


def spelled(path: str, *, bound: bool = False) -> str:
    """Return a path as a unit says it; one that is `bound` is read as a pair with a colon."""
    if not path.isprintable() or (bound and not _PLAIN.fullmatch(path)):
        raise ConfigError(f"{path!r} cannot be named in a unit", hint="Rename that folder.")
    said = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{said}"' if set(said) & set(" '\"\\;") else said
