"""Who this machine asks for the addresses of names: resolv.conf(5)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

FILE: Final = Path("/etc/resolv.conf")


def nameservers(text: str | None = None) -> tuple[str, ...]:
    """Return their addresses, each once, with the zone (%eth0) of those that have one.

    `text` is the file's, where it is not that of this machine.
    """
    if text is None:
        with contextlib.suppress(OSError):
            text = FILE.read_text(errors="replace")
    lines = (line.split() for line in (text or "").splitlines())
    named = (words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")
    return tuple(dict.fromkeys(named))
