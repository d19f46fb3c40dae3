"""One question to NATS: its deadline whatever hangs, and secrets that stay secret."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.broker.evidence import JetStream
from eiderd.errors import BrokerUnavailable, ConfigError, EiderError
from eiderd.outside.nats_client import connection, jetstream, login, streams
from eiderd.outside.nats_client.connection import Server, ask
from eiderd.watch import nats as nats_watch
from tests.helpers import is_root
from tests.nats_servers import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nats.aio.client import Client

INFO = b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n'
LIMITS = nats_watch.Limits(
    max_rtt=datetime.timedelta(seconds=1),
    stalled_after=datetime.timedelta(minutes=10),
    store_warn=0.8,
)
SEED = "SU" + "A" * 56
CREDENTIALS = f"""-----BEGIN NATS USER JWT-----
eyJ0eXAi.abc
------END NATS USER JWT------

************************* IMPORTANT *************************
-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


def _given_secret(folder: Path, text: str, *, mode: int = 0o600) -> str:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@contextlib.contextmanager
def _given_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Take one connection after the other and do with each as `talk` says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken, _address = listener.accept()
                    with taken, contextlib.suppress(OSError):
                        taken.settimeout(10)
                        talk(taken)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"nats://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _polite(taken: socket.socket, answer: Callable[[bytes], bytes] = lambda _line: b"") -> None:
    """Greet, answer pings, and answer what else is said as the test wants."""
    taken.sendall(INFO)
    lines = taken.makefile("rb")
    for line in lines:
        taken.sendall(b"PONG\r\n" if line.startswith(b"PING") else answer(line))


async def _ping(client: Client) -> str:
    await client.flush()
    return "pong"


# The deadline -----------------------------------------------------------------------------------


def _failing(
    server: Server, question: connection.Question[Any] = _ping, *, seconds: float
) -> BrokerUnavailable:
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable) as told:
        ask(server, question, timeout_seconds=seconds)
    assert time.monotonic() - began < seconds + 2.5
    return told.value


def test_an_answer() -> None:
    with _given_server(_polite) as url:
        assert ask(Server(urls=(url,)), _ping, timeout_seconds=5) == "pong"


def test_nobody_listens() -> None:
    error = _failing(Server(urls=(f"nats://127.0.0.1:{free_ports(1)[0]}",)), seconds=5)
    assert error.how == "unreachable"
    assert "Connection refused" in error.message


def test_the_next_url_is_tried() -> None:
    with _given_server(_polite) as url:
        nobody = f"nats://127.0.0.1:{free_ports(1)[0]}"
        assert ask(Server(urls=(nobody, url)), _ping, timeout_seconds=5) == "pong"


def test_one_who_says_nothing() -> None:
    def listen(taken: socket.socket) -> None:
        taken.recv(1)

    with _given_server(listen) as url:
        server = Server(urls=(url,), connect_seconds=0.3)
        assert _failing(server, seconds=5).how == "unreachable"


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"INFO nonsense\r\n", b"INFO []\r\n", b"", b"\xff"],
)
def test_one_who_is_no_nats(said: bytes) -> None:
    with _given_server(lambda taken: taken.sendall(said)) as url:
        server = Server(urls=(url,), connect_seconds=1)
        assert _failing(server, seconds=5).how == "unreachable"


def test_one_who_does_not_end_its_line() -> None:
    def talk(taken: socket.socket) -> None:
        while True:
            taken.sendall(b"INFO " + b"x" * 65_536)

    with _given_server(talk) as url:
        assert _failing(Server(urls=(url,), connect_seconds=1), seconds=5).how == "unreachable"


def test_a_question_that_takes_too_long() -> None:
    async def forever(_client: Client) -> None:
        await asyncio.sleep(60)

    with _given_server(_polite) as url:
        error = _failing(Server(urls=(url,)), forever, seconds=0.3)
    assert error.how == "timeout"


def test_a_question_that_hangs_in_the_wrong_way() -> None:
    """It blocks its loop, so that nobody there can end it. The caller goes on all the same."""
    go_on = threading.Event()

    async def hang(_client: Client) -> None:
        go_on.wait(30)

    with _given_server(_polite) as url:
        error = _failing(Server(urls=(url,)), hang, seconds=0.2)
        go_on.set()
    assert error.how == "timeout"


def test_a_name_that_nobody_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def hang(*_words: Any, **_more: Any) -> None:
        go_on.wait(30)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    error = _failing(Server(urls=("nats://nowhere:4222",), connect_seconds=5), seconds=0.3)
    assert time.monotonic() - began < 1.8, "its thread was waited for"
    go_on.set()
    assert error.how == "timeout"


def test_a_connection_that_is_lost_ends_the_question_at_once() -> None:
    def talk(taken: socket.socket) -> None:
        taken.sendall(INFO)
        for line in taken.makefile("rb"):
            if line.startswith(b"PUB"):
                return
            if line.startswith(b"PING"):
                taken.sendall(b"PONG\r\n")

    async def ask_in_vain(client: Client) -> None:
        await client.publish("x", b"y")
        await asyncio.sleep(60)

    with _given_server(talk) as url:
        began = time.monotonic()
        error = _failing(Server(urls=(url,)), ask_in_vain, seconds=30)
        assert time.monotonic() - began < 5
    assert error.how == "lost"


def test_an_error_of_our_own_is_raised_as_it_is() -> None:
    async def refuse(_client: Client) -> None:
        raise ConfigError("it cannot be meant", hint="type this")

    with _given_server(_polite) as url, pytest.raises(ConfigError, match="cannot be meant"):
        ask(Server(urls=(url,)), refuse, timeout_seconds=5)


def test_whoever_waits_can_be_interrupted_and_the_question_tidies_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ended(BaseException):
        """As a signal raises it in the main thread."""

    asked, tidied = threading.Event(), threading.Event()

    async def forever(_client: Client) -> None:
        asked.set()
        try:
            await asyncio.sleep(60)
        finally:
            tidied.set()

    def interrupted(_future: object, timeout: float) -> None:
        assert asked.wait(timeout)
        raise Ended

    monkeypatch.setattr(futures.Future, "result", interrupted)
    with _given_server(_polite) as url:
        with pytest.raises(Ended):
            ask(Server(urls=(url,)), forever, timeout_seconds=30)
        assert tidied.is_set(), "before the server went"


# What JetStream answers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense", b"[]", b'"x"', b"{}", b'{"error":"no"}', b'{"error":{"err_code":"x"}}',
        b'{"limits":7,"memory":"much","streams":null}', b"[" * 5_000, b"\xff\xfe",
        b'{"storage":1%s,"limits":{"max_storage":10}}' % (b"0" * 400),
        b'{"config":{"discard":"new","max_bytes":1%s},"state":{"bytes":7}}' % (b"0" * 400),
        b'{"config":[],"state":[],"cluster":{"name":"c","replicas":[7,{"lag":"x"}]}}',
    ],
)  # fmt: skip
def test_nonsense_from_a_server_is_no_bug_of_ours(body: bytes) -> None:
    def talk(taken: socket.socket) -> None:
        subscription = b"1"

        def answer(line: bytes) -> bytes:
            nonlocal subscription
            words = line.split()
            if words[:1] == [b"SUB"]:
                subscription = words[-1]
            if words[:1] != [b"PUB"]:
                return b""
            reply = words[2]
            return b"MSG %s %s %d\r\n%s\r\n" % (reply, subscription, len(body), body)

        _polite(taken, answer)

    with _given_server(talk) as url:
        server = Server(urls=(url,))
        seen = streams.look(server, {"ORDERS": ["writer"]}, timeout_seconds=5)
    assert seen.version == "2.15.1"
    assert len(seen.streams) == 1
    nats_watch.run(
        now=datetime.datetime(2026, 3, 10, tzinfo=datetime.UTC),
        seen=seen,
        expected=(),
        limits=LIMITS,
        known=nats_watch.Known(),
        application_down=False,
    )


def _list(
    monkeypatch: pytest.MonkeyPatch, *pages: dict[str, Any], whole_seconds: float = 0.05
) -> list[str]:
    """Return the names of a list of which JetStream answers these pages, the last for ever."""
    answers = list(pages)

    async def api(*_words: object) -> dict[str, Any]:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr(jetstream, "api", api)
    monkeypatch.setattr(jetstream, "_WHOLE_SECONDS", whole_seconds)
    monkeypatch.setattr(jetstream, "_PAUSE_SECONDS", 0.01)
    client: Any = None
    return [one["name"] for one in asyncio.run(jetstream.listed(client, "X", "streams"))]


A, B = {"name": "a"}, {"name": "b"}


def test_a_list_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = ({"total": 2, "streams": [A]}, {"total": 2, "streams": [B]})
    assert _list(monkeypatch, *pages) == ["a", "b"]
    assert _list(monkeypatch, {"total": 0, "streams": None}) == []


@pytest.mark.parametrize(
    "page",
    [
        {"total": 3, "streams": [A], "missing": ["b", "c"]},
        {"total": 1, "streams": [A], "offline": {"b": "unsupported"}},
        {"total": 20_000, "streams": [A] * 10_000},
        {"total": 3, "streams": []},
        {"total": 3, "streams": 5, "missing": 5, "offline": "x"},
    ],
)
def test_a_list_that_is_not_all_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch, page: dict[str, Any]
) -> None:
    with pytest.raises(BrokerUnavailable, match="does not know of all that is there"):
        _list(monkeypatch, page)


def test_what_nobody_answers_for_has_its_place_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = ({"total": 3, "streams": [A], "missing": ["c"]}, {"total": 3, "streams": [B]})
    with pytest.raises(jetstream.PartlyKnown, match="nobody answers for c") as told:
        _list(monkeypatch, *pages, whole_seconds=-1.0)
    assert told.value.found == [A, B]


def test_what_is_not_led_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As right after a restore."""
    partly = {"total": 2, "streams": [A], "missing": ["b"]}
    assert _list(monkeypatch, partly, {"total": 2, "streams": [A, B]}) == ["a", "b"]


def test_a_jetstream_that_does_not_answer_is_told_apart_from_no_connection() -> None:
    with _given_server(_polite) as url:
        began = time.monotonic()
        seen = streams.look(Server(urls=(url,)), {"ORDERS": ["writer"]}, timeout_seconds=2)
        assert time.monotonic() - began < 3
    assert (seen.jetstream, seen.account) == (JetStream.SILENT, None)
    assert [stream.problem for stream in seen.streams] == ["it does not answer"]


# Secrets ----------------------------------------------------------------------------------------


def test_a_password_in_a_url_is_in_no_text() -> None:
    server = Server(urls=("nats://me:hush@127.0.0.1:1", "nats://hush@127.0.0.1:1"))
    assert server.shown == "nats://127.0.0.1:1, nats://127.0.0.1:1"
    assert "hush" not in repr(server)
    assert "hush" not in str(_failing(server, seconds=2).to_json())


def test_nothing_is_said_in_the_clear_when_tls_was_asked_for(tmp_path: Path) -> None:
    """A server, or somebody between, that says it has no TLS gets no password."""
    heard: list[bytes] = []

    def talk(taken: socket.socket) -> None:
        taken.sendall(INFO)
        with contextlib.suppress(OSError):
            while data := taken.recv(65_536):
                heard.append(data)

    with _given_server(talk) as url:
        secret = _given_secret(tmp_path, "hush\n")
        server = Server(urls=(url.replace("nats:", "tls:"),), token_file=secret)
        error = _failing(server, seconds=5)
    assert "no TLS" in error.message
    assert b"".join(heard) == b""


def test_the_secret_of_a_file(tmp_path: Path) -> None:
    assert login.line(_given_secret(tmp_path, "hush\n"), setting="nats.token_file") == "hush"


def test_the_secret_that_systemd_hands_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _given_secret(tmp_path, "hush\n", mode=0o640)  # it has an access list, which shows like this
    monkeypatch.setenv(login.FOLDER, str(tmp_path))
    assert login.line("secret", setting="nats.token_file") == "hush"


def test_a_name_without_a_folder_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(login.FOLDER, raising=False)
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY") as told:
        login.line("secret", setting="nats.token_file")
    assert "LoadCredential=secret:" in told.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_secret_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="others may read") as told:
        login.line(_given_secret(tmp_path, "hush\n", mode=mode), setting="nats.token_file")
    assert "hush" not in str(told.value)


@pytest.mark.parametrize("text", ["", "\n", "two\nlines\n", "a\0b", "x" * 70_000])
def test_a_secret_that_is_not_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        login.line(_given_secret(tmp_path, text), setting="nats.password_file")
    assert told.value.hint


def test_a_secret_that_is_not_there_is_no_file_or_may_not_be_read(tmp_path: Path) -> None:
    paths = [tmp_path / "none", tmp_path]
    if not is_root():
        paths.append(Path(_given_secret(tmp_path, "x", mode=0)))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path in (*paths, fifo):
        with pytest.raises(EiderError):
            login.line(str(path), setting="nats.token_file")


def test_a_credentials_file_with_both_its_parts(tmp_path: Path) -> None:
    read = login.credentials(_given_secret(tmp_path, CREDENTIALS))
    assert "eyJ0eXAi.abc" in read
    assert SEED in read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing of it",
        CREDENTIALS.replace("BEGIN NATS USER JWT", "BEGIN SOMETHING"),
        CREDENTIALS.replace("BEGIN USER NKEY SEED", "BEGIN SOMETHING"),
        CREDENTIALS.replace(SEED, "SUAXX"),
        CREDENTIALS[: CREDENTIALS.index(SEED)],
    ],
)
def test_a_credentials_file_that_lacks_something_ends_at_once(text: str, tmp_path: Path) -> None:
    """nats-py would read it for ever, in the loop, so that no deadline could end it."""
    server = Server(urls=("nats://127.0.0.1:1",), credentials=_given_secret(tmp_path, text))
    with pytest.raises(ConfigError, match=r"no user JWT and seed") as told:
        ask(server, _ping, timeout_seconds=5)
    assert SEED not in str(told.value)


def test_an_nkey_file_with_a_comment(tmp_path: Path) -> None:
    assert login.nkey(_given_secret(tmp_path, f"# mine\n{SEED}\n")) == SEED
    with pytest.raises(ConfigError, match="no seed"):
        login.nkey(_given_secret(tmp_path, "UA" + "B" * 54))
