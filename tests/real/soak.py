"""The long form: captures of every writer by every engine, counted.

    python -m tests.real.soak --minutes 30 [--engine 2.0.0] [--writer checkpoints]

Exit code 1 when any capture was bad, or did not converge where it must.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.engines import engine_python
from tests.real import harness
from tests.real.writers import WORKLOADS

BATCH = 5  # captures per method before the next method and the next writer have their turn
METHODS: tuple[tuple[str, harness.Method, bool], ...] = (
    ("naive", harness.naive, True),
    ("capture", harness.captured, True),
    ("refresh", harness.captured, False),
    ("by words", harness.quickly, False),
)
Cell = tuple[str, str, str]


def main() -> int:
    given = arguments()
    results: dict[Cell, harness.Counts] = {}
    until = time.monotonic() + given.minutes * 60
    scratch = Path(tempfile.mkdtemp(prefix="eiderd-soak-", dir=given.folder))
    try:
        while True:
            for engine in given.engine:
                for writer in given.writer:
                    if results and time.monotonic() > until:
                        return verdict(results)
                    run_batch(engine, writer, scratch, given.megabytes, results)
    except KeyboardInterrupt:
        return verdict(results)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="count how live captures turn out")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--megabytes", type=float, default=50.0)
    parser.add_argument(
        "--folder", type=Path, help="where to work, instead of the temporary folder"
    )
    parser.add_argument("--engine", action="append", choices=harness.ENGINES)
    parser.add_argument("--writer", action="append", choices=sorted(WORKLOADS))
    given = parser.parse_args()
    given.engine = given.engine or list(harness.ENGINES)
    given.writer = given.writer or list(WORKLOADS)
    return given


def run_batch(
    engine: str, name: str, scratch: Path, megabytes: float, results: dict[Cell, harness.Counts]
) -> None:
    folder = scratch / f"{engine}-{name}"
    try:
        with harness.Writer(
            engine_python(engine), name, folder / "app", megabytes=megabytes
        ) as writer:
            for label, method, fresh in METHODS:
                counts = harness.campaign(writer, method, BATCH, folder / "copy", fresh=fresh)
                merge(results.setdefault((engine, name, label), harness.Counts()), counts)
                show(f"{engine:6} {name:12} {label:9}{counts.row()}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def merge(total: harness.Counts, more: harness.Counts) -> None:
    for field in dataclasses.fields(harness.Counts):
        setattr(total, field.name, getattr(total, field.name) + getattr(more, field.name))


def verdict(results: dict[Cell, harness.Counts]) -> int:
    """Print the table and what was wrong; return the exit code."""
    show(f"\n{'engine':6} {'writer':12} {'method':9}{harness.HEADINGS}")
    failures: list[str] = []
    for (engine, writer, label), counts in results.items():
        show(f"{engine:6} {writer:12} {label:9}{counts.row()}")
        may_give_up = (engine, writer) in harness.MAY_NOT_CONVERGE
        if label != "naive" and (counts.bad or (counts.not_converged and not may_give_up)):
            failures += [f"{engine} {writer} {label}: {reason}" for reason in counts.reasons]
    show("\n".join(failures) or "\nevery capture held")
    return 1 if failures else 0


def show(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (a script that prints a table)


if __name__ == "__main__":
    sys.exit(main())
