"""What the maintenance unit does only when it is configured: polkit lets it begin in any case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eiderd.errors import ConfigError, ExitCode
from eiderd.maintenance import maintain
from eiderd.maintenance.maintain import Task
from eiderd.model import Ending, Outcome
from tests.helpers import Place

if TYPE_CHECKING:
    from pathlib import Path

    from eiderd.app import App

NOTHING = Outcome(ending=Ending.NOTHING_TO_DO, value=None, why="there was nothing to do")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Which tasks were begun."""
    found: list[Task] = []

    def restore(_app: App) -> Outcome[None]:
        found.append(Task.RESTORE)
        return NOTHING

    def compact(_app: App, **_words: object) -> Outcome[None]:
        found.append(Task.COMPACT)
        return NOTHING

    monkeypatch.setattr("eiderd.maintenance.bring_back.run", restore)
    monkeypatch.setattr("eiderd.app.App.compact_in_window", compact)
    return found


@pytest.mark.parametrize(
    ("task", "said"),
    [(Task.COMPACT, "compact.window is not set"), (Task.RESTORE, "heal.restore is not true")],
)
def test_what_is_not_configured_is_refused_and_nothing_is_begun(
    task: Task, said: str, begun: list[Task], tmp_path: Path
) -> None:
    other = {"heal__restore": True} if task is Task.COMPACT else {"compact__window": "01:00-02:00"}
    place = Place(tmp_path).configure(**other)
    with pytest.raises(ConfigError, match=f"may not {task} by itself: {said}") as raised:
        maintain.run(place.config, task)
    assert str(place.config) in raised.value.message
    assert raised.value.hint.endswith(f"sudo eider {task}")
    assert raised.value.exit_code is ExitCode.USAGE
    assert begun == []


@pytest.mark.parametrize("task", list(Task))
def test_what_is_configured_is_begun(task: Task, begun: list[Task], tmp_path: Path) -> None:
    place = Place(tmp_path).configure(heal__restore=True, compact__window="01:00-02:00")
    assert maintain.run(place.config, task) == ExitCode.DONE
    assert begun == [task]
