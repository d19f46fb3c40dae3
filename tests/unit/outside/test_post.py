"""Asking a URL to do something: what counts as done, and that no secret gets about."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from eiderd.errors import ApplicationFailed, ConfigError
from eiderd.outside import post

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "a-secret-word"  # noqa: S105  (of nothing)
PAGE = b"<!doctype html><title>App</title>"


class Server(http.server.BaseHTTPRequestHandler):
    answer: ClassVar[tuple[int, str, bytes]] = (200, "application/json", b"{}")
    heard: ClassVar[list[tuple[str, str, dict[str, str]]]] = []

    def do_POST(self) -> None:
        self.heard.append((self.command, self.path, dict(self.headers)))
        status, kind, body = self.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        pass


@contextlib.contextmanager
def answering(
    status: int = 200, kind: str = "application/json", body: bytes = b"{}"
) -> Iterator[str]:
    Server.answer, Server.heard = (status, kind, body), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/admin/compact?now=1"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "application/json", b'{"status": "success"}'),
        (200, "application/problem+json", b"[]"),
        (202, "application/json; charset=utf-8", b'{"accepted": true}'),
        (204, "text/plain", b""),
    ],
)
def test_an_answer_that_says_so_is_done(status: int, kind: str, body: bytes) -> None:
    with answering(status, kind, body) as url:
        post.post(url, headers={"Authorization": f"Bearer {SECRET}"}, seconds=5)
    ((verb, path, headers),) = Server.heard
    assert (verb, path) == ("POST", "/admin/compact?now=1")
    assert headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (200, "text/html", PAGE, "text/html, which is a page"),
        (200, "text/plain", b"ok", "which is a page"),
        (200, "application/json", b"<html>", "no JSON"),
        (200, "application/json", b"", "says nothing"),
        (200, "application/json", b'{"status": "error"}', "with an error"),
        (302, "application/json", b"{}", "answers 302"),
        (401, "text/plain", b"unauthorized: missing token", "answers 401"),
        (404, "application/json", b"{}", "answers 404"),
        (405, "application/json", b"{}", "answers 405"),
        (503, "application/json", b"{}", "answers 503"),
    ],
)
def test_anything_else_is_not(status: int, kind: str, body: bytes, said: str) -> None:
    with (
        answering(status, kind, body) as url,
        pytest.raises(ApplicationFailed, match=said) as raised,
    ):
        post.post(url, headers={"Authorization": SECRET}, seconds=5)
    assert SECRET not in raised.value.message + raised.value.hint
    assert len(Server.heard) == 1, "a redirect is not followed"


def test_nobody_there_and_nobody_who_answers_end_in_time() -> None:
    with answering() as url:
        pass
    with pytest.raises(ApplicationFailed, match="does not answer"):
        post.post(url, headers={}, seconds=5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(ApplicationFailed, match="answer"):
            post.post(silent, headers={}, seconds=0.2)


# Headers -----------------------------------------------------------------------------------------


def _file(folder: Path, text: str, *, mode: int = 0o600) -> str:
    path = folder / "headers"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_headers_stand_in_a_private_file_a_line_each(tmp_path: Path) -> None:
    assert post.headers_from(None) == {}
    name = _file(tmp_path, f"Authorization: Bearer {SECRET}\n\nX-Api-Key:  a:b \n")
    assert post.headers_from(name) == {
        "Authorization": f"Bearer {SECRET}", "X-Api-Key": "a:b",
    }  # fmt: skip


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_one_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="can be read by others") as raised:
        post.headers_from(_file(tmp_path, f"A: {SECRET}", mode=mode))
    assert "chmod 600" in raised.value.hint
    assert SECRET not in raised.value.message


@pytest.mark.parametrize("text", [SECRET, f"A B: {SECRET}", f": {SECRET}", f"A: \x07{SECRET}"])
def test_what_is_no_header_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="header a line") as raised:
        post.headers_from(_file(tmp_path, text))
    assert SECRET not in raised.value.message + raised.value.hint


def test_a_credential_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY"):
        post.headers_from("headers")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    _file(tmp_path, "A: b", mode=0o440)
    assert post.headers_from("headers") == {"A": "b"}
    with pytest.raises(ConfigError, match="cannot read"):
        post.headers_from("another")
