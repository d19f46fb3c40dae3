"""Whether a backup fits, in figures."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import room
from eiderd.errors import NoSpace
from eiderd.evidence import Filesystem, Member
from eiderd.model import Backup, Consistency, Content, Level, Proof, Source, State
from eiderd.outside.duckdb_file import wal_names

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
GB = 10**9
STATE, BACKUPS = Path("/state"), Path("/backups")


def _disk(*, free: int, total: int = 100 * GB, device: int = 1) -> Filesystem:
    return Filesystem(
        device=device, total_bytes=total, free_bytes=free, used_bytes=total - free,
        total_inodes=0, free_inodes=0,
    )  # fmt: skip


def _needs(state: int, backups: int, *disks: Filesystem) -> list[room.Need]:
    return [
        room.Need(folder=STATE, bytes=state, disk=disks[0]),
        room.Need(folder=BACKUPS, bytes=backups, disk=disks[-1]),
    ]


def _earlier(*, archive: int, members: int, state: State = State.VERIFIED) -> Backup:
    return Backup(
        id="20260101-000000", sequence=1, created_at=NOON, state=state, archive="x",
        bytes=archive, sha256="00",
        source=Source(path="/data/x", engine="v1", storage_version=64, encrypted=False, bytes=1),
        consistency=Consistency(method="double-collect", passes=2, frozen_seconds=0.0,
                                iteration=1, wal_bytes=0, captured_from=NOON, captured_to=NOON),
        proof=Proof(level=Level.RESTORE, at=NOON), content=Content(),
        members=(Member(name="x", bytes=members, sha256="00"),), eiderd="0",
    )  # fmt: skip


def test_what_fits_beside_the_reserve_is_taken() -> None:
    room.ensure(_needs(2 * GB, 1 * GB, _disk(free=4 * GB)), critical_bytes=GB)


def test_one_disk_must_take_both_together() -> None:
    one = _disk(free=4 * GB - 1)
    with pytest.raises(NoSpace) as caught:
        room.ensure(_needs(2 * GB, 1 * GB, one), critical_bytes=GB)
    assert caught.value.message == (
        "no space for a backup: it needs about 3.0 GB in /state and /backups, where 4.0 GB are "
        "free and 1.0 GB of them are kept in reserve"
    )
    assert "eider prune --dry-run" in caught.value.hint
    assert "df -h /state /backups" in caught.value.hint


def test_two_disks_each_take_their_own() -> None:
    room.ensure(
        _needs(2 * GB, GB, _disk(free=3 * GB), _disk(free=2 * GB, device=2)), critical_bytes=GB
    )
    with pytest.raises(NoSpace, match=r"1\.0 GB in /backups, where"):
        room.ensure(
            _needs(2 * GB, GB, _disk(free=3 * GB), _disk(free=2 * GB - 1, device=2)),
            critical_bytes=GB,
        )


def test_the_reserve_of_a_small_disk_is_five_percent() -> None:
    assert room.reserve(100 * GB, critical_bytes=GB) == GB
    assert room.reserve(10 * GB, critical_bytes=GB) == GB // 2


def test_a_full_disk_that_gets_nothing_is_no_matter() -> None:
    """The mirror is there already: nothing is added to its disk."""
    room.ensure(_needs(0, GB, _disk(free=0), _disk(free=9 * GB, device=2)), critical_bytes=GB)


def test_a_mirror_needs_what_it_does_not_hold_and_scratch_for_the_logs() -> None:
    live = {"x": 1000, "x.wal": 100}
    assert room.for_mirror(live=live, mirrored={}, logs=["x.wal"]) == 1200
    assert room.for_mirror(live=live, mirrored={"x": 900, "x.wal": 40}, logs=["x.wal"]) == 260
    assert room.for_mirror(live=live, mirrored={"x": 5000}, logs=["x.wal"]) == 200


def test_an_archive_is_reckoned_by_the_last_one() -> None:
    assert room.for_archive(source_bytes=1000, earlier=None) == 1000
    half = _earlier(archive=500, members=1000)
    assert room.for_archive(source_bytes=2000, earlier=half) == 1100
    empty = _earlier(archive=500, members=0)
    assert room.for_archive(source_bytes=1000, earlier=empty) == 1000


@given(
    source=st.integers(0, 1 << 50), archive=st.integers(0, 1 << 50), whole=st.integers(0, 1 << 50)
)
def test_an_archive_never_needs_more_than_its_source(source: int, archive: int, whole: int) -> None:
    need = room.for_archive(source_bytes=source, earlier=_earlier(archive=archive, members=whole))
    assert 0 <= need <= source


@given(
    free=st.integers(0, 1 << 50),
    wanted=st.integers(1, 1 << 50),
    total=st.integers(0, 1 << 50),
    critical=st.integers(1, 1 << 50),
)
def test_what_is_let_pass_never_touches_the_reserve(
    free: int, wanted: int, total: int, critical: int
) -> None:
    disk = _disk(free=free, total=total)
    try:
        room.ensure(_needs(wanted, wanted, disk), critical_bytes=critical)
    except NoSpace:
        assert free - 2 * wanted < min(critical, total // 20)
    else:
        assert free - 2 * wanted >= min(critical, total // 20)


@pytest.mark.parametrize("beside", ["/link", "/real"])
def test_the_logs_of_a_database_are_found_beside_a_link_and_beside_its_target(beside: str) -> None:
    sizes = {
        Path("/link/app.duckdb"): 1000,
        Path(beside, "app.duckdb.wal"): 100,
        Path("/state/mirror/app.duckdb"): 600,
        Path("/etc/app.toml"): 7,
    }
    damaged = _earlier(archive=1, members=1000, state=State.CORRUPT)
    state, backups = room.needs(
        databases=(Path("/link/app.duckdb"), Path("/real/app.duckdb")),
        logs=wal_names,
        extras=[Path("/etc/app.toml")],
        mirror=Path("/state/mirror"),
        directory=BACKUPS,
        earlier=(_earlier(archive=500, members=1000), damaged),
        file_bytes=lambda path: sizes.get(path, 0),
        look=lambda path: _disk(free=GB, device=1 if path == STATE else 2),
    )
    assert (state.folder, state.bytes, state.disk.device) == (STATE, 400 + 100 + 100, 1)
    assert (backups.folder, backups.bytes) == (BACKUPS, int(1107 * 0.5 * 1.1) + 7)


def test_what_goes_to_each_folder_once_more_is_bounded_by_the_tightest_disk() -> None:
    one = _disk(free=10 * GB)
    assert room.spare(_needs(2 * GB, 1 * GB, one), critical_bytes=GB) == 3 * GB
    two = _disk(free=4 * GB, device=2)
    assert room.spare(_needs(2 * GB, 1 * GB, one, two), critical_bytes=GB) == 2 * GB
    assert room.spare(_needs(9 * GB, 9 * GB, one), critical_bytes=GB) == 0
