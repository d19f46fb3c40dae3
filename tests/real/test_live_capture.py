"""Live captures are right: what the writer's own engine says of copies taken while it writes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from eiderd.outside import capture, collect
from tests.real import harness, images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eiderd.evidence import Captured

    Engines = Callable[[str], Path]

CELLS = [(engine, workload) for engine in harness.ENGINES for workload in harness.WORKLOADS]
MEGABYTES = 30.0


def held(counts: harness.Counts, *, cell: tuple[str, str], times: int) -> None:
    """Fail unless every capture was good; print what was permitted instead."""
    print(f"{cell[0]} {cell[1]}:{counts.row()}")  # noqa: T201  (the counts are the evidence)
    engines_own = harness.ENGINE_LOSES.get(cell)
    lost = sum(engines_own is not None and engines_own in reason for reason in counts.reasons)
    assert counts.bad == lost, counts.reasons
    if cell in harness.MAY_NOT_CONVERGE:
        assert counts.good + counts.not_converged == times, counts.reasons
    else:
        assert counts.good == times - lost, counts.reasons


@pytest.mark.parametrize(("engine", "workload"), CELLS)
def test_a_capture_of_a_live_database_is_one_instant_of_it(
    engines: Engines, tmp_path: Path, engine: str, workload: str
) -> None:
    with harness.Writer(engines(engine), workload, tmp_path / "app", megabytes=MEGABYTES) as writer:
        first = harness.campaign(writer, harness.captured, 1, tmp_path / "mirror")
        again = harness.campaign(writer, harness.captured, 1, tmp_path / "mirror", fresh=False)
        quick = harness.campaign(writer, harness.quickly, 1, tmp_path / "mirror", fresh=False)
    for counts in (first, again, quick):
        held(counts, cell=(engine, workload), times=1)


def test_the_mirror_of_an_idle_database_is_every_byte_of_it(
    engines: Engines, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    with harness.Writer(engines("2.0.0"), "idle", tmp_path / "app", megabytes=10) as writer:
        harness.await_true(writer.is_idle)
        report = harness.captured(writer.database, mirror)
        for name in report.files:
            assert (mirror / name).read_bytes() == (writer.folder / name).read_bytes(), name
        again = harness.quickly(writer.database, mirror)
    assert set(report.files) >= {"live.duckdb", "live.duckdb.wal"}
    assert (again.changed, again.wal_changed) == ((), {})


# The harness has teeth --------------------------------------------------------------------------


SLOW = 100_000_000  # bytes per second: many checkpoints pass while one copy is made


def until_bad(writer: harness.Writer, method: harness.Method, folder: Path) -> harness.Counts:
    """Copy again and again until a copy is bad, ten times at most."""
    counts = harness.Counts()
    while not counts.bad and len(counts.passes) < 10:
        harness.attempt(writer, method, folder, counts)
    return counts


@pytest.mark.parametrize("engine", ["1.4.3", "2.0.0"])
def test_a_naive_copy_of_a_busy_writer_is_caught(
    engines: Engines, tmp_path: Path, engine: str
) -> None:
    def naive(source: Path, folder: Path) -> harness.Naive:
        folder.mkdir(exist_ok=True)
        return harness.naive_copy(source, folder / source.name, SLOW)

    with harness.Writer(
        engines(engine), "checkpoints", tmp_path / "app", megabytes=MEGABYTES
    ) as writer:
        assert until_bad(writer, naive, tmp_path / "copy").bad


def test_a_capture_that_stops_after_its_first_pass_is_caught(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect.Collect, "look", looking_once(collect.Collect.look))
    monkeypatch.setattr(collect.Collect, "wal_held", lambda _self: True)
    monkeypatch.setattr(collect.Collect, "nothing_reused", lambda _self: True)
    with harness.Writer(
        engines("1.4.3"), "checkpoints", tmp_path / "app", megabytes=MEGABYTES
    ) as writer:
        counts = until_bad(writer, slowly, tmp_path / "mirror")
    assert set(counts.passes) == {2}
    assert counts.bad


def looking_once(
    look: Callable[[collect.Collect], list[int]],
) -> Callable[[collect.Collect], list[int]]:
    def once(work: collect.Collect) -> list[int]:
        return [] if work.settled else look(work)

    return once


def slowly(source: Path, folder: Path) -> Captured:
    """Capture at the rate of a slow disk, so that the first pass is surely torn."""
    return capture.refresh(
        source=source,
        mirror=folder,
        passes=60,
        timeout_seconds=60.0,
        rate_limit=SLOW,
        thorough=True,
        progress=lambda _done, _total: None,
    )


# Moments too short to wait for ------------------------------------------------------------------


def between_copying_and_reading_the_log(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]
) -> None:
    """Let something happen to the live file once, after a refresh has copied its blocks."""
    pending = [change]
    read_wal = collect.Collect.read_wal

    def changed_first(work: collect.Collect) -> None:
        if pending:
            pending.pop()()
        read_wal(work)

    monkeypatch.setattr(collect.Collect, "read_wal", changed_first)


def overwrite(live: Path, data: bytes) -> None:
    with live.open("r+b") as file:
        file.write(data)
        file.truncate(len(data))


def holds(path: Path, data: bytes) -> bool:
    """Compare without letting pytest explain a difference of megabytes."""
    return path.read_bytes() == data


@pytest.fixture
def whole(engines: Engines, tmp_path: Path) -> Path:
    """Some database of several blocks, closed."""
    return images.plain(engines("1.4.3"), tmp_path / "whole")


@pytest.mark.parametrize("within_one_refresh", [False, True])
def test_a_block_that_was_half_there_is_copied_to_its_end(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, within_one_refresh: bool
) -> None:
    # A file grows page by page: its last block can be seen with its first word and no end.
    data = whole.read_bytes()
    half = len(data) - images.BLOCK // 3
    live, mirror = tmp_path / "live.duckdb", tmp_path / "mirror"
    live.write_bytes(data[: half - images.BLOCK])
    harness.captured(live, mirror)
    live.write_bytes(data[:half])
    if within_one_refresh:
        between_copying_and_reading_the_log(monkeypatch, lambda: overwrite(live, data))
        harness.captured(live, mirror)
    else:
        harness.captured(live, mirror)
        overwrite(live, data)
        harness.quickly(live, mirror)
    assert holds(mirror / live.name, data)


@pytest.mark.parametrize("engine", harness.ENGINES)
@pytest.mark.parametrize("within_one_refresh", [False, True])
def test_words_in_another_order_do_not_stay_behind(
    engines: Engines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    *,
    within_one_refresh: bool,
) -> None:
    states = images.permuted_blocks(engines(engine), tmp_path / "states")
    live, mirror = tmp_path / "live.duckdb", tmp_path / "mirror"
    shutil.copyfile(states.before, live)
    after = states.after.read_bytes()
    if within_one_refresh:
        between_copying_and_reading_the_log(monkeypatch, lambda: overwrite(live, after))
    else:
        harness.captured(live, mirror)
        overwrite(live, after)
    harness.captured(live, mirror)
    assert holds(mirror / live.name, after)
