"""The exchange of database files: whom it locks out, what it refuses, what it leaves as it was."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd.errors import Busy, NoSpace, StoreUnavailable
from eiderd.evidence import Settled
from eiderd.maintenance.restore_plan import needed
from eiderd.outside import swap
from eiderd.outside.moves import Moves, owner_of
from tests.helpers import is_root

if TYPE_CHECKING:
    from collections.abc import Callable

STAMP = "20260101-020000"
_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("locked")
else:
    print("free", flush=True)
    sys.stdin.readline()
"""


def _given(folder: Path) -> Path:
    """Make a live set and one that is to come in; return the path of the database."""
    database = folder / "app.duckdb"
    staging = swap.staging(database)
    staging.mkdir()
    database.write_bytes(b"old")
    database.with_name("app.duckdb.wal").write_bytes(b"old wal")
    (staging / "app.duckdb").write_bytes(b"new")
    (staging / "app.duckdb.wal").write_bytes(b"new wal")
    return database


def _swap(database: Path, moves: Moves | None = None) -> swap.Swap:
    plan = swap.plan(
        database=database,
        incoming=swap.staging(database) / database.name,
        wal_base=database,
        kind="restore",
        what="20251231-020000",
        stamp=STAMP,
        restart=False,
    )
    return swap.Swap(database, plan, moves=moves)


def _seen(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


OLD = {"app.duckdb": b"old", "app.duckdb.wal": b"old wal"}
ASIDE = f"app.duckdb.before-restore-{STAMP}"
NEW = {
    "app.duckdb": b"new",
    "app.duckdb.wal": b"new wal",
    ASIDE: b"old",
    f"{ASIDE}.wal": b"old wal",
}


class Hooked(Moves):
    """Calls something before the first rename of the database itself."""

    def __init__(self, hook: Callable[[], None]) -> None:
        self._hook = hook

    def rename(self, source: Path, target: Path) -> None:
        if source.name == "app.duckdb" and target.name == ASIDE:
            self._hook()
        super().rename(source, target)


def test_the_sets_are_exchanged_and_nothing_else_is_left(tmp_path: Path) -> None:
    database = _given(tmp_path)
    work = _swap(database)
    work.exchange()
    assert work.is_made
    work.close()
    assert _seen(tmp_path) == NEW
    assert not swap.staging(database).exists()
    assert swap.unfinished(database, state=tmp_path) is None


def test_the_way_back_brings_back_everything(tmp_path: Path) -> None:
    database = _given(tmp_path)
    work = _swap(database)
    work.exchange()
    back = work.back(database=database, kind="roll back", stamp="20260101-030000")
    back.exchange()
    back.close()
    failed = "app.duckdb.failed-restore-20260101-030000"
    assert _seen(tmp_path) == {**OLD, failed: b"new", f"{failed}.wal": b"new wal"}


class Full(Moves):
    """A disk on which no copy fits any more, as soon as `is_full`; with `plans`, no plan either."""

    def __init__(self, *, is_full: bool = True, plans: bool = False) -> None:
        self.is_full = is_full
        self._plans = plans

    def copy(self, source: Path, target: Path) -> None:
        super().copy(source, target)
        self._fill()

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data)
        if self._plans and json.loads(data)["kind"] == "restore":
            self._fill()

    def _fill(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")


def _back(work: swap.Swap, database: Path) -> swap.Swap:
    return work.back(database=database, kind="roll back", stamp="20260101-030000")


@pytest.mark.parametrize("plans", [False, True])
def test_a_way_back_that_fails_leaves_the_exchange_to_go_on_from(
    tmp_path: Path, *, plans: bool
) -> None:
    database, moves = _given(tmp_path), Full(is_full=False, plans=plans)
    work = _swap(database, moves)
    work.exchange()
    moves.is_full = True
    with pytest.raises(NoSpace):
        _back(work, database).exchange()
    left = swap.unfinished(database, state=tmp_path)
    assert left
    assert (left.kind, left.phase) == (("roll back", "moving") if plans else ("restore", "in"))
    again = swap.Swap(database, left)
    assert again.settle(stamp=STAMP) is Settled.FINISHED
    assert again.plan == work.plan == swap.unfinished(database, state=tmp_path)
    seen = {name: data for name, data in _seen(tmp_path).items() if not name.startswith(".")}
    assert seen == NEW
    back = _back(again, database)
    back.exchange()
    back.close()
    assert [_seen(tmp_path)[name] for name in OLD] == [*OLD.values()]


def test_the_way_back_takes_no_more_room_than_the_way_there(tmp_path: Path) -> None:
    class Measured(Moves):
        most = 0

        def copy(self, source: Path, target: Path) -> None:
            super().copy(source, target)
            paths = [path for path in tmp_path.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in paths if path.suffix != ".json")
            self.most = max(self.most, size)

    database, moves = _given(tmp_path), Measured()
    before = sum(path.stat().st_size for path in tmp_path.iterdir() if path.is_file())
    work = _swap(database, moves)
    work.exchange()
    there, moves.most = moves.most, 0
    _back(work, database).exchange()
    assert 0 < moves.most <= there
    wals = {"incoming_wals": len(b"new wal"), "old_wals": len(b"old wal")}
    reserved = needed(incoming=len(b"new" + b"new wal"), **wals)
    assert there - before <= reserved - needed(incoming=0, incoming_wals=0, old_wals=0)


def test_a_set_that_was_removed_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    database = _given(tmp_path)
    work = _swap(database)
    work.exchange()
    assert work.can_go_back
    (tmp_path / ASIDE).unlink()
    assert not work.can_go_back


def test_a_database_that_somebody_has_open_is_left_alone(tmp_path: Path) -> None:
    database = _given(tmp_path)
    words = [sys.executable, "-c", _LOCK, str(database)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"free\n"
        with pytest.raises(Busy, match="another process has"):
            _swap(database).exchange()
        other.communicate(b"\n")
    assert _seen(tmp_path) == OLD


def test_nobody_can_open_either_file_meanwhile(tmp_path: Path) -> None:
    database = _given(tmp_path)
    said = []

    def try_both() -> None:
        for path in (database, swap.staging(database) / "app.duckdb"):
            words = [sys.executable, "-c", _LOCK, str(path)]
            said.append(subprocess.run(words, capture_output=True, check=True, input=b"").stdout)

    _swap(database, Hooked(try_both)).exchange()
    assert said == [b"locked\n", b"locked\n"]


def test_a_full_disk_leaves_everything_as_it_was(tmp_path: Path) -> None:
    database = _given(tmp_path)
    with pytest.raises(NoSpace):
        _swap(database, Full()).exchange()
    assert _seen(tmp_path) == OLD
    assert swap.unfinished(database, state=tmp_path) is None


def test_what_fails_in_the_middle_is_finished_later(tmp_path: Path) -> None:
    class Failing(Moves):
        def rename(self, source: Path, target: Path) -> None:
            if target.name == "app.duckdb":
                raise OSError(errno.EIO, "Input/output error")
            super().rename(source, target)

    database = _given(tmp_path)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        _swap(database, Failing()).exchange()
    unfinished = swap.unfinished(database, state=tmp_path)
    assert unfinished
    work = swap.Swap(database, unfinished)
    assert work.settle(stamp=STAMP) is Settled.FINISHED
    work.close()
    assert _seen(tmp_path) == NEW


def test_what_is_unfinished_can_be_told_by_another_user(tmp_path: Path) -> None:
    modes = []
    record = tmp_path / ".app.duckdb.eider-swap.json"
    before = os.umask(0o077)
    try:
        hook = Hooked(lambda: modes.append(record.stat().st_mode & 0o777))
        _swap(_given(tmp_path), hook).exchange()
    finally:
        os.umask(before)
    assert modes == [0o644]


def test_a_signal_waits_until_the_steps_are_taken(tmp_path: Path) -> None:
    class Asked(BaseException):
        pass

    def raise_asked(*_: object) -> None:
        raise Asked

    database = _given(tmp_path)
    before = signal.signal(signal.SIGTERM, raise_asked)
    try:
        work = _swap(database, Hooked(lambda: signal.raise_signal(signal.SIGTERM)))
        with pytest.raises(Asked):
            work.exchange()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert work.is_made
    work.close()
    assert _seen(tmp_path) == NEW


def test_copies_keep_owner_and_mode(tmp_path: Path) -> None:
    database = _given(tmp_path)
    wal = database.with_name("app.duckdb.wal")
    wal.chmod(0o640)
    incoming = swap.staging(database) / "app.duckdb.wal"
    incoming.chmod(0o604)
    if is_root():
        os.chown(wal, 1234, 2345)
    mine = owner_of(wal)
    _swap(database).exchange()
    assert owner_of(tmp_path / f"{ASIDE}.wal") == mine
    assert owner_of(wal).mode == 0o604


@pytest.mark.parametrize("trick", ["none", "writable", "linked", "a link", "nonsense"])
def test_a_plan_that_others_could_have_written_is_not_believed(tmp_path: Path, trick: str) -> None:
    database = _given(tmp_path)
    plan = _swap(database).plan
    path = tmp_path / ".app.duckdb.eider-swap.json"
    path.write_text(json.dumps(dataclasses.asdict(plan)) if trick != "nonsense" else "{}")
    path.chmod(0o622 if trick == "writable" else 0o600)
    if trick == "linked":
        os.link(path, tmp_path / "other")
    elif trick == "a link":
        path.rename(tmp_path / "other")
        path.symlink_to("other")
    if trick == "none":
        assert swap.unfinished(database, state=tmp_path) == plan
        return
    with pytest.raises(StoreUnavailable, match="did not end"):
        swap.unfinished(database, state=tmp_path)


def test_a_wal_that_is_a_link_is_refused(tmp_path: Path) -> None:
    database = _given(tmp_path)
    wal = database.with_name("app.duckdb.wal")
    wal.rename(tmp_path / "elsewhere")
    wal.symlink_to("elsewhere")
    with pytest.raises(StoreUnavailable):
        _swap(database).exchange()
    assert wal.is_symlink()
    assert database.read_bytes() == b"old"
    assert swap.unfinished(database, state=tmp_path) is None


def test_what_stands_aside_is_listed_with_its_wal_and_nothing_else_is(tmp_path: Path) -> None:
    database = tmp_path / "a[b]*.duckdb"
    for name, size in (
        ("", 1),
        (".wal", 1),
        (".before-restore-20260102-000000", 5),
        (".before-restore-20260102-000000.wal", 7),
        (".before-restore-20260102-000000-2", 1),
        (".failed-restore-20260101-000000", 3),
        (".before-restore-2026", 1),
        (".backup", 1),
    ):
        (tmp_path / f"{database.name}{name}").write_bytes(bytes(size))
    (tmp_path / "ab.duckdb.before-restore-20260102-000000").touch()
    found = [(Path(one.path).name, one.word, one.bytes) for one in swap.set_aside(database)]
    assert found == [
        (f"{database.name}.failed-restore-20260101-000000", "failed-restore", 3),
        (f"{database.name}.before-restore-20260102-000000", "before-restore", 12),
        (f"{database.name}.before-restore-20260102-000000-2", "before-restore", 1),
    ]


def test_two_restores_in_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    database = tmp_path / "app.duckdb"
    first = swap.aside_name(database, word=swap.BEFORE_RESTORE, stamp=STAMP)
    first.with_name(f"{first.name}.wal").touch()  # what is left of one counts, too
    second = swap.aside_name(database, word=swap.BEFORE_RESTORE, stamp=STAMP)
    assert second.name == f"{ASIDE}-2"
