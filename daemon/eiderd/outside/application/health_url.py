"""Ask a health URL, and believe only what is health: 200, JSON, a database that is connected.

A proxy or the application's own page answers 200 to anything, so a page is not health.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from eiderd.evidence import Health
from eiderd.outside import one_request

if TYPE_CHECKING:
    from eiderd.outside.one_request import Answer

_WELL: Final = 200


def ask(url: str, *, seconds: float) -> Health:
    """Return what the URL says of the application's health, within `seconds`."""
    try:
        answer = one_request.request("GET", url, seconds=seconds)
    except one_request.Unanswered as none:
        if none.late:
            return _ill(f"{url} did not answer within {seconds:g} s{none.barred}")
        return _ill(f"{url} does not answer: {none.why}{none.barred}")
    return _judged(answer)


def _judged(answer: Answer) -> Health:
    if answer.status != _WELL:
        return _ill(f"its health answers {answer.status}")
    if not answer.is_json:
        return _ill(f"its health answers with {answer.kind}, which is a page and not health")
    try:
        document = json.loads(answer.body)
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
