"""Side environments: one Python with one DuckDB version each, made once and kept in the cache.

A proof is worth something only on the engine that wrote the file, so the tests need engines that
cannot live in one interpreter. Environments are shared by all test runs of a user: they are built
under a temporary name and renamed into place under a lock, so a half-made one is never used.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = ("1.4.3", "1.5.5", "1.5.6", "2.0.0")
SPATIAL = "1.4.3+spatial"  # with the extension, which PyPI has for 1.0 to 1.5.5
KNOWN = (*VERSIONS, SPATIAL)
BUILD_SECONDS = 600


class EngineUnavailable(RuntimeError):
    """An environment could not be made. The message carries what venv or pip said."""


def cache_folder() -> Path:
    """Return where environments are kept: XDG_CACHE_HOME must be absolute to count."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return base / "eiderd-tests" / "engines"


def engine_python(version: str) -> Path:
    """Return the interpreter that imports DuckDB `version`, making its environment if needed.

    Raise EngineUnavailable with the output of the failing command.
    """
    if version not in KNOWN:
        raise EngineUnavailable(f"unknown engine {version}; known: {', '.join(KNOWN)}")
    home = cache_folder() / version
    python = home / "bin" / "python"
    with _locked(home.with_name(f"{version}.lock")):
        if not _answers(python, version):
            _build(home, version)
    return python


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _answers(python: Path, version: str) -> bool:
    """Tell whether the environment works: the Python it was made from may be gone since."""
    if not python.exists():
        return False
    asked = subprocess.run(
        [python, "-c", "import duckdb; print(duckdb.__version__)"],
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    return asked.returncode == 0 and asked.stdout.strip() == version.partition("+")[0]


def _build(home: Path, version: str) -> None:
    """Make the environment aside, prove it, rename it in. The caller holds the lock."""
    aside = Path(tempfile.mkdtemp(prefix=f"{version}.making-", dir=home.parent))
    try:
        _said([sys.executable, "-m", "venv", str(aside)])
        # Scripts such as bin/pip keep the temporary path; only bin/python is used, and that
        # finds its environment from its own place, so it survives the rename.
        install = [str(aside / "bin" / "python"), "-m", "pip", "install", "--no-input"]
        number, _plus, extension = version.partition("+")
        extensions = [f"duckdb-extension-{extension}=={number}"] if extension else []
        _said([*install, f"duckdb=={number}", *extensions])
        shutil.rmtree(home, ignore_errors=True)
        aside.rename(home)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if not _answers(home / "bin" / "python", version):
        raise EngineUnavailable(f"{home} was made but does not import duckdb {version}")


def _said(command: list[str]) -> None:
    ran = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if ran.returncode != 0:
        raise EngineUnavailable(f"{' '.join(command)} failed ({ran.returncode}):\n{ran.stdout}")
