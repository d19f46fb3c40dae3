"""Whatever instant eiderd dies at: old or new, never neither; and nothing piles up."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from eiderd import catalog, staging
from eiderd.model import State
from tests import helpers
from tests.steps import PowerCut, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.helpers import Place

KILLS = int(os.environ.get("EIDER_KILLS", "12"))
SETTLED = {".app.duckdb.mark", "app.duckdb", "app.duckdb.wal"}


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, float]:
    """A place with one backup, and how long another takes."""
    place = helpers.given_place(tmp_path_factory.mktemp("kill"), rows=60_000)
    place.backup()
    ran = place.eider("backup", "--json")
    assert ran.code == 0
    return place, ran.seconds


def assert_usable(place: Place) -> None:
    """Every backup that is listed verifies, and no run's remains are left."""
    listed = place.eider("list", "--json")
    assert listed.code == 0, listed
    assert {row["state"] for row in listed.json} == {"verified"}
    checked = place.eider("verify", "--all", "--level", "2", "--json").good_manners()
    assert checked.code == 0, checked


def assert_nothing_piled_up(place: Place) -> None:
    ids = list(place.listed())
    expected = {
        name
        for id_ in ids
        for name in (place.archive(id_).name, place.manifest(id_).name, place.sidecar(id_).name)
    }
    assert helpers.files_below(place.backups) == expected | {"backup-latest.tar.gz"}
    assert {p.name for p in place.backups.iterdir() if p.is_dir()} == {".staging"}
    assert list((place.backups / ".staging").iterdir()) == []
    own = {"mirror", "scratch", "journal.jsonl"}
    assert {path.name for path in place.state.iterdir()} <= own
    assert list((place.state / "scratch").iterdir()) == []
    assert helpers.files_below(place.state / "mirror") <= SETTLED


def gone(place: Place) -> Callable[[], bool]:
    word = str(place.root)
    return lambda: not helpers.children_with(word)


@contextlib.contextmanager
def begun(place: Place) -> Iterator[Any]:
    process = helpers.start("backup", config=place.config)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("part", range(4))
def test_killed_at_any_instant_the_next_run_finds_only_usable_things(
    taken: tuple[Place, float], tmp_path: Path, part: int
) -> None:
    original, seconds = taken
    place = original.clone(tmp_path / "place")
    chance = random.Random(f"{part} {KILLS}")
    share = range(part, KILLS, 4)
    for number in share:
        instant = seconds * (number + chance.random()) / KILLS
        with begun(place) as process, contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=instant)
        helpers.until(gone(place), what=f"children of the one killed after {instant:.3f} s")
        listed = place.eider("list", "--json")
        assert listed.code == 0, (instant, listed)
        assert {row["state"] for row in listed.json} == {"verified"}, instant
    place.backup()
    assert_usable(place)
    assert_nothing_piled_up(place)


def interrupted(place: Place, number: signal.Signals, ready: Callable[[], bool]) -> helpers.Ran:
    process = helpers.start("backup", config=place.config)
    helpers.until(lambda: ready() or process.poll() is not None)
    return helpers.interrupt(process, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_and_no_traceback(
    taken: tuple[Place, float], tmp_path: Path, number: signal.Signals
) -> None:
    original, _seconds = taken
    place = original.clone(tmp_path / "place")
    before = helpers.files_below(place.backups)

    ran = interrupted(
        place, number, lambda: any(place.backups.glob(".staging/*/*.tar.gz"))
    ).good_manners()

    if number == signal.SIGINT:
        assert ran.code == 130, ran
        assert "interrupted" in ran.stderr, "and it says so"
    assert ran.code != 0, ran
    helpers.until(gone(place))
    assert helpers.files_below(place.backups) == before
    assert list((place.state / "scratch").iterdir()) == []


def test_interrupted_as_json_it_says_so_in_one_document(
    taken: tuple[Place, float], tmp_path: Path
) -> None:
    place = taken[0].clone(tmp_path / "place")
    process = helpers.start("backup", "--json", config=place.config)
    helpers.until(lambda: any(place.backups.glob(".staging/*/*.tar.gz")))
    ran = helpers.interrupt(process, signal.SIGINT).good_manners()
    assert ran.code == 130
    assert ran.json["error"]["exit_code"] == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_instant_ends_without_a_traceback(
    taken: tuple[Place, float], tmp_path: Path, number: signal.Signals
) -> None:
    original, seconds = taken
    place = original.clone(tmp_path / "place")
    for part in range(6):
        process = helpers.start("backup", config=place.config)
        helpers.until_signals_are_ours(process)
        time.sleep(seconds * part / 6)  # the instant is the point
        if process.poll() is None:
            ran = helpers.interrupt(process, number).good_manners()
            assert ran.code in {130, 143, 0, -number}, (part, ran)
        else:
            process.communicate()
    helpers.until(gone(place))
    place.backup()
    assert_nothing_piled_up(place)


def test_interrupted_again_and_again_it_still_cleans_up(
    taken: tuple[Place, float], tmp_path: Path
) -> None:
    place = taken[0].clone(tmp_path / "place")
    process = helpers.start("backup", config=place.config)
    helpers.until(lambda: any(place.backups.glob(".staging/*/*.tar.gz")))
    for _ in range(5):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _stdout, stderr = process.communicate(timeout=30)
    assert b"Traceback" not in stderr
    helpers.until(gone(place))
    place.backup()
    assert_nothing_piled_up(place)


# Every single step of the commit -----------------------------------------------------------------


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def given_staged(original: Place, folder: Path) -> tuple[Path, Any]:
    """Return a backup folder in which the newest backup is staged, proven and not committed."""
    shutil.copytree(original.backups, folder, symlinks=True)
    newest = catalog.read(folder).backups[-1]
    staged = folder / ".staging" / newest.id
    staged.mkdir(parents=True)
    archive = folder / newest.archive
    archive.rename(staged / newest.archive)
    archive.with_name(f"{newest.archive}.sha256").unlink()
    (folder / catalog.manifest_name(newest.id)).unlink()
    catalog.point_latest(folder)
    return folder, newest


def assert_old_or_new(folder: Path, newest: Any, *, where: object) -> bool:  # noqa: ANN401
    """Return whether it is the new state. Everything listed is whole, and nothing else is there."""
    listing = catalog.read(folder)
    assert not listing.unreadable, where
    ids = [backup.id for backup in listing.backups]
    assert len(ids) >= 1, where
    for backup in listing.backups:
        assert backup.state is State.VERIFIED
        assert (folder / backup.archive).stat().st_size == backup.bytes, where
        assert (folder / f"{backup.archive}.sha256").read_text().split()[0] == backup.sha256
    latest = (folder / "backup-latest.tar.gz").readlink()
    assert str(latest) == listing.backups[-1].archive, where
    expected = {f"backup-{i}.{end}" for i in ids for end in ("tar.gz", "tar.gz.sha256", "json")}
    assert helpers.files_below(folder) == expected | {"backup-latest.tar.gz"}, where
    assert list((folder / ".staging").iterdir()) == [], where
    return newest.id in ids


@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
def test_power_cut_at_every_step_of_a_commit_leaves_old_or_new(
    taken: tuple[Place, float], tmp_path: Path, steps: Steps, *, after: bool
) -> None:
    folder, newest = given_staged(taken[0], tmp_path / "counted")
    with steps.cut(None):
        staging.commit(folder, newest)
    total = len(steps.taken)
    assert total > 8
    assert_old_or_new(folder, newest, where="uncut")

    outcomes = []
    for at in range(1, total + 1):
        folder, newest = given_staged(taken[0], tmp_path / str(at))
        with pytest.raises(PowerCut), steps.cut(at, after=after):
            staging.commit(folder, newest)
        before = {backup.id for backup in catalog.read(folder).backups}
        for backup in catalog.read(folder).backups:  # even without a recovery
            assert (folder / backup.archive).exists(), at
        staging.recover(folder)
        outcomes.append(assert_old_or_new(folder, newest, where=at))
        assert before <= {backup.id for backup in catalog.read(folder).backups}
    assert outcomes == sorted(outcomes), "once it is committed it stays committed"
    assert {False, True} == set(outcomes)


def test_power_cut_at_every_step_of_a_recovery_too(
    taken: tuple[Place, float], tmp_path: Path, steps: Steps
) -> None:
    folder, newest = given_staged(taken[0], tmp_path / "once")
    with steps.cut(None):
        staging.commit(folder, newest)
    commits = len(steps.taken)
    for at in range(commits // 2, commits + 1):
        cut = 0
        while True:
            cut += 1
            folder, newest = given_staged(taken[0], tmp_path / f"{at}-{cut}")
            with pytest.raises(PowerCut), steps.cut(at):
                staging.commit(folder, newest)
            with contextlib.suppress(PowerCut), steps.cut(cut):
                staging.recover(folder)
            if len(steps.taken) < cut:
                break
            staging.recover(folder)
            assert_old_or_new(folder, newest, where=(at, cut))
            shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["interrupt", "disk full", "input/output error"])
def test_a_failure_at_every_step_of_a_commit_loses_no_proven_backup_and_leaves_no_orphan(
    taken: tuple[Place, float], tmp_path: Path, steps: Steps, kind: str
) -> None:
    """Unlike a power cut, what fails is followed by `discard`, as in the backup job."""
    folder, newest = given_staged(taken[0], tmp_path / "counted")
    with steps.cut(None):
        staging.commit(folder, newest)
    for at in range(1, len(steps.taken) + 1):
        folder, newest = given_staged(taken[0], tmp_path / f"{kind}-{at}")
        draft = staging.Draft(
            id=newest.id, sequence=newest.sequence, folder=folder / ".staging" / newest.id
        )
        error = {
            "interrupt": KeyboardInterrupt(),
            "disk full": OSError(errno.ENOSPC, "No space left on device"),
            "input/output error": OSError(errno.EIO, "Input/output error"),
        }[kind]
        try:
            with steps.cut(at, error=error):
                staging.commit(folder, newest)
        except BaseException:  # noqa: BLE001
            staging.discard(draft)
        staging.recover(folder)
        assert_old_or_new(folder, newest, where=(kind, at))


def test_power_cut_at_every_step_of_a_rewrite_leaves_old_or_new(
    taken: tuple[Place, float], tmp_path: Path, steps: Steps
) -> None:
    import dataclasses  # noqa: PLC0415

    at = 0
    while True:
        at += 1
        folder = tmp_path / str(at)
        shutil.copytree(taken[0].backups, folder, symlinks=True)
        newest = catalog.read(folder).backups[-1]
        corrupt = dataclasses.replace(newest, state=State.CORRUPT)
        with contextlib.suppress(PowerCut), steps.cut(at):
            catalog.rewrite(folder, corrupt)
        if len(steps.taken) < at:
            break
        listing = catalog.read(folder)
        assert not listing.unreadable
        assert listing.backups[-1] in (newest, corrupt)
        staging.recover(folder)
        latest = str((folder / "backup-latest.tar.gz").readlink())
        verified = catalog.read(folder).newest_verified
        assert verified is not None
        assert latest == verified.archive, at
        assert not [n for n in helpers.files_below(folder) if n.endswith(".new")], at


# What others left behind -------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["a file", "a folder", "a link", "a link to data"])
@pytest.mark.parametrize("where", ["staging", "scratch"])
def test_strangers_in_our_own_folders_do_not_stop_backups(
    taken: tuple[Place, float], tmp_path: Path, where: str, what: str
) -> None:
    place = taken[0].clone(tmp_path / "place")
    folder = place.backups / ".staging" if where == "staging" else place.state / "scratch"
    stranger = folder / "stranger"
    match what:
        case "a file":
            stranger.write_text("hello")
        case "a folder":
            (stranger / "deeper").mkdir(parents=True)
        case "a link":
            stranger.symlink_to("nowhere")
        case "a link to data":
            stranger.symlink_to(place.database.parent)
    place.backup()
    assert place.database.exists()
    assert place.wal.exists()


@pytest.mark.parametrize("what", ["a file", "a folder"])
def test_a_latest_that_is_not_ours_is_not_removed_and_does_not_stop_backups(
    taken: tuple[Place, float], tmp_path: Path, what: str
) -> None:
    place = taken[0].clone(tmp_path / "place")
    latest = place.backups / "backup-latest.tar.gz"
    latest.unlink()
    if what == "a file":
        latest.write_text("a copy that somebody made")
    else:
        latest.mkdir()
    ran = place.eider("backup", "--json").good_manners()
    assert ran.code in {0, 3}, ran
    if what == "a file":
        assert latest.read_bytes() == b"a copy that somebody made", "never delete what is not ours"


def test_eight_verifications_at_once_do_not_sweep_each_other(
    taken: tuple[Place, float], tmp_path: Path
) -> None:
    place = taken[0].clone(tmp_path / "place")
    archive = place.root / "copy.tar.gz"
    shutil.copy(place.archive(next(iter(place.listed()))), archive)
    running = [helpers.start("verify", str(archive), config=place.config) for _ in range(8)]
    ended = [(p.communicate(timeout=60)[1].decode(), p.returncode) for p in running]
    assert [code for _said, code in ended] == [0] * 8, ended
    assert list((place.state / "scratch").iterdir()) == []
