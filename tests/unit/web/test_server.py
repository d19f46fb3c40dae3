from __future__ import annotations

import asyncio
import base64
import dataclasses
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.errors import ConfigError
from eiderd.health import Severity
from eiderd.web import page, server
from tests import statuses

if TYPE_CHECKING:
    from eiderd.status import Status

USERS = {"anna": "pä:ss wörd", "bert": "secret"}


def _given_application(
    *,
    status: Status | None = None,
    turning: bool = True,
    users: Mapping[str, str] | None = None,
    complaints: list[Exception] | None = None,
) -> server.Application:
    shown = status or statuses.well()
    return server.Application(
        look=lambda: shown,
        turning=lambda: turning,
        exposition=lambda status, accept: (f"{status.version} {accept}".encode(), "text/metrics"),
        runbook={"disk_low": "# Disk low\n"}.get,
        users=users or {},
        complain=(complaints if complaints is not None else []).append,
    )


def _get(
    application: server.Application, path: str, *, method: str = "GET", **headers: str
) -> server.Answer:
    return application.answer(method, path, headers)


def _basic(text: str, *, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(text.encode()).decode()}"


def _spoken(application: server.Application, scope: dict[str, Any]) -> list[Any]:
    """Speak ASGI with it, as uvicorn does."""
    sent: list[Any] = []

    async def receive() -> Any:  # noqa: ANN401
        raise AssertionError("nobody reads bodies")

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    return sent


# What is where ----------------------------------------------------------------------------------


def test_the_root_is_the_status_page() -> None:
    answer = _get(_given_application(), "/")
    assert answer.status == 200
    assert answer.type == "text/html; charset=utf-8"
    assert b"Last verified backup" in answer.body


def test_metrics_are_what_the_accept_header_asks_for() -> None:
    answer = _get(_given_application(), "/metrics", accept="application/openmetrics-text")
    assert (answer.body, answer.type) == (b"0.1.0 application/openmetrics-text", "text/metrics")


@pytest.mark.parametrize(("turning", "status"), [(True, 200), (False, 503)])
def test_healthz_says_whether_the_loop_turns(turning: bool, status: int) -> None:  # noqa: FBT001
    assert _get(_given_application(turning=turning), "/healthz").status == status


@pytest.mark.parametrize(
    ("severity", "status", "condition"),
    [
        (None, 200, "well"),
        (Severity.NOTICE, 200, "well"),
        (Severity.WARNING, 200, "degraded"),
        (Severity.CRITICAL, 503, "ill"),
    ],
)
def test_readyz_refuses_only_when_ill(
    severity: Severity | None, status: int, condition: str
) -> None:
    found = statuses.with_findings().findings[0]
    findings = (dataclasses.replace(found, severity=severity),) if severity else ()
    shown = dataclasses.replace(statuses.well(), findings=findings)
    answer = _get(_given_application(status=shown), "/readyz")
    assert (answer.status, answer.type) == (status, "application/json")
    document = json.loads(answer.body)
    assert document["condition"] == condition
    assert document["age_seconds"] == 10_654
    if findings:
        assert document["findings"] == [
            {
                "kind": "no_verified_backup",
                "subject": "",
                "severity": severity,
                "message": found.message,
                "command": "eider backup",
                "since": "2026-11-21T08:12:34+00:00",
            }
        ]


def test_readyz_makes_hostile_words_plain() -> None:
    found = dataclasses.replace(
        statuses.with_findings().findings[0],
        message="a\x1b[31m\ud800b",
        subject="\u202e",
        since=None,
    )
    shown = dataclasses.replace(statuses.well(), findings=(found,))
    answer = _get(_given_application(status=shown), "/readyz")
    assert answer.body.isascii()
    assert json.loads(answer.body)["findings"][0]["message"] == "a\ufffd[31m\ufffdb"


def test_a_runbook_is_found_by_its_name() -> None:
    application = _given_application()
    assert b"<h1>Disk low</h1>" in _get(application, "/runbook/disk_low").body
    for name in ("nope", "", "..", "../disk_low", "disk_low/", "DISK_LOW", "x" * 99, "a\0b"):
        assert _get(application, f"/runbook/{name}").status == 404


@pytest.mark.parametrize("path", ["/nope", "//", "/metrics/", "/metrics/x", "*", "", "/%2e", "/é"])
def test_whatever_else_is_not_found_and_says_so_on_a_page(path: str) -> None:
    answer = _get(_given_application(), path)
    assert answer.status == 404
    assert b"There is no such page" in answer.body


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz", "/nope"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "X"])
def test_pages_can_only_be_read(path: str, method: str) -> None:
    answer = _get(_given_application(), path, method=method)
    assert answer.status == 405
    assert ("allow", "GET, HEAD") in answer.headers


def test_head_is_answered_like_get() -> None:
    application = _given_application()
    assert _get(application, "/", method="HEAD") == _get(application, "/")


def test_every_answer_forbids_what_no_page_needs() -> None:
    application = _given_application(users=USERS)
    for path, method in (("/", "GET"), ("/healthz", "GET"), ("/healthz", "POST")):
        start, body = _spoken(
            application, {"type": "http", "method": method, "path": path, "headers": []}
        )
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == page.content_policy()
        assert headers["connection"] == "close"
        assert int(headers["content-length"]) == len(body["body"])
    policy = page.content_policy()
    for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'",
                 "form-action 'none'", "img-src 'self' data:"):  # fmt: skip
        assert part in policy


def test_what_is_no_http_is_not_answered() -> None:
    assert _spoken(_given_application(), {"type": "websocket"}) == []


def test_a_failure_inside_is_told_to_the_log_and_not_to_the_visitor() -> None:
    complaints: list[Exception] = []
    failure = RuntimeError("the secret inside")

    def look() -> Status:
        raise failure

    application = dataclasses.replace(_given_application(complaints=complaints), look=look)
    for path in ("/", "/metrics", "/readyz"):
        answer = _get(application, path)
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert b"Traceback" not in answer.body
    assert complaints == [failure] * 3
    assert _get(application, "/healthz").status == 200


def test_only_decent_names_are_looked_up_among_the_runbooks() -> None:
    asked: list[str] = []
    application = dataclasses.replace(_given_application(), runbook=asked.append)
    for name in ("..", "", "a.md", "DISK", "x" * 99, "a\0b", "a\n", "é", "disk_low"):
        assert _get(application, f"/runbook/{name}").status == 404
    assert asked == ["disk_low"]


# Who may look -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/metrics", "/readyz", "/runbook/disk_low", "/nope"])
def test_with_users_only_they_may_look(path: str) -> None:
    application = _given_application(users=USERS)
    for wrong in ("", _basic("anna:wrong"), _basic("bert:pä:ss wörd"), _basic("anna"), _basic(""),
                  _basic("nobody:secret"), _basic("bert:secret", scheme="Bearer"),
                  "Basic !!!", "Basic", "bert:secret", _basic("bert:secretx")):  # fmt: skip
        answer = _get(application, path, authorization=wrong)
        assert answer.status == 401
        assert ("www-authenticate", 'Basic realm="eiderd", charset="UTF-8"') in answer.headers
        assert b"Last verified" not in answer.body
    for name, password in USERS.items():
        answer = _get(application, path, authorization=_basic(f"{name}:{password}"))
        assert answer.status == (404 if path == "/nope" else 200)
    assert _get(application, path, authorization=_basic("bert:secret", scheme="basic")).status < 500


def test_healthz_needs_no_password() -> None:
    assert _get(_given_application(users=USERS), "/healthz").status == 200


def test_every_user_is_compared_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    real: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(len(one) - len(other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    application = _given_application(users=USERS)
    for given_ in ("", _basic("anna:pä:ss wörd"), _basic("nobody:" + "x" * 9_999)):
        compared.clear()
        _get(application, "/", authorization=given_)
        assert compared == [0, 0]


@given(text=st.text(max_size=40))
def test_whatever_stands_in_the_header_only_refuses(text: str) -> None:
    application = _given_application(users=USERS)
    assert _get(application, "/readyz", authorization=text).status == 401
    assert _get(application, "/readyz", authorization=f"Basic {text}").status == 401


# The file of users ------------------------------------------------------------------------------


def _given_file(folder: Path, content: str | bytes, *, mode: int = 0o600) -> Path:
    path = folder / "users"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def test_users_are_read_with_colons_and_spaces_in_their_passwords(tmp_path: Path) -> None:
    path = _given_file(tmp_path, "anna:pä:ss wörd\nbert:secret\n", mode=0o400)
    assert server.users_from(path) == USERS


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = _given_file(tmp_path, "anna:x\n", mode=mode)
    with pytest.raises(ConfigError, match="others may read") as refused:
        server.users_from(path)
    assert refused.value.hint == f"Keep them out: chmod 600 {path}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no users"),
        ("anna\n", "line 1 of"),
        ("anna:x\n\n", "line 2 of"),
        (":x\n", "line 1 of"),
        ("anna:\n", "line 1 of"),
        ("anna:x\nanna:y\n", "line 2 of"),
        ("anna:x\x1b\n", "line 1 of"),
        (b"anna:\xff\n", "cannot read the users"),
        ("anna:" + "x" * 200_000, "too many"),
    ],
)
def test_a_file_that_is_no_good_is_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        server.users_from(_given_file(tmp_path, content))
    assert "NAME:PASSWORD" in refused.value.hint


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", Path("/dev/null")):
        with pytest.raises(ConfigError, match="cannot read the users"):
            server.users_from(path)
