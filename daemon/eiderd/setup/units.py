"""The unit files and what belongs to them, for an installation without a package. Pure.

Each begins with a seal: the SHA-256 of what follows it. So `--remove` takes away what setup wrote
and nobody changed since, whatever version of eiderd wrote it, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# What ships, and where it belongs. The rule for the application is written with its unit's name.
PLACES: Final = {
    "eiderd.sysusers.conf": "/etc/sysusers.d/eiderd.conf",
    "eiderd.tmpfiles.conf": "/etc/tmpfiles.d/eiderd.conf",
    "eiderd.service": "/etc/systemd/system/eiderd.service",
    "eiderd-maintain@.service": "/etc/systemd/system/eiderd-maintain@.service",
    "eiderd.dbus.conf": "/etc/dbus-1/system.d/eiderd.conf",
    "eiderd.rules": "/etc/polkit-1/rules.d/50-eiderd.rules",
}
PACKAGED: Final = ("/usr/lib/systemd/system/eiderd.service", "/lib/systemd/system/eiderd.service")
TEMPLATE: Final = "eiderd-application.rules"
_SEAL: Final = re.compile(
    r"(?:#|//|<!--) Written by `eider setup`, which also removes it: ([0-9a-f]{64})(?: -->)?\n"
)


def sealed(text: str, *, comment: str = "#") -> str:
    seal = hashlib.sha256(text.encode()).hexdigest()
    end = " -->" if comment == "<!--" else ""
    return f"{comment} Written by `eider setup`, which also removes it: {seal}{end}\n{text}"


def is_sealed(text: str) -> bool:
    """Say whether setup wrote this, and nobody changed it since."""
    seal = _SEAL.match(text)
    return seal is not None and hashlib.sha256(text[seal.end() :].encode()).hexdigest() == seal[1]


def files(shipped: Mapping[str, str], *, bin_folder: str, config: str) -> dict[str, str]:
    """Given what ships by name, return what is written by path.

    `bin_folder` has the commands of this installation; `config` is the configuration they read.
    """
    found = {}
    for name, path in PLACES.items():
        text = shipped[name]
        if name.endswith(".service"):
            text = text.replace("ExecStart=/usr/bin/", f"ExecStart={_escaped(bin_folder)}/")
            text = text.replace("--config /etc/eiderd/eiderd.toml", f"--config {_escaped(config)}")
        found[path] = sealed(text, comment=_comment(name))
    return found


def application_rules(template: str, *, unit: str) -> str:
    """Return the rule by which eiderd may start and stop this one unit."""
    return sealed(template.replace("@UNIT@", json.dumps(unit)), comment=_comment(TEMPLATE))


def _comment(name: str) -> str:
    return {"eiderd.dbus.conf": "<!--"}.get(name, "//" if name.endswith(".rules") else "#")


def _escaped(path: str) -> str:
    """Return a path as ExecStart= says it: in quotes where it must be, no specifiers."""
    said = path.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    return said.replace(" ", "\\x20").replace('"', "\\x22").replace("'", "\\x27")
