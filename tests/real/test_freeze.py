"""A database that never rests is captured while its application stands still, for a moment.

The writer is the worst there is: DuckDB 2.0.0 with a checkpoint after each commit. Its process is
frozen by SIGSTOP, as a cgroup is by its freezer.
"""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd.errors import NotConverged
from eiderd.outside import capture, copier
from eiderd.outside.application import MOST_FROZEN_SECONDS, hold
from tests import helpers
from tests.helpers import Place
from tests.real import harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from eiderd.evidence import Captured

    Engines = Callable[[str], Path]

TIMES = 10
SLOW = 60_000_000  # bytes per second: many checkpoints pass while the database is compared once


def _signals(pid: int) -> dict[str, Any]:
    """Describe an application that is frozen and thawed by signals."""
    return {
        "kind": "commands",
        "commands": {
            "state": ["sh", "-c", f"kill -0 {pid} || exit 3"],
            "freeze": ["sh", "-c", f"kill -STOP {pid}"],
            "thaw": ["sh", "-c", f"kill -CONT {pid}"],
        },
    }


def _refresh(
    source: Path, mirror: Path, *, passes: int = 300, keeper: hold.Keeper | None = None
) -> Captured:
    return copier.refresh(
        source=source,
        mirror=mirror,
        passes=passes,
        timeout_seconds=60.0,
        rate_limit=SLOW,
        thorough=True,
        deadline_seconds=60.0,
        progress=lambda _done, _total: None,
        keeper=keeper,
    )


@pytest.fixture
def writer(engines: Engines, tmp_path: Path) -> Iterator[harness.Writer]:
    with harness.Writer(engines("2.0.0"), "rotation", tmp_path / "app", megabytes=30.0) as running:
        yield running


def test_a_database_that_never_rests_is_captured_while_its_application_is_frozen(
    writer: harness.Writer, tmp_path: Path
) -> None:
    milliseconds, counts = [], harness.Counts()

    def frozen(source: Path, folder: Path) -> Captured:
        words = _signals(writer.pid)
        with hold.kept(words, hold="freeze", seconds=MOST_FROZEN_SECONDS) as keeper:
            captured = _refresh(source, folder, keeper=keeper)
        milliseconds.append(captured.frozen_seconds * 1000)
        assert captured.method == "freeze"
        return captured

    for number in range(TIMES):
        if number % 2:
            shutil.rmtree(tmp_path / "mirror")
        harness.attempt(writer, frozen, tmp_path / "mirror", counts)
    middle = statistics.median(milliseconds)
    print(  # noqa: T201  (the counts are the evidence)
        f"frozen: {counts.row()}; {middle:.0f} ms frozen, {max(milliseconds):.0f} at most"
    )
    assert (counts.good, counts.bad, counts.not_converged) == (TIMES, 0, 0), counts.reasons
    assert 0 < max(milliseconds) < MOST_FROZEN_SECONDS * 1000
    before = writer.lines()[-1]
    harness.await_true(lambda: writer.lines()[-1] != before)  # it goes on


def test_without_a_freeze_it_is_refused(writer: harness.Writer, tmp_path: Path) -> None:
    with pytest.raises(NotConverged, match="changes faster") as caught:
        _refresh(writer.database, tmp_path / "mirror", passes=10)
    assert "application.allow_freeze = true" in caught.value.hint


def test_what_takes_too_long_to_look_at_is_not_even_frozen(
    writer: harness.Writer, tmp_path: Path
) -> None:
    words = _signals(writer.pid)
    words["commands"]["freeze"] = ["touch", str(tmp_path / "frozen")]
    with (
        hold.kept(words, hold="freeze", seconds=0.001) as keeper,
        pytest.raises(NotConverged, match="one look at all of it takes") as caught,
    ):
        _refresh(writer.database, tmp_path / "mirror", keeper=keeper)
    assert "application.allow_stop = true" in caught.value.hint
    assert not (tmp_path / "frozen").exists()


def test_a_last_look_that_takes_too_long_is_given_up(
    writer: harness.Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "_approach", lambda _work, **_words: (1, 0.0))
    with hold.kept(_signals(writer.pid), hold="freeze", seconds=0.002) as keeper:
        with pytest.raises(NotConverged, match="was not done by then"):
            capture.refresh(
                source=writer.database,
                mirror=tmp_path / "mirror",
                passes=300,
                timeout_seconds=60.0,
                rate_limit=None,
                thorough=True,
                progress=lambda _done, _total: None,
                keeper=keeper,
            )
        assert not _is_frozen(writer)
    before = writer.lines()[-1]
    harness.await_true(lambda: writer.lines()[-1] != before)  # it goes on


# The whole of it: eider backup ------------------------------------------------------------------


def _given_place(root: Path, writer: harness.Writer, **allowed: bool) -> Place:
    root.mkdir()
    settings = {f"application__{key}": value for key, value in allowed.items()}
    return Place(root).configure(
        database__path=str(writer.database),
        mirror__passes=3,
        mirror__rate_limit="60MB",
        application__kind="commands",
        **settings,
    )


def _given_commands(writer: harness.Writer, **more: list[str]) -> dict[str, str]:
    """Let a file say whether the application is stopped: its process only stands still then."""
    commands = _signals(writer.pid)["commands"]
    stopped = writer.folder / "stopped"
    commands |= {
        "state": ["sh", "-c", f"test ! -e {stopped} || exit 3"],
        "stop": ["sh", "-c", f"touch {stopped}; kill -STOP {writer.pid}"],
        "start": ["sh", "-c", f"rm {stopped}; kill -CONT {writer.pid}; date >> {stopped}.times"],
        **more,
    }
    return {"EIDER_APPLICATION__COMMANDS": json.dumps(commands)}


def _is_frozen(writer: harness.Writer) -> bool:
    stat = Path(f"/proc/{writer.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def test_a_backup_says_how_long_the_application_was_frozen(
    writer: harness.Writer, tmp_path: Path
) -> None:
    place = _given_place(tmp_path / "place", writer, allow_freeze=True, allow_stop=True)
    ran = place.eider("backup", "--json", env=_given_commands(writer))
    assert ran.code == 0, ran
    consistency = ran.json["consistency"]
    assert consistency["method"] == "freeze"
    assert 0 < consistency["frozen_seconds"] < MOST_FROZEN_SECONDS
    assert ran.json["state"] == "verified"
    assert not _is_frozen(writer)
    assert not (writer.folder / "stopped.times").exists()


def test_without_the_permission_a_backup_fails_as_before(
    writer: harness.Writer, tmp_path: Path
) -> None:
    place = _given_place(tmp_path / "place", writer)
    freeze = ["sh", "-c", f"touch {tmp_path}/frozen"]
    ran = place.eider("backup", env=_given_commands(writer, freeze=freeze)).good_manners()
    assert ran.code == 14, ran
    assert "changes faster than it can be copied" in ran.stderr
    assert not (tmp_path / "frozen").exists()


def test_what_cannot_be_frozen_is_stopped_if_that_is_allowed_and_started_again(
    writer: harness.Writer, tmp_path: Path
) -> None:
    place = _given_place(tmp_path / "place", writer, allow_freeze=True, allow_stop=True)
    ran = place.eider("backup", "--json", env=_given_commands(writer, freeze=["false"]))
    assert ran.code == 0, ran
    assert ran.json["consistency"]["method"] == "stop"
    assert ran.json["state"] == "verified"
    assert not _is_frozen(writer)
    assert len((writer.folder / "stopped.times").read_text().splitlines()) == 1


@pytest.mark.parametrize("way", ["freeze", "stop"])
def test_an_eider_that_is_killed_leaves_the_application_running(
    writer: harness.Writer, tmp_path: Path, way: str
) -> None:
    place = _given_place(tmp_path / "place", writer, **{f"allow_{way}": True})
    commands = json.loads(_given_commands(writer)["EIDER_APPLICATION__COMMANDS"])
    deadly = f"{commands[way][2]}; touch {tmp_path}/held; kill -9 $(cat {tmp_path}/pid)"
    env = _given_commands(writer, **{way: ["sh", "-c", deadly]})
    eider = helpers.start("backup", config=place.config, env=env)
    (tmp_path / "pid").write_text(str(eider.pid))
    eider.communicate(timeout=helpers.SECONDS)
    assert eider.returncode == -9
    assert (tmp_path / "held").exists()
    helpers.until(lambda: not _is_frozen(writer))
    helpers.until(lambda: not (writer.folder / "stopped").exists())
