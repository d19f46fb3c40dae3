"""Files of environment variables, read as their readers read them: systemd's and Compose's. Pure.

The two differ in what they take: systemd knows no `export` and passes over such a line, so the
application never saw it either.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEEDS_ESCAPE: Final = '"\\`$'  # what a backslash takes the meaning from, between double quotes
_DOTENV_LINE: Final = re.compile(
    r"""^\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.]*)\s*[=:]\s*
    (?:'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|(?P<bare>.*?))\s*(?:(?<=\s)\#.*)?$""",
    re.VERBOSE,
)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def systemd(text: str) -> dict[str, str]:
    """Return the variables of a file that a unit names with EnvironmentFile=."""
    reader = _Systemd()
    for sign in text.replace("\r\n", "\n").replace("\r", "\n"):
        reader.take(sign)
    reader.take("\n")
    return {name: value for name, value in reader.found.items() if _NAME.fullmatch(name)}


@dataclasses.dataclass(slots=True)
class _Systemd:
    """The reader of systemd, sign by sign: one method for each of its states.

    `spaces` are those at the end of a bare value, which count only if more of it follows.
    """

    found: dict[str, str] = dataclasses.field(default_factory=dict)
    state: str = "before_name"
    name: str = ""
    value: str = ""
    spaces: str = ""

    def take(self, sign: str) -> None:
        getattr(self, f"_{self.state}")(sign)

    def _before_name(self, sign: str) -> None:
        if sign in "#;":
            self.state = "comment"
        elif not sign.isspace():
            self.name, self.value, self.spaces, self.state = sign, "", "", "in_name"

    def _in_name(self, sign: str) -> None:
        if sign == "\n":
            self.state = "before_name"
        elif sign == "=":
            self.name, self.state = self.name.rstrip(), "before_value"
        else:
            self.name += sign

    def _before_value(self, sign: str) -> None:
        opens = {"'": "in_single", '"': "in_double", "\\": "escaped"}
        if sign == "\n":
            self._end()
        elif sign in opens:
            self.state = opens[sign]
        elif not sign.isspace():
            self.value, self.state = self.value + sign, "in_value"

    def _in_value(self, sign: str) -> None:
        if sign == "\n":
            self._end()
        elif sign == "\\":
            self._add("")
            self.state = "escaped"
        elif sign.isspace():
            self.spaces += sign
        else:
            self._add(sign)

    def _escaped(self, sign: str) -> None:
        self.state = "in_value"
        if sign != "\n":  # else the line goes on with the next
            self._add(sign)

    def _in_single(self, sign: str) -> None:
        if sign == "'":
            self.state = "before_value"
        else:
            self.value += sign

    def _in_double(self, sign: str) -> None:
        if sign == '"':
            self.state = "before_value"
        elif sign == "\\":
            self.state = "escaped_in_double"
        else:
            self.value += sign

    def _escaped_in_double(self, sign: str) -> None:
        self.state = "in_double"
        if sign in _NEEDS_ESCAPE:
            self.value += sign
        elif sign != "\n":
            self.value += "\\" + sign

    def _comment(self, sign: str) -> None:
        if sign == "\n":
            self.state = "before_name"

    def _add(self, signs: str) -> None:
        self.value += self.spaces + signs
        self.spaces = ""

    def _end(self) -> None:
        self.found[self.name] = self.value
        self.state = "before_name"


def dotenv(text: str) -> dict[str, str]:
    """Return the variables of a file that Compose reads: env_file, or .env beside it."""
    found = {}
    for line in text.replace("\r\n", "\n").split("\n"):
        seen = _DOTENV_LINE.match(line)
        if line.lstrip().startswith("#") or not seen:
            continue
        if seen["double"] is not None:
            value = re.sub(
                r"\\(.)", lambda part: _ESCAPED.get(part[1], "\\" + part[1]), seen["double"]
            )
        else:
            value = seen["single"] if seen["single"] is not None else seen["bare"]
        found[seen["name"]] = value
    return found
