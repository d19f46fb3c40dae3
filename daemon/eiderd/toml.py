"""TOML that anybody may have written, read. Pure."""

from __future__ import annotations

import tomllib
from typing import Any, Final

_DEEPEST: Final = 50  # a setting of a consumer of a stream stands at 6
_LARGEST: Final = 2**63  # what TOML promises; Python cannot even say a number of 4301 digits


def read(text: str) -> dict[str, Any]:
    """Return what a file says. Raise ValueError, in a person's words."""
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))  # Windows puts it there
        _check(document, levels=_DEEPEST)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError("a number in it is too large") from error
    return document


def _check(value: object, *, levels: int) -> None:
    if levels == 0:
        raise RecursionError
    match value:
        case dict():
            for inner in value.values():
                _check(inner, levels=levels - 1)
        case list():
            for inner in value:
                _check(inner, levels=levels - 1)
        case int() if not -_LARGEST <= value < _LARGEST:
            raise ValueError
