"""What the settings of Cartographus amount to; nothing in them is believed unseen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.sections.nats import NatsSection
from eiderd.setup.facts import health_url, told, usable_path


def test_its_defaults_are_known() -> None:
    said = told({})
    assert said.database == "/data/cartographus.duckdb"
    assert (said.port, said.nats_url, said.nats_within) == (3857, "nats://127.0.0.1:4222", True)


def test_the_environment_wins_over_the_file() -> None:
    file = {"database": {"path": "/a"}, "server": {"port": 4000}, "nats": {"enabled": False}}
    assert told({}, file).database == "/a"
    assert told({}, file).port == 4000
    assert told({}, file).nats_url is None
    assert told({"DUCKDB_PATH": "/b", "NATS_ENABLED": "true"}, file).database == "/b"
    assert told({"DUCKDB_PATH": "", "NATS_ENABLED": "true"}, file).nats_url is not None


def test_the_url_counts_only_when_its_nats_is_another() -> None:
    url = {"NATS_URL": "nats://other:4222"}
    assert told(url).nats_url == "nats://127.0.0.1:4222"
    assert told({**url, "NATS_EMBEDDED": "false"}).nats_url == "nats://other:4222"


def test_a_password_is_never_taken_over() -> None:
    url = "nats://me:s3cret@one:4222, tls://tok3n@two:4223"
    said = told({"NATS_URL": url, "NATS_EMBEDDED": "false"})
    assert said.nats_url == "nats://one:4222,tls://two:4223"
    assert "password_file" in said.notes[0]
    assert "s3cret" not in repr(said)
    assert "tok3n" not in repr(said)


@pytest.mark.parametrize("port", ["", "0", "65536", "http", "٣", "1" * 400, "-5"])
def test_a_port_that_is_none_is_not_taken(port: str) -> None:
    assert told({"HTTP_PORT": port}).port == 3857


@given(st.text(max_size=60) | st.just("nats://a:b@c:1"))
def test_whatever_a_url_is_what_remains_can_be_configured(url: str) -> None:
    said = told({"NATS_URL": url, "NATS_EMBEDDED": "0"})
    if said.nats_url is not None:
        assert NatsSection(url=said.nats_url).urls
        assert "@" not in said.nats_url


@pytest.mark.parametrize(
    "path", ["", "data.duckdb", ":memory:", "/a\n/b", "/a\x1b[2J", "/", "/..", "/" + "a" * 5000]
)
def test_a_path_that_can_be_none_is_refused(path: str) -> None:
    assert not usable_path(path)
    assert usable_path("/data/my app's.duckdb")


def test_the_health_of_the_application_is_asked_where_it_tells_the_truth() -> None:
    assert health_url(3857) == "http://127.0.0.1:3857/api/v1/health"
