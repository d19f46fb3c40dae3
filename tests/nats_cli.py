"""The official `nats` command, built with Go's tools where there are any, and kept in the cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

VERSION = "v0.5.1"
_BUILD_SECONDS = 900


def command() -> Path:
    """Return the command, building it once. Skip the test, saying why, where that cannot be."""
    folder = _cache() / VERSION
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{VERSION}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "nats").exists():
            _build(folder)
    return folder / "nats"


def _cache() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return base / "eiderd-tests" / "nats-cli"


def _build(folder: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("the official nats command is built with Go, and there is no `go` here")
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        try:
            ran = subprocess.run(
                [go, "install", f"github.com/nats-io/natscli/nats@{VERSION}"],
                env={**os.environ, "GOBIN": str(aside)},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                timeout=_BUILD_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip(f"the official nats command was not built within {_BUILD_SECONDS} s")
        if ran.returncode:
            pytest.skip(f"the official nats command cannot be built: {ran.stdout[-500:]}")
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def run(url: str, *words: str | Path, home: Path) -> str:
    """Run the command against a server, with no configuration of the person who tests."""
    ran = subprocess.run(
        [command(), "--server", url, "--timeout", "10s", *words],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    return ran.stdout
