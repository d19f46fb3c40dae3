"""What an application says of its version: one line or nothing, whatever it answers."""

from __future__ import annotations

import http.server
import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.outside.application import version

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body, wait = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not wait:
            self.wfile.write(body)
            return
        for place in range(len(body)):  # a drip: no single read lasts long
            self.wfile.write(body[place : place + 1])
            time.sleep(wait)

    def log_message(self, *_words: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


def _asked(
    server: http.server.ThreadingHTTPServer, body: object, *, field: str = "/data/version",
    status: int = 200, wait: float = 0, seconds: float = 5,
) -> str | None:  # fmt: skip
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    server.answer = (status, data, wait)  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{server.server_address[1]}/api/v1/health?x=1"
    return version.by_url(url, field=field, seconds=seconds)


HEALTH = {"status": "success", "data": {"status": "healthy", "version": "1.50.1"}}


def test_it_stands_where_the_pointer_points(server: http.server.ThreadingHTTPServer) -> None:
    assert _asked(server, HEALTH) == "1.50.1"
    assert _asked(server, {"a/b": [{"~": 7}]}, field="/a~1b/0/~0") == "7"
    assert _asked(server, {"version": 2.5}, field="/version") == "2.5"
    assert _asked(server, {"version": "a\x1b[2J\nb"}, field="/version") == "a?[2J"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>", 200), (b"", 200), ([1], 200), ({"data": None}, 200), (HEALTH, 503),
        ({"data": {"version": None}}, 200), ({"data": {"version": {"a": 1}}}, 200),
        ({"data": {"version": True}}, 200), (b"[" * 100_000, 200), ({"data": ["1.0"]}, 200),
    ],
)  # fmt: skip
def test_anything_else_says_nothing(
    server: http.server.ThreadingHTTPServer, body: object, status: int
) -> None:
    assert _asked(server, body, status=status) is None


def test_nobody_waits_for_an_application_that_hangs(
    server: http.server.ThreadingHTTPServer,
) -> None:
    began = time.monotonic()
    assert _asked(server, HEALTH, wait=0.05, seconds=0.3) is None
    assert time.monotonic() - began < 2


def test_nobody_there_says_nothing() -> None:
    assert version.by_url("http://127.0.0.1:9/", field="/version", seconds=2) is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('app v1.50.1'); print('more')", "app v1.50.1"),
        ("print('\\x1b[31m1.0')", "?[31m1.0"),
        ("print('x' * 1000)", "x" * 200),
        ("pass", None),
        ("print('1.0'); raise SystemExit(1)", None),
        ("import time; time.sleep(60)", None),
    ],
)
def test_a_command_is_heard_when_it_ends_well(code: str, said: str | None) -> None:
    assert version.by_command([sys.executable, "-c", code], seconds=2) == said


def test_a_command_that_is_not_there_says_nothing() -> None:
    assert version.by_command(["/no/such/command"]) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(st.text(), min_size=1), JSON)
def test_a_pointer_never_raises(parts: list[str], document: object) -> None:
    found = version._at("/" + "/".join(parts), document)
    assert found is None or (found.isprintable() and 0 < len(found) <= 200)
