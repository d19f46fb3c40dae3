"""What the figures were measured on."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path


def describe(scratch: Path) -> dict[str, str]:
    """Return what a reader needs to judge absolute figures; `scratch` is where everything stood."""
    return {
        "CPU": _field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.1f} GB",
        "kernel": platform.release(),
        "filesystem": _filesystem(scratch),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "date": f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "Python": platform.python_version(),
    }


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _colon, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _filesystem(path: Path) -> str:
    command = ["df", "--output=fstype", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return said[-1] if said else "unknown"


def first_line(command: list[str]) -> str:
    """Return what a tool says of its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip("* ") if lines else "unknown"
