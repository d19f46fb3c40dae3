"""Settings from the environment: EIDER_SECTION__KEY, as in EIDER_DATABASE__PATH. Pure.

Lists, tables and whole sections are JSON: EIDER_BACKUP__INCLUDE='["/etc/app"]'.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from eiderd.words import is_unicode, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PREFIX = "EIDER_"
CONFIG = "EIDER_CONFIG"  # read by the command itself


def read(
    variables: Mapping[str, str], settings: type[BaseModel], *, below: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return `below`, which is the file above its profile, with what the variables set.

    And what is wrong with them.
    """
    document: dict[str, Any] = dict(below)
    problems: list[str] = []
    for variable in sorted(variables):  # a section before the keys in it, which win
        if not variable.startswith(_PREFIX) or variable == CONFIG:
            continue
        try:
            place, kinds = _place(settings, variable, known=document)
            value = _value(variables[variable], kinds)
        except ValueError as error:
            problems.append(f"{plain(variable)} (environment) {error}")
        else:
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


def _place(
    settings: type[BaseModel], variable: str, *, known: object
) -> tuple[list[str], tuple[Any, ...]]:
    """Return where the setting stands that is meant, and what it may be. Raise ValueError."""
    place: list[str] = []
    kinds: tuple[Any, ...] = (settings,)
    for part in variable.removeprefix(_PREFIX).lower().split("__"):
        kind: Any = kinds[0] if len(kinds) == 1 else None
        name = part
        if _is_section(kind):
            fields = {field.alias or name: field for name, field in kind.model_fields.items()}
            inner = fields[part].annotation if part in fields else None
        elif typing.get_origin(kind) is dict:
            inner = typing.get_args(kind)[1]
            name = _spelt(part, known, place, must_be_known=_is_section(inner))
        else:
            inner = None
        if inner is None:
            raise ValueError(f"is not a setting{_suggestion(variable, settings)}")
        place.append(name)
        kinds = _kinds(inner)
        known = known.get(name) if isinstance(known, dict) else None
    return place, kinds


def _spelt(name: str, known: object, place: Sequence[str], *, must_be_known: bool) -> str:
    """Return a name as the file or the profile has it: variables are mostly written in capitals.

    A new stream is refused: under a name that is spelt otherwise, it would be created.
    """
    names = [one for one in known if one.lower() == name] if isinstance(known, dict) else []
    if len(names) == 1:
        return str(names[0])
    if not must_be_known:
        return name
    if names:
        raise ValueError(f"may mean {' or '.join(map(plain, names))}")
    table = f"{variable_of(place)}='{{\"NAME\": {{...}}}}'"
    raise ValueError(f"means none of {'.'.join(place)}; a new one is said as JSON: {table}")


def _value(said: str, kinds: Sequence[Any]) -> object:
    """Return what a variable sets. Raise ValueError."""
    if not is_unicode(said):
        raise ValueError("is not text in UTF-8")
    tables = [kind for kind in kinds if _is_section(kind) or typing.get_origin(kind) is dict]
    lists = [kind for kind in kinds if typing.get_origin(kind) is tuple]
    if not tables and not lists:
        return said
    if len(tables + lists) < len(kinds) and not said.lstrip().startswith("["):
        return said  # one of several that may also be a list
    try:
        return json.loads(said)
    except (ValueError, RecursionError) as error:
        example = """'{"key": "value"}'""" if tables else """'["/one", "/two"]'"""
        raise ValueError(f"must be JSON, as in {example}") from error


def _kinds(kind: Any) -> tuple[Any, ...]:  # noqa: ANN401  (any annotation)
    """Return what a setting may be, None aside."""
    if typing.get_origin(kind) is typing.Annotated:
        return _kinds(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(one for inner in typing.get_args(kind) for one in _kinds(inner))
    return () if kind is type(None) else (kind,)


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _suggestion(variable: str, settings: type[BaseModel]) -> str:
    near = difflib.get_close_matches(variable, _variables(settings), n=1)
    return f"; did you mean {near[0]}?" if near else ""


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
