"""`eider nats`, and the service with NATS: what people and probes see, and that nothing waits."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.helpers import Place, given_place
from tests.nats_servers import NatsServer, nats_server
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STREAMS = json.dumps(
    {
        "ORDERS": {
            "subjects": ["orders.>"],
            "max_bytes": "8MB",
            "consumers": {"writer": {"filter_subjects": ["orders.>"], "deliver_group": "writers"}},
        }
    }
)
ENV = {"EIDER_NATS__STREAMS": STREAMS}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, server: NatsServer) -> Place:
    return Place(tmp_path).configure(nats__url=server.url, nats__timeout="1s")


def test_what_a_probe_and_a_person_see(server: NatsServer, place: Place) -> None:
    missing = place.eider("nats", "check", env=ENV)
    assert (missing.code, missing.stdout.count("\n")) == (3, 1)
    assert missing.stdout.startswith("critical: The stream ORDERS is not there")

    would = place.eider("nats", "ensure", "--dry-run", "--json", env=ENV).json
    assert [(step["what"], step["subject"], step["done"]) for step in would["steps"]] == [
        ("create", "ORDERS", False),
        ("create", "ORDERS/writer", False),
    ]
    made = place.eider("nats", "ensure", env=ENV).good_manners()
    assert (made.code, made.stdout) == (0, "✓ created ORDERS\n✓ created ORDERS/writer\n")

    well = place.eider("nats", "check", env=ENV)
    assert well.code == 0
    assert well.stdout.startswith("ok: NATS 2.15.1 at nats://127.0.0.1:")
    assert well.stdout.endswith("1 stream and 1 consumer as expected\n")
    shown = place.eider("nats", "status", env=ENV).good_manners()
    assert shown.code == 0
    assert "ORDERS/writer" in shown.stdout
    document = place.eider("nats", "status", "--json", env=ENV).json
    assert (document["condition"], document["reached"]) == ("well", True)
    assert document["seen"]["streams"][0]["config"]["max_bytes"] == 8_000_000

    server.pause()
    began = time.monotonic()
    down = place.eider("nats", "check", env=ENV)
    assert time.monotonic() - began < 8
    assert (down.code, down.stdout.count("\n")) == (14, 1)


def test_without_a_url_there_is_nothing_to_ask(tmp_path: Path) -> None:
    place = Place(tmp_path).configure()
    for verb in ("check", "ensure"):
        ran = place.eider("nats", verb)
        assert ran.code == 2
        assert "nats.url is not set" in ran.stderr


def test_what_was_created_is_in_the_journal(place: Place) -> None:
    place.eider("nats", "ensure", env=ENV)
    lines = (place.state / "journal.jsonl").read_text().splitlines()
    began = [line for line in map(json.loads, lines) if line["word"] == "began"]
    assert [line["job"] for line in began] == ["ensure"]


def test_a_paused_nats_holds_up_nothing_else(server: NatsServer, tmp_path: Path) -> None:
    place = given_place(tmp_path / "place", rows=2_000, wal_rows=100)
    with running(
        place, env=ENV, nats__url=server.url, nats__timeout="3s", service__look_every="1s"
    ) as service:

        def looks(job: str) -> float:
            name = f'eider_job_runs_total{{job_name="{job}",outcome="done"}}'
            return service.metrics()[name]

        service.until(lambda: "stream_missing" in service.kinds(), what="what is missing")
        place.configure(nats__url=server.url)
        assert place.eider("nats", "ensure", env=ENV).code == 0
        service.until(lambda: "stream_missing" not in service.kinds(), what="its end")
        assert service.metrics()["eider_nats_up"] == 1
        assert service.metrics()['eider_nats_stream_messages{stream="ORDERS"}'] == 0

        server.pause()
        service.until(lambda: "nats_down" in service.kinds(), what="that it is down")
        before = {job: looks(job) for job in ("freshness", "disk", "nats")}
        began = time.monotonic()
        service.until(lambda: looks("freshness") >= before["freshness"] + 4, what="other looks")
        assert looks("disk") >= before["disk"] + 3
        assert looks("nats") <= before["nats"] + 1 + (time.monotonic() - began) / 2
        assert service.get("/healthz")[0] == 200
        assert service.metrics()["eider_nats_up"] == 0

        server.resume()
        service.until(lambda: "nats_down" not in service.kinds(), what="that it is back")
        assert service.end() == 0
