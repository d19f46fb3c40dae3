"""The benchmark still runs, with whatever rivals are installed. Its figures mean nothing here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    *("--runs", "1", "--megabytes", "25", "--large-megabytes", "0", "--window", "0.5"),
    *("--backups", "20", "--pace", "0", "--idle", "2", "--requests", "5"),
)


def test_every_part_of_the_bench_measures_something(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    places = ("--scratch", str(tmp_path / "scratch"), "--output", str(results))
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench", *TINY, *places],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    text = results.read_text()
    assert done.stdout == text
    assert "not measured" not in text
    assert "it failed" not in text
    assert text.count("yes: opened by an engine") == 2
    for tool, program in (("tar + pigz", "pigz"), ("restic", "restic"), ("borg", "borg")):
        [row] = [line for line in text.splitlines() if line.startswith(f"| {tool}")]
        assert ("not installed" in row) == (shutil.which(program) is None)
    assert "| `eider restore --to DIR`, s |" in text
    assert "| `eider compact`: the application is down, s |" in text
    assert "| eider list --json | 20 |" in text
    assert "| eider prune --dry-run | 20 |" in text
    assert "| open and read |" in text
    assert "|  | 0 backups | 1 backup | 20 backups | budget |" in text
