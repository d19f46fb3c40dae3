"""What the watcher of NATS puts on the board, and what it forgets."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from eiderd.broker import look as broker
from eiderd.broker.evidence import JetStream, NatsSeen, NatsStanding
from eiderd.broker.watch import NatsWatch
from eiderd.errors import ConfigError
from eiderd.evidence import ApplicationSeen, ApplicationState
from eiderd.sections.nats import NatsSection
from eiderd.watch.nats import Known

NOW = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
SEEN = NatsSeen(
    url="nats://a", server="a", version="2.15.1", cluster="", rtt_seconds=0.1,
    jetstream=JetStream.ON,
)  # fmt: skip


class World:
    """An app, a board, and a look at NATS that is whatever the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, url: str | None = "nats://a") -> None:
        self.asked: list[tuple[Known, bool]] = []
        self.fails: Exception | None = None
        self.board = cast("Any", SimpleNamespace(nats=None, nats_version=None, application=None))
        self.app = cast("Any", SimpleNamespace(settings=SimpleNamespace(nats=NatsSection(url=url))))
        monkeypatch.setattr(broker, "look", self._look)
        self.watch = NatsWatch(app=self.app, board=self.board)

    def configure(self, url: str | None) -> None:
        self.app.settings.nats = NatsSection(url=url)

    def look(self) -> None:
        assert self.watch.look(self.app, at=NOW) == ()

    def _look(self, section: NatsSection, *, known: Known, **more: Any) -> object:
        self.asked.append((known, more["application_down"]()))
        if self.fails:
            raise self.fails
        learned = Known(streams={"X": ("monday", len(self.asked))})
        return broker.standing_of(section, seen=SEEN), (), learned


def test_it_hands_on_what_it_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.look()
    world.look()
    assert [dict(known.streams) for known, _down in world.asked] == [{}, {"X": ("monday", 1)}]
    assert (world.board.nats.seen, world.board.nats_version) == (SEEN, "2.15.1")


def test_what_was_learned_of_one_server_is_not_said_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.look()
    world.configure("nats://b")
    world.look()
    assert world.asked[-1][0] == Known()


def test_without_a_url_nothing_is_asked_and_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.look()
    world.configure(None)
    world.look()
    assert (len(world.asked), world.board.nats) == (1, None)


def test_before_the_first_look_it_says_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert World(monkeypatch).board.nats == NatsStanding(expected={})
    assert World(monkeypatch, url=None).board.nats is None


def test_a_look_that_fails_leaves_no_old_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.look()
    world.fails = ConfigError("others may read the secret")
    with pytest.raises(ConfigError):
        world.look()
    assert world.board.nats.seen is None
    assert world.board.nats.why == "others may read the secret"


@pytest.mark.parametrize(
    ("state", "down"),
    [
        (ApplicationState.RUNNING, False),
        (ApplicationState.UNKNOWN, False),
        (ApplicationState.STOPPED, True),
        (ApplicationState.FAILED, True),
    ],
)
def test_it_knows_whether_the_application_is_down(
    state: ApplicationState, down: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch)
    world.board.application = ApplicationSeen(name="app", state=state)
    world.look()
    assert world.asked[0][1] is down
