"""The import rules of the tree: who may know whom, and who may touch the world."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).parents[2] / "daemon" / "eiderd"
MODULES = sorted(PACKAGE.rglob("*.py"))

FEATURES = ("jobs", "watch", "heal")
WORLD = {"subprocess", "socket", "duckdb", "nats", "time", "select", "selectors", "fcntl", "shutil",
         "tempfile", "signal", "threading", "asyncio"}  # fmt: skip
# Those that measure how long something takes, and wait for it; and what must be set first of all.
MEASURING = {
    "runner": {"time"},
    "clockwork": {"time"},
    "service": {"time"},
    "__main__": {"signal"},
}
# What a pure module may use: words, numbers and each other.
PURE = {
    "model",
    "errors",
    "evidence",
    "proof",
    "doctor",
    "kept",
    "own_folders",
    "health",
    "status",
    "retention",
    "content",
    "growth",
    "room",
    "maintenance/reading",
    "maintenance/restore_plan",
    "broker/moving",
    "maintenance/compact_plan",
    "maintenance/window",
    "memory",
    "broker/evidence",
    "broker/drift",
    "healing",
    "heal_memory",
    "heal/policy",
    "heal/actions",
    "self_findings",
    "schedule",
    "sections/wording",
    "setup/compose",
    "setup/env_file",
    "setup/evidence",
    "setup/facts",
    "setup/plan",
    "setup/record",
    "setup/sandbox",
    "setup/unit_file",
    "setup/units",
    "schema/facts",
    "schema/compatibility",
    "toml",
    "units",
    "words",
}
# Spelling sizes, comparing paths.
EXCUSED = {
    "units": {"pydantic"},
    "schema/compatibility": {"pydantic"},
    "room": {"rich", "pathlib"},
    "doctor": {"rich"},
    "setup/sandbox": {"rich"},
    "kept": {"rich"},
    "own_folders": {"rich"},
}
IMPURE = WORLD | {"os", "pathlib", "numpy", "structlog", "pydantic", "rich", "typer"}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@functools.cache
def _imports(path: Path, *, runtime_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if runtime_only and id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def _tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path, runtime_only=True)}


def _ours(path: Path) -> set[str]:
    return {name.removeprefix("eiderd.") for name in _imports(path) if name.startswith("eiderd.")}


def _modules(names: set[str]) -> set[str]:
    """Return the module that each of these names stands in, as a path. A folder alone is none."""
    found = set()
    for name in names:
        parts = name.split(".")
        paths = ("/".join(parts[:depth]) for depth in range(len(parts), 0, -1))
        found |= {next((path for path in paths if (PACKAGE / f"{path}.py").exists()), "")}
    return found - {""}


def _offences(
    names: Callable[[Path], set[str]], paths: list[Path] = MODULES
) -> dict[str, set[str]]:
    """Return what modules import against a rule, each by its name."""
    return {_name(path): found for path in paths if (found := names(path))}


def test_features_never_import_each_other() -> None:
    def others(path: Path) -> set[str]:
        if _name(path).split(".")[0] not in FEATURES:
            return set()
        return {name for name in _ours(path) if name.split(".")[0] in FEATURES}

    assert _offences(others) == {}


def test_only_outside_touches_the_world() -> None:
    def world(path: Path) -> set[str]:
        if _name(path).startswith("outside"):
            return set()
        return (_tops(path) & WORLD) - MEASURING.get(_name(path), set())

    assert _offences(world) == {}


def test_outside_imports_only_errors_and_evidence() -> None:
    allowed = {"errors", "evidence", "broker/evidence", "setup/evidence"}

    def others(path: Path) -> set[str]:
        if not _name(path).startswith("outside"):
            return set()
        names = {name for name in _ours(path) if name.split(".")[0] != "outside"}
        return _modules(names) - allowed

    assert _offences(others) == {}


def test_only_the_engine_worker_imports_duckdb() -> None:
    users = [_name(path) for path in MODULES if "duckdb" in _tops(path)]
    assert users
    assert [name for name in users if not name.startswith("outside.engine_worker.")] == []


def test_pure_modules_are_pure() -> None:
    paths = [PACKAGE / f"{name}.py" for name in sorted(PURE)]

    def impure(path: Path) -> set[str]:
        excused = EXCUSED.get(_name(path).replace(".", "/"), set())
        return (_tops(path) & IMPURE - excused) | (_modules(_ours(path)) - PURE)

    assert _offences(impure, paths) == {}


def test_numpy_stays_in_child_processes() -> None:
    users = {_name(path) for path in MODULES if "numpy" in _tops(path)}
    assert users == {"outside.checksum", "outside.collect", "outside.wal_image"}
    importers = {
        _name(path)
        for path in MODULES
        for name in _imports(path, runtime_only=True)
        if name.removeprefix("eiderd.") in users
    }
    assert importers - users <= {"outside.archive_check", "outside.capture"}


def test_nats_stays_out_of_a_service_that_has_none() -> None:
    """It takes some megabytes; whoever needs it imports it then."""
    asked = "import sys, eiderd.service, eiderd.cli; print('nats' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_the_rules_have_teeth(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import subprocess\nfrom eiderd.jobs import backup\n")
    assert _tops(bad) & WORLD
    assert "jobs.backup" in _ours(bad)
    assert sys.version_info >= (3, 11)
