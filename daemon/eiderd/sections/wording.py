"""What is wrong with a value in the configuration, in the words of who wrote it. Pure."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

_WANTED: Final = {
    "path_type": "a path, as text",
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "one of {expected}",
}
# Where somebody may have written the secret itself instead of the file it is in.
_NAMES_A_SECRET: Final = re.compile("(token|password)_file|credentials|nkey|url_headers|basic_auth")
_LONGEST_SHOWN: Final = 80


def wrong(problem: Mapping[str, Any]) -> str:
    """Given a problem as pydantic tells it, return what the value must be."""
    wanted = _WANTED.get(problem["type"])
    if wanted:
        return f"must be {wanted.format(**problem.get('ctx', {}))}"
    return str(problem["msg"]).removeprefix("Value error, ")


def shown(problem: Mapping[str, Any]) -> str:
    """Given a problem as pydantic tells it, return the value in short, without secrets."""
    names = [str(part) for part in problem["loc"]]
    if any(map(_NAMES_A_SECRET.fullmatch, names)):
        return "not shown, as it may be the secret itself"
    return short(_shown(problem["input"], is_url=any(name.endswith("url") for name in names)))


def short(text: str, *, most: int = _LONGEST_SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _shown(value: object, *, is_url: bool) -> str:
    match value:
        case dict():
            return "a table"
        case list() if any(isinstance(one, list) for one in value):
            return "a list of lists"
        case list():
            return f"[{', '.join(_shown(one, is_url=is_url) for one in value)}]"
        case str() if is_url or ":" in value:
            return repr(without_password(value))
        case _:
            return repr(value)


def without_password(url: str) -> str:
    """Return a URL, also one that is none, but for who logs in: what stands before its last @."""
    return re.sub(r"^([A-Za-z]+://)?.*@", r"\1***@", url, flags=re.DOTALL)


def suggestion(settings: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """Return the question whether another word was meant, if one is like it."""
    known = list(_words(settings, depth=len(place) - 1, path=place))
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _words(model: type[BaseModel], *, depth: int, path: tuple[int | str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        word = field.alias or name
        if not depth:
            yield word
        elif word == path[0] and isinstance(field.annotation, type):
            yield from _words(field.annotation, depth=depth - 1, path=path[1:])
