"""When the ballast is made and when it goes: never made into a full disk, never to and fro."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.evidence import Ballast
from eiderd.jobs import ballast
from eiderd.model import Ending, Outcome
from eiderd.outside import filesystem
from eiderd.status import Disk, Place
from tests import helpers

NOW = datetime.datetime(2026, 3, 4, tzinfo=datetime.UTC)
MB = 10**6
TOTAL = 1000 * MB
CRITICAL = 40 * MB  # less than 5 percent
PATH = Path("/backups/.ballast")


class Shelf:
    """A disk in figures, with or without a ballast on it."""

    def __init__(self, *, free: int, there: Ballast | None = None, total: int = TOTAL) -> None:
        self.free, self.there, self.total = free, there, total
        self.done: list[str] = []

    def found(self, _path: Path) -> Ballast | None:
        return self.there

    def allocate(self, path: Path, *, size: int) -> None:
        self.done.append(f"make {size // MB}")
        self.free -= size - (self.there.bytes if self.there else 0)
        self.there = Ballast(bytes=size, ours=True)

    def release(self, path: Path) -> None:
        assert self.there is not None
        self.done.append("release")
        self.free += self.there.bytes
        self.there = None

    def keep(self, size: int | None, *, critical: int = CRITICAL) -> Outcome[int]:
        look = Disk(
            place=Place.BACKUPS, path="/backups", at=NOW, total_bytes=self.total,
            free_bytes=self.free, total_inodes=0, free_inodes=0,
        )  # fmt: skip
        return ballast.run(
            disk=look, size=size, path=PATH, critical_bytes=critical,
            found=self.found, allocate=self.allocate, release=self.release,
        )  # fmt: skip


def _ours(megabytes: int) -> Ballast:
    return Ballast(bytes=megabytes * MB, ours=True)


def test_it_is_made_when_there_is_room_and_then_left_alone() -> None:
    shelf = Shelf(free=180 * MB)
    made = shelf.keep(100 * MB)
    assert (made.ending, made.value, shelf.done) == (Ending.DONE, 100 * MB, ["make 100"])
    again = shelf.keep(100 * MB)
    assert (again.ending, again.value) == (Ending.NOTHING_TO_DO, 100 * MB)
    assert len(shelf.done) == 1


def test_it_is_not_made_below_twice_the_critical_mark() -> None:
    shelf = Shelf(free=180 * MB - 1)
    kept = shelf.keep(100 * MB)
    assert (kept.ending, kept.value, shelf.done) == (Ending.NOTHING_TO_DO, 0, [])
    assert "too few" in kept.why


def test_it_goes_when_the_disk_is_critically_full() -> None:
    shelf = Shelf(free=CRITICAL, there=_ours(100))
    assert shelf.keep(100 * MB).ending is Ending.NOTHING_TO_DO
    shelf.free -= 1
    released = shelf.keep(100 * MB)
    assert (released.ending, released.value, shelf.done) == (Ending.DONE, 0, ["release"])
    assert "100.0 MB released" in released.why


def test_on_a_small_disk_five_percent_are_critical() -> None:
    shelf = Shelf(free=60 * MB, there=_ours(100))
    assert shelf.keep(100 * MB, critical=10**9).ending is Ending.NOTHING_TO_DO
    shelf.free = 50 * MB - 1
    assert shelf.keep(100 * MB, critical=10**9).ending is Ending.DONE


def test_one_that_nobody_wants_any_more_goes() -> None:
    shelf = Shelf(free=500 * MB, there=_ours(100))
    assert shelf.keep(None).ending is Ending.DONE
    assert shelf.done == ["release"]
    assert shelf.keep(None).ending is Ending.NOTHING_TO_DO


def test_one_of_another_size_is_made_anew() -> None:
    shelf = Shelf(free=500 * MB, there=_ours(100))
    assert shelf.keep(50 * MB).value == 50 * MB
    assert (shelf.free, shelf.done) == (550 * MB, ["make 50"])


@pytest.mark.parametrize("size", [None, 100 * MB])
@pytest.mark.parametrize("free", [0, 500 * MB])
def test_what_is_not_eiderds_is_refused(size: int | None, free: int) -> None:
    shelf = Shelf(free=free, there=Ballast(bytes=1, ours=False))
    refused = shelf.keep(size)
    assert (refused.ending, shelf.done) == (Ending.REFUSED, [])
    assert str(PATH) in refused.why


def test_without_a_look_nothing_is_touched() -> None:
    def never(*_arguments: object, **_words: object) -> None:
        raise AssertionError

    kept = ballast.run(
        disk=None, size=MB, path=PATH, critical_bytes=CRITICAL,
        found=never, allocate=never, release=never,
    )  # fmt: skip
    assert kept.ending is Ending.NOTHING_TO_DO


SIZES = st.integers(1, 400).map(lambda count: count * MB)


@given(
    free=st.integers(0, TOTAL),
    size=SIZES,
    critical=SIZES,
    there=st.none() | SIZES.map(lambda size: Ballast(bytes=size, ours=True)),
)
def test_it_is_never_made_into_the_reserve_and_never_to_and_fro(
    free: int, size: int, critical: int, there: Ballast | None
) -> None:
    shelf = Shelf(free=free, there=there)
    reserve = min(critical, TOTAL // 20)
    shelf.keep(size, critical=critical)
    if any(done.startswith("make") for done in shelf.done):
        assert shelf.free >= 2 * reserve
        assert free - size >= 2 * reserve  # also while an old one is still there
    # While nothing else happens, more looks change nothing; but one of another size may have been
    # so large that when it has gone there is room for the new one.
    first = list(shelf.done)
    for _look in range(5):
        shelf.keep(size, critical=critical)
    if there is None or there.bytes == size:
        assert shelf.done == first
    assert shelf.done in (
        [],
        ["release"],
        [f"make {size // MB}"],
        ["release", f"make {size // MB}"],
    )


@given(
    moves=st.lists(st.integers(-30, 30), max_size=60), size=SIZES, free=st.integers(0, TOTAL // MB)
)
def test_between_two_makings_the_application_wrote_or_removed_as_much_as_the_gap(
    moves: list[int], size: int, free: int
) -> None:
    """Hysteresis: whatever the application does, a small move never makes it come and go."""
    shelf = Shelf(free=free * MB)
    written = 0
    at_change: list[tuple[str, int]] = []
    for move in moves:
        step = max(move * MB, -shelf.free)
        shelf.free += step
        written -= step
        before = len(shelf.done)
        shelf.keep(size)
        at_change += [(done.split()[0], written) for done in shelf.done[before:]]
    for (one, then), (other, now) in itertools.pairwise(at_change):
        assert one != other
        assert abs(now - then) >= CRITICAL


@pytest.mark.skipif(not helpers.is_root(), reason="only root may mount a small disk")
def test_on_a_true_disk_it_comes_and_goes_with_the_room(tmp_path: Path) -> None:
    with helpers.small_disk(tmp_path / "disk", size="16m") as folder:
        path, filler = folder / ".ballast", folder / "filler"

        def keep() -> Outcome[int]:
            seen = filesystem.look(folder)
            look = Disk(
                place=Place.BACKUPS, path=str(folder), at=NOW, total_bytes=seen.total_bytes,
                free_bytes=seen.free_bytes, total_inodes=0, free_inodes=0,
            )  # fmt: skip
            return ballast.run(
                disk=look, size=4 * MB, path=path, critical_bytes=10**9,
                found=filesystem.ballast_at, allocate=filesystem.make_ballast,
                release=filesystem.release_ballast,
            )  # fmt: skip

        assert keep().value == 4 * MB
        filler.write_bytes(bytes(12 * MB))
        assert filesystem.look(folder).free_bytes < 16 * (1 << 20) // 20
        assert keep().value == 0
        assert not path.exists()
        assert filesystem.look(folder).free_bytes > 4 * MB
        assert keep().ending is Ending.NOTHING_TO_DO  # not yet: twice 5 percent must stay
        filler.unlink()
        assert keep().value == 4 * MB
