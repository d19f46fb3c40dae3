"""The power goes at every step of an exchange of database files, and of what puts it right.

The steps of a true run are recorded. Then every prefix of them, with every subset of what was not
yet synced lost, is laid out as a folder: a state that a power cut could leave. In each, the old set
of files is whole (live or set aside), nothing live stands beside a WAL that is not its own, and
putting it right ends with one whole set live, whichever instant that dies at, too.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from eiderd.errors import EiderError
from eiderd.evidence import Settled
from eiderd.maintenance import exchange as exchange_app
from eiderd.outside import swap
from eiderd.outside.moves import Moves, Owner
from tests import helpers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.evidence import Exchange

STAMP, LATER = "20260101-020000", "20260101-030000"
MOST_PENDING = 12  # of steps that are not on disk yet: every subset of them is tried
Disk: TypeAlias = dict[str, bytes]
Files: TypeAlias = dict[str, bytes]  # by suffix, "" for the database itself


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One thing done to the disk. `folder` is where the kernel has to write it down."""

    do: str
    path: str
    to: str = ""
    data: bytes = b""

    @property
    def folder(self) -> str:
        return str(Path(self.to or self.path).parent)


class Recorder(Moves):
    """Does each step and writes it down. The sync number `forget` is not written down."""

    def __init__(self, root: Path, *, forget: int | None = None) -> None:
        self.root = root
        self.steps: list[Step] = []
        self.syncs: list[str] = []
        self._forget = forget

    def _note(self, do: str, path: Path, to: Path | None = None, data: bytes = b"") -> None:
        self.steps.append(Step(do, self._short(path), self._short(to) if to else "", data))

    def _short(self, path: Path) -> str:
        folder = os.path.relpath(os.path.realpath(path.parent), self.root)
        return path.name if folder == "." else f"{folder}/{path.name}"

    def _synced(self, do: str, path: Path) -> None:
        if self._forget != len(self.syncs):
            self._note(do, path)
        self.syncs.append(f"{do} {self._short(path)}")

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data)
        self._note("write", path, data=data)

    def copy(self, source: Path, target: Path) -> None:
        super().copy(source, target)
        self._note("write", target, data=target.read_bytes())

    def own(self, path: Path, owner: Owner) -> None:
        super().own(path, owner)
        self._synced("sync", path)

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._note("rename", source, target)

    def remove(self, path: Path) -> None:
        if os.path.lexists(path):
            super().remove(path)
            self._note("remove", path)

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        self._note("rmdir", path)

    def sync_file(self, path: Path) -> None:  # noted only: it is what takes long
        assert path.is_file()
        self._synced("sync", path)

    def sync_folder(self, path: Path) -> None:
        assert path.is_dir()
        self._synced("syncdir", path)


def _disk(root: Path) -> Disk:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def crashes(before: Disk, steps: list[Step]) -> Iterator[Disk]:
    """Yield what a power cut can leave: each distinct disk, after each prefix of the steps."""
    seen: set[frozenset[tuple[str, bytes]]] = set()
    for count in range(len(steps) + 1):
        for disk in _outcomes(before, steps[:count]):
            key = frozenset(disk.items())
            if key not in seen:
                seen.add(key)
                yield disk


def _outcomes(before: Disk, done: list[Step]) -> Iterator[Disk]:
    pending = [
        number
        for number, step in enumerate(done)
        if step.do in ("write", "rename", "remove", "rmdir")
        and not any(s.do == "syncdir" and s.path == step.folder for s in done[number + 1 :])
    ]
    # What was written to a file is there only when the file was synced. Renames keep that.
    torn = [number for number, step in enumerate(done) if _is_torn(done, number, step)]
    assert len(pending) + len(torn) <= MOST_PENDING, "too much at once: sync in between"
    for size in range(len(pending) + 1):
        for lost in itertools.combinations(pending, size):
            for cuts in itertools.product((False, True), repeat=len(torn)):
                short = {number for number, cut in zip(torn, cuts, strict=True) if cut}
                yield _applied(before, done, lost=set(lost), short=short)


def _is_torn(done: list[Step], number: int, step: Step) -> bool:
    if step.do != "write":
        return False
    name = step.path
    for later in done[number + 1 :]:
        if later.do == "sync" and later.path == name:
            return False
        if later.do == "rename" and later.path == name:
            name = later.to
    return True


def _applied(before: Disk, done: list[Step], *, lost: set[int], short: set[int]) -> Disk:
    """Return the disk after these steps. A rename moves a file, whatever is known of its name."""
    meant, disk = dict(before), dict(before)
    for number, step in enumerate(done):
        data = step.data[: len(step.data) // 2] if number in short else step.data
        for state in (meant,) if number in lost else (meant, disk):
            if step.do == "write":
                state[step.path] = data
            elif step.do == "rename":
                state[step.to] = meant[step.path] if state is meant else meant[step.to]
                state.pop(step.path, None)
            elif step.do == "remove":
                state.pop(step.path, None)
            elif step.do == "rmdir":
                for path in [path for path in state if path.startswith(f"{step.path}/")]:
                    del state[path]
    return disk


# What is exchanged ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An exchange: the live set before, the set that comes in, and how.

    `link`: the database is named by a link in another folder, beside which its WAL files stand.
    `stands_aside`: the incoming set is one that was set aside, as in roll back and undo.
    """

    old: Files
    new: Files
    link: bool = False
    stands_aside: bool = False
    word: str = swap.BEFORE_RESTORE
    kind: str = "restore"

    def database(self, root: Path) -> Path:
        return root / ("link/app.duckdb" if self.link else "data/app.duckdb")

    @property
    def live(self) -> str:
        return "data/real.duckdb" if self.link else "data/app.duckdb"

    @property
    def wal_base(self) -> str:
        return "link/app.duckdb" if self.link else self.live

    @property
    def incoming(self) -> str:
        if self.stands_aside:
            return f"{self.live}.before-restore-20251231-230000"
        return f"data/.{Path(self.live).name}.eider-new/archived.duckdb"

    def before(self) -> Disk:
        disk = {(self.wal_base if suffix else self.live) + suffix: data
                for suffix, data in self.old.items()}  # fmt: skip
        return disk | {self.incoming + suffix: data for suffix, data in self.new.items()}

    def lay(self, root: Path, disk: Disk) -> Path:
        shutil.rmtree(root, ignore_errors=True)
        for folder in ("data", "link") if self.link else ("data",):
            (root / folder).mkdir(parents=True)
        if self.link:
            (root / "link/app.duckdb").symlink_to("../data/real.duckdb")
        for name, data in disk.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(data)
        return self.database(root)

    def run(self, root: Path, moves: Moves, *, kind: type[swap.Swap] = swap.Swap) -> None:
        self.lay(root, self.before())
        work = self.work(root, moves, kind=kind)
        work.exchange()
        work.close()

    def work(self, root: Path, moves: Moves, *, kind: type[swap.Swap] = swap.Swap) -> swap.Swap:
        plan = swap.plan(
            database=self.database(root),
            incoming=root / self.incoming,
            wal_base=root / self.wal_base,
            kind=self.kind,
            what="20251231-020000",
            stamp=STAMP,
            restart=True,
            word=self.word,
            staged=not self.stands_aside,
        )
        return kind(self.database(root), plan, moves=moves)


OLD: Files = {"": b"old database", ".wal": b"old wal"}
NEW: Files = {"": b"new database", ".wal": b"new wal"}
CRASHED = {".wal": b"w", ".wal.checkpoint": b"wc", ".wal.recovery": b"wr"}
CASES = {
    "both with a WAL": Case(old=OLD, new=NEW),
    "stale WAL files of every kind": Case(old={"": b"old", **CRASHED}, new={"": b"new"}),
    "a WAL where there was none": Case(old={"": b"old"}, new=NEW),
    "WAL files of every kind come in": Case(old=OLD, new={"": b"new", **CRASHED}),
    "no database, only its WAL": Case(old={".wal": b"orphan"}, new=NEW),
    "nothing there": Case(old={}, new=NEW),
    "compact": Case(old=OLD, new={"": b"new"}, word=swap.BEFORE_COMPACT, kind="compact"),
    "compact after a crash": Case(
        old={"": b"old", **CRASHED}, new={"": b"new"}, word=swap.BEFORE_COMPACT, kind="compact"
    ),
    "compact behind a link": Case(
        old=OLD, new={"": b"new"}, word=swap.BEFORE_COMPACT, kind="compact", link=True
    ),
    "behind a link": Case(old=OLD, new=NEW, link=True),
    "undo": Case(old=OLD, new=NEW, stands_aside=True),
    "roll back": Case(old=OLD, new={"": b"new"}, stands_aside=True, word=swap.FAILED_RESTORE),
    "roll back to a missing WAL": Case(old={"": b"old"}, new=NEW, stands_aside=True),
}


def _set(disk: Disk, main: str, wal_base: str | None = None) -> Files:
    """Return the set that stands at a path: what an engine that opens it there would see."""
    found = {"": disk[main]} if main in disk else {}
    for suffix in (".wal", ".wal.checkpoint", ".wal.recovery"):
        name = (wal_base or main) + suffix
        if name in disk:
            found[suffix] = disk[name]
    return found


def _aside(case: Case, disk: Disk, word: str) -> list[Files]:
    names = [name for name in disk if name.startswith(f"{case.live}.{word}-")]
    return [_set(disk, name) for name in names if _is_aside(name)]


def problem(case: Case, disk: Disk) -> str:
    """Say what is wrong with what a power cut left, if anything is."""
    live = _set(disk, case.live, case.wal_base)
    if "" in live and live not in (case.old, case.new):
        return f"live is no whole set: {live}"
    if "" not in case.old:
        return ""
    kept = _aside(case, disk, case.word)
    if live != case.old and case.old not in kept:
        return f"the old set is nowhere whole: {live}, {kept}"
    incoming = _set(disk, case.incoming)
    if case.stands_aside and case.new not in (live, incoming):
        return f"the set that stood aside is nowhere whole: {live}, {incoming}"
    return ""


def settled(case: Case, database: Path, moves: Moves) -> Settled | None:
    plan = swap.unfinished(database, state=database.parent)
    if plan is None:
        return None
    work = swap.Swap(database, plan, moves=moves)
    ended = work.settle(stamp=LATER)
    if ended is Settled.FINISHED:
        work.close()
    return ended


def wrong_after(case: Case, database: Path, disk: Disk, ended: Settled | None) -> str:
    """Say what is wrong when what a power cut left was put right, if anything is."""
    live = _set(disk, case.live, case.wal_base)
    whole = {"old": case.old, "new": case.new}
    is_ = next((word for word, files in whole.items() if files == live), "")
    if not is_:
        return f"neither old nor new is live: {live}"
    if "" in case.old and is_ == "new" and case.old not in _aside(case, disk, case.word):
        return "the old set is not whole aside"
    if case.stands_aside and is_ == "old" and _set(disk, case.incoming) != case.new:
        return "the set that stood aside is not whole"
    expected = {Settled.FINISHED: "new", Settled.UNDONE: "old"}
    if ended and is_ != expected[ended]:
        return f"{is_} is live, although it was {ended}"
    swap.sweep(database)
    hidden = [name for name in disk if Path(name).name.startswith(".") and (
        (database.parent.parent / name).exists())]  # fmt: skip
    mains = {name for name in disk if _is_aside(name)}
    orphans = [name for name in disk if f".{case.word}-" in name and not any(
        name.startswith(main) for main in mains)]  # fmt: skip
    left = hidden + orphans * ("" in case.old)
    return f"left behind: {left}" if left else ""


def _is_aside(name: str) -> bool:
    return bool(re.search(r"-\d{8}-\d{6}$", name))


def recorded(case: Case, root: Path, **more: Any) -> Recorder:
    moves = Recorder(root, forget=more.pop("forget", None))
    case.run(root, moves, **more)
    assert problem(case, _disk(root)) == ""
    return moves


def first_problem(case: Case, steps: list[Step], root: Path, *, deep: bool = False) -> str:
    """Try every crash and what puts it right; `deep`, also every crash of that."""
    seen: set[frozenset[tuple[str, bytes]]] = set()
    for disk in crashes(case.before(), steps):
        try:
            found = problem(case, disk) or _problem_after(case, disk, root, seen if deep else None)
        except EiderError as error:
            found = error.message
        if found:
            return found
    return ""


def _problem_after(
    case: Case, disk: Disk, root: Path, seen: set[frozenset[tuple[str, bytes]]] | None
) -> str:
    database = case.lay(root, disk)
    moves = Recorder(root)
    ended = settled(case, database, moves)
    found = wrong_after(case, database, _disk(root), ended)
    if found or seen is None:
        return found
    for second in crashes(disk, moves.steps):
        key = frozenset(second.items())
        if key in seen:
            continue
        seen.add(key)
        database = case.lay(root, second)
        ended = settled(case, database, Recorder(root))
        found = problem(case, second) or wrong_after(case, database, _disk(root), ended)
        if found:
            return f"when putting it right died: {found}"
    return ""


@pytest.mark.parametrize("name", CASES)
def test_whenever_the_power_goes_one_whole_set_is_there(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    moves = recorded(case, tmp_path / "run")
    live = _set(_disk(tmp_path / "run"), case.live, case.wal_base)
    assert live == case.new
    assert len(moves.steps) > 8
    assert first_problem(case, moves.steps, tmp_path / "crash", deep=True) == ""


# Going back: until the old set is live, what was exchanged has not ended, and says so.


def _rolled_back(
    case: Case, root: Path, *, kind: type[swap.Swap]
) -> tuple[Disk, Exchange, Recorder]:
    """Exchange the sets, go back, and return what was in between and the steps of the way back."""
    database = case.lay(root, case.before())
    work = case.work(root, Moves())
    work.exchange()
    between, moves = _disk(root), Recorder(root)
    back = kind(database, work.back(database=database, kind="roll back", stamp=LATER).plan,
                moves=moves)  # fmt: skip
    back.exchange()
    assert _set(_disk(root), case.live, case.wal_base) == case.old
    return between, work.plan, moves


def _problem_of_going_back(
    case: Case, between: Disk, done: Exchange, steps: list[Step], root: Path
) -> str:
    """Try every crash of the way back, and every crash of what puts that right."""
    seen: set[frozenset[tuple[str, bytes]]] = set()
    for disk in crashes(between, steps):
        moves = Recorder(root)
        if found := _problem_then(case, disk, done, root, moves):
            return found
        for second in crashes(disk, moves.steps):
            key = frozenset(second.items())
            if key not in seen and (found := _problem_then(case, second, done, root, Moves())):
                return f"when putting it right died: {found}"
            seen.add(key)
    return ""


def _problem_then(case: Case, disk: Disk, done: Exchange, root: Path, moves: Moves) -> str:
    """Say what is wrong when a way back that died is put right, and with going on from there."""
    database = case.lay(root, disk)
    begun = swap.unfinished(database, state=database.parent)
    if begun is None:
        return "nothing says that it did not end"
    work = swap.Swap(database, begun, moves=moves)
    ended = work.settle(stamp=LATER)
    left, after = swap.unfinished(database, state=database.parent), _disk(root)
    if (ended, left) != (Settled.FINISHED, work.plan) or not work.is_made:
        return f"it was {ended}, and {left} is said to be in force"
    live = _set(after, case.live, case.wal_base)
    if work.plan.kind == "roll back":
        return "" if live == case.old else f"{live} is live"
    if work.plan != done or live != case.new or case.old not in _aside(case, after, case.word):
        return f"{live} is live, and the old set cannot come back"
    back = swap.Swap(database, done).back(database=database, kind="roll back", stamp=LATER)
    back.exchange()
    live = _set(_disk(root), case.live, case.wal_base)
    return "" if live == case.old else f"{live} came back"


BACK = ("both with a WAL", "stale WAL files of every kind", "compact", "behind a link", "undo")


@pytest.mark.parametrize("name", BACK)
def test_whenever_going_back_dies_it_can_be_gone_on_with(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    between, done, moves = _rolled_back(case, tmp_path / "run", kind=swap.Swap)
    assert len(moves.steps) > 8
    crash = tmp_path / "crash"
    assert _problem_of_going_back(case, between, done, moves.steps, crash) == ""


class ForgetsBefore(swap.Swap):
    """What was exchanged is forgotten as soon as it is to be taken back."""

    def __init__(self, database: Path, plan: Exchange, *, moves: Moves | None = None) -> None:
        super().__init__(database, dataclasses.replace(plan, before=None), moves=moves)


def test_a_way_back_that_forgets_where_it_began_is_found_out(tmp_path: Path) -> None:
    case = CASES["both with a WAL"]
    between, done, moves = _rolled_back(case, tmp_path / "run", kind=ForgetsBefore)
    crash = tmp_path / "crash"
    assert "undone" in _problem_of_going_back(case, between, done, moves.steps, crash)


# It has teeth -----------------------------------------------------------------------------------


class EarlyAside(swap.Swap):
    """The old file goes before the copies of its WAL are made."""

    def _copy_old_wals(self) -> None:
        super()._set_aside()
        super()._copy_old_wals()

    def _set_aside(self) -> None:
        pass


class MainFirst(swap.Swap):
    """The new file comes in before its WAL."""

    def _finish(self) -> None:
        self._empty()
        self._moves.rename(self._incoming, self._live)
        self._moves.sync_folder(self._folder)
        for _new, hidden, live in self._new_wals:
            self._moves.rename(hidden, live)
        self._sync_wal_folders()
        self._tidy()


class StaleWal(swap.Swap):
    """The old WAL files are removed when the new file is there."""

    def _finish(self) -> None:
        for _new, hidden, live in self._new_wals:
            self._moves.rename(hidden, live)
        self._sync_wal_folders()
        self._moves.rename(self._incoming, self._live)
        self._moves.sync_folder(self._folder)
        for old, _aside in self._old_wals:
            if old not in [live for _new, _hidden, live in self._new_wals]:
                self._moves.remove(old)
        self._tidy()


class WalBeforeFile(swap.Swap):
    """The WAL is removed while the file that it belongs to is still live."""

    def _set_aside(self) -> None:
        self._empty()
        super()._set_aside()


class NoPlan(swap.Swap):
    """Nothing says what was going on."""

    def _write_plan(self, plan: Exchange) -> None:
        pass


@pytest.mark.parametrize("kind", [EarlyAside, MainFirst, StaleWal, WalBeforeFile, NoPlan])
def test_another_order_of_the_steps_is_found_out(kind: type[swap.Swap], tmp_path: Path) -> None:
    for name in ("both with a WAL", "stale WAL files of every kind", "undo"):
        steps = recorded(CASES[name], tmp_path / "run", kind=kind).steps
        if first_problem(CASES[name], steps, tmp_path / "crash"):
            return
    pytest.fail("no crash of any exchange was harmful")


def test_a_sync_that_is_left_out_is_found_out(tmp_path: Path) -> None:
    case = CASES["both with a WAL"]
    syncs = recorded(case, tmp_path / "run").syncs
    harmless = []
    for number in range(len(syncs)):
        steps = recorded(case, tmp_path / "run", forget=number).steps
        if not first_problem(case, steps, tmp_path / "crash"):
            harmless.append(number)
    # What is there before it begins, what was emptied (the next sync covers it), and the tidying.
    assert harmless == [0, 1, 8, 11, *range(13, len(syncs))]


# A compact copy is written beside the database first, by a process that may sync nothing.


def _compacted(root: Path, *, forget: int | None = None) -> tuple[Case, Recorder]:
    case = Case(old=OLD, new={"": b"new database"}, word=swap.BEFORE_COMPACT, kind="compact")
    before = {name: data for name, data in case.before().items() if ".eider-new/" not in name}
    database, moves = case.lay(root, before), Recorder(root, forget=forget)
    swap.staging(database).mkdir()
    incoming = swap.staging(database) / database.name
    moves.write(incoming, case.new[""])
    exchange_app.for_compaction(database, incoming, restart=True, steps=moves).exchange()
    assert _set(_disk(root), case.live, case.wal_base) == case.new
    return case, moves


def _compaction_problem(case: Case, moves: Recorder, root: Path) -> str:
    before = {name: data for name, data in case.before().items() if ".eider-new/" not in name}
    seen: set[frozenset[tuple[str, bytes]]] = set()
    for disk in crashes(before, moves.steps):
        try:
            found = problem(case, disk) or _problem_after(case, disk, root, seen)
        except EiderError as error:
            found = error.message
        if found:
            return found
    return ""


def test_a_compaction_leaves_one_whole_set_whenever_the_power_goes(tmp_path: Path) -> None:
    case, moves = _compacted(tmp_path / "run")
    assert _compaction_problem(case, moves, tmp_path / "crash") == ""


def test_a_compact_copy_that_is_not_synced_is_found_out(tmp_path: Path) -> None:
    case, moves = _compacted(tmp_path / "run", forget=0)
    assert moves.syncs[0] == "sync data/.app.duckdb.eider-new/app.duckdb"
    assert "new da" in _compaction_problem(case, moves, tmp_path / "crash"), "half of it is live"


def test_another_order_of_the_steps_of_a_compaction_is_found_out(tmp_path: Path) -> None:
    case = CASES["compact after a crash"]
    for kind in (EarlyAside, StaleWal, WalBeforeFile):
        steps = recorded(case, tmp_path / "run", kind=kind).steps
        assert first_problem(case, steps, tmp_path / "crash"), kind


# With an engine ---------------------------------------------------------------------------------

_ROWS = (
    "import duckdb, sys; connection = duckdb.connect(sys.argv[1], read_only=True); "
    "print(connection.execute('SELECT count(*) FROM facts').fetchone()[0])"
)


def _rows(folder: Path, files: Files) -> int:
    """Return how many rows an engine finds in a set."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for suffix, data in files.items():
        (folder / f"copy.duckdb{suffix}").write_bytes(data)
    command = [sys.executable, "-c", _ROWS, str(folder / "copy.duckdb")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(ran.stdout)


def _built(folder: Path, *, rows: int, wal_rows: int) -> Files:
    database = helpers.build_database(folder / "d.duckdb", rows=rows, wal_rows=wal_rows)
    return {"": database.read_bytes(), ".wal": Path(f"{database}.wal").read_bytes()}


@pytest.mark.parametrize("what", ["restore", "undo"])
def test_every_set_that_a_crash_leaves_opens_with_every_row(what: str, tmp_path: Path) -> None:
    old = _built(tmp_path / "old", rows=900, wal_rows=90)
    new = _built(tmp_path / "new", rows=500, wal_rows=50)
    case = Case(old=old, new=new, stands_aside=what == "undo")
    steps = recorded(case, tmp_path / "run").steps
    assert first_problem(case, steps, tmp_path / "crash") == ""
    sets: list[Files] = []
    for disk in crashes(case.before(), steps):
        live = _set(disk, case.live)
        for found in (live, *_aside(case, disk, case.word)):
            if "" in found and found not in sets:
                sets.append(found)
    assert {_rows(tmp_path / "copy", found) for found in sets} == {990, 550}
    assert _rows(tmp_path / "copy", {"": old[""]}) == 900, "a set without its WAL has lost rows"


def test_an_application_that_starts_in_between_loses_nothing(tmp_path: Path) -> None:
    """It finds no database, makes an empty one and removes the WAL. That one is set aside, too."""
    old = _built(tmp_path / "old", rows=900, wal_rows=90)
    new = _built(tmp_path / "new", rows=500, wal_rows=50)
    case, seen = Case(old=old, new=new), 0
    for disk in crashes(case.before(), recorded(case, tmp_path / "run").steps):
        if case.live in disk:
            continue
        database = case.lay(tmp_path / "crash", disk)
        helpers.build_database(database, rows=7, wal_rows=3)
        assert settled(case, database, Recorder(tmp_path)) is Settled.FINISHED
        after = _disk(tmp_path / "crash")
        assert _set(after, case.live) == new
        assert old in _aside(case, after, case.word)
        (stranger,) = _aside(case, after, swap.UNEXPECTED)
        assert _rows(tmp_path / "copy", stranger) == 10
        seen += 1
    assert seen >= 3
