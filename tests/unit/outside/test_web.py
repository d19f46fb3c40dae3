from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eiderd.errors import ConfigError
from eiderd.outside import web
from eiderd.outside.web import Web
from tests.helpers import until
from tests.web import Certificate, answer_to, certificate, serving

LOOPBACKS = ["127.0.0.1", "::1"]


def _has(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.create_server((host, 0), family=family):
        return True
    return False


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("host", LOOPBACKS)
def test_it_serves_where_it_says(host: str) -> None:
    if not _has(host):
        pytest.skip(f"this machine has no {host}")
    with serving(host=host) as server:
        assert server.address[0] == host
        assert server.address[1] > 0
        assert answer_to(server, "/x").startswith(b"HTTP/1.1 200 OK\r\n")


def test_it_listens_on_loopback_alone() -> None:
    with serving() as server:
        port = server.address[1]
        others = [a for a in _own_addresses() if not a.startswith("127.")]
        for address in others:
            with pytest.raises(OSError), socket.create_connection((address, port), 1):  # noqa: PT011
                pass


def _own_addresses() -> list[str]:
    with contextlib.suppress(OSError):
        return socket.gethostbyname_ex(socket.gethostname())[2]
    return []


def test_it_tells_nothing_of_versions() -> None:
    with serving() as server:
        head = answer_to(server, "/").partition(b"\r\n\r\n")[0].lower()
        assert b"server:" not in head
        assert b"uvicorn" not in head


def test_begin_says_when_an_address_is_taken() -> None:
    with serving() as first, pytest.raises(ConfigError, match="in use") as refused:
        Web(_nobody, host="127.0.0.1", port=first.address[1]).begin()
    assert "server.listen" in refused.value.hint


@pytest.mark.parametrize("host", ["198.51.100.7", "not a host", "x" * 300, "fe80::1%nothing"])
def test_begin_says_when_an_address_is_not_ours(host: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen on") as refused:
        Web(_nobody, host=host, port=0).begin()
    assert "server.listen" in refused.value.hint


def test_a_port_is_free_again_at_once() -> None:
    with serving() as first:
        port = first.address[1]
        answer_to(first, "/")
    with serving(port=port) as second:
        assert answer_to(second, "/")


def test_end_lets_an_answer_be_finished_and_leaves_nothing_behind() -> None:
    threads = threading.active_count()
    entered, leave = threading.Event(), threading.Event()

    def slow(_path: str) -> bytes:
        entered.set()
        leave.wait(10)
        return b"slow"

    with serving(slow) as server:
        address = server.address
        said: list[bytes] = []
        asking = threading.Thread(target=lambda: said.append(answer_to(server, "/")))
        asking.start()
        entered.wait(10)
        ending = threading.Thread(target=server.end, args=(5,))
        ending.start()
        leave.set()
        asking.join(10)
        ending.join(10)
    assert said[0].endswith(b"slow")
    assert not server.alive()
    assert threading.active_count() == threads
    with pytest.raises(OSError):  # noqa: PT011
        socket.create_connection(address, 1)


def test_end_lets_an_answer_be_read_that_is_under_way() -> None:
    long = b"x" * 20_000_000  # more than the kernel holds
    with serving(lambda _path: long) as server, socket.create_connection(server.address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = len(client.recv(1_000))
        ending = threading.Thread(target=server.end, args=(5,))
        ending.start()
        until(lambda: server._listener.fileno() == -1, what="it listens no more")
        while more := client.recv(1 << 20):
            received += len(more)
        ending.join(10)
    assert received > len(long)


def test_end_does_not_wait_for_whoever_says_nothing() -> None:
    with serving() as server, socket.create_connection(server.address):
        began = time.monotonic()
        server.end(0.2)
        assert time.monotonic() - began < 5
        assert not server.alive()


def test_end_may_come_twice_or_before_begin() -> None:
    with serving() as server:
        server.end(1)
        server.end(1)
    never = Web(_nobody, host="127.0.0.1", port=0)
    never.end(1)
    assert not never.alive()


def test_it_is_not_alive_when_its_thread_died(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _arguments: None)
    with serving() as server:
        assert server.alive()
        server._listener.shutdown(socket.SHUT_RDWR)  # accept fails for good
        until(lambda: not server.alive(), what="the thread dies")


def test_it_is_not_alive_when_an_answer_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_STUCK_SECONDS", 0.05)
    monkeypatch.setattr(web, "_ASK_SECONDS", 0.0)
    leave = threading.Event()

    def stuck(_path: str) -> bytes:
        leave.wait(20)
        return b""

    with serving(stuck) as server:
        with socket.create_connection(server.address) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: not server.alive(), what="it is seen to be stuck")
        leave.set()
        until(server.alive, what="it recovers")


def test_idle_it_does_not_wake_up() -> None:
    with serving() as server:
        answer_to(server, "/")
        until(lambda: not server._talks)
        (thread,) = [t for t in threading.enumerate() if t.name == "web"]
        status = Path(f"/proc/self/task/{thread.native_id}/status")

        def switches() -> int:
            lines = status.read_text().splitlines()
            return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)

        time.sleep(0.2)  # what was under way is over
        before = switches()
        time.sleep(1)
        assert switches() - before <= 2


# TLS --------------------------------------------------------------------------------------------


def _spoken_tls(server: Web, signed: Certificate, **wanted: Any) -> http.client.HTTPResponse:
    context = ssl.create_default_context(cafile=str(signed.authority))
    for name, value in wanted.items():
        setattr(context, name, value)
    client = http.client.HTTPSConnection("127.0.0.1", server.address[1], context=context, timeout=9)
    client.request("GET", "/tls")
    return client.getresponse()


def test_with_a_certificate_only_tls_is_spoken(signed: Certificate) -> None:
    with serving(certificate=signed.chain, key=signed.key) as server:
        with contextlib.closing(_spoken_tls(server, signed)) as answer:
            assert (answer.status, answer.read()) == (200, b"/tls")
        assert not answer_to(server, "/").startswith(b"HTTP")


def test_old_tls_is_refused(signed: Certificate) -> None:
    with serving(certificate=signed.chain, key=signed.key) as server:
        assert server._tls is not None
        assert server._tls.minimum_version is ssl.TLSVersion.TLSv1_2
        answer = _spoken_tls(server, signed, maximum_version=ssl.TLSVersion.TLSv1_2)
        answer.close()


def test_a_renewed_certificate_is_used_and_a_bad_one_is_not(
    tmp_path: Path, signed: Certificate
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(signed.chain.read_bytes())
    key.write_bytes(signed.key.read_bytes())
    other = certificate(tmp_path / "other")
    with serving(certificate=chain, key=key) as server:
        chain.write_bytes(other.chain.read_bytes())
        with pytest.raises(ConfigError, match="certificate"):
            server.renew()  # a key that does not fit
        _spoken_tls(server, signed).close()
        key.write_bytes(other.key.read_bytes())
        server.renew()
        _spoken_tls(server, other).close()
        with pytest.raises(ssl.SSLCertVerificationError):
            _spoken_tls(server, signed)


def test_a_certificate_that_is_replaced_while_it_is_read_harms_nobody(
    tmp_path: Path, signed: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(signed.chain.read_bytes())
    key.write_bytes(signed.key.read_bytes())
    other = certificate(tmp_path / "other")
    load = ssl.SSLContext.load_cert_chain

    def load_and_lose(context: ssl.SSLContext, *words: Any, **named: Any) -> None:
        load(context, *words, **named)
        chain.write_bytes(other.chain.read_bytes())

    with serving(certificate=chain, key=key) as server:
        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load_and_lose)
        with contextlib.suppress(ConfigError):
            server.renew()
        with contextlib.suppress(ConfigError):
            server.renew()
        _spoken_tls(server, signed).close()


@pytest.mark.parametrize("wrong", ["missing", "empty", "swapped", "locked"])
def test_begin_says_when_a_certificate_is_no_good(
    tmp_path: Path, signed: Certificate, wrong: str
) -> None:
    chain, key = signed.chain, signed.key
    if wrong == "missing":
        chain = tmp_path / "nothing"
    elif wrong == "empty":
        key = tmp_path / "empty"
        key.touch()
    elif wrong == "swapped":
        chain, key = key, chain
    else:
        key = signed.locked
    server = Web(_nobody, host="127.0.0.1", port=0, certificate=chain, key=key)
    with pytest.raises(ConfigError, match="cannot use the certificate") as refused:
        server.begin()
    assert "PEM" in refused.value.hint


async def _nobody(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("nobody asks")


@pytest.fixture(autouse=True)
def _descriptors_come_back() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
