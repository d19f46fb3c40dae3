"""What the service decides by itself: when systemd is told that it lives, and what a reload takes.

The whole of it, as a process, is in tests/real/test_service.py.
"""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eiderd.board import Board
from eiderd.frame import frame_of
from eiderd.journal import Journal
from eiderd.model import Job
from eiderd.schedule import Entry, Every, Lane
from eiderd.service import Service
from tests.helpers import Place
from tests.web import certificate, serving

NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


class _Systemd:
    """Instead of a socket: counts the signs of life."""

    def __init__(self) -> None:
        self.signs = 0

    def alive(self) -> None:
        self.signs += 1

    def reloading(self) -> None: ...

    def ready(self) -> None: ...


@pytest.fixture(autouse=True)
def _no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eiderd.service.systemd.Systemd", _Systemd)


def _given_service(root: Path, **settings: object) -> Any:  # noqa: ANN401  (its parts are private)
    place = Place(root)
    place.configure(**settings)
    service: Any = Service(place.config)
    journal = Journal(root / "journal.jsonl", pid=1, who=lambda pid: f"{pid}:1:boot")
    frame = frame_of(service._settings, zone=datetime.UTC, at=NOON)
    service._board = Board(frame=frame, journal=journal, records=True)
    return service


# systemd's watchdog ------------------------------------------------------------------------------


def _is_fed(service: Any, job: Job, *, at_work: datetime.timedelta) -> bool:  # noqa: ANN401
    (entry,) = [entry for entry in service._timetable if entry.job is job]
    return _is_fed_beside(service, entry, at_work=at_work)


def _is_fed_beside(service: Any, entry: Entry, *, at_work: datetime.timedelta) -> bool:  # noqa: ANN401
    service._watchdog_seconds, service._fed_at = 60.0, 0.0
    before = service._systemd.signs
    now = time.monotonic() + 1_000_000
    began = now - at_work.total_seconds()
    service._clockwork = SimpleNamespace(
        at_work=lambda: [(entry, began)], beat_age_seconds=lambda: 0.0
    )
    service._feed(now)
    return bool(service._systemd.signs > before)


def test_a_backup_each_of_whose_steps_keeps_its_deadline_is_not_stuck(tmp_path: Path) -> None:
    """A copy of 3 hours, an archive of 3.5 and a check of 3 are well within 4 hours each."""
    service = _given_service(tmp_path, backup__deadline="4h", engine__deadline="1h")
    assert _is_fed(service, Job.BACKUP, at_work=HOUR)
    assert _is_fed(service, Job.BACKUP, at_work=3 * HOUR + 3.5 * HOUR + 3 * HOUR)
    assert not _is_fed(service, Job.BACKUP, at_work=60 * HOUR)


def test_a_scrub_takes_as_long_as_there_are_archives(tmp_path: Path) -> None:
    assert _is_fed(_given_service(tmp_path), Job.VERIFY, at_work=100 * HOUR)


def test_a_watcher_that_hangs_is_no_reason_for_a_new_process(tmp_path: Path) -> None:
    assert _is_fed(_given_service(tmp_path), Job.FRESHNESS, at_work=100 * HOUR)


def test_a_repair_that_hangs_for_certain_is_one(tmp_path: Path) -> None:
    entry = Entry(job=Job.RESTORE, when=Every(HOUR), lane=Lane.STORE, limit=HOUR, stuck=2 * HOUR)
    service = _given_service(tmp_path)
    assert _is_fed_beside(service, entry, at_work=1.5 * HOUR)
    assert not _is_fed_beside(service, entry, at_work=3 * HOUR)


# A reload ----------------------------------------------------------------------------------------


def test_a_refused_reload_changes_nothing(tmp_path: Path) -> None:
    made, other = certificate(tmp_path / "tls"), certificate(tmp_path / "other")
    tls = {"server__tls_certificate": str(made.chain), "server__tls_key": str(made.key)}
    service = _given_service(tmp_path, **tls)
    frame, settings = service._board.frame, service._settings
    with serving(certificate=made.chain, key=made.key) as service._web:
        Place(tmp_path).configure(**tls, retention__min_count=9, retention__max_count=99)
        made.key.write_bytes(other.key.read_bytes())
        service._reload()
    assert "certificate" in service._refused
    assert service._board.service.config_refused
    assert service._board.frame is frame
    assert service._settings is settings


@pytest.mark.parametrize("entry", ["backup", "drill", "compact"])
def test_what_may_be_stuck_is_given_more_than_its_limit(tmp_path: Path, entry: str) -> None:
    service = _given_service(tmp_path, compact__window="03:00-05:00")
    (found,) = [one for one in service._timetable if one.job == entry]
    assert found.stuck > found.limit
