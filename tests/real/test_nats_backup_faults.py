"""Whatever becomes of NATS, or of eider while it takes a stream: the database is backed up."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from tests import helpers
from tests.nats_servers import NatsServer, nats_server
from tests.real import streams
from tests.slow_line import Line, slow_line

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers import Place, Ran

VERSION = "2.12"
LARGE, COUNT = 60_000, 600  # 36 MB, which is not sent at once


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return helpers.given_place(tmp_path / "place", rows=200, wal_rows=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats", version=VERSION) as running:
        streams.create(running.url)
        yield running


@pytest.fixture
def line(server: NatsServer) -> Iterator[Line]:
    """A line to the server on which every window of a snapshot (8 MB) takes its time."""
    with slow_line(server.port) as slow:
        slow.delay_seconds = 0.3
        yield slow


def _given_large_stream(server: NatsServer) -> None:
    streams.publish(server.url, COUNT, size=LARGE, noise=True)


def _configure(place: Place, line: Line) -> None:
    streams.configure(place, f"nats://127.0.0.1:{line.port}")


def _begun(place: Place) -> subprocess.Popen[bytes]:
    """Begin a backup; return when it is in the middle of the stream."""
    process = helpers.start("backup", "--json", config=place.config)

    def is_in_the_middle() -> bool:
        assert process.poll() is None, "it was too quick"
        with contextlib.suppress(FileNotFoundError):
            arriving = list(place.state.glob("scratch/*/nats/*/arriving"))
            return any(one.stat().st_size > 0 for one in arriving)
        return False

    helpers.until(is_in_the_middle, seconds=30, what="the snapshot")
    return process


def _ended(process: subprocess.Popen[bytes]) -> Ran:
    stdout, stderr = process.communicate(timeout=60)
    return helpers.Ran(process.returncode, stdout.decode(), stderr.decode(), 0, 0.0)


def _without_streams(ran: Ran, place: Place) -> str:
    """Return why a backup that counts is without its stream."""
    assert ran.code == 3, ran
    made = ran.json
    assert made["state"] == "verified"
    assert made["nats"] == []
    assert [one["stream"] for one in made["nats_missing"]] == ["EVENTS"]
    assert place.listed() == {made["id"]: "verified"}
    assert place.eider("verify", "--level", "2").code == 0
    assert not list((place.state / "scratch").iterdir())
    assert "nats/" not in " ".join(one.name for one in helpers.read_archive(_archive(place)))
    return str(made["nats_missing"][0]["why"])


def _archive(place: Place) -> Path:
    return place.archive(next(iter(place.listed())))


def test_a_backup_is_taken_while_nats_is_away_and_says_what_is_missing(
    place: Place, server: NatsServer
) -> None:
    server.stop()
    streams.configure(place, server.url)
    why = _without_streams(place.eider("backup", "--json").good_manners(), place)
    assert "cannot be reached" in why
    said = place.eider("backup")
    assert said.code == 3
    assert "stream EVENTS is not in it: NATS at " in said.stderr
    assert "EVENTS is not in it" in place.eider("show").stdout


def test_a_stream_that_is_not_there_is_missing_and_the_others_are_not(
    place: Place, server: NatsServer
) -> None:
    streams.publish(server.url, 10)
    streams.configure(place, server.url, "NOTHING", "EVENTS")
    ran = place.eider("backup", "--json")
    assert ran.code == 3
    assert [one["stream"] for one in ran.json["nats"]] == ["EVENTS"]
    missing = [{"stream": "NOTHING", "why": "there is no stream NOTHING"}]
    assert ran.json["nats_missing"] == missing


def test_a_server_that_does_not_answer_costs_seconds_not_the_backup(
    place: Place, server: NatsServer
) -> None:
    streams.configure(place, server.url, "EVENTS", "OTHER")
    server.pause()
    ran = place.eider("backup", "--json")
    server.resume()
    assert ran.code == 3
    assert len(ran.json["nats_missing"]) == 2


def test_a_server_that_stops_answering_in_the_middle_costs_only_the_stream(
    place: Place, server: NatsServer, line: Line
) -> None:
    _given_large_stream(server)
    _configure(place, line)
    process = _begun(place)
    server.pause()
    ran = _ended(process)
    server.resume()
    assert "sent nothing of a snapshot" in _without_streams(ran, place)


def test_a_server_that_is_killed_in_the_middle_costs_only_the_stream(
    place: Place, server: NatsServer, line: Line
) -> None:
    _given_large_stream(server)
    _configure(place, line)
    process = _begun(place)
    server.kill()
    assert _without_streams(_ended(process), place)


def test_an_eider_that_is_killed_in_the_middle_leaves_nothing(
    place: Place, server: NatsServer, line: Line
) -> None:
    _given_large_stream(server)
    _configure(place, line)
    process = _begun(place)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert place.listed() == {}
    line.delay_seconds = 0.0
    made = place.backup()  # the server may still be sending to nobody
    assert made["nats"][0] | {"captured_at": "", "bytes": 0} == {
        "stream": "EVENTS", "messages": COUNT, "first_seq": 1, "last_seq": COUNT, "bytes": 0,
        "consumers": 1, "method": "snapshot", "captured_at": "",
    }  # fmt: skip
    assert not list((place.state / "scratch").iterdir())
    assert streams.info(server.url)["state"]["consumer_count"] == 1


def test_a_stream_that_does_not_fit_is_left_out_before_it_is_taken(
    place: Place, server: NatsServer
) -> None:
    if not helpers.is_root():
        pytest.skip("mounting a small disk takes root")
    _given_large_stream(server)
    with helpers.small_disk(place.state, size="30M"):
        streams.configure(place, server.url, disk__critical="1MB", disk__warn="2MB")
        why = _without_streams(place.eider("backup", "--json"), place)
    assert "does not fit" in why
