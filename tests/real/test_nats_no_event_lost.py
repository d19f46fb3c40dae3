"""No event is lost: the database and the streams of one backup together hold every event.

An application publishes events and stores them while backups are taken. What was published before
a backup is afterwards in its database, or comes again through the consumer as it was in the backup.
The tests that take the steps in the wrong order lose events: that is what the right order is for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import nats.errors
import nats.js.errors

from eiderd import app as app_module
from eiderd import config
from eiderd.jobs import backup as backup_job
from tests import helpers
from tests.helpers import Place
from tests.nats_servers import nats_server
from tests.real import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest
    from nats.aio.client import Client

    from eiderd.evidence import Captured, StreamsTaken


PROGRAM = Path(__file__).with_name("event_application.py")
HOLD_SECONDS = 5.0
VERSION = "2.12"  # what Cartographus embeds


@dataclasses.dataclass(slots=True)
class Running:
    """The application at work, on the live database of `place`."""

    place: Place
    url: str
    ledger: Path

    def lines(self, word: str) -> list[list[str]]:
        found = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return [parts for line in found if (parts := line.split())[0] == word]

    def published_before(self, moment: datetime.datetime) -> set[int]:
        limit = moment.timestamp() * 1e9
        return {int(number) for _word, number, at in self.lines("published") if int(at) < limit}

    def flushes(self) -> None:
        """Wait until it has stored what it held."""
        now = len(self.lines("flushed"))
        helpers.until(lambda: len(self.lines("flushed")) > now, seconds=30)

    def acknowledges(self, count: int) -> None:
        """Wait until it has acknowledged so many more."""
        now = len(self.lines("acknowledged"))
        helpers.until(lambda: len(self.lines("acknowledged")) >= now + count, seconds=30)


@contextlib.contextmanager
def application(tmp_path: Path, *, hold: float = 0.0, settle: str = "") -> Iterator[Running]:
    """Run a server, an application on it, and a configuration that backs up both."""
    place = helpers.Place(tmp_path / "place")
    place.database.parent.mkdir(parents=True)
    with nats_server(tmp_path / "nats", version=VERSION) as server:
        streams.create(server.url)
        more = {"nats__settle": settle} if settle else {}
        streams.configure(place, server.url, **more)
        running = Running(place, server.url, tmp_path / "ledger")
        words = (sys.executable, PROGRAM, server.url, place.database, running.ledger)
        process = subprocess.Popen([*map(str, words), "--hold", str(hold)])
        try:
            helpers.until(lambda: len(running.lines("acknowledged")) > 100, seconds=30)
            yield running
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()


def in_process(place: Place) -> dict[str, Any]:
    """Take a backup in this process, where its steps can be exchanged."""
    settings, _path = config.load(place.config)
    made = app_module.App(settings).backup().value
    assert made.verified
    return dataclasses.asdict(made)


def what_comes_back(running: Running, made: dict[str, Any], folder: Path) -> tuple[set[int], int]:
    """Restore a backup elsewhere and let the application's consumer go on there.

    Return the events that there are then, and how many rows they are.
    """
    place, id_ = running.place, made["id"]
    ran = place.eider("restore", id_, "--to", str(folder / "data"))
    assert ran.code == 0, ran
    with nats_server(folder / "nats", version=VERSION) as other:
        ran = place.eider("nats", "restore", id_, "--server", other.url, "--yes")
        assert ran.code == 0, ran
        again = streams.talk(other.url, _delivered)
    with duckdb.connect(str(folder / "data" / "app.duckdb")) as database:
        database.execute(
            "INSERT INTO events SELECT unnest(?::BIGINT[]) ON CONFLICT DO NOTHING", [again]
        )
        rows = [row[0] for row in database.execute("SELECT id FROM events").fetchall()]
    return set(rows), len(rows)


async def _delivered(client: Client) -> list[int]:
    """Return what the consumer gets when it goes on."""
    worker = await client.jetstream().pull_subscribe_bind("worker", "EVENTS")
    found: list[int] = []
    while True:
        # What was delivered and not acknowledged comes again when its time is over: ask for it.
        state = await streams.api(client, "CONSUMER.INFO.EVENTS.worker")
        if not state["num_pending"]:
            break
        with contextlib.suppress(nats.errors.TimeoutError):
            messages = await worker.fetch(200, timeout=2)
            found += [int(message.data) for message in messages]
            for message in messages:
                await message.ack_sync()
    if state["num_ack_pending"]:
        first = state["ack_floor"]["stream_seq"] + 1
        for number in range(first, state["delivered"]["stream_seq"] + 1):
            with contextlib.suppress(nats.js.errors.NotFoundError):  # a number that was used up
                stored = await client.jetstream().get_msg("EVENTS", number)
                found.append(int(stored.data or b"0"))
    return found


def lost(running: Running, made: dict[str, Any], folder: Path) -> set[int]:
    """Return the events that were published before a backup and are not in it."""
    at = made["nats"][0]["captured_at"]
    moment = at if isinstance(at, datetime.datetime) else datetime.datetime.fromisoformat(at)
    published = running.published_before(moment)
    assert len(published) > 100
    there, rows = what_comes_back(running, made, folder)
    assert rows == len(there)  # exactly once, by key
    return published - there


def test_backups_taken_under_load_have_every_event(tmp_path: Path) -> None:
    with application(tmp_path) as running:
        made = [running.place.backup() for _ in range(3)]
        running.acknowledges(20)
        for number, one in enumerate(made):
            assert lost(running, one, tmp_path / str(number)) == set()


def test_the_consumer_is_never_ahead_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes from the streams to the database."""
    with application(tmp_path) as running:
        _between(monkeypatch, lambda: running.acknowledges(60))
        assert lost(running, in_process(running.place), tmp_path / "back") == set()


def test_the_other_order_would_lose_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with application(tmp_path) as running:
        _between(monkeypatch, lambda: running.acknowledges(60), reversed_=True)
        assert lost(running, in_process(running.place), tmp_path / "back")


def test_events_that_are_acknowledged_before_they_are_stored_are_waited_for(
    tmp_path: Path,
) -> None:
    with application(tmp_path, hold=HOLD_SECONDS, settle="7s") as running:
        running.flushes()  # so the next time is after the database would be copied
        assert lost(running, running.place.backup(), tmp_path / "back") == set()


def test_without_waiting_for_them_they_would_be_lost(tmp_path: Path) -> None:
    with application(tmp_path, hold=600.0) as running:  # it writes nothing for as long as this
        assert lost(running, running.place.backup(), tmp_path / "back")


def _between(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[[], None], *, reversed_: bool = False
) -> None:
    """Let `wait` pass between the streams and the database, or the database and the streams."""
    run = backup_job.run

    def changed(
        *,
        refresh: Callable[[], Captured],
        capture_streams: Callable[[], StreamsTaken],
        **words: Any,
    ) -> Any:  # noqa: ANN401
        if not reversed_:

            def slowly() -> Captured:
                wait()
                return refresh()

            return run(refresh=slowly, capture_streams=capture_streams, **words)
        captured = refresh()
        wait()
        return run(refresh=lambda: captured, capture_streams=capture_streams, **words)  # fmt: skip

    monkeypatch.setattr(backup_job, "run", changed)
