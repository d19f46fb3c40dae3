"""A served application and raw clients of it, for tests of the web server."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eiderd.outside.web import Web


@contextlib.contextmanager
def serving(
    reply: Callable[[str], bytes] = str.encode,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Iterator[Web]:
    """Serve an application that answers each path with what `reply` makes of it."""

    async def application(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401
        body = reply(scope["path"])
        headers = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    server = Web(application, host=host, port=port, certificate=certificate, key=key)
    server.begin()
    try:
        yield server
    finally:
        server.end(1)


def answer_to(server: Web, path: str, *, seconds: float = 15) -> bytes:
    """Return all that comes back for a GET."""
    return exchange(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), seconds=seconds)


def exchange(server: Web, data: bytes, *, seconds: float = 15) -> bytes:
    """Send `data`, whatever it is, and return all that comes back until the connection ends."""
    received = b""
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(server.address, seconds) as client,
    ):
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
        while more := client.recv(65_536):
            received += more
    return received


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a certificate for 127.0.0.1. `locked` is its key with a password."""

    authority: Path
    chain: Path
    key: Path
    locked: Path


def certificate(folder: Path) -> Certificate:
    """Make a certificate that signs itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: apt-get install openssl")
    folder.mkdir(exist_ok=True)
    made = Certificate(
        folder / "chain.pem", folder / "chain.pem", folder / "key.pem", folder / "locked.pem"
    )
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", str(made.key), "-out", str(made.chain), "-days", "2",
             "-subj", "/CN=eiderd test", "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
    _openssl("pkey", "-in", str(made.key), "-aes256", "-passout", "pass:x",
             "-out", str(made.locked))  # fmt: skip
    return made


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)
