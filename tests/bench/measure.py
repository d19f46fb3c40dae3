"""Runs commands and says what they cost: wall seconds, CPU seconds, the largest process's memory.

The kernel's own account (`wait4`) is used, which includes every descendant that was waited for.
Memory has a floor: until a child has executed its program the kernel counts the pages of this
process as the child's. So this process stays small, and imports neither duckdb nor eiderd.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

# A developer's own settings must not change what is measured.
_FOREIGN = ("EIDER_", "RESTIC_", "BORG_", "GZIP", "ZSTD_", "PIGZ", "TAR_OPTIONS")
_LAST_WORDS = 600


class CommandFailed(RuntimeError):
    """A command that had to succeed did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What something cost. `peak_bytes` is the largest resident set of any single process."""

    wall: float
    cpu: float
    peak_bytes: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            wall=self.wall + other.wall,
            cpu=self.cpu + other.cpu,
            peak_bytes=max(self.peak_bytes, other.peak_bytes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    usage: Usage
    status: int
    said: str


def run(
    *pipeline: Sequence[str],
    output: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    check: bool = True,
    settle: bool = True,
) -> Ran:
    """Run commands joined by pipes; what the last one prints goes to `output`, or is returned.

    Raise CommandFailed when one of them fails, unless `check` is false.
    """
    if settle:
        os.sync()  # what was written before is not this command's debt
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as kept:
        target = output.open("wb") if output else kept
        began = time.perf_counter()
        children: list[subprocess.Popen[bytes]] = []
        for place, command in enumerate(pipeline):
            last = place == len(pipeline) - 1
            child = subprocess.Popen(
                command,
                stdin=children[-1].stdout if children else subprocess.DEVNULL,
                stdout=target if last else subprocess.PIPE,
                stderr=errors,
                env={**clean_environment(), **(environment or {})},
                cwd=folder,
            )
            if children and children[-1].stdout:
                children[-1].stdout.close()  # so that the writer learns of the reader's death
            children.append(child)
        ended = [_wait(child) for child in children]
        wall = time.perf_counter() - began
        if output:
            target.close()
        status = next((code for code, _cpu, _peak in reversed(ended) if code), 0)
        if status and check:
            raise CommandFailed(f"{pipeline} ended with {status}: {_tail(errors.fileno())}")
        usage = Usage(
            wall=wall,
            cpu=sum(cpu for _code, cpu, _peak in ended),
            peak_bytes=max(peak for _code, _cpu, peak in ended),
        )
        return Ran(usage=usage, status=status, said="" if output else _text(kept.fileno()))


def _wait(child: subprocess.Popen[bytes]) -> tuple[int, float, int]:
    _pid, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def _text(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode("utf-8", "replace")


def _tail(descriptor: int) -> str:
    return _text(descriptor)[-_LAST_WORDS:].strip()


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}


def floor_bytes() -> int:
    """Below this, a child's memory cannot be told from that of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def median_usage(runs: Sequence[Usage]) -> Usage:
    """The median of each figure by itself; of memory the worst, because a limit has no median."""
    return Usage(
        wall=statistics.median(run.wall for run in runs),
        cpu=statistics.median(run.cpu for run in runs),
        peak_bytes=max(run.peak_bytes for run in runs),
    )


def median_ratio(ones: Iterable[float], others: Iterable[float]) -> float:
    """The median of the ratios within each round: what disturbs a round disturbs both."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def stored_bytes(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
