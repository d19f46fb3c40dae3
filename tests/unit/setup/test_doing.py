"""The steps of a plan as they are gone through: what is declined sets nothing in motion."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, cast

from eiderd.cli.setup import _Run
from eiderd.setup.app import Plan
from eiderd.setup.plan import RELOAD, Command, Step, Write

if TYPE_CHECKING:
    import pytest

    from eiderd.outside.host import Host

AT = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
DROP_IN = "/etc/systemd/system/app.service.d/10-eiderd.conf"
WRITE = Write(what="write it", why="", path=DROP_IN, text="[Service]\n")
RELOADED = Command(
    what="run systemctl daemon-reload", why="", words=RELOAD, after=("/etc/systemd/system/",)
)


class _Machine:
    """This one, with systemd, but nothing happens to it."""

    is_this_machine = runs_systemd = True

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.ran: list[tuple[str, ...]] = []

    def text(self, path: str) -> str | None:
        return self.texts.get(path)

    def write(self, path: str, text: str, *, aside: str | None) -> None:
        assert aside is None
        self.texts[path] = text

    def run(self, *words: str) -> None:
        self.ran.append(words)


def _gone_through(
    machine: _Machine, *steps: Step, asks: bool = False, only_shown: bool = False
) -> dict[str, Any]:
    plan = Plan(application=None, steps=steps)
    run = _Run(cast("Host", machine), plan, at=AT, asks=asks, shows=False)
    rows = run.shown() if only_shown else run.done()
    return {row["what"]: row["state"] for row in rows}


def test_what_is_changed_is_made_known() -> None:
    machine = _Machine()
    assert set(_gone_through(machine, WRITE, RELOADED).values()) == {"changed"}
    assert machine.ran == [RELOAD]


def test_what_is_declined_sets_nothing_in_motion_nor_seems_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("typer.confirm", lambda *_words, **_more: False)
    machine = _Machine()
    assert _gone_through(machine, WRITE, RELOADED, asks=True) == {"write it": "declined"}
    assert machine.ran == []


def test_what_follows_a_change_is_shown_with_it_and_only_with_it() -> None:
    machine = _Machine()
    assert len(_gone_through(machine, WRITE, RELOADED, only_shown=True)) == 2
    machine.texts[DROP_IN] = WRITE.text
    assert _gone_through(machine, WRITE, RELOADED, only_shown=True) == {"write it": "done"}
