"""What is forbidden on this machine is told apart from an other side that is dead.

The filter itself is the kernel's: `tests/service/test_addresses.py` has it.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.errors import ApplicationFailed, BrokerUnavailable
from eiderd.outside import barred, one_request, post
from eiderd.outside.application import health_url
from eiderd.outside.nats_client import connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORBIDDEN = ": forbidden here"


def _given_a_filter(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    true_send = socket.socket.sendto

    class Filtered(socket.socket):
        def sendto(self, data: bytes, *more: Any) -> int:  # type: ignore[override]
            if more[-1][0] in addresses:
                raise PermissionError(errno.EPERM, "Operation not permitted")
            return true_send(self, data, *more)

    monkeypatch.setattr("eiderd.outside.barred.socket.socket", Filtered)


def test_what_the_filter_refuses_is_forbidden_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert barred.why("127.0.0.1") == ""
    _given_a_filter(monkeypatch, "10.9.8.7")
    said = barred.why("10.9.8.7")
    assert "IPAddressAllow=" in said
    assert "eider doctor" in said
    assert barred.why("127.0.0.1") == ""
    assert barred.why("not a name\0") == ""


def test_of_several_addresses_one_that_is_let_through_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = [(socket.AF_INET, 2, 17, "", (address, 9)) for address in ("10.9.8.7", "127.0.0.1")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_words, **_more: known)
    _given_a_filter(monkeypatch, "10.9.8.7")
    assert barred.why("nats") == ""
    _given_a_filter(monkeypatch, "10.9.8.7", "127.0.0.1")
    assert "reach it" in barred.why("nats")


def test_a_name_is_not_found_where_nobody_may_be_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true_look = socket.getaddrinfo

    def look(host: str, *words: Any, **more: Any) -> list[Any]:
        if host == "nats":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return true_look(host, *words, **more)

    monkeypatch.setattr("socket.getaddrinfo", look)
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\nnameserver 192.168.1.1\nnameserver x\n")
    monkeypatch.setattr("eiderd.outside.resolver.FILE", resolver)
    _given_a_filter(monkeypatch)
    resolver.write_text("nameserver 127.0.0.1\n")
    assert barred.why("nats") == ""
    resolver.write_text("nameserver x\nnameserver 192.168.1.1\n")
    _given_a_filter(monkeypatch, "192.168.1.1")
    assert "ask for its address" in barred.why("nats")


def test_a_lookup_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(barred, "_SECONDS", 0.1)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_words, **_more: let_go.wait(30) and [])
    began = time.monotonic()
    assert barred.why("nats") == ""
    assert time.monotonic() - began < 10
    let_go.set()


# Where it is said -------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[str]:
    """An address where connections are taken, and nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def why(host: str) -> str:
        asked.append(host)
        return FORBIDDEN

    monkeypatch.setattr(barred, "why", why)
    return asked


def test_silence_is_looked_into_and_a_refusal_is_not(silent: str, forbidden: list[str]) -> None:
    health = health_url.ask(f"http://{silent}/health", seconds=0.2)
    assert health.why.endswith(FORBIDDEN)
    assert forbidden == ["127.0.0.1"]
    assert FORBIDDEN not in health_url.ask("http://127.0.0.1:1/health", seconds=5).why
    assert FORBIDDEN in health_url.ask("http://no.such.name.invalid/", seconds=5).why


def test_a_compaction_that_is_not_answered_says_so_too(silent: str, forbidden: list[str]) -> None:
    del forbidden
    with pytest.raises(ApplicationFailed, match=FORBIDDEN):
        post.post(f"http://{silent}/compact", headers={}, seconds=0.2)


def test_nats_that_is_silent_is_looked_into(silent: str, forbidden: list[str]) -> None:
    async def nothing(_client: object) -> None:
        return None

    def asked(url: str, *, connect_seconds: float = 0.2, timeout: float = 5) -> str:
        server = connection.Server(urls=(url,), connect_seconds=connect_seconds)
        with pytest.raises(BrokerUnavailable) as caught:
            connection.ask(server, nothing, timeout_seconds=timeout)
        return caught.value.message

    assert FORBIDDEN in asked(f"nats://user:secret@{silent}")
    assert FORBIDDEN in asked(f"nats://{silent}", connect_seconds=9, timeout=0.2)
    assert set(forbidden) == {"127.0.0.1"}
    assert FORBIDDEN not in asked("nats://127.0.0.1:1")


def test_whoever_was_not_silent_is_not_asked_after() -> None:
    assert one_request.Unanswered().is_silence
    assert one_request.Unanswered(TimeoutError()).is_silence
    assert not one_request.Unanswered(ConnectionResetError()).is_silence
    assert not one_request.Unanswered(ValueError("what it said")).is_silence
