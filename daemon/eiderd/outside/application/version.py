"""Ask the application for its version: a URL that answers with JSON, or a command that prints it.

Whatever it says is somebody else's text. No answer is no error: it may be down.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import ApplicationFailed
from eiderd.outside import one_request
from eiderd.outside.application import ask

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS: Final = 5.0
_LONGEST: Final = 200
_GOOD: Final = 200


def by_command(words: Sequence[str], *, seconds: float = SECONDS) -> str | None:
    """Return what a command prints, None when it fails."""
    with contextlib.suppress(ApplicationFailed):
        ran = ask.run(words, seconds=seconds)
        if ran.code == 0:
            return _fit(ran.out)
    return None


def by_url(url: str, *, field: str, seconds: float = SECONDS) -> str | None:
    """Return what stands at `field`, a JSON pointer, of what the URL answers; None if nothing."""
    with contextlib.suppress(one_request.Unanswered, ValueError, RecursionError):
        answer = one_request.request("GET", url, seconds=seconds)
        if answer.status == _GOOD:
            return _at(field, json.loads(answer.body))
    return None


def _at(pointer: str, document: Any) -> str | None:  # noqa: ANN401  (whatever JSON can be)
    """Return the text or the number at a JSON pointer (RFC 6901), None when there is none."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    if isinstance(document, bool) or not isinstance(document, str | int | float):
        return None
    return _fit(str(document))


def _fit(text: str) -> str | None:
    """Return the first line of it, as far as it can be shown."""
    line = next(iter(text.strip().splitlines()), "")[:_LONGEST]
    return "".join(sign if sign.isprintable() else "?" for sign in line) or None
