"""The reference of the configuration, written from the settings: `config/REFERENCE.md`."""

from __future__ import annotations

import datetime
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ByteSize

from eiderd.config import Settings
from eiderd.sections import example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

_HEAD: Final = """\
# Settings

All settings of `/etc/eiderd/eiderd.toml`. Only `database.path` is required. `eider config example`
prints a file to start from, `eider setup` writes one for this machine, `eider config check` says
whether it can be meant, `eider config show` what is in force. Unknown settings are refused.

A duration has its unit (`"90s"`, `"1h30m"`, `"7d"`), and so has a size (`"500MB"`, `"2GiB"`). Each
setting can come from the environment, which wins over the file, as the file wins over the profile:
`EIDER_BACKUP__DIRECTORY` sets `backup.directory`; lists and tables are JSON there. A variable finds
a stream or consumer of the file or profile whatever the case of its name. A new one is said as
JSON: `EIDER_NATS__STREAMS='{"Orders": {"subjects": ["orders.>"]}}'`.

A profile (`profile = "cartographus"`) brings defaults for a known application.
"""
_WORDS: Final = {
    str: "text",
    int: "number",
    float: "number",
    bool: "true, false",
    Path: "path",
    ByteSize: "size",
    datetime.timedelta: "duration",
}
# Of streams and consumers, most is what the API of NATS says.
_OF_NATS: Final = {
    "expected": "false: this one, which a profile brings, is not used here.",
    "consumers": "Its consumers, by name.",
    "max_lag": "Instead of nats.max_lag.",
    "max_redelivered": "Instead of nats.max_redelivered.",
}


def markdown() -> str:
    """Return the text of `config/REFERENCE.md`."""
    return _HEAD + "".join(
        _section(field.alias or name, field.annotation)
        for name, field in Settings.model_fields.items()
        if _is_section(field.annotation)
    )


def _section(title: str, model: Any) -> str:  # noqa: ANN401  (a section's class)
    rows = "".join(_row(title, key, field) for key, field in model.model_fields.items())
    head = "| setting | kind | default | what it means |\n|---|---|---|---|\n"
    below = "".join(
        _section(f"{title}.{key}.NAME", inner)
        for key, field in model.model_fields.items()
        for inner in typing.get_args(field.annotation)
        if typing.get_origin(field.annotation) is dict and _is_section(inner)
    )
    return f"\n## [{title}]\n\n{head}{rows}{below}"


def _row(section: str, key: str, field: FieldInfo) -> str:
    kind = " or ".join(dict.fromkeys(_kinds(field.annotation)))
    if field.is_required():
        default = "**required**"
    else:
        value = field.get_default(call_default_factory=True)
        default = "not set" if value in (None, {}) else f"`{example.spelled(value)}`"
    said = field.description or _OF_NATS.get(key, "As NATS calls it.")
    cells = (f"`{section}.{key}`", kind, default, said)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _kinds(kind: Any) -> Iterator[str]:  # noqa: ANN401  (any annotation)
    """Yield what a person would call the values of a setting."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        yield from _kinds(inner[0])
    elif origin in (typing.Union, types.UnionType):
        for one in inner:
            yield from _kinds(one)
    elif origin is Literal:
        yield ", ".join(f"`{example.spelled(one)}`" for one in inner)
    elif origin is tuple:
        yield "list"
    elif origin is dict or _is_section(kind):
        yield "table"
    elif kind is not type(None):
        yield _WORDS[kind]


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
