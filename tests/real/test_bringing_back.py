"""An application whose database cannot be opened is brought back: only if that was allowed."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd import config
from eiderd.app import App
from eiderd.board import Board
from eiderd.errors import EiderError, NotADatabase, SourceUnavailable
from eiderd.frame import frame_of
from eiderd.healing import Verdict
from eiderd.health import Kind
from eiderd.lookout import WATCHERS, Lookout, blind
from eiderd.maintenance import bring_back as bringing_back
from eiderd.model import Ending, Job
from eiderd.outside import clock
from tests.helpers import Place, given_place, is_root

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, LATE = 3_000, 200


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = given_place(tmp_path_factory.mktemp("made"), rows=ROWS, wal_rows=LATE)
    place.backup()
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    """A place whose application has died, and starts and stops when it is told to."""
    place = made.clone(tmp_path / "place")
    up, stopped = place.root / "up", place.root / "stopped"
    commands = {
        "state": f"test -e {up} && exit 0; test -e {stopped} && exit 3; exit 1",
        "start": f"touch {up}; rm -f {stopped}",
        "stop": f"touch {stopped}; rm -f {up}",
    }
    return place.configure(
        heal__restore=True,
        application__kind="commands",
        application__timeout="5s",
        application__commands={verb: ["sh", "-c", said] for verb, said in commands.items()},
    )


def _app(place: Place) -> App:
    return App(config.load(place.config)[0])


def _count(database: Path) -> int:
    script = "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True)\n"
    script += "print(c.execute('SELECT count(*) FROM facts').fetchone()[0])"
    ran = subprocess.run(
        [sys.executable, "-c", script, str(database)], capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    return int(ran.stdout)


def _set_aside(place: Place) -> list[Path]:
    return [path for path in place.database.parent.iterdir() if "before-" in path.name]


def test_a_log_that_no_engine_replays_is_left_behind_and_the_rest_comes_back(place: Place) -> None:
    wal = bytearray(place.wal.read_bytes())
    wal[200:400] = bytes(byte ^ 0xFF for byte in wal[200:400])
    place.wal.write_bytes(bytes(wal))
    outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.DONE
    assert "rescued to" in outcome.why
    assert _count(place.database) >= ROWS
    assert _set_aside(place), "what was live is kept"
    assert (place.root / "up").exists(), "the application was started"
    assert not list((place.state / "rescued").rglob("rescued.tar.gz"))


def test_what_cannot_be_rescued_is_restored_from_the_newest_verified_backup(place: Place) -> None:
    data = bytearray(place.database.read_bytes())
    for offset in range(12_288 + 4096, len(data), 8192):  # every block, the headers left alone
        data[offset : offset + 64] = b"\xa5" * 64
    place.database.write_bytes(bytes(data))
    outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.DONE
    assert "not rescued" in outcome.why
    assert _count(place.database) == ROWS + LATE
    assert _set_aside(place)


def test_a_database_that_opens_is_left_alone(place: Place) -> None:
    before = place.database.read_bytes()
    outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.REFUSED
    assert "opens as it is" in outcome.why
    assert place.database.read_bytes() == before
    assert not _set_aside(place)


def test_it_is_not_tried_where_nobody_could_stop_the_application(place: Place) -> None:
    assert bringing_back.may(_app(place)).met
    (place.root / "stopped").touch()
    assert "is stopped" in bringing_back.may(_app(place)).why
    nobody = Place(place.root).configure()
    assert bringing_back.may(_app(nobody)).met is False


# What leads to a restore, and what never may -----------------------------------------------------


def _looks(place: Place) -> tuple[Lookout, Board]:
    """Let every watcher of a service look at the application that has failed, three times."""
    app = _app(place)
    first = clock.now()
    frame = frame_of(app.settings, zone=datetime.UTC, at=first)
    board = Board(frame=frame, journal=app.journal, records=True)
    lookout = Lookout(app=app, board=board)
    for minutes in range(3):
        at = first + datetime.timedelta(minutes=minutes)
        for job in (*WATCHERS, Job.HEAL):
            try:
                found = lookout.look(job, at=at)
            except EiderError as error:
                found = (blind(job, error),)
            board.report(str(job), found, at=at)
    return lookout, board


def _zeroed(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes(end - start) + data[end:]


RUINS: dict[str, Callable[[bytes], bytes]] = {
    "zeros over all its headers": lambda data: _zeroed(data, 0, 12_288),
    "zeros over the two that alternate": lambda data: _zeroed(data, 4096, 12_288),
    "cut off inside its headers": lambda data: data[:5000],
    "another file in its place": lambda _data: b"a note\n" * 10_000,
}


@pytest.mark.parametrize("what", RUINS)
def test_a_file_that_is_no_database_any_more_is_found_and_replaced(place: Place, what: str) -> None:
    ruined = RUINS[what](place.database.read_bytes())
    place.database.write_bytes(ruined)
    lookout, board = _looks(place)
    assert Kind.NOT_A_DATABASE in {found.kind for found in board.findings()}
    wanted = lookout.healer.wanted
    assert wanted, board.decisions
    assert (wanted.job, wanted.verdict) == (Job.RESTORE, Verdict.ACT)
    outcome = bringing_back.run(lookout.app)
    assert outcome.ending is Ending.DONE
    assert "not rescued" in outcome.why
    assert _count(place.database) == ROWS + LATE
    (aside,) = [path for path in _set_aside(place) if not path.name.endswith(".wal")]
    assert aside.read_bytes() == ruined, "what stood there is kept"
    assert (place.root / "up").exists(), "the application was started"


def _empty(database: Path) -> None:
    database.write_bytes(b"")


def _unmounted(database: Path) -> None:
    """As it looks where a disk is not mounted: an empty folder."""
    database.parent.rename(database.parent.with_name("the disk"))
    database.parent.mkdir()


def _folder_gone(database: Path) -> None:
    database.parent.rename(database.parent.with_name("the disk"))


def _read_error(database: Path) -> None:
    """The kernel's own: nothing is mapped at address 0."""
    database.rename(database.with_name("aside"))
    database.symlink_to("/proc/self/mem")


def _forbidden(database: Path) -> None:
    database.write_bytes(_zeroed(database.read_bytes(), 0, 12_288))
    database.chmod(0)


def _folder_forbidden(database: Path) -> None:
    database.write_bytes(_zeroed(database.read_bytes(), 0, 12_288))
    database.parent.chmod(0)


def _a_folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


OUT_OF_REACH = [
    _empty, Path.unlink, _unmounted, _folder_gone, _read_error, _a_folder,
    *(
        pytest.param(one, marks=pytest.mark.skipif(is_root(), reason="root may read everything"))
        for one in (_forbidden, _folder_forbidden)
    ),
]  # fmt: skip


@pytest.mark.parametrize("put_out_of_reach", OUT_OF_REACH)
def test_what_cannot_be_reached_is_never_replaced(
    place: Place, put_out_of_reach: Callable[[Path], None]
) -> None:
    put_out_of_reach(place.database)
    try:
        lookout, board = _looks(place)
        wanted = lookout.healer.wanted
        assert wanted is None or wanted.job is not Job.RESTORE, board.decisions
        before = _all_below(place.root / "data")
        # Nor where an earlier look said that it cannot be opened, and it went away since.
        with pytest.raises(SourceUnavailable):
            bringing_back.run(lookout.app)
        assert _all_below(place.root / "data") == before
    finally:
        if place.database.parent.exists():
            place.database.parent.chmod(0o700)
    assert not (place.root / "up").exists()


def _all_below(folder: Path) -> list[tuple[str, int]]:
    return [(str(path), path.lstat().st_size) for path in sorted(folder.rglob("*"))]


def test_a_file_that_goes_out_of_reach_before_it_is_replaced_is_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.database.write_bytes(bytes(100_000))
    app = _app(place)

    def unmounted(path: Path) -> None:
        _unmounted(path)
        raise NotADatabase(f"{path} is not a DuckDB database")

    monkeypatch.setattr(app, "rescue", unmounted)
    with pytest.raises(SourceUnavailable, match="there is no database"):
        bringing_back.run(app)
    assert not _all_below(place.database.parent)


def test_while_it_is_replaced_its_disk_is_busy(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.database.write_bytes(bytes(100_000))
    held: list[str] = []

    def restored(*_args: object, **_words: object) -> None:
        folder = os.path.realpath(place.database.parent)
        links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        held.extend(link for link in links if link == folder)

    monkeypatch.setattr(bringing_back, "_restored", restored)
    bringing_back.run(_app(place))
    assert held
