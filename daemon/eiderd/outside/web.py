"""The web server: an ASGI application served by one thread of the service.

uvicorn speaks HTTP, connection by connection; the connections themselves are taken here, because
whoever is connected is not trusted: a connection lives ten seconds in all, TLS handshake included,
answers one request, and there are never more than a hundred. When one more comes, the oldest goes,
so that idle ones keep nobody out. Nothing wakes up while nobody asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from eiderd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from pathlib import Path
    from typing import Any, TypeAlias

    Message: TypeAlias = MutableMapping[str, Any]
    Application: TypeAlias = Callable[
        [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
        Awaitable[None],
    ]

LONGEST_SECONDS: Final = 10.0
MOST_CONNECTIONS: Final = 100
LARGEST_HEAD: Final = 16 << 10
_BACKLOG: Final = 128
_ASK_SECONDS: Final = 10.0
_STUCK_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.2
_NO_LISTENER: Final = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}


class Web:
    """A thread that serves one application at one address until it is told to end."""

    def __init__(
        self,
        application: Application,
        *,
        host: str,
        port: int,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._certificate, self._key = certificate, key
        self._uvicorn = uvicorn.Config(
            application,
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",  # strangers' mistakes are not our log
            access_log=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=LARGEST_HEAD,
        )
        self._state = ServerState()
        self._talks: dict[asyncio.Task[None], None] = {}  # oldest first
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told_to_end: asyncio.Future[float]
        self._listener: socket.socket
        self._tls: ssl.SSLContext | None = None
        self._begun = threading.Event()
        self._answered = threading.Event()
        self._answered.set()
        self._asked_at = -_ASK_SECONDS

    # What the service does with it --------------------------------------------------------------

    def begin(self) -> None:
        """Listen, then serve. Raise ConfigError when the address or the certificate is no good."""
        self._tls = self._new_tls()
        self._listener = _listening(self._host, self._port)
        self._thread = threading.Thread(target=self._live, name="web", daemon=True)
        self._thread.start()
        self._begun.wait()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: the true port when any was asked for."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    def alive(self) -> bool:
        """Whether the thread lives, and answered within half a minute when it was last asked."""
        if self._thread is None or not self._thread.is_alive() or self._loop is None:
            return False
        now = time.monotonic()
        if self._answered.is_set() and now - self._asked_at >= _ASK_SECONDS:
            self._asked_at = now
            self._answered.clear()
            with contextlib.suppress(RuntimeError):  # the loop is closed, the thread about to end
                self._loop.call_soon_threadsafe(self._answered.set)
        return self._answered.is_set() or now - self._asked_at < _STUCK_SECONDS

    def renew(self) -> None:
        """Read certificate and key again, for connections to come. Raise ConfigError."""
        self._tls = self._new_tls()  # whole, or not at all: one that does not fit changes nothing

    def end(self, seconds: float) -> None:
        """Stop listening, let answers that are being written be read, at most so long."""
        if self._thread is None or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop, seconds)
        self._thread.join(seconds + 1)

    # The thread ---------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            with asyncio.Runner() as runner, self._listener:
                self._loop = runner.get_loop()
                # What a client provoked has ended its connection; the application tells of its own.
                self._loop.set_exception_handler(lambda _loop, _context: None)
                runner.run(self._serve())
        finally:
            self._begun.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._uvicorn.load()
        self._told_to_end = loop.create_future()
        loop.add_reader(self._listener, self._accept)
        self._begun.set()
        try:
            patience = await self._told_to_end
        finally:
            loop.remove_reader(self._listener)
            self._listener.close()
        if self._talks:
            await asyncio.wait(list(self._talks), timeout=patience)

    def _stop(self, seconds: float) -> None:
        if not self._told_to_end.done():
            self._told_to_end.set_result(seconds)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return  # the client went away again
        except OSError as error:
            loop.remove_reader(self._listener)
            if error.errno in _NO_LISTENER:
                self._told_to_end.set_exception(error)
            else:  # no descriptors left: others will give some back
                loop.call_later(_PAUSE_SECONDS, loop.add_reader, self._listener, self._accept)
            return
        if len(self._talks) >= MOST_CONNECTIONS:
            oldest = next(iter(self._talks))
            del self._talks[oldest]
            oldest.cancel()
        talk = loop.create_task(self._talk(connection))
        self._talks[talk] = None
        talk.add_done_callback(lambda talk: self._talks.pop(talk, None))
        talk.add_done_callback(lambda _talk: connection.close())  # also if it never began

    async def _talk(self, connection: socket.socket) -> None:
        """Hear and answer one client. The bound on time holds for all of it."""
        loop = asyncio.get_running_loop()
        spoken = _Connection(self._uvicorn, self._state, {}, loop)
        connection.setblocking(False)
        with contextlib.suppress(OSError, TimeoutError):
            try:
                async with asyncio.timeout(LONGEST_SECONDS):
                    await loop.connect_accepted_socket(lambda: spoken, connection, ssl=self._tls)
                    await spoken.over.wait()
            finally:
                spoken.abort()

    def _new_tls(self) -> ssl.SSLContext | None:
        if self._certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate, self._key, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cannot use the certificate {self._certificate}: {error}",
                hint="server.tls_certificate and server.tls_key are PEM files that belong together "
                "and that eiderd's user may read; the key has no password.",
            ) from error
        return context


class _Connection(H11Protocol):
    """One client, for one request of at most 16 kB whose body nobody reads."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.over = asyncio.Event()
        self._heard = 0

    def data_received(self, data: bytes) -> None:
        self._heard += len(data)
        asked: object = self.cycle  # None until there is a request, whatever uvicorn's type says
        if asked is None and self._heard > LARGEST_HEAD:
            self.send_400_response("Too much.")
        else:
            super().data_received(data)

    def abort(self) -> None:
        with contextlib.suppress(AttributeError):  # there is no transport before the handshake
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.over.set()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(
            (str(address[0]), port), family=family, backlog=_BACKLOG, dualstack_ipv6=False
        )
    except (OSError, UnicodeError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot listen on {host}:{port}: {why}", hint=_hint(error)) from error
    listener.setblocking(False)
    return listener


def _hint(error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return "See who does (ss -ltnp), or set another server.listen."
        case errno.EACCES | errno.EPERM:
            return "Set server.listen to a port from 1024 on; a reverse proxy can have the others."
        case _:
            return 'Set server.listen to an address of this machine, as in "127.0.0.1:9857".'
