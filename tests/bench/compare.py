"""Every tool on the same file, one after the other, round after round."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench import measure
from tests.bench.measure import Usage
from tests.bench.tools import COLD, RESTIC, TAR, TOOLS, WARM, Result, Tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A tool's medians; without `usage` it is not installed."""

    tool: Tool
    usage: Usage | None = None
    steps: tuple[tuple[str, Usage], ...] = ()
    stored: int = 0
    to_tar: float | None = None
    to_restic: float | None = None
    proven: bool = False


def compare(
    database: Path, scratch: Path, *, runs: int, say: Callable[[str], None]
) -> dict[str, Row]:
    results: dict[str, list[Result]] = {tool.name: [] for tool in TOOLS if not tool.missing()}
    for number in range(1, runs + 1):
        for tool in TOOLS:
            if tool.missing():
                continue
            result = tool.run(database, _folder(scratch, tool))
            results[tool.name].append(result)
            say(f"round {number}: {tool.name}: {result.total.wall:.2f} s")
        for tool in TOOLS:
            shutil.rmtree(_folder_of(scratch, tool), ignore_errors=True)
    return {tool.name: _row(tool, results) for tool in TOOLS}


def _folder_of(scratch: Path, tool: Tool) -> Path:
    """The warm run stands where the cold one did."""
    name = COLD if tool.name == WARM else tool.name
    return scratch / "compare" / name.replace(" ", "-").replace(",", "")


def _folder(scratch: Path, tool: Tool) -> Path:
    folder = _folder_of(scratch, tool)
    if tool.name != WARM:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _row(tool: Tool, results: dict[str, list[Result]]) -> Row:
    mine = results.get(tool.name)
    if not mine:
        return Row(tool=tool)
    steps = tuple(
        (name, measure.median_usage([result.steps[name] for result in mine]))
        for name in mine[0].steps
    )
    return Row(
        tool=tool,
        usage=measure.median_usage([result.total for result in mine]),
        steps=steps,
        stored=mine[-1].stored,
        to_tar=_ratio(mine, results.get(TAR)),
        to_restic=_ratio(mine, results.get(RESTIC)),
        proven=all(result.proven for result in mine),
    )


def _ratio(mine: list[Result], other: list[Result] | None) -> float | None:
    if not other:
        return None
    return measure.median_ratio(
        (result.total.wall for result in mine), (result.total.wall for result in other)
    )
