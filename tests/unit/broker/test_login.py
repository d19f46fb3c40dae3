"""Which server is meant by what a person says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eiderd.broker.streams import Login
from eiderd.errors import ConfigError
from eiderd.sections.nats import NatsSection

HERE = "nats://127.0.0.1:4222"
SECTION = NatsSection.model_validate({"url": HERE, "user": "me", "password_file": "/p"})
FILE = Path("/somewhere")


def test_the_configured_server_is_meant_when_it_is_named_or_none_is() -> None:
    assert Login().server(SECTION).user == "me"
    assert Login(url=HERE).server(SECTION).user == "me"


def test_another_server_gets_nothing_of_what_is_configured() -> None:
    server = Login(url="tls://n1:4222,tls://n2:4222", credentials=FILE).server(SECTION)
    assert server.urls == ("tls://n1:4222", "tls://n2:4222")
    assert (server.user, server.password_file, server.credentials) == (None, None, str(FILE))


@pytest.mark.parametrize("how", [{"credentials": FILE}, {"tls_ca": FILE}])
def test_what_is_said_of_a_server_is_never_left_out(how: dict[str, Any]) -> None:
    server = Login(url=HERE, **how).server(SECTION)
    assert server.user is None
    with pytest.raises(ConfigError, match="none is named"):
        Login(**how).server(SECTION)


@pytest.mark.parametrize("url", ["ws://a", "http://a", "a:4222", ""])
def test_what_is_no_url_is_refused_in_words(url: str) -> None:
    with pytest.raises(ConfigError, match="a server must"):
        Login(url=url).server(SECTION)
