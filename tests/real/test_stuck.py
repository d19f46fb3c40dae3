"""After how long a run hangs for certain: when its steps have had all their time."""

from __future__ import annotations

import datetime
import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

from eiderd import config, frame
from eiderd.app import App
from eiderd.maintenance import delegated
from eiderd.model import Job
from eiderd.outside import process
from tests.helpers import Place, given_place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return given_place(tmp_path, rows=200, wal_rows=10)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return what will be the deadlines of all children, in seconds."""
    seconds: list[float] = []
    run = process.run

    def recorded(*words: Any, limits: process.Limits, **named: Any) -> Any:  # noqa: ANN401
        seconds.append(limits.deadline_seconds)
        return run(*words, limits=limits, **named)

    monkeypatch.setattr(process, "run", recorded)
    return seconds


def _app(place: Place) -> App:
    version = importlib.metadata.version("duckdb")
    place.configure(backup__deadline="4h", engine__deadline="1h", engine__application=version)
    settings, _path = config.load(place.config)
    return App(settings)


def _ensure_enough(app: App, job: Job, given: list[float], *, besides: int = 0) -> None:
    """Hold that all of it together is less, with so many steps of `backup.deadline` besides."""
    stuck = frame.stuck_after(app.settings, job)
    assert stuck is not None
    assert given
    most = datetime.timedelta(seconds=sum(given)) + besides * app.settings.backup.deadline
    assert most < stuck
    given.clear()


def test_a_run_hangs_only_when_all_its_steps_have_had_their_time(
    place: Place, given: list[float]
) -> None:
    app = _app(place)
    id_ = app.backup().value.id
    # Two more ways to copy it, the streams of NATS, and the look into the mirror that follows.
    _ensure_enough(app, Job.BACKUP, given, besides=4)
    app.drill()
    _ensure_enough(app, Job.DRILL, given)
    archive = place.archive(id_)
    archive.write_bytes(archive.read_bytes()[:-100])
    app.quarantine(id_)
    app.backup()
    _ensure_enough(app, Job.QUARANTINE, given, besides=4)
    app.compactions().measure()
    given *= 2  # a rehearsal, and then the copy that is taken
    _ensure_enough(app, Job.COMPACT, given)


@pytest.mark.parametrize("job", [Job.COMPACT, Job.RESTORE])
def test_what_the_unit_does_is_waited_for(place: Place, job: Job) -> None:
    place.configure(backup__deadline="1m", engine__deadline="1m")
    settings, _path = config.load(place.config)
    stuck = frame.stuck_after(settings, job)
    assert stuck is not None
    assert stuck.total_seconds() > delegated.LIMIT_SECONDS
