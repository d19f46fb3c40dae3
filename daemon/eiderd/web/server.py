"""Which path gives which answer: the status page, metrics, health, runbooks. All of it only reads.

The application is given callables and knows nothing of where their answers come from. Every answer
forbids what no page of eiderd needs: caching, guessing of types, frames, scripts.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import hmac
import http
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import ConfigError, SourceUnavailable
from eiderd.health import Condition
from eiderd.outside import files
from eiderd.status import Status
from eiderd.web import page
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, MutableMapping
    from pathlib import Path

    from eiderd.health import Finding

    Message = MutableMapping[str, Any]

_HTML: Final = "text/html; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_ALLOWED: Final = ("GET", "HEAD")
_RUNBOOK: Final = re.compile(r"[a-z0-9_-]{1,60}")
_LARGEST_FILE: Final = 100_000
_WHY: Final = {
    http.HTTPStatus.NOT_FOUND: "There is no such page. The status stands at the root, /.",
    http.HTTPStatus.METHOD_NOT_ALLOWED: "Pages can only be read.",
    http.HTTPStatus.UNAUTHORIZED: "A name and a password are needed.",
    http.HTTPStatus.INTERNAL_SERVER_ERROR: "This is a bug of eiderd. Its log says more: "
    "journalctl -u eiderd",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent back."""

    body: bytes
    type: str = _HTML
    status: http.HTTPStatus = http.HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An ASGI application over what it is given.

    `exposition` makes the metrics for an Accept header, with their type; `runbook` gives the text
    for a name; who is not in `users` sees only /healthz, unless there are none.
    """

    look: Callable[[], Status]
    turning: Callable[[], bool]
    exposition: Callable[[Status, str], tuple[bytes, str]]
    runbook: Callable[[str], str | None]
    complain: Callable[[Exception], None]
    users: Mapping[str, str] = dataclasses.field(default_factory=dict)

    async def __call__(
        self,
        scope: Message,
        _receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        answer = self.answer(scope["method"], scope["path"], headers)
        sent = [(name.encode(), value.encode()) for name, value in _headers(answer)]
        await send({"type": "http.response.start", "status": int(answer.status), "headers": sent})
        await send({"type": "http.response.body", "body": answer.body})

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Return what to say to a request; the names of its headers are in lower case."""
        try:
            if path != "/healthz" and not self._may_look(headers.get("authorization", "")):
                who = ("www-authenticate", 'Basic realm="eiderd", charset="UTF-8"')
                return _problem(http.HTTPStatus.UNAUTHORIZED, who)
            if method not in _ALLOWED:
                allow = ("allow", ", ".join(_ALLOWED))
                return _problem(http.HTTPStatus.METHOD_NOT_ALLOWED, allow)
            return self._found(path, headers) or _problem(http.HTTPStatus.NOT_FOUND)
        except Exception as error:  # noqa: BLE001  (whatever it is, the next request is answered)
            self.complain(error)
            return _problem(http.HTTPStatus.INTERNAL_SERVER_ERROR)

    def _found(self, path: str, headers: Mapping[str, str]) -> Answer | None:
        match path.split("/")[1:]:
            case [""]:
                return Answer(body=page.status_page(self.look()).encode())
            case ["metrics"]:
                body, kind = self.exposition(self.look(), headers.get("accept", ""))
                return Answer(body=body, type=kind)
            case ["healthz"]:
                return self._healthz()
            case ["readyz"]:
                return _readyz(self.look())
            case ["runbook", name] if _RUNBOOK.fullmatch(name):
                return self._runbook(name)
            case _:
                return None

    def _healthz(self) -> Answer:
        if self.turning():
            return Answer(body=b"ok\n", type=_TEXT)
        stuck = http.HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(body=b"the loop does not turn\n", type=_TEXT, status=stuck)

    def _runbook(self, name: str) -> Answer | None:
        text = self.runbook(name)
        if text is None:
            return None
        return Answer(body=page.runbook_page(name=name, text=text).encode())

    def _may_look(self, authorization: str) -> bool:
        """Compare with every user, always: how long it takes tells nothing."""
        given = _digest(_credentials(authorization))
        known = False
        for name, password in self.users.items():
            known |= hmac.compare_digest(given, _digest(f"{name}:{password}".encode()))
        return known or not self.users


def users_from(path: Path) -> dict[str, str]:
    """Return passwords by name. Raise ConfigError for a file that others may read, or no good."""
    try:
        descriptor = files.open_regular(path)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LARGEST_FILE + 1).decode()
    except (OSError, SourceUnavailable, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise _no_users(f"cannot read the users in {path}: {why}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and not _is_from_systemd(path):
        raise ConfigError(
            f"others may read the passwords in {path}", hint=f"Keep them out: chmod 600 {path}"
        )
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, password = line.partition(":")
        if not (name and colon and password and line.isprintable()) or name in users:
            raise _no_users(f"line {number} of {path} is not a new NAME:PASSWORD")
        users[name] = password
    if not users or len(text) > _LARGEST_FILE:
        raise _no_users(f"{path} has {'too many' if users else 'no'} users")
    return users


def _is_from_systemd(path: Path) -> bool:
    """A credential may be read through an access list, which shows in the bits of the group."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(folder) and path.is_relative_to(folder)


def _no_users(message: str) -> ConfigError:
    return ConfigError(
        message, hint="server.basic_auth is a file of eiderd's user with a line NAME:PASSWORD each."
    )


def _credentials(authorization: str) -> bytes:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _digest(credentials: bytes) -> bytes:
    return hashlib.sha256(credentials).digest()


def _readyz(status: Status) -> Answer:
    ill = status.condition is Condition.ILL
    document = {
        "condition": str(status.condition),
        "age_seconds": status.age_seconds,
        "findings": [_finding(found) for found in status.findings],
    }
    return Answer(
        body=json.dumps(document).encode() + b"\n",
        type="application/json",
        status=http.HTTPStatus.SERVICE_UNAVAILABLE if ill else http.HTTPStatus.OK,
    )


def _finding(found: Finding) -> dict[str, str | None]:
    return {
        "kind": str(found.kind),
        "subject": plain(found.subject),
        "severity": str(found.severity),
        "message": plain(found.message),
        "command": plain(found.command),
        "since": None if found.since is None else found.since.isoformat(),
    }


def _problem(status: http.HTTPStatus, *headers: tuple[str, str]) -> Answer:
    body = page.problem_page(title=status.phrase, text=_WHY[status])
    return Answer(body=body.encode(), status=status, headers=headers)


def _headers(answer: Answer) -> tuple[tuple[str, str], ...]:
    return (
        ("content-type", answer.type),
        ("content-length", str(len(answer.body))),
        ("connection", "close"),  # one request each: nobody can queue up thousands
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", page.content_policy()),
        *answer.headers,
    )
