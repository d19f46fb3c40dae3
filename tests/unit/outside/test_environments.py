"""Why an environment could not be made: what the tools say, or that the disk is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from eiderd.errors import ConfigError, NoSpace
from eiderd.outside import environments

VENV = "Error: Command '[.../python3.11', '-m', 'ensurepip']' returned non-zero exit status 1."


@pytest.mark.parametrize(
    ("said", "free", "kind", "hint"),
    [
        (VENV, 1 << 30, ConfigError, "python3-venv"),
        (VENV, 1000, NoSpace, "df -h"),
        ("OSError: [Errno 28] No space left on device", 1 << 30, NoSpace, "df -h"),
        ("ERROR: no matching distribution", 1 << 30, ConfigError, "what pip says"),
    ],
)
def test_a_full_disk_is_told_from_what_is_missing(  # noqa: PLR0917
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, free: int, kind: type, hint: str
) -> None:
    monkeypatch.setattr("eiderd.outside.files.free_bytes", lambda _folder: free)
    error = environments._refused(said, folder=tmp_path)
    assert type(error) is kind
    assert hint in error.hint
