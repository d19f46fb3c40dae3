"""An application whose database cannot be opened is brought back: only if that was allowed."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd import config
from eiderd.app import App
from eiderd.board import Board
from eiderd.errors import Busy, ConfigError, EiderError, NoSpace, NotADatabase, SourceUnavailable
from eiderd.evidence import Damage, Opened
from eiderd.frame import frame_of
from eiderd.healing import Verdict
from eiderd.health import Kind
from eiderd.jobs.rescue import NotRescued
from eiderd.lookout import WATCHERS, Lookout, blind
from eiderd.maintenance import bring_back as bringing_back
from eiderd.model import Ending, Job, Outcome, RunOutcome
from eiderd.outside import clock, rescue, steady
from tests.helpers import Place, given_place, is_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eiderd.jobs.rescue import Rescued

ROWS, LATE = 3_000, 200


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = given_place(tmp_path_factory.mktemp("made"), rows=ROWS, wal_rows=LATE)
    place.backup()
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    """A place whose application has died, and starts and stops when it is told to."""
    return _configured(made.clone(tmp_path / "place"))


def _configured(place: Place, *, stop: str = "true", **more: object) -> Place:
    up, stopped = place.root / "up", place.root / "stopped"
    commands = {
        "state": f"test -e {up} && exit 0; test -e {stopped} && exit 3; exit 1",
        "start": f"touch {up}; rm -f {stopped}",
        "stop": f"touch {stopped}; rm -f {up}; {stop}",
    }
    settings: dict[str, object] = {
        "heal__restore": True,
        "engine__application": importlib.metadata.version("duckdb"),
        "application__kind": "commands",
        "application__timeout": "5s",
        "application__commands": {verb: ["sh", "-c", said] for verb, said in commands.items()},
    }
    settings |= more
    return place.configure(**{name: value for name, value in settings.items() if value is not None})


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


def _damage_wal(place: Place) -> None:
    wal = bytearray(place.wal.read_bytes())
    wal[200:400] = bytes(byte ^ 0xFF for byte in wal[200:400])
    place.wal.write_bytes(bytes(wal))


def _damage_blocks(place: Place) -> None:
    data = bytearray(place.database.read_bytes())
    for offset in range(12_288 + 4096, len(data), 8192):  # every block, the headers left alone
        data[offset : offset + 64] = b"\xa5" * 64
    place.database.write_bytes(bytes(data))


def test_a_log_that_no_engine_replays_is_left_behind_and_the_rest_comes_back(place: Place) -> None:
    _damage_wal(place)
    outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.DONE
    assert "rescued to" in outcome.why
    assert _count(place.database) >= ROWS
    assert _set_aside(place), "what was live is kept"
    assert (place.root / "up").exists(), "the application was started"
    assert not list((place.state / "rescued").rglob("rescued.tar.gz"))


def test_what_cannot_be_rescued_is_restored_from_the_newest_verified_backup(place: Place) -> None:
    _damage_blocks(place)
    outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.DONE
    assert "not rescued" in outcome.why
    assert _count(place.database) == ROWS + LATE
    assert _set_aside(place)


def _journaled(place: Place) -> tuple[RunOutcome | None, str]:
    """Return how the last restore ended, as whoever waits for the unit reads it."""
    with _app(place).journal.memory() as known:
        run = known.last[Job.RESTORE]
    return run.outcome, run.why


def test_why_no_restore_could_begin_is_in_the_journal(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_words: object) -> None:
        raise NoSpace("no space left in scratch", hint="df -h")

    _damage_wal(place)
    monkeypatch.setattr("eiderd.outside.copier.pack", full)
    with pytest.raises(NoSpace):
        bringing_back.run(_app(place))
    assert _journaled(place) == (RunOutcome.FAILED, "no space left in scratch")


def test_whether_somebody_stopped_it_is_to_be_known(place: Place) -> None:
    commands = {"state": ["sh", "-c", "exit 9"], "start": ["true"], "stop": ["true"]}
    _configured(place, application__commands=commands)
    assert bringing_back.may(_app(place)).met is None


def test_a_database_that_opens_is_left_alone(place: Place) -> None:
    before = place.database.read_bytes()
    outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.REFUSED
    assert "opens as it is" in outcome.why
    assert _journaled(place) == (RunOutcome.REFUSED, outcome.why)
    assert place.database.read_bytes() == before
    assert not _set_aside(place)


def test_it_is_not_tried_where_nobody_could_stop_the_application(place: Place) -> None:
    assert bringing_back.may(_app(place)).met
    (place.root / "stopped").touch()
    assert "is stopped" in bringing_back.may(_app(place)).why
    nobody = Place(place.root).configure()
    assert bringing_back.may(_app(nobody)).met is False


# What an engine says, and whose -------------------------------------------------------------------


def _given_answer(
    app: App, monkeypatch: pytest.MonkeyPatch, say: Callable[[Opened], Opened]
) -> None:
    """Let the engine say something else of each copy of a rescue; a restore's proof is true."""
    ask = app._open

    def answer(database: Path, *, scratch: Path) -> Opened:
        opened = ask(database, scratch=scratch)
        return say(opened) if database.parent.name == "copy" else opened

    monkeypatch.setattr(app, "_open", answer)


def _met(damage: Damage) -> Callable[[Opened], Opened]:
    return lambda opened: dataclasses.replace(opened, damage=damage, message="so", tables={})


@contextlib.contextmanager
def _nothing_changes(place: Place) -> Iterator[None]:
    before = _contents(place)
    yield
    assert _contents(place) == before
    assert not (place.root / "up").exists()


def _contents(place: Place) -> dict[str, bytes]:
    folder = place.database.parent
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


ABOUT_THE_DATABASE = [Damage.WAL_REPLAY, Damage.CANNOT_OPEN, Damage.ENGINE_DIED, Damage.TABLE]
SAYS_NOTHING = [Damage.OUT_OF_MEMORY, Damage.DEADLINE, Damage.KEY_NEEDED, Damage.INDEX]


@pytest.mark.parametrize("damage", ABOUT_THE_DATABASE)
def test_a_database_that_the_engine_cannot_open_is_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    app = _app(place)
    _given_answer(app, monkeypatch, _met(damage))
    assert bringing_back.run(app).ending is Ending.DONE
    assert _set_aside(place)


@pytest.mark.parametrize("damage", SAYS_NOTHING)
def test_what_says_nothing_of_the_database_replaces_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    """A limit of memory or of time never puts an older backup in its place."""
    app = _app(place)
    _given_answer(app, monkeypatch, _met(damage))
    with _nothing_changes(place), pytest.raises(NotRescued):
        bringing_back.run(app)


def test_a_database_that_opens_and_is_suspect_is_for_a_person(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = _app(place)
    _given_answer(app, monkeypatch, lambda opened: dataclasses.replace(opened, tables={}))
    with _nothing_changes(place), pytest.raises(NotRescued):
        bringing_back.run(app)


@pytest.mark.parametrize("damage", [Damage.OUT_OF_MEMORY, Damage.DEADLINE])
def test_what_more_might_come_of_is_rescued_and_left_to_a_person(
    place: Place, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    """To fold the log in needed more memory; without the log, rows are missing."""
    _damage_wal(place)
    monkeypatch.setattr(rescue, "fold", lambda **_words: (damage, "it ended"))
    with _nothing_changes(place):
        outcome = bringing_back.run(_app(place))
    assert outcome.ending is Ending.REFUSED
    assert "a person has to say" in outcome.why
    assert list((place.state / "rescued").rglob("*.duckdb"))


@pytest.mark.parametrize("version", [None, "0.9.9"], ids=["not known", "not installed"])
@pytest.mark.parametrize("damage", [_damage_wal, _damage_blocks])
def test_without_the_applications_engine_nothing_is_replaced(
    place: Place, damage: Callable[[Place], None], version: str | None
) -> None:
    """What the engine at hand cannot open may be of a newer one, and sound."""
    damage(place)
    _configured(place, engine__application=version)
    with _nothing_changes(place), pytest.raises(ConfigError, match=r"own engine|not installed"):
        bringing_back.run(_app(place))


# Who was quicker than a rescue --------------------------------------------------------------------


def _given_rescue(
    app: App, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]
) -> None:
    """Let something happen after the database was copied for its rescue."""
    rescue_ = app.rescue

    def rescued(source: Path, *, to: Path | None = None) -> Outcome[Rescued]:
        try:
            return rescue_(source, to=to)
        finally:
            meanwhile()

    monkeypatch.setattr(app, "rescue", rescued)


def _write(place: Place) -> None:
    with place.database.open("ab") as file:
        file.write(b"what was committed meanwhile")


@contextlib.contextmanager
def _held(database: Path) -> Iterator[None]:
    """Hold it as an application does that opened it, in a process of its own."""
    script = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); "
    script += "print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout
        child.stdout.readline()
        try:
            yield
        finally:
            child.kill()


@pytest.mark.parametrize("damage", [_damage_wal, _damage_blocks], ids=["rescued", "restored"])
def test_a_database_that_was_written_meanwhile_is_not_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Place], None]
) -> None:
    damage(place)
    app = _app(place)
    _given_rescue(app, monkeypatch, lambda: _write(place))
    with pytest.raises(Busy, match="written meanwhile"):
        bringing_back.run(app)
    assert place.database.read_bytes().endswith(b"meanwhile")
    assert not _set_aside(place)


def test_an_application_that_came_back_meanwhile_is_not_stopped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _damage_wal(place)
    monkeypatch.setattr(steady, "_LASTING_SECONDS", 0.1)
    app = _app(place)
    _given_rescue(app, monkeypatch, (place.root / "up").touch)
    with _held(place.database), pytest.raises(Busy, match="is back"):
        bringing_back.run(app)
    assert (place.root / "up").exists()
    assert not (place.root / "stopped").exists(), "it was not even stopped"
    assert not _set_aside(place)


def test_nor_is_one_replaced_that_somebody_stopped_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _damage_wal(place)
    app = _app(place)
    _given_rescue(app, monkeypatch, (place.root / "stopped").touch)
    with _nothing_changes(place), pytest.raises(Busy, match="is stopped"):
        bringing_back.run(app)


def test_what_is_written_until_it_has_stopped_stays_and_it_runs_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _damage_wal(place)
    _configured(place, stop=f"printf meanwhile >> {place.database}")
    app = _app(place)
    _given_rescue(app, monkeypatch, (place.root / "up").touch)  # and it has not opened it yet
    with pytest.raises(Busy, match="written meanwhile"):
        bringing_back.run(app)
    assert place.database.read_bytes().endswith(b"meanwhile")
    assert (place.root / "up").exists(), "the application was started again"
    assert {path.name for path in place.database.parent.iterdir()} == {
        place.database.name, place.wal.name,
    }, "what was made ready is gone"  # fmt: skip


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
            board.report(str(job), found or (), at=at)
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

    monkeypatch.setattr("eiderd.maintenance.bring_back.ruin.headers", unmounted)
    with pytest.raises(SourceUnavailable, match="there is no database"):
        bringing_back.run(app)
    assert not _all_below(place.database.parent)


def test_while_it_is_replaced_its_disk_is_busy(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.database.write_bytes(bytes(100_000))
    held: list[str] = []

    def restored(*_args: object, **_words: object) -> Outcome[None]:
        folder = os.path.realpath(place.database.parent)
        links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        held.extend(link for link in links if link == folder)
        return Outcome(ending=Ending.DONE, value=None)

    monkeypatch.setattr(bringing_back, "_restored", restored)
    bringing_back.run(_app(place))
    assert held
