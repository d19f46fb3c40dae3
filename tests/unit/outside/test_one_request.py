"""One HTTP request: what is late costs no more than its time, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eiderd.outside import one_request
from tests.helpers import until
from tests.web import certificate

_HEADS = {
    "before its head": b"HTTP/1.1 200 OK\r\nX: ",
    "in a body with a length": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
    "in a body until the end": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
}


@contextlib.contextmanager
def _dripping(head: bytes, tls: ssl.SSLContext | None) -> Iterator[int]:
    """Answer with `head` and then, sign by sign, for as long as anybody listens."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            talk = tls.wrap_socket(connection, server_side=True) if tls else connection
            with talk:
                talk.recv(4096)
                talk.sendall(head)
                while not over.wait(0.02):
                    talk.sendall(b":")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            serving.join(10)


def _askers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "(ask)" in thread.name]


@pytest.mark.parametrize("head", _HEADS.values(), ids=_HEADS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_url_that_drips_is_late_and_leaves_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, head: bytes
) -> None:
    tls = None
    if scheme == "https":
        made = certificate(tmp_path)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(made.chain, made.key)
        monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
    with _dripping(head, tls) as port:
        with pytest.raises(one_request.Unanswered) as unanswered:
            one_request.request("GET", f"{scheme}://127.0.0.1:{port}/", seconds=0.5)
        assert unanswered.value.late
        until(lambda: not _askers(), what="nobody asks any more")
