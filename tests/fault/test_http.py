"""What strangers may send to the web server: whatever it is, the next visitor is answered."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eiderd.outside import web
from eiderd.outside.web import Web
from eiderd.web import server
from tests import statuses
from tests.helpers import until
from tests.web import Certificate, certificate, exchange

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
COMPLAINTS: list[Exception] = []
SECONDS = 1.0
LONG = b"x 1\n" * 3_000_000  # more than the kernel holds for a client that does not read


def _application() -> server.Application:
    return server.Application(
        look=lambda: statuses.with_backups(200),
        turning=lambda: True,
        exposition=lambda _status, _accept: (LONG, "text/plain"),
        runbook=lambda _name: None,
        complain=COMPLAINTS.append,
    )


@pytest.fixture(scope="module")
def served() -> Iterator[Web]:
    made = Web(_application(), host="127.0.0.1", port=0)
    made.begin()
    yield made
    made.end(1)
    assert not COMPLAINTS


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def _it_lives_and_gives_back(served: Web) -> Iterator[None]:
    """Hold for every test here: afterwards it answers, and no descriptor was lost."""
    before = _descriptors()
    yield
    _is_well(served, within=5)
    until(lambda: not served._talks, what="every connection ends")
    until(lambda: _descriptors() <= before, what="every descriptor comes back")


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _is_well(served: Web, *, tls: ssl.SSLContext | None = None, within: float = SECONDS) -> None:
    assert served.alive()
    began = time.monotonic()
    host, port = served.address
    client = (
        http.client.HTTPSConnection(host, port, timeout=5, context=tls)
        if tls
        else http.client.HTTPConnection(host, port, timeout=5)
    )
    with contextlib.closing(client):
        client.request("GET", "/healthz")
        with client.getresponse() as answer:
            assert (answer.status, answer.read()) == (200, b"ok\n")
    assert time.monotonic() - began < within


def _connect(served: Web) -> socket.socket:
    return socket.create_connection(served.address, 20)


# Nonsense ---------------------------------------------------------------------------------------

LINES = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda method, target, version, rest: b" ".join((method, target, version)) + b"\r\n" + rest,
        st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"PRI", b"g e t", b"\x00", b""]),
        st.sampled_from([b"/", b"*", b"//", b"/%00", b"/%ff", b"http://x/", b"/\xc3\xa9", b"/..",
                         b"/runbook/../../etc/passwd", b"/runbook/%2e%2e%2fx", b"?", b"x" * 5000]),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTP", b""]),
        st.sampled_from([b"\r\n", b"Host: x\r\n\r\n", b"Host\r\n\r\n", b": x\r\n\r\n", b"\n\n",
                         b"Host: x\r\nContent-Length: -1\r\n\r\n",
                         b"Host: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                         b"Host: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
                         b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                         b"Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
                         b"Host: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
                         b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                         b"Host: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
                         b"Host: \xff\x00\r\n\r\n", b"Host: x\r\n folded\r\n\r\n",
                         b"Host: x\r\nAuthorization: Basic \xff\r\n\r\n"]),
    ),
)  # fmt: skip


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=LINES)
def test_nonsense_gets_a_refusal_or_nothing(served: Web, data: bytes) -> None:
    with _connect(served) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionError):
            while more := client.recv(65_536):
                said += more
    assert not said or said.startswith(b"HTTP/1.1 ")
    assert b"Traceback" not in said
    assert b" 500 " not in said.partition(b"\r\n")[0]


def test_noise_of_every_length_is_survived(served: Web) -> None:
    chance = random.Random(7)
    for length in (0, 1, 2, 100, 10_000, 1_000_000):
        exchange(served, chance.randbytes(length) + b"\r\n\r\n")


@pytest.mark.parametrize("parts", [1, 40])
@pytest.mark.parametrize("size", [17_000, 200_000, 5_000_000])
def test_huge_headers_are_refused(served: Web, size: int, parts: int) -> None:
    line = b"X-Filler: " + b"a" * (size // parts) + b"\r\n"
    said = exchange(served, b"GET / HTTP/1.1\r\nHost: x\r\n" + line * parts + b"\r\n")
    # The end of the connection may overtake the refusal while we still send.
    assert not said or said.startswith(b"HTTP/1.1 400 ")


def test_headers_of_a_decent_size_are_accepted(served: Web) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 15_000 + b"\r\n\r\n"
    assert exchange(served, head).startswith(b"HTTP/1.1 200 ")


def test_an_endless_header_and_an_endless_body_end(
    served: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LONGEST_SECONDS", 1.0)
    for begin in (
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        began, sent = time.monotonic(), 0
        with _connect(served) as client, contextlib.suppress(ConnectionError):
            client.sendall(begin)
            while time.monotonic() - began < 15:
                sent += client.send(b"1\r\na\r\n" * 10_000)
        assert time.monotonic() - began < 10, begin
        assert sent < 50_000_000, "it read on and on"


# Slowness ---------------------------------------------------------------------------------------


def test_thirty_dripping_clients_keep_nobody_waiting(
    served: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LONGEST_SECONDS", 6.0)
    clients = [_connect(served) for _ in range(30)]
    ended: set[int] = set()
    asked = 0
    began = time.monotonic()
    while len(ended) < len(clients):
        for number, client in enumerate(clients):
            try:
                if number not in ended:
                    client.sendall((GET[:-2] + b"X: y\r\n" * 1_000)[asked % 90 :][:1])
            except ConnectionError:
                ended.add(number)
        _is_well(served, within=4)  # whoever waited for one of them would wait longer
        asked += 1
        assert time.monotonic() - began < 20
        time.sleep(0.02)
    for client in clients:
        client.close()
    assert asked > 10
    assert time.monotonic() - began >= 5.5, "they were ended too early to count"


def test_whoever_says_nothing_is_sent_away(served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LONGEST_SECONDS", 0.3)
    began = time.monotonic()
    with _connect(served) as client:
        assert client.recv(1) == b""
    assert 0.2 < time.monotonic() - began < 5


def test_whoever_does_not_read_is_sent_away(served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LONGEST_SECONDS", 0.5)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(served.address)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: bool(served._talks), what="it is heard")
        began = time.monotonic()
        until(lambda: not served._talks, what="it is sent away")
        assert time.monotonic() - began > 0.3, "all of it went at once: this tests nothing"


def test_a_client_that_closes_its_sending_side_still_gets_its_answer(served: Web) -> None:
    with _connect(served) as client:
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_resets_its_connection_harms_nobody(served: Web) -> None:
    for begin in (b"", GET[:10], GET, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
        for _ in range(20):
            client = _connect(served)
            client.sendall(begin)
            linger = b"\1\0\0\0\0\0\0\0"  # close with a reset
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()


# Many -------------------------------------------------------------------------------------------


def test_a_flood_of_idle_connections_is_bounded_and_shuts_nobody_out(
    served: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LONGEST_SECONDS", 60.0)
    before = _descriptors()
    clients = [_connect(served) for _ in range(400)]
    try:
        # Four times too many are connected. The kernel tries again after a second or three when so
        # many come at once, but nobody waits until the others have had their ten seconds.
        _is_well(served, within=5)
        ours = len(clients)
        until(lambda: _descriptors() - before - ours <= web.MOST_CONNECTIONS + 2, seconds=9)
        assert len(served._talks) <= web.MOST_CONNECTIONS
    finally:
        for client in clients:
            client.close()


def test_without_descriptors_it_waits_until_there_are_some_again(served: Web) -> None:
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    filling: list[int] = []
    with socket.socket() as client:
        client.settimeout(0.5)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 300), hard))
            with contextlib.suppress(OSError):
                while True:
                    filling.append(os.dup(0))
            client.connect(served.address)
            client.sendall(GET)
            with pytest.raises(TimeoutError):
                client.recv(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            for descriptor in filling:
                os.close(descriptor)
        client.settimeout(5)
        assert client.recv(15) == b"HTTP/1.1 200 OK"


def test_many_at_once_are_all_answered(served: Web) -> None:
    said: list[bytes] = []

    def ask() -> None:
        said.extend(exchange(served, GET)[:15] for _ in range(10))

    askers = [threading.Thread(target=ask) for _ in range(20)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(30)
    assert said == [b"HTTP/1.1 200 OK"] * 200


def test_of_many_requests_in_one_connection_the_first_is_answered(served: Web) -> None:
    said = exchange(served, GET * 50)
    assert said.count(b"HTTP/1.1 ") <= 1
    assert not said or said.startswith(b"HTTP/1.1 200 OK")


# TLS --------------------------------------------------------------------------------------------


def test_garbage_instead_of_tls_harms_nobody(
    signed: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LONGEST_SECONDS", 1.0)
    made = Web(_application(), host="127.0.0.1", port=0, certificate=signed.chain, key=signed.key)
    made.begin()
    trust = ssl.create_default_context(cafile=str(signed.authority))
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    noise = random.Random(7).randbytes(5_000)
    try:
        for garbage in (GET, b"", hello + b"\0" * 600, hello + b"a" * 70_000, noise):
            assert b"HTTP" not in exchange(made, garbage)
            _is_well(made, tls=trust)
        silent = [_connect(made) for _ in range(30)]  # never even begin the handshake
        _is_well(made, tls=trust)
        for client in silent:
            assert client.recv(1) == b""  # sent away before long
            client.close()
        _dripped_handshake(made)
        _is_well(made, tls=trust)
        until(lambda: not made._talks, what="every connection ends")
    finally:
        made.end(1)


def _dripped_handshake(made: Web) -> None:
    """Begin a handshake a byte at a time, until sent away."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = context.wrap_bio(incoming, outgoing, server_hostname="x")
    with contextlib.suppress(ssl.SSLWantReadError):
        talk.do_handshake()
    began = time.monotonic()
    with _connect(made) as client, contextlib.suppress(ConnectionError):
        for byte in outgoing.read():
            client.sendall(bytes([byte]))
            time.sleep(0.02)
            if time.monotonic() - began > 8:
                break
    assert time.monotonic() - began < 8
