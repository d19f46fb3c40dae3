"""The benchmark: `python -m tests.bench.bench`, from the root of the repository.

Compares `eider backup` with other tools and `eider restore` with tar, measures its memory, what it
costs a live writer, how long it takes to start, what the service costs and how soon it answers, and
where the time of a backup goes. Writes RESULTS.md. Figures are printed beside their budgets; they
do not decide the exit code, because a busy machine is not a fault of the code.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import (
    compare,
    database,
    machine,
    measure,
    report,
    restore,
    service,
    startup,
    tools,
    writer,
)
from tests.bench.report import Findings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.measure import Usage

RESULTS = Path(__file__).with_name("RESULTS.md")
PARTS = ("compare", "restore", "memory", "writer", "startup", "service", "phases")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tests.bench.bench", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    top.add_argument("--runs", type=int, default=3, help="rounds of each (default %(default)s)")
    top.add_argument("--megabytes", type=int, default=500, help="(default %(default)s)")
    top.add_argument("--large-megabytes", type=int, default=5000,
                     help="a second size for memory; 0: none (default %(default)s)")  # fmt: skip
    top.add_argument("--pace", type=float, default=0.1,
                     help="seconds between the writer's rounds (default %(default)s)")  # fmt: skip
    top.add_argument("--window", type=float, default=10.0, metavar="SECONDS",
                     help="of writing, without and with backups (default %(default)s)")  # fmt: skip
    top.add_argument("--backups", type=int, nargs="+", default=[1000, 10_000],
                     help="how many are listed (default %(default)s)")  # fmt: skip
    top.add_argument("--idle", type=float, default=60.0, metavar="SECONDS",
                     help="that the service is left alone (default %(default)s)")  # fmt: skip
    top.add_argument("--requests", type=int, default=500,
                     help="to the service, of each kind (default %(default)s)")  # fmt: skip
    top.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    top.add_argument("--scratch", type=Path, metavar="FOLDER",
                     help="work there and keep the databases for the next time")  # fmt: skip
    top.add_argument("--output", type=Path, default=RESULTS, help="(default %(default)s)")
    return top


def main() -> int:
    arguments = parser().parse_args()
    if hint := tools.how_to_install():
        missing = ", ".join(tool.name for tool in tools.TOOLS if tool.missing())
        say(f"not installed: {missing}. To compare with them too: {hint}")
    if arguments.scratch:
        arguments.scratch.mkdir(parents=True, exist_ok=True)
        found = bench(arguments, arguments.scratch.resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="eider-bench-", dir="/var/tmp") as folder:
            found = bench(arguments, Path(folder))
    text = report.render(found)
    arguments.output.write_text(text)
    sys.stdout.write(text)
    return 0


def bench(arguments: argparse.Namespace, scratch: Path) -> Findings:
    """Measure what was asked for, in a folder that may hold databases made before."""
    found = Findings(
        machine=machine.describe(scratch),
        versions={tool.package: tool.described() for tool in tools.TOOLS},
        runs=arguments.runs,
    )
    say(f"making a database of {arguments.megabytes} MB")
    small = database.make(scratch, megabytes=arguments.megabytes)
    found.bytes = small.stat().st_size
    parts: dict[str, Callable[[], None]] = {
        "compare": lambda: _compare(found, arguments, small, scratch),
        "restore": lambda: _restore(found, arguments, small, scratch),
        "memory": lambda: _memory(found, arguments, small, scratch),
        "writer": lambda: _writer(found, arguments, small, scratch),
        "startup": lambda: _startup(found, arguments, small, scratch),
        "service": lambda: _service(found, arguments, small, scratch),
        "phases": lambda: _phases(found, arguments, small, scratch),
    }
    for name, part in parts.items():
        if name in arguments.only:
            say(f"measuring: {name}")
            part()
    return found


def _compare(found: Findings, arguments: argparse.Namespace, small: Path, scratch: Path) -> None:
    found.compared = compare.compare(small, scratch, runs=arguments.runs, say=say)


def _restore(found: Findings, arguments: argparse.Namespace, small: Path, scratch: Path) -> None:
    found.restores = restore.restores(small, scratch, runs=arguments.runs)


def _databases(arguments: argparse.Namespace, small: Path, scratch: Path) -> list[Path]:
    if not arguments.large_megabytes:
        return [small]
    say(f"making a database of {arguments.large_megabytes} MB, unless there is one")
    return [small, database.make(scratch, megabytes=arguments.large_megabytes)]


def _memory(found: Findings, arguments: argparse.Namespace, small: Path, scratch: Path) -> None:
    compared = found.compared.get(tools.COLD)
    for path in _databases(arguments, small, scratch):
        known = compared.usage if compared and path == small else None
        found.memory[path.stat().st_size] = known or _one_backup(path, scratch)


def _one_backup(path: Path, scratch: Path) -> Usage:
    folder = _fresh(scratch / "memory")
    usage = measure.run(tools.backup_command(tools.configure(folder, database=path))).usage
    shutil.rmtree(folder)
    return usage


def _writer(found: Findings, arguments: argparse.Namespace, small: Path, scratch: Path) -> None:
    found.contests = [
        writer.contest(small, scratch, pace=pace, seconds=arguments.window, pairs=arguments.runs)
        for pace in dict.fromkeys((arguments.pace, 0.0))
    ]


def _startup(found: Findings, arguments: argparse.Namespace, small: Path, scratch: Path) -> None:
    folder = _fresh(scratch / "startup")
    config = tools.configure(folder, database=small)
    measure.run(tools.backup_command(config))
    found.timings = startup.start_up(config, folder, counts=arguments.backups, runs=arguments.runs)
    shutil.rmtree(folder)


def _service(found: Findings, arguments: argparse.Namespace, small: Path, scratch: Path) -> None:
    folder = _fresh(scratch / "service")
    config = tools.configure(folder, database=small)
    measure.run(tools.backup_command(config))
    found.lives = service.lives(
        config,
        database=small,
        counts=(0, 1, min(arguments.backups)),
        runs=arguments.runs,
        seconds=arguments.idle,
        requests=arguments.requests,
    )
    shutil.rmtree(folder)


def _phases(found: Findings, arguments: argparse.Namespace, small: Path, scratch: Path) -> None:
    found.phases = {
        path.stat().st_size: _phases_of(path, scratch)
        for path in _databases(arguments, small, scratch)
    }


def _phases_of(path: Path, scratch: Path) -> list[dict[str, object]]:
    folder = _fresh(scratch / "phases")
    config = tools.configure(folder, database=path)
    command = (sys.executable, "-m", "tests.bench.phases", str(config))
    said = measure.run(command, folder=database.ROOT).said
    shutil.rmtree(folder)
    phases: list[dict[str, object]] = json.loads(said)
    return phases


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def say(what: str) -> None:
    sys.stderr.write(f"bench: {what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
