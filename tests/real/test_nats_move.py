"""Streams put back and moved: onto other servers, from the official client's folders, compared."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.errors import VerificationFailed
from eiderd.outside.nats_client import numbering, s2, snapshots, transfer_worker
from tests import helpers, nats_cli
from tests.nats_servers import NatsServer, nats_cluster, nats_server
from tests.real import streams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nats.aio.client import Client

    from tests.helpers import Place

VERSION = "2.12"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return helpers.given_place(tmp_path / "place", rows=100, wal_rows=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats", version=VERSION) as running:
        _fill(running)
        yield running


def _fill(server: NatsServer) -> None:
    streams.create(server.url)
    streams.publish(server.url, 300)
    streams.acknowledge(server.url, 20)
    streams.remove(server.url, 100)


async def _take(client: Client, folder: Path) -> None:
    await snapshots.take(client, "EVENTS", folder, most_bytes=1 << 30, told=lambda _count: None)


def _put_consumer_of(folder: Path, *, into: Path) -> None:
    """Exchange the consumers of a snapshot for those of another."""
    mine, other = (_tar(one / "stream.tar.s2") for one in (into, folder))
    kept = [entry for entry in mine if not entry.name.startswith("obs/")]
    kept += [entry for entry in other if entry.name.startswith("obs/")]
    data = helpers.tar_bytes(kept)
    frames = b"".join(
        b"\x01" + (len(piece) + 4).to_bytes(3, "little") + _checksum(piece) + piece
        for piece in (data[at : at + 60_000] for at in range(0, len(data), 60_000))
    )
    (into / "stream.tar.s2").write_bytes(b"\xff\x06\x00\x00S2sTwO" + frames)


def _tar(path: Path) -> list[helpers.Entry]:
    with path.open("rb") as file:
        descriptor = file.fileno()
        frames = s2._frames(descriptor)
        data = b"".join(s2._unpacked(descriptor, frame) for frame in frames)
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for info in tar:
            content = tar.extractfile(info)
            assert content is not None
            found.append(helpers.Entry(info.name, content.read()))
    return found


def _checksum(data: bytes) -> bytes:
    """Return CRC-32C as Snappy's framing masks it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


# Restore ----------------------------------------------------------------------------------------


def test_a_stream_that_is_there_is_replaced_only_when_asked_and_then_set_aside(
    place: Place, server: NatsServer
) -> None:
    streams.configure(place, server.url).backup()
    before = streams.everything(server.url)
    streams.publish(server.url, 50, first=400)
    later = streams.everything(server.url)

    refused = place.eider("nats", "restore", "--yes", "--json").good_manners()
    assert refused.code == 2
    assert "there is a stream of that name" in refused.json["error"]["message"]
    assert "--replace" in refused.json["error"]["hint"]
    assert streams.everything(server.url) == later

    looked = place.eider("nats", "restore", "--replace", "--dry-run", "--json")
    assert looked.json["streams"][0]["in_the_way"]
    asked = place.eider("nats", "restore", "--replace")  # nobody is there to be asked
    assert asked.code == 2
    assert streams.everything(server.url) == later

    done = place.eider("nats", "restore", "--replace", "--yes", "--json").good_manners()
    assert done.code == 0, done
    assert streams.everything(server.url) == before
    aside = done.json["streams"][0]["aside"]
    assert aside.startswith(str(place.state / "streams-set-aside" / "EVENTS-"))

    back = place.eider("nats", "restore", aside, "--replace", "--yes").good_manners()
    assert back.code == 0, back
    assert streams.everything(server.url) == later


def test_a_stream_goes_to_another_server_from_a_bare_archive(
    place: Place, server: NatsServer, tmp_path: Path
) -> None:
    made = streams.configure(place, server.url).backup()
    archive = place.archive(made["id"]).rename(tmp_path / "elsewhere.tar.gz")
    with nats_server(tmp_path / "other", version="2.15") as other:
        words = ("nats", "restore", str(archive), "EVENTS", "--server", other.url)
        assert place.eider(*words, "--dry-run").code == 0
        assert streams.names(other.url) == []
        assert place.eider(*words, "--yes").code == 0
        assert streams.everything(other.url) == streams.everything(server.url)
        assert place.eider(*words[:3], "OTHER", *words[4:], "--yes").code == 10


def test_what_a_newer_server_packed_is_refused_by_an_older_one(
    place: Place, tmp_path: Path
) -> None:
    with (
        nats_server(tmp_path / "new", version="2.15") as new,
        nats_server(tmp_path / "old", version=VERSION) as old,
    ):
        _fill(new)
        streams.configure(place, new.url).backup()
        ran = place.eider("nats", "restore", "--server", old.url, "--yes").good_manners()
        assert ran.code == 2
        assert "made by 2.15 or newer" in ran.stderr
        assert streams.names(old.url) == []


def test_a_damaged_archive_is_not_restored_from(place: Place, server: NatsServer) -> None:
    made = streams.configure(place, server.url).backup()
    archive = place.archive(made["id"])
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    streams.drop(server.url)
    assert place.eider("nats", "restore", "--yes").code == 12
    assert streams.names(server.url) == []


def _unpacked(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    return folder


def test_a_damaged_stream_is_not_made_and_the_one_set_aside_returns(
    place: Place, server: NatsServer, tmp_path: Path
) -> None:
    """The frames are whole, what is in them is not: only the server finds out."""
    made = streams.configure(place, server.url).backup()
    folder = _unpacked(place.archive(made["id"]), tmp_path / "out") / "nats" / "EVENTS"
    data = bytearray((folder / "stream.tar.s2").read_bytes())
    data[10 + 4] ^= 0xFF  # the checksum of the first frame
    (folder / "stream.tar.s2").write_bytes(data)
    before = streams.everything(server.url)
    ran = place.eider("nats", "restore", str(folder), "--replace", "--yes").good_manners()
    assert ran.code in {12, 14}, ran
    assert streams.everything(server.url) == before


def test_what_a_killed_restore_left_is_made_anew(
    place: Place, server: NatsServer, tmp_path: Path
) -> None:
    streams.create(server.url, "MEMORY", storage="memory")
    streams.publish(server.url, 30, "MEMORY")
    streams.configure(place, server.url, "MEMORY").backup()
    with nats_server(tmp_path / "other", version=VERSION) as other:
        # As it stands while a stream is made of its messages.
        streams.create(other.url, "MEMORY", consumer="", subjects=["_eiderd.0123.>"])
        ran = place.eider("nats", "restore", "--server", other.url, "--yes").good_manners()
        assert ran.code == 0, ran
        assert streams.everything(other.url, "MEMORY") == streams.everything(server.url, "MEMORY")


def test_a_consumer_that_was_ahead_of_the_snapshot_gets_what_comes_afterwards(
    place: Place, tmp_path: Path
) -> None:
    """As it is when messages came, and were acknowledged, while a server packed the stream."""
    with (
        nats_server(tmp_path / "nats", version=VERSION) as server,
        nats_server(tmp_path / "other", version=VERSION) as other,
    ):
        for name, messages in (("A", 10), ("B", 25)):
            streams.create(server.url, "EVENTS", max_msgs=10)
            streams.publish(server.url, messages, "EVENTS")
            streams.acknowledge(server.url, 10, "EVENTS")
            folder = tmp_path / name
            folder.mkdir()
            streams.talk(server.url, functools.partial(_take, folder=folder))
            streams.drop(server.url)
        _put_consumer_of(tmp_path / "B", into=tmp_path / "A")
        streams.configure(place, server.url)
        words = ("nats", "restore", str(tmp_path / "A"), "--server", other.url, "--yes")
        ran = place.eider(*words).good_manners()
        assert ran.code == 0, ran
        ahead = streams.consumer(other.url)["delivered"]["stream_seq"]
        assert ahead == 25
        assert sorted(streams.everything(other.url)) == list(range(1, 11))  # all that it had
        assert streams.info(other.url)["config"]["subjects"] == ["events.>"]
        assert streams.info(other.url)["config"]["max_msgs"] == 10
        streams.publish(other.url, 1, first=900)
        assert streams.consumer(other.url)["num_pending"] == 1


@pytest.mark.parametrize(
    ("retention", "most"), [("limits", 10**6), ("limits", 3), ("interest", 10**6)]
)
def test_a_consumer_ahead_of_what_cannot_be_filled_is_made_anew(
    server: NatsServer, tmp_path: Path, retention: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that may not be purged; and one that it would take too long to fill."""
    streams.drop(server.url)
    folder = _given_ahead(server, tmp_path, retention=retention, deny_purge=most > 15)
    monkeypatch.setattr(numbering, "_MOST", most)  # 15 are to be filled
    said = _restored(server, folder, tmp_path / "scratch")
    assert said["consumers"] == ["worker"]
    streams.publish(server.url, 1, first=900)
    now = streams.consumer(server.url)
    assert now["num_pending"] == 5 + 1  # what was not acknowledged, and what is new
    assert streams.info(server.url)["state"]["messages"] == (6 if retention == "interest" else 11)


def test_a_consumer_is_brought_past_its_stream_though_the_stream_is_refused(
    server: NatsServer, tmp_path: Path
) -> None:
    """It is left as it is, and somebody may go on with it."""
    streams.drop(server.url)
    folder = _given_ahead(server, tmp_path)
    described = json.loads((folder / "backup.json").read_text())
    described["state"]["messages"] += 1
    (folder / "backup.json").write_text(json.dumps(described))
    with pytest.raises(VerificationFailed, match="it has 10 messages, not 11"):
        _restored(server, folder, tmp_path / "scratch")
    streams.publish(server.url, 1, first=900)
    assert streams.consumer(server.url)["num_pending"] == 1


def _given_ahead(server: NatsServer, folder: Path, **config: Any) -> Path:
    """Return a stream of 10 messages whose consumer had 25, and acknowledged 5."""
    for name, messages in (("A", 10), ("B", 25)):
        streams.create(server.url, **config)
        streams.publish(server.url, messages)
        streams.acknowledge(server.url, 5)
        if name == "B":
            streams.talk(server.url, _fetch)
        (folder / name).mkdir()
        streams.talk(server.url, functools.partial(_take, folder=folder / name))
        streams.drop(server.url)
    _put_consumer_of(folder / "B", into=folder / "A")
    return folder / "A"


def _restored(server: NatsServer, folder: Path, scratch: Path) -> dict[str, Any]:
    scratch.mkdir()
    return transfer_worker.restore(
        server={"urls": [server.url]},
        folder=str(folder),
        changes={},
        aside=None,
        scratch=str(scratch),
        deadline_seconds=60.0,
        progress=lambda *_said: None,
    )


async def _fetch(client: Client) -> None:
    taken = await client.jetstream().pull_subscribe_bind("worker", "EVENTS")
    assert len(await taken.fetch(20, timeout=10)) == 20


# The official client ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [VERSION, "2.15"])
def test_the_official_client_restores_our_backup_and_we_restore_one_of_its_own(
    place: Place, tmp_path: Path, version: str
) -> None:
    nats_cli.command()
    with (
        nats_server(tmp_path / "nats", version=version) as server,
        nats_server(tmp_path / "other", version=version) as other,
    ):
        _fill(server)
        before = streams.everything(server.url)
        made = streams.configure(place, server.url).backup()
        folder = _unpacked(place.archive(made["id"]), tmp_path / "ours") / "nats" / "EVENTS"
        nats_cli.run(other.url, "stream", "restore", "--no-progress", folder, home=tmp_path)
        assert streams.everything(other.url) == before
        assert streams.consumer(other.url)["ack_floor"]["stream_seq"] == 20
        streams.drop(other.url)

        theirs = tmp_path / "theirs"
        words = ("stream", "backup", "--no-progress", "--consumers", "EVENTS")
        nats_cli.run(server.url, *words, theirs, home=tmp_path)
        ran = place.eider("nats", "restore", str(theirs), "--server", other.url, "--yes")
        assert ran.code == 0, ran
        assert streams.everything(other.url) == before
        assert streams.consumer(other.url)["ack_floor"]["stream_seq"] == 20


# Migration --------------------------------------------------------------------------------------


def test_streams_move_to_a_cluster_and_every_message_is_compared(
    place: Place, server: NatsServer, tmp_path: Path
) -> None:
    streams.create(server.url, "MEMORY", storage="memory", retention="workqueue")
    streams.publish(server.url, 100, "MEMORY")
    streams.configure(place, server.url)
    before = {name: streams.everything(server.url, name) for name in ("EVENTS", "MEMORY")}
    states = {name: streams.info(server.url, name) for name in before}
    with nats_cluster(tmp_path / "cluster", version=VERSION) as nodes:
        urls = ",".join(node.url for node in nodes)
        words = ("nats", "migrate", "--to", urls, "--replicas", "3")
        looked = place.eider(*words, "--dry-run", "--json").good_manners()
        assert looked.code == 0, looked
        assert [one["problems"] for one in looked.json["streams"]] == [[], []]
        assert streams.names(nodes[0].url) == []

        done = place.eider(*words, "--yes", "--json", seconds=120).good_manners()
        assert done.code == 0, done
        said = {one["stream"]: one for one in done.json["streams"]}
        for name, messages in before.items():
            assert streams.everything(nodes[1].url, name) == messages
            assert said[name]["agreement"]["same"] == len(messages)
            assert said[name]["agreement"]["consumers"] == ["worker"]
            assert streams.info(nodes[0].url, name)["config"]["num_replicas"] == 3
            # Where they come from, nothing was touched.
            assert streams.everything(server.url, name) == messages
            now = streams.info(server.url, name)
            assert {**now, "ts": ""} == {**states[name], "ts": ""}
        again = place.eider(*words, "--yes").good_manners()
        assert again.code == 2
        assert "there is a stream of that name" in again.stderr


def test_what_cannot_be_is_told_before_anything_is_done(
    place: Place, server: NatsServer, tmp_path: Path
) -> None:
    streams.configure(place, server.url)
    itself = place.eider("nats", "migrate", "--to", server.url, "--yes").good_manners()
    assert itself.code == 2
    assert "there is a stream of that name" in itself.stderr
    assert "A move replaces nothing" in itself.stderr
    limits = (
        "accounts { APP { users = [ { user: app, password: app } ]\n"
        "jetstream { max_file: 10KB, max_mem: 1MB } } }\nno_auth_user = app"
    )
    with (
        nats_server(tmp_path / "other", version=VERSION, jetstream=False) as off,
        nats_server(tmp_path / "small", version=VERSION, more=limits) as small,
    ):
        ran = place.eider("nats", "migrate", "--to", off.url, "--yes").good_manners()
        assert ran.code == 14
        assert "JetStream is not enabled there" in ran.stderr
        streams.create(small.url, "OTHER", subjects=["events.kind1"])
        words = ("nats", "migrate", "--to", small.url, "--replicas", "3", "--dry-run", "--json")
        looked = place.eider(*words).good_manners()
        said = " ".join(looked.json["streams"][0]["problems"])
        assert "stream OTHER has the subject events.kind1" in said
        assert "the account may store" in said
        assert "the server is alone" in said
        assert streams.names(small.url) == ["OTHER"]
    assert json.loads(looked.stdout)["dry_run"]


def test_streams_move_to_an_older_server_message_by_message(place: Place, tmp_path: Path) -> None:
    with (
        nats_server(tmp_path / "new", version="2.15") as new,
        nats_server(tmp_path / "old", version="2.10") as old,
    ):
        streams.create(new.url, max_age=10**18)
        streams.publish(new.url, 100)
        streams.acknowledge(new.url, 20)
        streams.configure(place, new.url)
        done = place.eider("nats", "migrate", "--to", old.url, "--yes", "--json").good_manners()
        assert done.code == 0, done
        assert done.json["streams"][0]["method"] == "messages"
        assert streams.everything(old.url) == streams.everything(new.url)
        assert streams.consumer(old.url)["num_pending"] == 80
