"""What may be said below [nats], what it means to NATS, and that no password is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from eiderd import config
from eiderd.errors import ConfigError
from eiderd.sections.nats import NatsSection
from tests.helpers import Place


def _given(**said: Any) -> NatsSection:
    return NatsSection.model_validate(said)


def _given_file(root: Path, text: str) -> Path:
    path = root / "eiderd.toml"
    path.write_text(f'[database]\npath = "/data/app.duckdb"\n{text}')
    return path


@pytest.mark.parametrize(
    ("said", "urls"),
    [
        (None, ()),
        ("nats://a:4222", ("nats://a:4222",)),
        ("nats://a:4222, tls://b", ("nats://a:4222", "tls://b")),
        (["nats://a:4222", "nats://b:4223"], ("nats://a:4222", "nats://b:4223")),
    ],
)
def test_one_or_several_urls(said: object, urls: tuple[str, ...]) -> None:
    assert _given(url=said).urls == urls


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:4222", "http://a", "ws://a", "nats://", "nats://a:0", "nats://a:99999",
        "nats://a/path", "nats://a?x=1", "nats://a b", "nats://a\r\nPUB x", [], ["nats://a", ""],
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(url: object) -> None:
    with pytest.raises(ValidationError):
        _given(url=url)


@pytest.mark.parametrize("url", ["ws://a:8080", "wss://a", ["nats://a", "ws://b"]])
def test_a_websocket_is_refused_with_what_to_name_instead(url: object) -> None:
    with pytest.raises(ValidationError, match=r"must not be a websocket.*nats://127\.0\.0\.1:4222"):
        _given(url=url)


@pytest.mark.parametrize("domain", ["a.b", "a b", "*", ">", ""])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(ValidationError):
        _given(url="nats://a", domain=domain)


@pytest.mark.parametrize(
    "said",
    [
        {"user": "a"},
        {"password_file": "b"},
        {"credentials": "/a.creds", "nkey": "/b.nk"},
        {"user": "a", "password_file": "/b", "token_file": "/c"},
        {"tls_key": "/a.pem"},
        {"credentials": "../secret"},
        {"token_file": "."},
        {"timeout": "31s"},
        {"streams": {"a.b": {"subjects": ["x"]}}},
        {"streams": {"A": {"subjects": []}}},
        {"streams": {"A": {"subjects": ["a..b"]}}},
        {"streams": {"A": {"subjects": ["a.>.b"]}}},
        {"streams": {"A": {"subjects": ["a b"]}}},
        {"streams": {"A": {"subjects": ["a"], "consumers": {"x y": {}}}}},
        {"streams": {"A": {"subjects": ["a"], "storage": "tape"}}},
        {"streams": {"A": {"subjects": ["a"], "max_bytse": "1GB"}}},
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _given(**said)


def test_a_stream_in_the_words_of_the_api() -> None:
    (stream,) = _given(
        max_lag=7,
        streams={
            "ORDERS": {
                "subjects": ["orders.>"],
                "storage": "file",
                "replicas": 3,
                "max_age": "7d",
                "max_bytes": "10GiB",
                "max_messages": 5,
                "duplicate_window": "2m",
                "allow_rollup": True,
                "consumers": {
                    "one": {"filter_subjects": ["orders.new"], "ack_wait": "30s", "max_lag": 9},
                    "two": {"filter_subjects": ["orders.a", "orders.b"]},
                    "three": {"expected": False},
                },
            },
            "GONE": {"subjects": ["gone"], "expected": False},
        },
    ).expected()
    assert stream.config == {
        "subjects": ["orders.>"],
        "storage": "file",
        "num_replicas": 3,
        "max_age": 604_800_000_000_000,
        "max_bytes": 10_737_418_240,
        "max_msgs": 5,
        "duplicate_window": 120_000_000_000,
        "allow_rollup_hdrs": True,
    }
    assert [(one.subject, one.config, one.max_lag) for one in stream.consumers] == [
        ("ORDERS/one", {"filter_subject": "orders.new", "ack_wait": 30_000_000_000}, 9),
        ("ORDERS/two", {"filter_subjects": ["orders.a", "orders.b"]}, 7),
    ]


def test_the_profile_of_cartographus_expects_what_it_makes() -> None:
    settings, _path = _loaded('profile = "cartographus"\n')
    assert settings.nats.urls == (), "where it is, nobody but the operator knows"
    (stream,) = settings.nats.expected()
    assert (stream.name, stream.config) == (
        "MEDIA_EVENTS",
        {
            "subjects": ["playback.>", "plex.>", "jellyfin.>", "tautulli.>"],
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "num_replicas": 1,
            "max_age": 7 * 86_400 * 10**9,
            "max_bytes": 10 * 2**30,
            "duplicate_window": 120 * 10**9,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
        },
    )
    assert [one.name for one in stream.consumers] == [
        "media-processor-duckdb",
        "media-processor-websocket",
    ]
    assert stream.consumers[0].config == {
        "filter_subject": "playback.>",
        "deliver_policy": "new",
        "deliver_group": "processors-duckdb",
        "ack_policy": "explicit",
        "ack_wait": 60 * 10**9,
        "max_deliver": 5,
        "max_ack_pending": 1000,
    }


def _loaded(text: str) -> tuple[config.Settings, object]:
    import tempfile  # noqa: PLC0415  (two tests that need no other file)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "eiderd.toml"
        path.write_text(f'{text}[database]\npath = "/data/app.duckdb"\n')
        return config.load(path)


def test_no_password_of_a_url_is_shown(tmp_path: Path) -> None:
    path = _given_file(tmp_path, '[nats]\nurl = ["nats://me:hush@a:4222", "nats://hush@b"]\n')
    settings, _found = config.load(path)
    shown = json.dumps(config.shown(settings))
    assert "hush" not in shown
    assert "nats://***@a:4222" in shown
    assert "hush" in "".join(settings.nats.urls)


_BAD_URLS = [
    "nats://me:hush@a:4222/path", "nats://me:hush/x@a:4222", "nats://me:x/hush@a:4222",
    "nats://me:x hush@a:4222", "me:hush@a:4222", "hush@a:4222", "//me:hush/@a", "nats://a?hush@",
    "nats://me:x@hush@[a", "nats://me:hush@a/,nats://me:hush/@b", "nats:/me:x\nhush@a",
    "nats://me:\u2100hush@a",
]  # fmt: skip


@pytest.mark.parametrize("url", _BAD_URLS)
@pytest.mark.parametrize("setting", ["nats.url", "application.health_url", "compact.url"])
def test_no_password_is_in_what_is_said_of_a_bad_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, url: str
) -> None:
    section, key = setting.split(".")
    alone, listed = json.dumps(url), json.dumps(["nats://b", url])
    for value in (alone, listed):
        with pytest.raises(ConfigError, match=setting) as told:
            config.load(_given_file(tmp_path, f"[{section}]\n{key} = {value}\n"))
        assert "hush" not in str(told.value)
    for value in (url, listed):
        monkeypatch.setenv(f"EIDER_{section}__{key}".upper(), value)
        with pytest.raises(ConfigError, match=setting) as told:
            config.load(_given_file(tmp_path, ""))
        assert "hush" not in str(told.value)


@pytest.mark.parametrize(
    "lines",
    [
        'nats = "nats://me:hush/@a"',
        'nats = ["nats://me:hush/@a"]',
        'nats = {url = "nats://me:hush@a", user = "me"}',
        'nats.domain = "nats://me:hush/@a"',
        'nats = {token_file = "hush!"}',
        'nats = {user = "me", password_file = "hush!"}',
        'nats = {user = "me", password_file = ["hush!"]}',
        'server.basic_auth = "me:hush"',
        'application.health_url = "http://me:hush/x@a/"',
    ],
)
def test_nor_is_it_where_it_stands_in_a_wrong_place(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "eiderd.toml"
    path.write_text(f'{lines}\n[database]\npath = "/data/app.duckdb"\n')
    with pytest.raises(ConfigError) as told:
        config.load(path)
    assert "hush" not in str(told.value)


def test_the_rest_of_a_bad_url_is_shown(tmp_path: Path) -> None:
    path = _given_file(tmp_path, '[nats]\nurl = ["nats://me:hush/@a:1", "me:hush@b", "c"]\n')
    with pytest.raises(ConfigError, match="nats") as told:
        config.load(path)
    assert "(it is ['nats://***@a:1', '***@b', 'c'])" in str(told.value)


def test_a_url_from_the_environment_needs_no_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EIDER_NATS__URL", "nats://a:4222,nats://b:4222")
    settings, _found = config.load(_given_file(tmp_path, ""))
    assert settings.nats.urls == ("nats://a:4222", "nats://b:4222")


def test_the_command_shows_no_password(tmp_path: Path) -> None:
    place = Place(tmp_path).configure(nats__url="nats://me:hush@127.0.0.1:1")
    for words in (("config", "show"), ("config", "show", "--json"), ("nats", "check")):
        ran = place.eider(*words)
        assert "hush" not in ran.stdout + ran.stderr
        assert "127.0.0.1:1" in ran.stdout
