"""Ask the application for its version: a URL that answers with JSON, or a command that prints it.

Whatever it says is somebody else's text. No answer is no error: it may be down.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import ApplicationFailed
from eiderd.outside.application import ask

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS: Final = 5.0
_LARGEST: Final = 1 << 20
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
    answers: list[str | None] = []

    def get() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, RecursionError):
            answers.append(_at(field, json.loads(_get(url, seconds=seconds))))

    # A timeout of a socket holds for each read alone: one that drips never ends.
    asker = threading.Thread(target=get, daemon=True)
    asker.start()
    asker.join(seconds)
    return answers[0] if answers else None


def _get(url: str, *, seconds: float) -> bytes:
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            "Accept": "application/json",
            "Cache-Control": "no-cache, no-store, max-age=0",
            "Connection": "close",
            "User-Agent": "eiderd",
        }
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        if answer.status != _GOOD:
            raise ValueError(f"it answers {answer.status}")
        return answer.read(_LARGEST)
    finally:
        connection.close()


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
