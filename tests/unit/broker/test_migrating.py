"""Which streams a move is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eiderd.broker import migrating
from eiderd.broker.moving import Wish
from eiderd.broker.streams import Login
from eiderd.config import Settings
from eiderd.errors import BrokerUnavailable, ConfigError
from eiderd.outside.nats_client import transfer

HERE: dict[str, Any] = {
    "streams": {
        "ORDERS": {"config": {"name": "ORDERS", "subjects": ["orders.>"]}, "state": {}},
        "MIRROR": {"config": {"name": "MIRROR"}, "state": {}},
        "HALF": {"config": {"name": "HALF", "subjects": ["_eiderd.0123.>"]}},
    }
}


def test_all_are_meant_but_what_a_killed_restore_left() -> None:
    assert migrating._names(HERE, wanted=()) == ["ORDERS", "MIRROR"]


def test_those_that_are_named_are_meant() -> None:
    assert migrating._names(HERE, wanted=("MIRROR",)) == ["MIRROR"]
    with pytest.raises(ConfigError, match="no stream NOTHING there"):
        migrating._names(HERE, wanted=("NOTHING",))


@pytest.mark.parametrize("name", ["../../../backups", "/var/lib/eiderd/backups", "..", "a/b", ""])
def test_a_name_that_is_none_moves_nothing(name: str) -> None:
    """It would become a folder, which is removed when the stream cannot be read."""
    here = {"streams": {**HERE["streams"], name: {"config": {"name": name}}}}
    for wanted in ((), (name,)):
        with pytest.raises(ConfigError, match="which none can be"):
            migrating._names(here, wanted=wanted)


def test_what_nobody_knows_of_is_not_left_behind_in_silence() -> None:
    here = {**HERE, "unknown": "nobody answers for LOST"}
    with pytest.raises(BrokerUnavailable, match="nobody answers for LOST"):
        migrating._names(here, wanted=())
    assert migrating._names(here, wanted=("ORDERS",)) == ["ORDERS"]


def test_two_clusters_of_one_name_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are one server's two accounts, and a hub's domain through a leaf."""
    ends = {"old": HERE, "new": {"streams": {}}}
    common = {"version": "2.12.8", "cluster": "prod", "servers": 3, "id": "N", "account": {}}
    monkeypatch.setattr(
        transfer,
        "look",
        lambda server: {**common, **ends[server.urls[0].removeprefix("nats://")]},
    )
    settings = Settings.model_validate(
        {"service": {"state": tmp_path}, "database": {"path": tmp_path / "app.duckdb"}}
    )
    logins = {name: Login(url=f"nats://{name}") for name in ends}
    move = migrating.migrating(
        settings, wanted=(), **logins, wish=Wish(), progress=lambda *_said: None
    )
    with move as migration:
        assert [(one.stream, one.problems) for one in migration.plans] == [
            ("ORDERS", ()),
            ("MIRROR", ()),
        ]
