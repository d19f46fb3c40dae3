"""Settings from the environment: EIDER_SECTION__KEY, as in EIDER_DATABASE__PATH. Pure.

Lists, tables and whole sections are JSON: EIDER_BACKUP__INCLUDE='["/etc/app"]'.
"""

from __future__ import annotations

import difflib
import json
import typing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from eiderd.words import is_unicode, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PREFIX = "EIDER_"
CONFIG = "EIDER_CONFIG"  # read by the command itself
_UNKNOWN = object()


def read(
    variables: Mapping[str, str], settings: type[BaseModel]
) -> tuple[dict[str, Any], list[str]]:
    """Return what the variables set, in the shape of the file, and what is wrong with them."""
    document: dict[str, Any] = {}
    problems: list[str] = []
    for variable in sorted(variables):  # a section before the keys in it, which win
        if not variable.startswith(_PREFIX) or variable == CONFIG:
            continue
        place = variable.removeprefix(_PREFIX).lower().split("__")
        kind = _kind(settings, place)
        if kind is _UNKNOWN:
            near = difflib.get_close_matches(variable, _variables(settings), n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{plain(variable)} (environment) is not a setting{meant}")
            continue
        said = variables[variable]
        if not is_unicode(said):
            problems.append(f"{variable} (environment) is not text in UTF-8")
            continue
        try:
            value = json.loads(said) if _is_json(kind) else said
        except (ValueError, RecursionError):
            problems.append(f"{plain(variable)} (environment) must be JSON, as in {_example(kind)}")
            continue
        document = merge(document, _nested(place, value))
    return document, problems


def variable_of(place: Sequence[int | str]) -> str:
    """Return the variable that sets what stands at `place` of the configuration."""
    return _PREFIX + "__".join(map(str, place)).upper()


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, `above` winning where they meet."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            merged[key] = merge(inner, value)
        else:
            merged[key] = value
    return merged


def _kind(settings: type[BaseModel], place: Sequence[str]) -> Any:  # noqa: ANN401  (any annotation)
    """Return the type of the setting that is meant, _UNKNOWN if there is none."""
    kind: Any = settings
    for part in place:
        if _is_section(kind):
            fields = {field.alias or name: field for name, field in kind.model_fields.items()}
            kind = fields[part].annotation if part in fields else _UNKNOWN
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        else:
            return _UNKNOWN
    return kind


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_json(kind: object) -> bool:
    return _is_section(kind) or typing.get_origin(kind) in (tuple, dict)


def _example(kind: object) -> str:
    return (
        """'["/one", "/two"]'""" if typing.get_origin(kind) is tuple else """'{"key": "value"}'"""
    )


def _nested(place: Sequence[str], value: object) -> dict[str, Any]:
    for part in reversed(place):
        value = {part: value}
    return typing.cast("dict[str, Any]", value)


def _variables(settings: type[BaseModel]) -> Iterator[str]:
    yield CONFIG
    for name, field in settings.model_fields.items():
        section = field.alias or name
        yield variable_of((section,))
        if _is_section(field.annotation):
            inner = typing.cast("type[BaseModel]", field.annotation)
            yield from (variable_of((section, key)) for key in inner.model_fields)
