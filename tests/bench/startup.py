"""How long the command takes to say something."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench import measure, tools
from tests.bench.database import ROOT
from tests.bench.measure import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """`work` is what the backups cost: CPU and wall beyond the same verb on an empty folder."""

    name: str
    total: Usage
    work: float | None = None
    backups: int = 0


_WORDS = (("list",), ("list", "--json"), ("prune", "--dry-run"), ("prune",))
# Every backup is asked about by each rule, and none is due.
RULES = """[retention]
keep_recent_hours = 100000
daily = 1000
weekly = 1000
monthly = 1000
yearly = 100
max_count = 100000
"""


def start_up(config: Path, scratch: Path, *, counts: Sequence[int], runs: int) -> list[Timing]:
    """`config` is that of a folder with at least one backup, whose manifest serves as a model."""
    model = config.parent / "backups"
    imports = (sys.executable, "-c", "import eiderd.cli")
    timings = [
        Timing(name="python -c pass", total=_median((sys.executable, "-c", "pass"), runs=runs)),
        Timing(name="import eiderd.cli", total=_median(imports, runs=runs)),
        Timing(name="eider --version", total=_median((tools.EIDER, "--version"), runs=runs)),
    ]
    empty: dict[str, Usage] = {}
    for count in (0, *counts):
        folder = scratch / f"catalog-{count}"
        shutil.rmtree(folder, ignore_errors=True)
        fill(model, folder / "backups", count=count)
        own = tools.configure(folder, database=scratch / "live" / "app.duckdb")
        with own.open("a") as config_file:
            config_file.write(RULES)
        for words in _WORDS:
            command = (tools.EIDER, "--config", str(own), *words)
            name = " ".join(("eider", *words))
            usage = _median(command, runs=runs, count=count)
            base = empty.setdefault(name, usage)
            work = usage.wall - base.wall if count else None
            timings.append(Timing(name=name, total=usage, work=work, backups=count))
        shutil.rmtree(folder)
    return timings


def fill(model: Path, target: Path, *, count: int) -> None:
    command = (sys.executable, "-m", "tests.bench.manifests", str(model), str(target), str(count))
    measure.run(command, folder=ROOT)


def _median(command: tuple[str, ...], *, runs: int, count: int = 0) -> Usage:
    """Measure nothing that does not list them all."""
    results = []
    for _run in range(runs):
        ran = measure.run(command, settle=False, check=command[-1] != "--version")
        if count and (found := _seen(ran.said)) < count:
            raise measure.CommandFailed(f"{command} sees {found} backups, not {count}")
        results.append(ran.usage)
    return measure.median_usage(results)


def _seen(said: str) -> int:
    if left := re.search(r"([0-9,]+) left$", said.strip()):
        return int(left[1].replace(",", ""))
    return len(json.loads(said)) if said.startswith("[") else said.count("verified")
