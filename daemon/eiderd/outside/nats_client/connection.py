"""One question to NATS: connect, ask, close, all before a deadline, in a thread with its own loop.

The caller's thread only waits: a signal that asks this process to end is heard there at once, and
nothing that hangs below, not even the lookup of a name, keeps it longer than the deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import ssl
import threading
import urllib.parse
from collections.abc import Awaitable, Callable
from concurrent import futures
from typing import Any, Final, TypeAlias, TypeVar

import nats
import nats.errors
from nats.aio.client import Client, RawCredentials

from eiderd.errors import BrokerUnavailable, ConfigError
from eiderd.outside import barred
from eiderd.outside.nats_client import login

Answer = TypeVar("Answer")
Question: TypeAlias = Callable[[Client], Awaitable[Answer]]

_NAME: Final = "eiderd"
_API: Final = "$JS.API."
_CLOSE_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 2.0  # for tidying up, after the deadline
_LONGEST_SAID: Final = 200
_PERMISSIONS: Final = "permissions violation"
_HINT: Final = "Is it running, or the application that brings it? See: eider nats status"
_REFUSED: Final = "Check credentials, nkey, token_file or password_file below [nats]."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where NATS is, and how to log in. Secrets are files (see `login`), read at each question.

    The urls are tried in turn. They may carry a password: only `shown` is for people.
    """

    urls: tuple[str, ...] = dataclasses.field(repr=False)
    credentials: str | None = None
    nkey: str | None = None
    token_file: str | None = None
    user: str | None = None
    password_file: str | None = None
    domain: str | None = None  # of JetStream, where another server has it
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    connect_seconds: float = 2.0  # for each url

    @property
    def shown(self) -> str:
        where = ", ".join(map(bare, self.urls))
        return f"{where} (domain {self.domain})" if self.domain else where

    @property
    def wants_tls(self) -> bool:
        """Whether it was asked for: then nothing is said in the clear, whatever the server says."""
        return bool(self.tls_ca or self.tls_certificate) or any(
            urllib.parse.urlsplit(url).scheme == "tls" for url in self.urls
        )


def ask(server: Server, question: Question[Answer], *, timeout_seconds: float) -> Answer:
    """Connect, ask, close. Return what `question` returns; raise what it raises of eiderd's own.

    `question` runs in another thread. Raise BrokerUnavailable when nobody answers in time, the
    login is refused or NATS says no; ConfigError when a secret cannot be read. Whatever happens,
    this ends about `timeout_seconds` after it began.
    """
    talk = _Talk(server, question, timeout_seconds=timeout_seconds)
    thread = threading.Thread(target=talk.run, name="nats", daemon=True)
    thread.start()
    try:
        answer: Answer = talk.answer.result(timeout=timeout_seconds + _GRACE_SECONDS)
    except futures.TimeoutError:
        raise _too_late(server, timeout_seconds) from None
    except BaseException:
        talk.cancel()
        thread.join(_GRACE_SECONDS)
        raise
    return answer


class _Talk:
    def __init__(self, server: Server, question: Question[Any], *, timeout_seconds: float) -> None:
        self.answer: futures.Future[Any] = futures.Future()
        self._server = server
        self._question = question
        self._timeout_seconds = timeout_seconds
        self._cancel: Callable[[], object] = lambda: None

    def run(self) -> None:
        try:
            answer = asyncio.run(self._within_the_deadline())
        except BaseException as error:  # noqa: BLE001  (it is raised where the caller waits)
            if not self.answer.done():
                self.answer.set_exception(error)
        else:
            self.answer.set_result(answer)

    def cancel(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._cancel()

    async def _within_the_deadline(self) -> Any:  # noqa: ANN401  (whatever the question returns)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_Impatient(thread_name_prefix="nats"))
        task = asyncio.current_task()
        if task:
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._connect_and_ask()
        except TimeoutError:
            raise _too_late(self._server, self._timeout_seconds) from None

    async def _connect_and_ask(self) -> Any:  # noqa: ANN401
        client, trouble = await _connected(self._server)
        try:
            asked = self._question(client)
            return await _unless_troubled(asked, client=client, trouble=trouble)
        except nats.errors.Error as error:
            raise BrokerUnavailable(
                f"NATS at {trouble.url} did not do what was asked: {_said(error)}",
                hint=_HINT,
                how="answer",
            ) from error
        finally:
            await _dropped(client)


class _Impatient(futures.ThreadPoolExecutor):
    """Names are looked up in its threads. Nobody waits for one that hangs."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().shutdown(wait=False, cancel_futures=True)


class _Trouble:
    """What became of a connection since it was made."""

    def __init__(self, url: str) -> None:
        self.url = bare(url)
        self.errors: list[Exception] = []
        self.happened = asyncio.Event()

    async def error(self, error: Exception) -> None:
        self.errors.append(error)
        if _PERMISSIONS in str(error).lower():  # whoever asked would wait for an answer in vain
            self.happened.set()

    async def closed(self) -> None:
        self.happened.set()

    def told(self, last: Exception | None) -> BrokerUnavailable:
        for error in self.errors:
            if _PERMISSIONS in str(error).lower():
                return BrokerUnavailable(
                    f"NATS at {self.url} does not allow it: {_said(error)}",
                    hint="Give the user of [nats] what it needs: publish to $JS.API.> and "
                    "subscribe to _INBOX.>",
                    how="refused",
                )
        why = f": {_said(last)}" if last else ""
        return BrokerUnavailable(
            f"NATS at {self.url} closed the connection{why}", hint=_HINT, how="lost"
        )


async def _unless_troubled(
    asked: Awaitable[Answer], *, client: Client, trouble: _Trouble
) -> Answer:
    """Wait for the answer for as long as there can be one."""
    answer = asyncio.ensure_future(asked)
    happened = asyncio.ensure_future(trouble.happened.wait())
    try:
        await asyncio.wait((answer, happened), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise trouble.told(client.last_error)
    finally:
        happened.cancel()
        answer.cancel()
        with contextlib.suppress(BaseException):
            await answer  # lets it tidy up


async def _connected(server: Server) -> tuple[Client, _Trouble]:
    """Return a connection to the first of the urls that takes one."""
    secrets = _login(server)
    trust: dict[str, Any] = {"tls": _trust(server)} if server.wants_tls else {}
    problems: list[tuple[str, str]] = []
    for url in server.urls:
        client, trouble = _Client(server), _Trouble(url)
        try:
            async with asyncio.timeout(server.connect_seconds):
                await client.connect(
                    servers=[bare(url)],
                    name=_NAME,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=server.connect_seconds,  # type: ignore[arg-type]
                    error_cb=trouble.error,
                    closed_cb=trouble.closed,
                    **(secrets or _of_url(url)),
                    **trust,
                )
        except Exception as error:  # noqa: BLE001  (of nonsense, nats-py raises anything)
            problems.append(_problem(next(iter(trouble.errors), error), server, url=url))
            await _dropped(client)
        except BaseException:
            await _dropped(client)
            raise
        else:
            return client, trouble
    told = zip(server.urls, problems, strict=True)
    refused = any(how == "refused" for how, _why in problems)
    raise BrokerUnavailable(
        "; ".join(f"NATS at {bare(url)} {why}" for url, (_how, why) in told),
        hint=_REFUSED if refused else _HINT,
        how="refused" if refused else "unreachable",
    )


class _Client(Client):
    """Says nothing of itself in the clear when TLS is wanted; nats-py would.

    And asks the JetStream of a domain, whoever asks, where there is one.
    """

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._wants_tls = server.wants_tls
        self._api = f"$JS.{server.domain}.API." if server.domain else _API

    async def publish(self, subject: str, *words: Any, **more: Any) -> None:
        if subject.startswith(_API):
            subject = self._api + subject.removeprefix(_API)
        await super().publish(subject, *words, **more)

    def _connect_command(self) -> bytes:
        if self._wants_tls and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        return super()._connect_command()


async def _dropped(client: Client) -> None:
    """Let go of a connection that came to nothing, or does not answer any more."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(client.close(), _CLOSE_SECONDS)
    # What close() waited for in vain holds a socket.
    writer = getattr(client._transport, "_bare_io_writer", None)  # noqa: SLF001
    if writer is not None:
        writer.transport.abort()


def _of_url(url: str) -> dict[str, Any]:
    """Return the login that a URL carries, without its escapes: nats-py would send them along."""
    parts = urllib.parse.urlsplit(url)
    if parts.username is None:
        return {}
    user = urllib.parse.unquote(parts.username)
    if parts.password is None:
        return {"token": user}
    return {"user": user, "password": urllib.parse.unquote(parts.password)}


def _login(server: Server) -> dict[str, Any]:
    """Return what nats-py wants to know of who asks. Raise ConfigError."""
    known: dict[str, Any] = {}
    if server.credentials:
        known["user_credentials"] = RawCredentials(login.credentials(server.credentials))
    if server.nkey:
        known["nkeys_seed_str"] = login.nkey(server.nkey)
    if server.token_file:
        known["token"] = login.line(server.token_file, setting="nats.token_file")
    if server.password_file:
        known["user"] = server.user
        known["password"] = login.line(server.password_file, setting="nats.password_file")
    return known


def _trust(server: Server) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=server.tls_ca)
        if server.tls_certificate:
            context.load_cert_chain(server.tls_certificate, server.tls_key)
    except OSError as error:  # an SSLError is one
        raise ConfigError(
            f"nats: cannot use the certificates: {error.strerror or _said(error)}",
            hint="tls_ca, tls_certificate and tls_key below [nats] are PEM files of eiderd's user.",
        ) from error
    return context


def _problem(error: Exception, server: Server, *, url: str) -> tuple[str, str]:
    """Return which kind it is, and what is said of it."""
    said = _said(error).lower()
    if isinstance(error, nats.errors.AuthorizationError) or "auth" in said:
        return "refused", f"refuses the login: {_said(error)}"
    if isinstance(error, nats.errors.SecureConnWantedError):
        return "unreachable", "speaks no TLS, and it was asked for"
    if isinstance(error, ssl.SSLError):
        return "unreachable", f"does not agree on TLS: {_said(error)}"
    if isinstance(error, TimeoutError):
        said = f"does not answer within {server.connect_seconds:g} s"
        return "unreachable", said + barred.why(_host(url))
    if isinstance(error, OSError):
        # asyncio says more about an address than a person wants to know.
        plain = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        why = "" if isinstance(error, ConnectionError) else barred.why(_host(url))
        return "unreachable", f"cannot be reached: {plain or _said(error)}{why}"
    return "unreachable", f"cannot be talked to: {_said(error)}"


def _too_late(server: Server, seconds: float) -> BrokerUnavailable:
    why = barred.why(_host(server.urls[0]))
    return BrokerUnavailable(
        f"NATS at {server.shown} did not answer within {seconds:g} s{why}",
        hint=_HINT,
        how="timeout",
    )


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or ""


def _said(error: Exception) -> str:
    """Return what an error says, which may have come from anybody, in one printable line."""
    said = str(error).removeprefix("nats: ").strip(" '") or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in said)[:_LONGEST_SAID]


def bare(url: str) -> str:
    """Return a URL without the password that it may carry."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
