"""What to do about each finding: short texts that ship with eiderd, and that it serves itself."""

from __future__ import annotations

from typing import Final

from eiderd import resources
from eiderd.health import Kind

DOWN: Final = "eiderd_down"  # the one alert that eiderd cannot find by itself
NAMES: Final = frozenset({DOWN, *map(str, Kind)})


def text(name: str) -> str | None:
    """Return the runbook of that name, in Markdown; None when there is none."""
    if name not in NAMES:
        return None
    return (resources.runbooks() / f"{name}.md").read_text(encoding="utf-8")
