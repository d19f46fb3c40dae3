"""Ask a URL to do something, by POST, and believe only an answer that says it was done.

A page in HTML is not an answer: applications send theirs with 200 for any path they do not know.
Redirects are not followed: what was asked for goes nowhere else, nor do the headers.
"""

from __future__ import annotations

import http
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.errors import ApplicationFailed, ConfigError
from eiderd.outside import one_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eiderd.outside.one_request import Answer

_LARGEST_HEADERS: Final = 1 << 16
_DONE: Final = range(200, 300)


def post(url: str, *, headers: Mapping[str, str], seconds: float) -> None:
    """Return when the URL has answered that it is done, within `seconds`.

    Raise ApplicationFailed when it says anything else, with no word of what the headers hold.
    """
    try:
        # Its length is said to be none, or some servers wait for a body.
        answer = one_request.request(
            "POST", url, seconds=seconds, headers={"Content-Length": "0", **headers}
        )
        problem = _judged(answer)
    except one_request.Unanswered as none:
        problem = f"it does not answer: {none.kind}{none.barred}"
        if none.late:
            problem = f"it did not answer within {seconds:g} s{none.barred}"
    if problem:
        raise ApplicationFailed(
            f"{url} did not compact the database: {problem}",
            hint="Correct compact.url, or look into the application's log.",
        )


def _judged(answer: Answer) -> str:
    """Return what is wrong with the answer, empty: nothing is."""
    if answer.status not in _DONE:
        return f"it answers {answer.status}"
    if not answer.body.strip():
        return "" if answer.status != http.HTTPStatus.OK else "it answers 200 and says nothing"
    if not answer.is_json:
        return f"it answers with {_shown(answer.kind)}, which is a page and not an answer"
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return "it answers with something that is no JSON"
    if isinstance(document, dict) and document.get("status") == "error":
        return "it answers with an error"
    return ""


def _shown(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:100]


def headers_from(name: str | None) -> dict[str, str]:
    """Return the headers in a private file, or in the systemd credential of that name.

    Raise ConfigError when it cannot be read, others may read it, or it holds something else.
    """
    if name is None:
        return {}
    path = Path(name) if "/" in name else _credential(name)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LARGEST_HEADERS + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read compact.url_headers, {path}: {error.strerror}",
            hint=f"Check it: ls -l {path}",
        ) from error
    if "/" in name and stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"compact.url_headers, {path}, can be read by others", hint=f"chmod 600 {path}"
        )
    return _headers(data, path=path)


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ConfigError(
            f"there is no systemd credential {name}: $CREDENTIALS_DIRECTORY is not set",
            hint=f"Add LoadCredential={name}:FILE to the unit, or name a file by its path.",
        )
    return Path(folder) / name


def _headers(data: bytes, *, path: Path) -> dict[str, str]:
    wrong = ConfigError(
        f"compact.url_headers, {path}, does not hold a header a line",
        hint='Write it as "Authorization: Bearer ...".',
    )
    if len(data) > _LARGEST_HEADERS:
        raise wrong
    found = {}
    try:
        for line in data.decode("latin-1").splitlines():
            name, colon, value = line.partition(":")
            if not line.strip():
                continue
            token = name.replace("-", "").replace("_", "")
            if not colon or not token.isascii() or not token.isalnum() or not value.isprintable():
                raise wrong
            found[name] = value.strip()
    except UnicodeDecodeError as error:
        raise wrong from error
    return found
