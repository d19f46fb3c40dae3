"""What the kernel tells in /proc: text, with names in it that anybody chose, of any bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def text(path: str | Path) -> str:
    """Return a file of the kernel's; U+FFFD stands for what is no UTF-8. Raise OSError."""
    return Path(path).read_text(errors="replace")


def boot() -> str:
    """Return what tells this boot of the machine from every other."""
    return text(_BOOT).strip()


def capabilities(kind: str) -> int:
    """Return a set of this thread's capabilities, such as CapEff, as bits (capabilities(7))."""
    for line in text("/proc/thread-self/status").splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1], 16)
    return 0


def plain(mount: str) -> str:
    """Return a mount point as it is: the kernel writes spaces, for one, as octal numbers."""
    return _ESCAPED.sub(lambda number: chr(int(number[1], 8)), mount)
