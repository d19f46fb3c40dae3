"""A unit of systemd as its files say it: what of [Service] decides its environment. Pure.

The files are read here rather than asked of systemctl, so that it is the same on a machine that
does not run, in an image, and in a test.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_LISTS: Final = (
    "Environment",
    "EnvironmentFile",
    "ExecStart",
    "StateDirectory",
)  # an empty one forgets the others


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """`environment_files` are paths; a file that need not be there is told by `optional`.

    `state_folders` are those that systemd makes, and gives `state_mode` at every start.
    """

    name: str
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    environment_files: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    working_directory: str = "/"
    commands: tuple[str, ...] = ()
    state_folders: tuple[str, ...] = ()
    state_mode: int = 0o755


def parse(name: str, texts: Iterable[str]) -> Unit:
    """Given the unit's file and then its drop-ins, in systemd's order, return what they amount to.

    What cannot be understood is passed over, as systemd does.
    """
    lists: dict[str, list[str]] = {key: [] for key in _LISTS}
    folder, mode = "/", 0o755
    for text in texts:
        for key, value in _settings(text):
            if key in lists:
                lists[key] = [*lists[key], value] if value else []
            elif key == "WorkingDirectory":
                folder = _unescaped(value.removeprefix("-")) or "/"
            elif key == "StateDirectoryMode" and re.fullmatch("[0-7]{3,4}", value):
                mode = int(value, 8)
    files = [_unescaped(_unquoted(value)) for value in lists["EnvironmentFile"]]
    return Unit(
        name=name,
        environment=dict(
            word.partition("=")[::2]
            for value in lists["Environment"]
            for word in _words(_unescaped(value))
            if "=" in word
        ),
        environment_files=tuple(path.removeprefix("-") for path in files),
        optional=frozenset(path[1:] for path in files if path.startswith("-")),
        working_directory=folder if posixpath.isabs(folder) else "/",
        commands=tuple(lists["ExecStart"]),
        state_folders=tuple(
            f"/var/lib/{word.partition(':')[0]}"
            for value in lists["StateDirectory"]
            for word in _words(_unescaped(value))
        ),
        state_mode=mode,
    )


def words(texts: Iterable[str], names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the words of settings that are lists of them. An empty one forgets what was before."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    for text in texts:
        for key, value in _settings(text):
            if key in found:
                said = tuple(map(_unescaped, _words(value)))
                found[key] = (*found[key], *said) if value else ()
    return found


def _settings(text: str) -> Iterable[tuple[str, str]]:
    section = ""
    for line in _lines(text):
        if heading := re.fullmatch(r"\[([^\[\]]+)\]", line):
            section = heading[1]
        elif section == "Service" and "=" in line:
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


def _lines(text: str) -> Iterable[str]:
    """Yield the lines; one that ends in a backslash goes on with the next that is no comment."""
    begun = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.lstrip()[:1] in ("#", ";"):
            continue
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        yield (begun + line).strip()
        begun = ""
    if begun:
        yield begun.strip()


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:  # a quote without its end
        return []


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _unescaped(value: str) -> str:
    return value.replace("%%", "%")
