"""Copy databases while they are written, and count how often the copies are right."""

from __future__ import annotations

import dataclasses
import json
import select
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from eiderd import errors
from eiderd.evidence import Captured
from eiderd.outside import capture
from tests.real.writers import GOOD, UNOPENED, WRONG

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

WRITERS = Path(__file__).with_name("writers.py")
SEED_SECONDS = 120  # a bound for a hung engine, not a pace
CHECK_SECONDS = 180
CHUNK = 1 << 20
ENGINES = ("1.4.3", "1.5.6", "2.0.0")
WORKLOADS = ("default", "checkpoints", "bulk", "churn", "indexed", "idle")

# 2.0 checkpoints while commits go on, so blocks never rest: without a freeze a refresh may give up.
MAY_NOT_CONVERGE = frozenset({("2.0.0", "checkpoints")})


# What DuckDB itself loses in a crash: now and then 1.5.6 brings back one side of a transaction that
# deleted from two tables. Exact copies of a writer that was stopped show it as often, 2 of 98.
ENGINE_LOSES = {("1.5.6", "bulk"): "right_side: rows, total, seals"}


class WriterDiedError(RuntimeError):
    """The application itself failed: whatever was measured beside it is worth nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What the writer's own engine says of a copy."""

    kind: str
    commits: int
    why: str


def verdict(python: Path, name: str, database: Path) -> Verdict:
    """Return what a fresh process of `python` says. A crash of the engine is an answer, too."""
    command = [str(python), str(WRITERS), "check", name, "--database", str(database)]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=CHECK_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Verdict(UNOPENED, 0, f"no answer within {CHECK_SECONDS} s")
    try:
        said = json.loads(ran.stdout)
    except ValueError:
        return Verdict(UNOPENED, 0, f"engine ended with {ran.returncode}: {ran.stderr[-400:]}")
    return Verdict(said["verdict"], said["commits"], said["why"])


class Writer:
    """A running application: a database under constant change, and the ledger of its commits."""

    def __init__(self, python: Path, name: str, folder: Path, *, megabytes: float = 40.0) -> None:
        self.python = python
        self.name = name
        self.folder = folder
        self.database = folder / "live.duckdb"
        self.ledger = folder / "ledger"
        self._errors = folder / "stderr"
        self._megabytes = megabytes
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(self.python), str(WRITERS), "write", self.name]
        command += ["--database", str(self.database), "--ledger", str(self.ledger)]
        command += ["--megabytes", str(self._megabytes)]
        with self._errors.open("wb") as errors_file:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors_file)
        try:
            self._await_ready()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        code = self._running().poll()
        self._kill()
        said = self._errors.read_text(errors="replace")[-2000:]
        if error is not None and said:
            error.add_note(f"the writer's standard error:\n{said}")
        elif error is None and code is not None:
            raise WriterDiedError(f"{self.name} ended by itself with {code}:\n{said}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise WriterDiedError("the writer was not started")
        return self._process

    def _await_ready(self) -> None:
        stdout = self._running().stdout
        if stdout is None:
            raise WriterDiedError("no pipe to the writer")
        ready, _, _ = select.select([stdout], [], [], SEED_SECONDS)
        if not ready or stdout.readline() != b"ready\n":
            raise WriterDiedError(f"{self.name} did not start:\n{self._errors.read_text()[-2000:]}")

    def _kill(self) -> None:
        process = self._running()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def lines(self) -> list[tuple[str, int, int]]:
        """Return (word, commit, time_ns) of each whole line of the ledger."""
        whole = self.ledger.read_bytes().rpartition(b"\n")[0].decode()
        parts = (line.split() for line in whole.splitlines())
        return [(word, int(number), int(moment)) for word, number, moment in parts]

    def acknowledged(self, before_ns: int) -> int:
        """Return the last commit the application was told of before a time."""
        return self._last("done", before_ns)

    def begun(self, before_ns: int) -> int:
        return self._last("begin", before_ns)

    def _last(self, word: str, before_ns: int) -> int:
        return max(
            (n for what, n, at in self.lines() if what == word and at <= before_ns), default=0
        )

    @property
    def pid(self) -> int:
        return self._running().pid

    def is_idle(self) -> bool:
        return any(word == "idle" for word, _number, _at in self.lines())

    def judge(self, copy: Path, instant: tuple[int, int]) -> Verdict:
        """Return the engine's verdict on a copy, and hold its commits against the ledger."""
        found = verdict(self.python, self.name, copy)
        if found.kind != GOOD:
            return found
        least, most = self.acknowledged(instant[0]), self.begun(instant[1])
        if least <= found.commits <= most:
            return found
        why = f"commit {found.commits}, but acknowledged {least} and begun {most}"
        return Verdict(WRONG, found.commits, why)


# Ways to copy -----------------------------------------------------------------------------------


class Instant(Protocol):
    @property
    def instant(self) -> tuple[int, int]: ...

    @property
    def passes(self) -> int: ...


class Method(Protocol):
    def __call__(self, source: Path, folder: Path) -> Instant: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Naive:
    instant: tuple[int, int]
    passes: int = 1


def naive_copy(source: Path, target: Path, bytes_per_second: float = 300e6) -> Naive:
    """Copy X, then X.wal, as `cp` does on a machine whose disk gives `bytes_per_second`."""
    began = time.time_ns()
    for suffix in ("", ".wal"):
        one, other = Path(f"{source}{suffix}"), Path(f"{target}{suffix}")
        other.unlink(missing_ok=True)
        if one.exists():
            _copy_slowly(one, other, bytes_per_second)
    return Naive((began, time.time_ns()))


def _copy_slowly(source: Path, target: Path, bytes_per_second: float) -> None:
    began, done = time.monotonic(), 0
    with source.open("rb", buffering=0) as reading, target.open("wb", buffering=0) as writing:
        while data := reading.read(CHUNK):
            writing.write(data)
            done += len(data)
            time.sleep(max(0.0, done / bytes_per_second - (time.monotonic() - began)))


def naive(source: Path, folder: Path) -> Naive:
    folder.mkdir(exist_ok=True)
    return naive_copy(source, folder / source.name)


def captured(
    source: Path,
    folder: Path,
    *,
    passes: int = 300,
    timeout_seconds: float = 60.0,
    thorough: bool = True,
) -> Captured:
    return capture.refresh(
        source=source,
        mirror=folder,
        passes=passes,
        timeout_seconds=timeout_seconds,
        rate_limit=None,
        thorough=thorough,
        progress=lambda _done, _total: None,
    )


def quickly(source: Path, folder: Path) -> Captured:
    """Refresh as the mirror is refreshed between backups: by words only."""
    return captured(source, folder, thorough=False)


# Is a report true? ------------------------------------------------------------------------------


def untold(before: Path, after: Path, report: Captured) -> list[str]:
    """Given a mirror before and after a refresh, return what changed without being reported."""
    database, *logs = report.files
    here = {entry.name for entry in after.iterdir() if not entry.name.startswith(".")}
    faults = [] if here == set(report.files) else [f"files {sorted(here)} not {report.files}"]
    if (after / database).stat().st_size != report.bytes:
        faults.append(f"{database} has not the {report.bytes} bytes of the report")
    faults += _untold_bytes(before / database, after / database, report.changed)
    for name in logs:
        low, high = report.wal_changed.get(name, (0, 0))
        if high and (after / name).stat().st_size != high:
            faults.append(f"{name} does not end where the report says, at {high}")
        faults += _untold_bytes(before / name, after / name, ((low, high - low),))
    gone = {entry.name for entry in before.iterdir()} - here
    faults += [f"{name} vanished untold" for name in gone if report.wal_changed.get(name) != (0, 0)]
    return faults


def _untold_bytes(before: Path, after: Path, told: tuple[tuple[int, int], ...]) -> list[str]:
    old = _bytes(before) if before.exists() else np.zeros(0, np.uint8)
    new = _bytes(after)
    common = min(len(old), len(new))
    differs = np.ones(len(new), dtype=np.bool_)
    differs[:common] = old[:common] != new[:common]
    for offset, length in told:
        differs[offset : offset + length] = False
    untold_at = np.flatnonzero(differs)
    if not len(untold_at):
        return []
    return [f"{after.name}: {len(untold_at)} bytes changed untold, the first at {untold_at[0]}"]


def _bytes(path: Path) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(path.read_bytes(), dtype=np.uint8)


def snapshot(mirror: Path, target: Path) -> Path:
    """Keep the mirror's files as they are now, without its own marks."""
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(mirror, target, ignore=shutil.ignore_patterns(".*"))


# Campaigns --------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Counts:
    """How the copies of one campaign turned out."""

    good: int = 0
    wrong: int = 0
    unopened: int = 0
    not_converged: int = 0
    passes: list[int] = dataclasses.field(default_factory=list)
    milliseconds: list[float] = dataclasses.field(default_factory=list)
    reasons: list[str] = dataclasses.field(default_factory=list)

    @property
    def bad(self) -> int:
        return self.wrong + self.unopened

    def add(self, found: Verdict) -> None:
        self.good += found.kind == GOOD
        self.wrong += found.kind == WRONG
        self.unopened += found.kind == UNOPENED
        if found.kind != GOOD:
            self.reasons.append(f"{found.kind}: {found.why}")

    def row(self) -> str:
        """Return the counts, the passes and the milliseconds as columns of a table."""
        passes = statistics.median(self.passes) if self.passes else 0
        times = sorted(self.milliseconds) or [0.0]
        return (
            f"{self.good:5d} {self.wrong:5d} {self.unopened:8d} {self.not_converged:8d} "
            f"{passes:7.0f} {max(self.passes, default=0):5d} "
            f"{statistics.median(times):8.0f} {times[-1]:8.0f}"
        )


HEADINGS = " good wrong unopened no-conv. passes   max   ms med   ms max"


def campaign(
    writer: Writer, method: Method, times: int, folder: Path, *, fresh: bool = True
) -> Counts:
    """Repeat {copy; check} beside a running writer and return how the copies turned out.

    `fresh` empties the folder before each copy; otherwise a mirror is refreshed again and again,
    and what its reports keep silent about counts as wrong content.
    """
    counts = Counts()
    for _ in range(times):
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        attempt(writer, method, folder, counts)
    return counts


def attempt(writer: Writer, method: Method, folder: Path, counts: Counts) -> None:
    """Copy once, check the copy, and count how it turned out."""
    before = (
        snapshot(folder, folder.with_name(f"{folder.name}.before")) if folder.exists() else None
    )
    began = time.monotonic()
    try:
        report = method(writer.database, folder)
    except errors.NotConverged as reason:
        counts.not_converged += 1
        counts.reasons.append(f"did not converge: {reason}")
        return
    finally:
        counts.milliseconds.append((time.monotonic() - began) * 1000)
    counts.passes.append(report.passes)
    counts.add(writer.judge(folder / writer.database.name, report.instant))
    if before is not None and isinstance(report, Captured):
        for fault in untold(before, folder, report):
            counts.add(Verdict(WRONG, 0, f"untrue report: {fault}"))


def await_true(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a callable says yes, looking often; fail when it never does."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{condition} did not become true within {seconds} s")
        time.sleep(0.01)
