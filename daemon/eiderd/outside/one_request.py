"""One HTTP request, answered whole or not at all within its time. No redirect is followed.

An answer may come from a cache, so none is wanted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import socket
import threading
import urllib.parse
from typing import TYPE_CHECKING, Final

from eiderd.outside import barred

if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST: Final = 1 << 20
_HEADERS: Final = {
    "Accept": "application/json",
    "Cache-Control": "no-cache, no-store, max-age=0",
    "Pragma": "no-cache",
    "Connection": "close",
    "User-Agent": "eiderd",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`kind` is its media type. Of a body, no more than a megabyte is kept."""

    status: int
    kind: str
    body: bytes

    @property
    def is_json(self) -> bool:
        return self.kind == "application/json" or self.kind.endswith("+json")


class Unanswered(Exception):
    """There was no answer in time: `late`, or why there was none.

    `barred` is what to add when this machine forbids it, else empty.
    """

    def __init__(self, why: Exception | None = None) -> None:
        super().__init__(why)
        self.late = why is None
        self.why = str(why or "") or type(why).__name__
        self.kind = type(why).__name__
        self.barred = ""

    @property
    def is_silence(self) -> bool:
        """Say whether nobody answered at all, not even to refuse."""
        why = self.args[0]
        return self.late or (isinstance(why, OSError) and not isinstance(why, ConnectionError))


def request(
    method: str, url: str, *, seconds: float, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return what the URL answers. Raise Unanswered."""
    answers: list[Answer | Unanswered] = []
    asking = _Asking()

    def ask() -> None:
        try:
            answers.append(asking.ask(method, url, seconds=seconds, headers=headers or {}))
        except (OSError, http.client.HTTPException, ValueError) as error:
            answers.append(Unanswered(error))

    # A timeout of a socket holds for each read alone: one that drips never ends by itself.
    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(seconds)
    answer = answers[0] if answers else Unanswered()
    asking.end()  # after that, whatever has come by then would pass for the whole of it
    if isinstance(answer, Unanswered):
        if answer.is_silence:
            answer.barred = barred.why(urllib.parse.urlsplit(url).hostname or "")
        raise answer
    return answer


class _Asking:
    """One question, which another thread may end at any moment."""

    def __init__(self) -> None:
        self._over = False
        self._socket: socket.socket | None = None

    def ask(self, method: str, url: str, *, seconds: float, headers: Mapping[str, str]) -> Answer:
        parts = urllib.parse.urlsplit(url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=seconds)
        try:
            connection.connect()  # this alone, the TLS handshake included, keeps to its timeout
            self._socket = connection.sock  # the connection itself lets go of it before the body
            if self._over:
                raise TimeoutError
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, headers={**_HEADERS, **headers})
            answer = connection.getresponse()
            return Answer(
                status=answer.status,
                kind=answer.headers.get_content_type(),
                body=answer.read(_LARGEST),
            )
        finally:
            connection.close()

    def end(self) -> None:
        """Let whoever still waits for an answer have the end of one now."""
        self._over = True
        if self._socket:
            with contextlib.suppress(OSError):  # it was over
                # Of a TLS socket, the socket below: the one above is no other thread's to touch.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
