"""JetStream in a domain of its own: on a hub, asked through a leaf node that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests import helpers
from tests.nats_servers import NEWEST, free_ports, nats_server
from tests.real import streams

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("version", ["2.10", NEWEST])
def test_streams_of_a_domain_are_watched_made_backed_up_and_restored(
    tmp_path: Path, version: str
) -> None:
    (port,) = free_ports(1)
    listens = f'leafnodes {{ listen = "127.0.0.1:{port}" }}'
    connects = f'leafnodes {{ remotes = [ {{ url = "nats://127.0.0.1:{port}" }} ] }}'
    place = helpers.given_place(tmp_path / "place", rows=100, wal_rows=0)
    settings: dict[str, Any] = {
        "nats__backup": ["EVENTS"],
        "nats__streams": {"EVENTS": {"subjects": ["events.>"], "consumers": {"worker": {}}}},
    }
    with (
        nats_server(
            tmp_path / "hub", version=version, name="hub", domain="hub", more=listens
        ) as hub,
        nats_server(
            tmp_path / "leaf", version=version, name="leaf", jetstream=False, more=connects
        ) as leaf,
    ):
        place.configure(nats__url=leaf.url, **settings)
        without = place.eider("nats", "check").good_manners()
        assert without.code == 3
        assert "JetStream is off" in without.stdout

        place.configure(nats__url=leaf.url, nats__domain="hub", **settings)
        helpers.until(
            lambda: "EVENTS is not there" in place.eider("nats", "check").stdout,
            what="that the leaf has found its hub",
        )
        assert place.eider("nats", "ensure").code == 0
        assert place.eider("nats", "check").code == 0
        streams.publish(hub.url, 300)
        streams.acknowledge(hub.url, 20)
        before = streams.everything(hub.url)
        place.backup()
        streams.publish(hub.url, 10, first=400)
        restored = place.eider("nats", "restore", "--replace", "--yes", "--json").good_manners()
        assert restored.code == 0, restored
        assert restored.json["server"] == f"{leaf.url} (domain hub)"
        assert streams.everything(hub.url) == before
        assert streams.consumer(hub.url)["num_pending"] == 280
