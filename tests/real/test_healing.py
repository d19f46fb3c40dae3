"""Healing from outside: a real service repairs what is broken in front of it, within its budget."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import Place, given_place
from tests.nats_servers import nats_server
from tests.real import streams
from tests.running import Running, running

VERIFIED = 'eider_backups{state="verified"}'
LOOKS = 'eider_job_runs_total{job_name="heal",outcome="done"}'
QUICK: dict[str, object] = {
    "heal__enabled": True, "heal__cooldown": "1s", "heal__tries": 3, "service__look_every": "1s",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return given_place(tmp_path, rows=500, wal_rows=0)


@contextlib.contextmanager
def _healing(place: Place, **settings: object) -> Iterator[Running]:
    words: dict[str, Any] = {**QUICK, **settings}
    with running(place, **words) as service:
        yield service


def _until(service: Running, condition: Callable[[], bool], *, what: str) -> None:
    service.until(condition, seconds=60, what=what)


def _given_a_wal_that_is_none(place: Place) -> Path:
    """Every backup fails for as long as it is there; nothing says that the database is ruined."""
    folder = place.database.with_name(f"{place.database.name}.wal")
    folder.mkdir()
    return folder


def _let_it_look(service: Running, times: int) -> None:
    before = service.metrics()[LOOKS]
    service.until(lambda: service.metrics()[LOOKS] >= before + times, what=f"{times} looks")


def _until_backed_up(service: Running, count: int = 1) -> None:
    _until(service, lambda: service.metrics()[VERIFIED] >= count, what=f"{count} backups")


def _tried(service: Running, action: str, outcome: str = "done") -> float:
    labels = f'action="{action}",outcome="{outcome}"'
    return service.metrics()[f"eider_heal_actions_total{{{labels}}}"]


def _explained(place: Place) -> dict[str, Any]:
    ran = place.eider("status", "--heal", "--json")
    assert ran.code in {0, 3}, ran
    document: dict[str, Any] = ran.json
    return document


def _damage(place: Place, id_: str) -> bytes:
    archive = place.archive(id_)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(bytes(data))
    assert place.eider("verify", id_).code == 12
    return bytes(data)


def test_a_corrupt_archive_is_moved_aside_and_a_new_backup_taken(place: Place) -> None:
    with _healing(place) as service:
        _until_backed_up(service)
        (id_,) = place.listed()
        data = _damage(place, id_)
        _until(service, lambda: id_ not in place.listed(), what="moved")
        _until_backed_up(service)
        folder = place.backups / "quarantine" / id_
        assert {path.name for path in folder.iterdir()} == {
            place.archive(id_).name, place.sidecar(id_).name, place.manifest(id_).name,
        }  # fmt: skip
        assert (folder / place.archive(id_).name).read_bytes() == data, "it was kept as it was"
        confirmed = 'eider_heal_confirmed_total{action="quarantine"}'
        _until(service, lambda: service.metrics()[confirmed] == 1, what="the check says so")
        assert _tried(service, "quarantine") == 1
        assert "corrupt_backup" not in service.kinds()
        tried = _explained(place)["attempts"][0]
        assert (tried["action"], tried["subject"]) == ("quarantine", id_)
        assert tried["confirmed_at"]


def test_a_backup_that_fails_is_tried_again_and_less_often_until_it_works(place: Place) -> None:
    cooling: list[dict[str, Any]] = []

    def is_cooling_again() -> bool:
        cooling[:] = [one for one in _explained(place)["decisions"]
                      if one["verdict"] == "cooling" and one["tries"] >= 2]  # fmt: skip
        return bool(cooling)

    # Longer than the two looks that any try takes.
    with _healing(place, heal__tries=5, heal__cooldown="2s") as service:
        _until_backed_up(service)
        wal = _given_a_wal_that_is_none(place)
        assert place.eider("backup").code == 14
        _until(service, lambda: _tried(service, "backup", "failed") >= 2, what="two tries")
        _until(service, is_cooling_again, what="cooling")
        (one,) = cooling
        assert one["next_at"]
        assert one["command"] == "eider backup"
        wal.rmdir()
        _until_backed_up(service, 2)
        _until(service, lambda: "job_failed" not in service.kinds(), what="clear")
        assert _tried(service, "backup") == 1
        tried = sorted(_explained(place)["attempts"], key=lambda one: one["at"])
        gaps = [_seconds(later["at"]) - _seconds(one["ended_at"])
                for one, later in itertools.pairwise(tried)]  # fmt: skip
        assert len(gaps) >= 2
        for number, gap in enumerate(gaps):
            assert gap >= 2 * 2**number


def _seconds(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment).timestamp()


def test_a_source_that_is_away_costs_no_tries(place: Place) -> None:
    with _healing(place) as service:
        _until_backed_up(service)
        away = place.database.rename(place.database.with_suffix(".away"))
        assert place.eider("backup").code == 14
        _until(service, lambda: _said(place, "the database is not there"), what="explained")
        assert _tried(service, "backup", "failed") == 0
        away.rename(place.database)
        _until_backed_up(service, 2)


def _said(place: Place, words: str) -> bool:
    return any(words in one["why"] for one in _explained(place)["decisions"])


def test_what_does_not_help_is_given_up_for_good_also_after_a_restart(place: Place) -> None:
    with _healing(place, heal__tries=2, heal__cooldown="50ms") as service:
        _until_backed_up(service)
        wal = _given_a_wal_that_is_none(place)
        assert place.eider("backup").code == 14
        _until(service, lambda: "healing_stopped" in service.kinds(), what="given up")
        assert _tried(service, "backup", "failed") == 2
        service.send(signal.SIGKILL)
        service.process.wait()
    with _healing(place, heal__tries=2, heal__cooldown="50ms") as service:
        _until(service, lambda: _said(place, "tried 2 times"), what="it remembers")
        _let_it_look(service, 4)
        assert _tried(service, "backup", "failed") == 2
        found = next(one for one in service.ready()["findings"] if one["kind"] == "healing_stopped")
        assert found["command"] == "eider backup"
        assert service.metrics()['eider_heal_stopped{action="backup"}'] == 1
        wal.rmdir()
        assert place.eider("backup").code == 0  # a person does it
        _until(service, lambda: "healing_stopped" not in service.kinds(), what="over")
        assert service.metrics()['eider_heal_stopped{action="backup"}'] == 0


def test_a_pause_is_seen_at_once_and_ends_by_itself_or_by_resume(place: Place) -> None:
    with _healing(place) as service:
        _until_backed_up(service)
        (id_,) = place.listed()
        assert place.eider("pause", "--reason", "moving disks").code == 0
        assert service.metrics()["eider_healing_paused"] == 1
        _damage(place, id_)
        _let_it_look(service, 4)
        _until(service, lambda: "healing_paused" in service.kinds(), what="a finding")
        assert id_ in place.listed(), "nothing is done while it is paused"
        document = _explained(place)
        assert document["pause"]["reason"] == "moving disks"
        assert {one["verdict"] for one in document["decisions"]} == {"paused"}
        assert place.eider("resume", "--json").json["was_paused"]
        assert service.metrics()["eider_healing_paused"] == 0
        _until(service, lambda: id_ not in place.listed(), what="moved")
        assert place.eider("pause", "--for", "5s").code == 0
        assert service.metrics()["eider_healing_paused"] == 1
        _until(service, lambda: service.metrics()["eider_healing_paused"] == 0, what="its end")


def test_a_stream_that_somebody_deleted_is_created_anew_and_the_check_confirms_it(
    tmp_path: Path, place: Place
) -> None:
    wanted = {"ORDERS": {"subjects": ["orders.>"]}}
    with (
        nats_server(tmp_path / "nats") as server,
        _healing(place, nats__url=server.url, nats__streams=wanted) as service,
    ):
        _until(service, lambda: streams.names(server.url) == ["ORDERS"], what="the first one")
        _until(service, lambda: "stream_missing" not in service.kinds(), what="it is seen")
        streams.drop(server.url, "ORDERS")
        _until(service, lambda: streams.names(server.url) == ["ORDERS"], what="a new one")
        _until(service, lambda: "stream_missing" not in service.kinds(), what="confirmed")
        assert _tried(service, "ensure") == 2


def test_a_stream_is_not_created_while_nats_cannot_be_asked(tmp_path: Path, place: Place) -> None:
    wanted = {"ORDERS": {"subjects": ["orders.>"]}}
    with nats_server(tmp_path / "nats") as server:
        server.pause()
        with _healing(place, nats__url=server.url, nats__streams=wanted) as service:
            _until(service, lambda: "nats_down" in service.kinds(), what="down")
            _let_it_look(service, 3)
            assert _tried(service, "ensure") == 0
            server.resume()
            _until(service, lambda: "nats_down" not in service.kinds(), what="up")
            _until(service, lambda: streams.names(server.url) == ["ORDERS"], what="made")
