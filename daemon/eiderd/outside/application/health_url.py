"""Ask a health URL, and believe only what is health: 200, JSON, a database that is connected.

A proxy or the application's own page answers 200 to anything, so a page is not health; an answer
may come from a cache, so none is wanted.
"""

from __future__ import annotations

import http.client
import json
import threading
import urllib.parse
from typing import Final

from eiderd.evidence import Health

_LARGEST: Final = 1 << 20
_WELL: Final = 200
_HEADERS: Final = {
    "Accept": "application/json",
    "Cache-Control": "no-cache, no-store, max-age=0",
    "Pragma": "no-cache",
    "Connection": "close",
    "User-Agent": "eiderd",
}


def ask(url: str, *, seconds: float) -> Health:
    """Return what the URL says of the application's health, within `seconds`."""
    answers: list[Health] = []

    def get() -> None:
        try:
            answers.append(_get(url, seconds=seconds))
        except (OSError, http.client.HTTPException, ValueError) as error:
            answers.append(_ill(f"{url} does not answer: {error or type(error).__name__}"))

    # A timeout of a socket holds for each read alone: one that drips never ends.
    asker = threading.Thread(target=get, daemon=True)
    asker.start()
    asker.join(seconds)
    return answers[0] if answers else _ill(f"{url} did not answer within {seconds:g} s")


def _get(url: str, *, seconds: float) -> Health:
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers=_HEADERS)
        answer = connection.getresponse()
        body = answer.read(_LARGEST)
        return _judged(answer.status, answer.headers.get_content_type(), body)
    finally:
        connection.close()


def _judged(status: int, kind: str, body: bytes) -> Health:
    if status != _WELL:
        return _ill(f"its health answers {status}")
    if kind != "application/json" and not kind.endswith("+json"):
        return _ill(f"its health answers with {kind}, which is a page and not health")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return _ill("its health answers with something that is no JSON object")
    if document.get("status") == "error":
        return _ill("its health answers with an error")
    data = document.get("data")
    if isinstance(data, dict) and data.get("database_connected", True) is not True:
        return _ill("its database is not connected")
    return Health(well=True, why="its health URL says so")


def _ill(why: str) -> Health:
    shown = "".join(sign if sign.isprintable() else "?" for sign in why)
    return Health(well=False, why=shown)
