"""Double collect against files that the test changes at chosen moments: every rule, on its own."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from eiderd.errors import NotConverged, SourceUnavailable
from eiderd.outside import capture, checksum, collect, wal_image
from eiderd.outside.duckdb_file import HEADER_BYTES, PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from eiderd.evidence import Captured

BLOCK = 16384


def _sealed(data: bytes) -> bytes:
    """A page or block with the checksum of its content in front."""
    words = np.frombuffer(bytes(8) + data, dtype="<u8").copy()
    words[0] = np.bitwise_xor.reduce(words[1:] * np.uint64(0xBF58476D1CE4E5B9)) ^ np.uint64(5381)
    return words.tobytes()


def _header(iteration: int, blocks: int) -> bytes:
    body = struct.pack("<QqqQQQQ", iteration, 0, -1, blocks, BLOCK, 2048, 64)
    return _sealed(body.ljust(PAGE - 8, b"\0"))


def _block(seed: int) -> bytes:
    return _sealed(random.Random(seed).randbytes(BLOCK - 8))


class Live:
    """A database file made by hand, that a test can change as an engine would."""

    def __init__(self, folder: Path, *, blocks: int = 20, encrypted: bool = False) -> None:
        folder.mkdir()
        self.path = folder / "x.duckdb"
        self.wal = folder / "x.duckdb.wal"
        flags = 1 if encrypted else 0
        main = b"DUCK" + struct.pack("<QQQQQ", 64, flags, 0, 0, 0) + b"v1.4.3".ljust(32, b"\0")
        pages = _sealed(main.ljust(PAGE - 8, b"\0")) + _header(1, blocks) + _header(2, blocks)
        self.path.write_bytes(pages + b"".join(map(_block, range(blocks))))

    def write(self, index: int, data: bytes, *, at: int = 0) -> None:
        with self.path.open("r+b") as file:
            file.seek(HEADER_BYTES + index * BLOCK + at)
            file.write(data)

    def checkpoint(self, iteration: int) -> None:
        with self.path.open("r+b") as file:
            file.seek(PAGE if iteration % 2 else 2 * PAGE)
            file.write(_header(iteration, 20))


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path / "data")


def _refresh(live: Live, *, thorough: bool = True, passes: int = 10, **words: object) -> Captured:
    return capture.refresh(
        source=live.path,
        mirror=live.path.parent.parent / "mirror",
        passes=passes,
        timeout_seconds=30.0,
        rate_limit=words.pop("rate_limit", None),  # type: ignore[arg-type]
        thorough=thorough,
        progress=words.pop("progress", lambda _done, _total: None),  # type: ignore[arg-type]
    )


def _same(live: Live) -> None:
    mirror = live.path.parent.parent / "mirror"
    for path in live.path.parent.iterdir():
        assert (mirror / path.name).read_bytes() == path.read_bytes(), path.name
    names = {path.name for path in mirror.iterdir() if not path.name.startswith(".")}
    assert names == {path.name for path in live.path.parent.iterdir()}


def _between(
    monkeypatch: pytest.MonkeyPatch, where: str, act: Callable[[], object], *, times: int = 1
) -> list[int]:
    """Run `act` after each of the first `times` calls of a step of the refresh."""
    owner: object = wal_image if where == "wal" else collect.Collect
    name = "refresh" if where == "wal" else where
    original = getattr(owner, name)
    calls: list[int] = []

    def wrapped(*args: object, **words: object) -> object:
        result = original(*args, **words)
        calls.append(1)
        if len(calls) <= times:
            act()
        return result

    monkeypatch.setattr(owner, name, wrapped)
    return calls


def test_a_quiet_file_takes_two_passes(live: Live) -> None:
    report = _refresh(live)
    assert (report.passes, report.iteration, report.engine) == (2, 2, "v1.4.3")
    assert report.changed == ((0, live.path.stat().st_size),)
    assert report.wal_bytes == 0
    _same(live)


@pytest.mark.parametrize("thorough", [True, False])
def test_a_refresh_reports_exactly_what_changed(live: Live, *, thorough: bool) -> None:
    _refresh(live)
    live.write(3, _block(103))
    live.write(4, _block(104))
    live.write(9, _block(109))
    live.wal.write_bytes(b"w" * 100)
    report = _refresh(live, thorough=thorough)
    at = HEADER_BYTES
    assert report.changed == ((at + 3 * BLOCK, 2 * BLOCK), (at + 9 * BLOCK, BLOCK))
    assert report.wal_changed == {"x.duckdb.wal": (0, 100)}
    live.wal.write_bytes(b"w" * 100 + b"more")
    report = _refresh(live, thorough=thorough)
    assert (report.changed, report.wal_changed) == ((), {"x.duckdb.wal": (100, 104)})
    live.wal.unlink()
    live.checkpoint(3)
    report = _refresh(live, thorough=thorough)
    assert (report.changed, report.iteration) == (((0, HEADER_BYTES),), 3)
    assert report.wal_changed == {"x.duckdb.wal": (0, 0)}
    _same(live)


def test_all_four_files_are_taken(live: Live) -> None:
    for suffix in (".wal", ".wal.checkpoint", ".wal.recovery"):
        live.path.with_name(live.path.name + suffix).write_bytes(suffix.encode() * 10)
    report = _refresh(live)
    assert len(report.files) == 4
    _same(live)


def test_a_file_that_grows_and_one_that_shrinks(live: Live) -> None:
    _refresh(live)
    with live.path.open("ab") as file:
        file.write(_block(200) + b"half a block")
    _refresh(live, thorough=False)
    _same(live)
    os.truncate(live.path, HEADER_BYTES + 5 * BLOCK)
    report = _refresh(live, thorough=False)
    assert report.bytes == HEADER_BYTES + 5 * BLOCK
    _same(live)


@pytest.mark.parametrize("step", ["look", "copy", "wal"])
def test_a_block_that_changes_meanwhile_is_copied_again(
    live: Live, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    _between(monkeypatch, step, lambda: live.write(7, _block(107)))
    _refresh(live)
    _same(live)


@pytest.mark.parametrize("step", ["look", "copy", "wal"])
def test_a_checkpoint_meanwhile_is_noticed(
    live: Live, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    live.wal.write_bytes(b"before")

    def checkpoint() -> None:
        live.write(2, _block(102))
        live.checkpoint(3)
        live.wal.write_bytes(b"after, and longer")

    _between(monkeypatch, step, checkpoint)
    report = _refresh(live)
    assert report.iteration == 3
    _same(live)


def test_a_torn_block_is_compared_in_full_until_the_end(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half written when it is copied: its word is the new one already, the rest follows later."""
    new = _block(105)
    live.write(5, new[: BLOCK // 2])
    _between(monkeypatch, "copy", lambda: live.write(5, new[BLOCK // 2 :], at=BLOCK // 2))
    report = _refresh(live)
    assert report.unsound == 0
    _same(live)


def test_a_torn_block_is_remembered_across_refreshes(live: Live) -> None:
    new = _block(105)
    live.write(5, new[: BLOCK // 2])
    assert _refresh(live).unsound == 1
    live.write(5, new[BLOCK // 2 :], at=BLOCK // 2)
    report = _refresh(live, thorough=False)
    assert (report.unsound, report.changed) == (0, ((HEADER_BYTES + 5 * BLOCK, BLOCK),))
    _same(live)


def _permuted(block: bytes) -> bytes:
    """The same words in another order: the same checksum."""
    words = np.frombuffer(block, dtype="<u8").copy()
    words[[10, 11]] = words[[11, 10]]
    assert checksum.sound(words.tobytes(), BLOCK).all()
    return words.tobytes()


def test_a_thorough_refresh_sees_words_in_another_order(live: Live) -> None:
    _refresh(live)
    live.write(6, _permuted(_block(6)))
    assert _refresh(live, thorough=False).changed == ()  # why a backup never trusts words alone
    assert _refresh(live).changed == ((HEADER_BYTES + 6 * BLOCK, BLOCK),)
    _same(live)


def test_words_in_another_order_are_seen_within_one_refresh(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied, then freed by a checkpoint and reused before the next look."""

    def reuse() -> None:
        live.write(6, _permuted(_block(6)))
        live.checkpoint(3)

    _between(monkeypatch, "copy", reuse)
    _refresh(live)
    _same(live)


@pytest.mark.parametrize("step", ["look", "copy", "wal"])
@pytest.mark.parametrize("thorough", [True, False])
def test_a_last_block_that_was_half_there_is_completed(
    live: Live, monkeypatch: pytest.MonkeyPatch, step: str, *, thorough: bool
) -> None:
    _refresh(live)
    block = _block(300)
    with live.path.open("ab") as file:
        file.write(block[:5000])

    def complete() -> None:
        with live.path.open("ab") as file:
            file.write(block[5000:])

    _between(monkeypatch, step, complete)
    _refresh(live, thorough=thorough)
    _same(live)


def test_a_last_block_that_was_half_there_is_completed_by_the_next_refresh(live: Live) -> None:
    block = _block(300)
    with live.path.open("ab") as file:
        file.write(block[:5000])
    assert _refresh(live).unsound == 1
    with live.path.open("ab") as file:
        file.write(block[5000:])
    assert _refresh(live, thorough=False).unsound == 0
    _same(live)


def test_what_an_unfinished_refresh_wrote_is_reported_by_the_next(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refresh(live)
    with monkeypatch.context() as patch:
        seeds = iter(range(1000, 2000))
        _between(patch, "wal", lambda: live.write(1, _block(next(seeds))), times=999)
        with pytest.raises(NotConverged):
            _refresh(live, thorough=False)
    report = _refresh(live, thorough=False)
    assert report.changed == ((0, report.bytes),)


def test_an_unclean_stop_is_followed_by_a_thorough_refresh(live: Live) -> None:
    _refresh(live)
    mirror = live.path.parent.parent / "mirror"
    with (mirror / live.path.name).open("r+b") as file:
        file.seek(HEADER_BYTES + 8 * BLOCK + 4000)
        file.write(b"lost in a power cut")
    next(mirror.glob(".*.mark")).unlink()
    report = _refresh(live, thorough=False)
    assert report.changed == ((0, report.bytes),)  # nobody was told what the lost one had written
    _same(live)


def test_a_mark_of_another_boot_is_not_trusted(live: Live) -> None:
    _refresh(live)
    mirror = live.path.parent.parent / "mirror"
    with (mirror / live.path.name).open("r+b") as file:
        file.seek(HEADER_BYTES + 8 * BLOCK + 4000)
        file.write(b"lost in a power cut")
    mark = next(mirror.glob(".*.mark"))
    mark.write_text('{"boot": "another", "unsound": []}')
    _refresh(live, thorough=False)
    _same(live)


def test_a_wal_rewritten_meanwhile_is_read_again(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.wal.write_bytes(b"a" * 1000)
    _between(monkeypatch, "wal", lambda: live.wal.write_bytes(b"b" * 2000))
    report = _refresh(live, thorough=False)
    assert report.passes == 3
    _same(live)


def test_a_wal_of_the_same_size_is_not_the_same_wal(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.wal.write_bytes(b"a" * 1000)
    _between(monkeypatch, "wal", lambda: live.wal.write_bytes(b"a" * 999 + b"b"))
    _refresh(live)
    _same(live)


def test_a_pass_in_which_the_headers_changed_does_not_count(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refresh(live)
    _between(monkeypatch, "wal", lambda: live.checkpoint(3))
    assert _refresh(live, thorough=False).passes == 3
    _same(live)


def test_a_checkpoint_during_the_last_look_is_noticed(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a WAL before and after, only the headers tell."""
    _refresh(live)
    looks = iter((False, True))

    def after_the_last_one() -> None:
        if next(looks):
            live.checkpoint(3)

    _between(monkeypatch, "look", after_the_last_one, times=2)
    assert _refresh(live, thorough=False).iteration == 3
    _same(live)


def test_a_file_cut_while_it_is_copied_and_grown_again(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refresh(live)
    live.write(19, _block(219))
    whole = live.path.read_bytes()
    cut = len(whole) - BLOCK // 2

    def grow() -> None:
        live.path.write_bytes(whole)

    _between(monkeypatch, "look", lambda: os.truncate(live.path, cut))
    _between(monkeypatch, "copy", grow)
    _refresh(live, thorough=False)
    _same(live)


def test_a_wal_that_appears_or_goes_meanwhile(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _between(monkeypatch, "wal", lambda: live.wal.write_bytes(b"new"))
    _refresh(live)
    _same(live)
    calls.clear()
    _between(monkeypatch, "wal", live.wal.unlink)
    _refresh(live)
    _same(live)


def _entries(*kinds: int) -> bytes:
    """A WAL as an engine frames it, with entries of these types."""
    version = b"\x64\x00\x62\x65\x00\x02\xff\xff"
    payloads = [b"\x64\x00" + bytes([kind]) + b"\xff\xff" for kind in kinds]
    return version + b"".join(struct.pack("<QQ", len(p), 0) + p for p in payloads)


@pytest.mark.parametrize(("kind", "passes"), [(26, 2), (29, 2), (2, 3), (20, 3), (99, 3), (77, 3)])
def test_a_pass_in_which_blocks_may_have_been_freed_does_not_count(
    live: Live, monkeypatch: pytest.MonkeyPatch, kind: int, passes: int
) -> None:
    """A block may then hold, at the instant of the WAL, what neither look saw."""
    live.wal.write_bytes(_entries(26, 100))
    grown = _entries(26, 100, kind, 100)
    _between(monkeypatch, "wal", lambda: live.wal.write_bytes(grown))
    assert _refresh(live, thorough=False).passes == passes


def test_two_wal_files_that_both_grew_were_not_read_at_one_instant(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = live.path.with_name("x.duckdb.wal.checkpoint")
    live.wal.write_bytes(_entries(26))
    other.write_bytes(_entries(26))

    def grow() -> None:
        live.wal.write_bytes(_entries(26, 100))
        other.write_bytes(_entries(26, 100))

    _between(monkeypatch, "read_wal", grow)
    assert _refresh(live).passes == 3
    _same(live)


def test_a_file_that_never_holds_still_is_refused(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = iter(range(1000, 2000))
    _between(monkeypatch, "wal", lambda: live.write(1, _block(next(seeds))), times=999)
    with pytest.raises(NotConverged, match="after 10 passes") as caught:
        _refresh(live)
    assert caught.value.hint
    monkeypatch.undo()
    _refresh(live)
    _same(live)


def test_a_file_put_in_its_place_is_noticed(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace() -> None:
        other = live.path.with_name("other")
        other.write_bytes(live.path.read_bytes())
        other.replace(live.path)

    _between(monkeypatch, "copy", replace)
    with pytest.raises(SourceUnavailable, match="replaced"):
        _refresh(live)


def test_an_encrypted_file_is_compared_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checksums are out of reach, so no block is taken at its word within a refresh."""
    live = Live(tmp_path / "data", encrypted=True)
    _between(monkeypatch, "copy", lambda: live.write(5, b"later", at=9000))
    report = _refresh(live)
    assert (report.encrypted, report.iteration) == (True, None)
    _same(live)


def test_without_help_from_the_kernel_the_result_is_the_same(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect.Collect, "first_pass", lambda _self: None)
    report = _refresh(live)
    assert report.first_pass is None
    _same(live)


def test_a_rate_limit_is_kept_and_progress_reaches_the_end(live: Live) -> None:
    told: list[tuple[int, int]] = []
    size = live.path.stat().st_size
    report = _refresh(live, rate_limit=size * 4, progress=lambda *said: told.append(said))
    assert report.seconds >= 0.4  # copied once, compared once
    assert told[-1][0] == told[-1][1]
    assert [done for done, _total in told] == sorted(done for done, _total in told)


def test_the_application_sees_no_change(live: Live) -> None:
    before = {path: path.stat() for path in live.path.parent.iterdir()}
    _refresh(live)
    for path, was in before.items():
        now = path.stat()
        assert (now.st_mtime_ns, now.st_ino, now.st_size) == (
            was.st_mtime_ns, was.st_ino, was.st_size)  # fmt: skip
    assert set(live.path.parent.iterdir()) == set(before)


def test_random_histories_end_in_the_exact_state(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens between the steps, what is returned is what was there at its instant."""
    chance = random.Random(7)
    iteration = 2

    def act() -> None:
        nonlocal iteration
        match chance.randrange(6):
            case 0 | 1:
                live.write(chance.randrange(20), _block(chance.randrange(10**6)))
            case 2:
                with live.wal.open("ab") as file:
                    file.write(chance.randbytes(50))
            case 3:
                iteration += 1
                live.checkpoint(iteration)
                live.wal.write_bytes(b"")
            case 4:
                block = chance.randrange(20)
                live.write(block, _block(chance.randrange(10**6))[: BLOCK // 2])

    for _round in range(30):
        with monkeypatch.context() as patch:
            for step in ("look", "copy", "wal"):
                _between(patch, step, act, times=2)
            _refresh(live, thorough=chance.random() < 0.3, passes=50)
        _refresh(live, thorough=False)
        _same(live)
