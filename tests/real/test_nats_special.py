"""Streams out of the ordinary: worked off while they are packed, damaged, counting, in batches."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.outside.nats_client import transfer, transfer_worker
from eiderd.outside.nats_client.connection import Server
from tests import helpers
from tests.nats_servers import NatsServer, nats_cluster, nats_server
from tests.real import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nats.aio.client import Client

    from tests.helpers import Place

VERSION = "2.12"
LARGE = 20_000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return helpers.given_place(tmp_path / "place", rows=100, wal_rows=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats", version=VERSION) as running:
        yield running


def _taken_while(server: NatsServer, folder: Path, *, then: Callable[[], None]) -> dict[str, Any]:
    """Take EVENTS into a folder below this one; do something when a part of it is there."""
    folder.mkdir()
    done: list[int] = []

    def progress(count: int, _total: int) -> None:
        if count > 6_000_000 and not done:
            done.append(count)
            thread = threading.Thread(target=then)  # this one has a loop
            thread.start()
            thread.join()

    said = transfer_worker.capture(
        server={"urls": [server.url]},
        streams=["EVENTS"],
        folder=str(folder),
        most_bytes=1 << 30,
        settle_seconds=0.0,
        deadline_seconds=60.0,
        by_message=False,
        progress=progress,
    )
    assert done, "it was too small"
    assert said["missing"] == []
    described: dict[str, Any] = json.loads((folder / "EVENTS" / "backup.json").read_text())
    return described


# Left while it was packed -----------------------------------------------------------------------


def test_a_queue_that_is_worked_off_while_it_is_packed_comes_back(
    place: Place, server: NatsServer, tmp_path: Path
) -> None:
    """What is acknowledged before the server comes to it is not in the snapshot, but counted."""
    streams.create(server.url, retention="workqueue")
    streams.publish(server.url, 2200, size=LARGE, noise=True)
    folder = tmp_path / "taken"
    described = _taken_while(server, folder, then=lambda: streams.acknowledge(server.url, 150))
    assert described["removed"] == 150
    streams.drop(server.url)
    words = ("nats", "restore", str(folder / "EVENTS"), "--yes", "--json")
    ran = place.configure(nats__url=server.url).eider(*words).good_manners()
    assert ran.code == 0, ran
    (back,) = ran.json["streams"]
    assert back["messages"] < 2200, "nothing had left it: the test shows nothing"
    assert "left it while it was packed" in back["warnings"][0]

    described["removed"] = 0
    (folder / "EVENTS" / "backup.json").write_text(json.dumps(described))
    streams.drop(server.url)
    ran = place.eider(*words)
    assert ran.code == 12, ran
    assert "messages, not 2200" in ran.json["error"]["message"]


# What the server cannot read --------------------------------------------------------------------


def test_a_stream_of_which_the_server_cannot_read_all_is_no_backup(
    server: NatsServer, tmp_path: Path
) -> None:
    streams.create(server.url)
    streams.publish(server.url, 400, size=60_000)
    server.stop()
    second = sorted(server.store.rglob("*.blk"), key=lambda path: int(path.stem))[1]
    with second.open("r+b") as file:
        file.seek(second.stat().st_size // 2)
        file.write(b"\xff" * 200)
    server.start()
    (tmp_path / "taken").mkdir()
    taken = transfer.capture(
        Server(urls=(server.url,)),
        ["EVENTS"],
        folder=tmp_path / "taken",
        most_bytes=1 << 30,
        settle_seconds=0.0,
        deadline_seconds=60.0,
        by_message=True,
        progress=lambda *_said: None,
    )
    assert taken.taken == ()
    assert "cannot read 1 of the messages" in taken.missing[0].why


# Batches and counters ---------------------------------------------------------------------------


def _contents(url: str, name: str) -> dict[int, tuple[str, str]]:
    return {
        number: (subject, data)
        for number, (subject, _headers, data) in streams.everything(url, name).items()
    }


async def _publish_batch(client: Client) -> None:
    head = {"Nats-Batch-Id": "b1", "x-kind": "odd"}
    for number in ("1", "2"):
        await client.publish("batch.x", b"data", headers={**head, "Nats-Batch-Sequence": number})
    last = {**head, "Nats-Batch-Sequence": "3", "Nats-Batch-Commit": "1"}
    said = json.loads((await client.request("batch.x", b"end", headers=last, timeout=5)).data)
    assert said["seq"] == 3, said


def test_messages_of_an_atomic_batch_come_back(place: Place, server: NatsServer) -> None:
    streams.create(server.url, "BATCH", storage="memory", allow_atomic=True)
    streams.talk(server.url, _publish_batch)
    before = _contents(server.url, "BATCH")
    made = streams.configure(place, server.url, "BATCH").backup()
    assert made["nats"][0]["method"] == "messages"
    ran = place.eider("nats", "restore", "--replace", "--yes").good_manners()
    assert ran.code == 0, ran
    assert _contents(server.url, "BATCH") == before
    headers = base64.b64decode(streams.everything(server.url, "BATCH")[1][1])
    assert b"x-kind: odd" in headers
    streams.publish(server.url, 1, "BATCH")  # it lives
    assert streams.info(server.url, "BATCH")["state"]["last_seq"] == 4


async def _count(client: Client) -> None:
    for more in ("+5", "+3"):
        answer = await client.request("count.x", b"", headers={"Nats-Incr": more}, timeout=5)
        assert "error" not in json.loads(answer.data), answer.data


def test_a_stream_that_counts_is_not_replaced_where_it_could_not_be_put_back(
    place: Place, server: NatsServer
) -> None:
    streams.create(server.url, "COUNT", allow_msg_counter=True)
    streams.talk(server.url, _count)
    before = streams.everything(server.url, "COUNT")
    streams.configure(place, server.url, "COUNT").backup()  # of a file: the server packs it
    streams.drop(server.url, "COUNT")
    assert place.eider("nats", "restore", "--yes").code == 0
    assert streams.everything(server.url, "COUNT") == before

    streams.drop(server.url, "COUNT")
    streams.create(server.url, "COUNT", allow_msg_counter=True, storage="memory")
    streams.talk(server.url, _count)
    before = streams.everything(server.url, "COUNT")
    ran = place.eider("nats", "restore", "--replace", "--yes").good_manners()
    assert ran.code == 14, ran
    assert "it counts (allow_msg_counter)" in ran.stderr
    assert streams.everything(server.url, "COUNT") == before
    without = place.eider("backup", "--json")
    assert without.code == 3
    assert "it counts" in without.json["nats_missing"][0]["why"]


# Consumers --------------------------------------------------------------------------------------


def test_consumers_on_more_servers_than_the_stream_gets_are_made_on_as_many(
    place: Place, server: NatsServer, tmp_path: Path
) -> None:
    streams.create(server.url, "MEMORY", storage="memory")
    streams.publish(server.url, 5, "MEMORY")
    made = streams.configure(place, server.url, "MEMORY").backup()
    subprocess.run(["tar", "-xzf", place.archive(made["id"]), "-C", tmp_path], check=True)
    folder = tmp_path / "nats" / "MEMORY"
    described = json.loads((folder / "backup.json").read_text())
    for config in (described["config"], described["consumers"][0]["config"]):
        config["num_replicas"] = 3  # as of a cluster
    (folder / "backup.json").write_text(json.dumps(described))
    streams.drop(server.url, "MEMORY")
    words = ("nats", "restore", str(folder), "--replicas", "1", "--yes")
    ran = place.eider(*words).good_manners()
    assert ran.code == 0, ran
    assert streams.consumer(server.url, "MEMORY")["num_pending"] == 5


def test_a_restore_onto_a_cluster_is_done_when_its_consumers_are_there(
    place: Place, server: NatsServer, tmp_path: Path
) -> None:
    streams.create(server.url)
    streams.publish(server.url, 20)
    streams.configure(place, server.url).backup()
    with nats_cluster(tmp_path / "cluster", version=VERSION) as nodes:
        words = ("nats", "restore", "--server", nodes[0].url, "--replicas", "3", "--yes", "--json")
        for _ in range(3):
            ran = place.eider(*words).good_manners()
            assert ran.code == 0, ran
            assert ran.json["streams"][0]["consumers"] == ["worker"]
            assert ran.json["streams"][0]["warnings"] == []
            streams.drop(nodes[0].url)


# A cluster without one of its servers -----------------------------------------------------------


def test_streams_that_nobody_answers_for_are_not_left_behind_in_silence(
    place: Place, server: NatsServer, tmp_path: Path
) -> None:
    with nats_cluster(tmp_path / "cluster", version=VERSION) as nodes:
        gone = next(one for one in nodes[1:] if one.name != nodes[0].meta_group()["leader"])
        lost = _given_stream_on(gone, asked=nodes[0])
        kept = _given_stream_on(nodes[0], asked=nodes[0])
        gone.kill()
        words = ("nats", "migrate", "--to", server.url, "--yes")
        place.configure(nats__url=nodes[0].url)
        ran = place.eider(*words, seconds=120).good_manners()
        assert ran.code == 14, ran
        assert "nobody answers for " in ran.stderr
        assert lost in ran.stderr
        assert streams.names(server.url) == []

        named = place.eider(*words, kept, seconds=120).good_manners()
        assert named.code == 0, named
        assert streams.names(server.url) == [kept]


def _given_stream_on(node: NatsServer, *, asked: NatsServer) -> str:
    """Return a stream that only this server has: the cluster chooses where it is made."""
    for number in range(60):
        name = f"{node.name}-{number}"
        streams.create(asked.url, name, consumer="")
        if streams.info(asked.url, name)["cluster"]["leader"] == node.name:
            return name
    raise AssertionError(f"{node.name} gets no stream")
