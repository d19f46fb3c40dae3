"""Whether something on this machine keeps this process from an address, and from telling so.

Of what IPAddressDeny= of a unit forbids, a TCP connection hears nothing: it waits until its time is
up, as if the other side were dead. A datagram is refused at once. So an empty one is sent, and only
when there was no answer anyway.
"""

from __future__ import annotations

import socket
import threading
from typing import Any, Final

from eiderd.outside import resolver

_SECONDS: Final = 1.0
_DISCARD: Final = 9
_NAMES: Final = 53
_SAID: Final = (
    ": the sandbox of its unit (IPAddressAllow=) or a firewall does not let eiderd {}; "
    "see: eider doctor"
)


def why(host: str) -> str:
    """Return what to add to "no answer" when this is why, else nothing."""
    found: list[str] = []
    # Looking up a name takes as long as it likes; nobody waits for that.
    looking = threading.Thread(target=lambda: found.append(_why(host)), daemon=True)
    looking.start()
    looking.join(_SECONDS)
    return found[0] if found else ""


def _why(host: str) -> str:
    try:
        known = socket.getaddrinfo(host, _DISCARD, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        if any(is_barred(*one) for name in resolver.nameservers() for one in _numeric(name)):
            return _SAID.format("ask for its address")
        return ""
    if known and all(is_barred(family, address) for family, *_rest, address in known):
        return _SAID.format("reach it")
    return ""


def is_barred(family: int, address: Any) -> bool:  # noqa: ANN401  (as getaddrinfo has it)
    """Say whether sending to an address is forbidden. An empty datagram goes there if it is not."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.sendto(b"", address)
        except PermissionError:
            return True
        except OSError:  # no route, no such family: that is not forbidden
            return False
    return False


def _numeric(address: str) -> list[tuple[int, Any]]:
    try:
        kind, flags = socket.SOCK_DGRAM, socket.AI_NUMERICHOST
        known = socket.getaddrinfo(address, _NAMES, type=kind, flags=flags)
    except (OSError, UnicodeError):
        return []
    return [(family, where) for family, *_rest, where in known]
