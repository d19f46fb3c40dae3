"""What a backup costs the application: its commits per second without and with backups.

The imitation application keeps a ledger of every commit. Windows without and with backups running
one after the other alternate, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench import measure, tools
from tests.bench.database import APPLICATION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SECONDS_TO_END = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """`stalls` is how long each COMMIT inside took, in seconds."""

    seconds: float
    stalls: tuple[float, ...]

    @property
    def rate(self) -> float:
        return rate((self,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What the writer did, alone and with backups. Pairs of windows stand side by side."""

    pace: float
    alone: tuple[Window, ...]
    backed_up: tuple[Window, ...]
    verified: int
    failed: int

    @property
    def ratio(self) -> float:
        return rate(self.backed_up) / rate(self.alone)


def rate(windows: tuple[Window, ...]) -> float:
    return sum(len(window.stalls) for window in windows) / sum(w.seconds for w in windows)


def slowest_of_hundred(windows: tuple[Window, ...]) -> float:
    """The 99th percentile of the seconds that a COMMIT took."""
    stalls = sorted(stall for window in windows for stall in window.stalls)
    return stalls[int(len(stalls) * 0.99)] if stalls else 0.0


def contest(database: Path, scratch: Path, *, pace: float, seconds: float, pairs: int) -> Contest:
    folder = scratch / "writer"
    shutil.rmtree(folder, ignore_errors=True)
    live = folder / "live" / database.name
    live.parent.mkdir(parents=True)
    shutil.copyfile(database, live)
    config = tools.configure(folder, database=live)
    ledger = folder / "ledger"
    spans: list[tuple[str, int, int]] = []
    statuses: list[int] = []
    with serving(live, ledger, pace=pace):
        statuses += _back_up(config, seconds=0)  # the mirror is there, as in a life of backups
        for _pair in range(pairs):
            began = time.time_ns()
            time.sleep(seconds)
            spans.append(("alone", began, time.time_ns()))
            began = time.time_ns()
            statuses += _back_up(config, seconds=seconds)
            spans.append(("backed up", began, time.time_ns()))
    commits = list(_commits(ledger))
    windows = [(kind, _window(commits, begin=begin, end=end)) for kind, begin, end in spans]
    shutil.rmtree(folder)
    return Contest(
        pace=pace,
        alone=tuple(window for kind, window in windows if kind == "alone"),
        backed_up=tuple(window for kind, window in windows if kind == "backed up"),
        verified=statuses.count(0),
        failed=len(statuses) - statuses.count(0),
    )


@contextmanager
def serving(live: Path, ledger: Path, *, pace: float, more: Sequence[str] = ()) -> Iterator[int]:
    """Run the imitation application and yield its number."""
    command = (
        *(sys.executable, str(APPLICATION), "serve", "--database", str(live)),
        *("--ledger", str(ledger), "--pace", str(pace), *more),
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as application:
        try:
            ready = application.stdout.readline() if application.stdout else ""
            if not ready.startswith("ready"):
                raise measure.CommandFailed("the imitation application did not start")
            yield application.pid
            if application.poll() is not None:
                raise measure.CommandFailed("the imitation application ended by itself")
        finally:
            application.terminate()
            application.wait(_SECONDS_TO_END)


def _back_up(config: Path, *, seconds: float) -> list[int]:
    """Back up until the time is over and the last one has ended, at least once."""
    end = time.monotonic() + seconds
    statuses: list[int] = []
    while not statuses or time.monotonic() < end:
        ran = measure.run(tools.backup_command(config), check=False, settle=False)
        statuses.append(ran.status)
        shutil.rmtree(config.parent / "backups", ignore_errors=True)
    return statuses


def _commits(ledger: Path) -> Iterator[tuple[int, int]]:
    """Yield when each commit was acknowledged, in nanoseconds, and how long COMMIT took."""
    begun: dict[str, int] = {}
    for line in ledger.read_text().splitlines():
        match line.split():
            case ["begin", number, instant]:
                begun[number] = int(instant)
            case ["done", number, instant] if number in begun:
                yield int(instant), int(instant) - begun.pop(number)


def _window(commits: list[tuple[int, int]], *, begin: int, end: int) -> Window:
    inside = tuple(took / 1e9 for instant, took in commits if begin <= instant < end)
    return Window(seconds=(end - begin) / 1e9, stalls=inside)


def spread(contest: Contest) -> str:
    """The ratio of each pair, so that a reader sees how steady they are."""
    pairs = zip(contest.backed_up, contest.alone, strict=True)
    return ", ".join(f"{100 * one.rate / other.rate:.0f} %" for one, other in pairs)
