"""Streams of real nats-servers in the backup: what is taken comes back as it was."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests import helpers
from tests.nats_servers import NEWEST, VERSIONS, nats_server
from tests.real import streams

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Place

ROWS = 200


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return helpers.given_place(tmp_path / "place", rows=ROWS, wal_rows=0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_comes_back_from_a_backup_as_it_was(
    place: Place, tmp_path: Path, version: str
) -> None:
    with nats_server(tmp_path / "nats", version=version) as server:
        streams.create(server.url)
        streams.publish(server.url, 700)
        streams.acknowledge(server.url, 20)
        streams.remove(server.url, 100, 101, 700)
        before = streams.everything(server.url)
        streams.configure(place, server.url)
        made = place.backup()
        assert [one["stream"] for one in made["nats"]] == [streams.NAME]
        assert made["nats"][0] | {"captured_at": "", "bytes": 0} == {
            "stream": "EVENTS", "messages": 697, "first_seq": 1, "last_seq": 700, "bytes": 0,
            "consumers": 1, "method": "snapshot", "captured_at": "",
        }  # fmt: skip
        assert made["nats_missing"] == []
        streams.drop(server.url)
        back = place.eider("nats", "restore", "--yes", "--json").good_manners()
        assert back.code == 0, back
        assert back.json["streams"][0]["messages"] == 697
        assert streams.everything(server.url) == before
        assert streams.consumer(server.url)["ack_floor"]["stream_seq"] == 20
        assert streams.info(server.url)["config"]["subjects"] == ["events.>"]
        streams.publish(server.url, 1, first=900)  # it lives
        assert streams.info(server.url)["state"]["last_seq"] == 701


@pytest.mark.parametrize("version", ["2.10", NEWEST])
def test_streams_in_memory_come_back(place: Place, tmp_path: Path, version: str) -> None:
    """Up to 2.15 message by message; then the server packs them as well."""
    kept = ("limits", "workqueue", "interest")
    with nats_server(tmp_path / "nats", version=version) as server:
        for name in kept:
            streams.create(server.url, name, storage="memory", retention=name, first_seq=5)
            streams.publish(server.url, 600, name)
            streams.acknowledge(server.url, 20, name)
            streams.remove(server.url, 300, *range(320, 330), 604, name=name)
        before = {name: streams.everything(server.url, name) for name in kept}
        config = {name: streams.info(server.url, name)["config"] for name in kept}
        made = streams.configure(place, server.url, *kept).backup()
        method = "snapshot" if version == NEWEST else "messages"
        assert {one["method"] for one in made["nats"]} == {method}
        for name in kept:
            streams.drop(server.url, name)
        back = place.eider("nats", "restore", "--yes").good_manners()
        assert back.code == 0, back
        for name in kept:
            assert streams.everything(server.url, name) == before[name]
            now = streams.info(server.url, name)
            assert _without_times(now["config"]) == _without_times(config[name])
            waiting = streams.consumer(server.url, name)
            count = waiting["num_pending"] + waiting["num_ack_pending"]
            assert count == sum(number > 24 for number in before[name])
            streams.publish(server.url, 1, name, first=900)  # it lives
            assert streams.info(server.url, name)["state"]["last_seq"] == 605


def _without_times(config: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in config.items() if key not in {"metadata", "first_seq"}}


def test_streams_stand_in_the_archive_as_the_official_client_lays_them_out(
    place: Place, tmp_path: Path
) -> None:
    with nats_server(tmp_path / "nats", version="2.12") as server:
        streams.create(server.url)
        streams.publish(server.url, 10)
        streams.configure(place, server.url)
        made = place.backup()
    with tarfile.open(place.archive(made["id"])) as tar:
        names = tar.getnames()
        described = json.load(tar.extractfile("nats/EVENTS/backup.json"))  # type: ignore[arg-type]
    assert names == [
        "app.duckdb",
        "nats/EVENTS/backup.json",
        "nats/EVENTS/stream.tar.s2",
        "eider-manifest.json",
    ]
    assert described["config"]["name"] == "EVENTS"
    assert described["state"]["messages"] == 10
    assert place.eider("verify", "--level", "4").code == 0
