"""The documents of the packages: those of the project, with links to what is installed."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = "usr/share/doc/eiderd"
# Plain, not compressed: a link to one would lead nowhere, and none is long.
_DOCUMENTS: Final = {
    "README.md": "README.md",
    "SECURITY.md": "SECURITY.md",
    "config/REFERENCE.md": "REFERENCE.md",
    "config/prometheus/METRICS.md": "METRICS.md",
}
_FILES: Final = {
    "config/eiderd.toml": "examples/eiderd.toml",
    "config/prometheus/scrape.yml": "examples/scrape.yml",
}
# What a link may mean besides, and where a package has it.
_ELSEWHERE: Final = {
    "CHANGELOG.md": "changelog.gz",
    "LICENSE": "copyright",
    "config/grafana/eiderd.json": "/usr/share/eiderd/grafana/eiderd.json",
    "config/prometheus": "examples",
    "config/prometheus/rules": "/usr/share/eiderd/prometheus",
    "config/prometheus/rules/eiderd.yml": "/usr/share/eiderd/prometheus/eiderd.yml",
    "systemd/eiderd-maintain@.service": "/usr/lib/systemd/system/eiderd-maintain@.service",
    "systemd/eiderd.service": "/usr/lib/systemd/system/eiderd.service",
}
_PICTURES: Final = re.compile(r"(?:<p>\n(?:<img [^>]*>\n)+</p>|!\[[^\]]*\]\([^)]*\))\n\n?")
_LINK: Final = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<to>[^)\s#]+)(?P<part>#[^)\s]*)?\)")
_FOREIGN: Final = re.compile(r"[a-z]+:")


def write(project: Path, folder: Path) -> None:
    """Write all of them into `folder`, which is to become /usr/share/doc/eiderd."""
    for source, name in _DOCUMENTS.items():
        _place(folder / name).write_text(adapted(source, (project / source).read_text()))
    for source, name in _FILES.items():
        _place(folder / name).write_bytes((project / source).read_bytes())


def adapted(source: str, text: str) -> str:
    """Return a document as it is installed. `source` is where it stands in the project.

    Pictures are left out, and of a link to what no package has, the words stay.
    """
    places = {**_DOCUMENTS, **_FILES, **_ELSEWHERE}

    def led(link: re.Match[str]) -> str:
        words, to, part = link["text"], link["to"], link["part"] or ""
        if _FOREIGN.match(to):
            return link[0]
        meant = posixpath.normpath(posixpath.join(posixpath.dirname(source), to))
        if meant not in places:
            return words
        return f"[{places[meant] if words == to else words}]({places[meant]}{part})"

    return _LINK.sub(led, _PICTURES.sub("", text))


def _place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
