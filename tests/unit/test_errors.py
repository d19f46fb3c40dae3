from __future__ import annotations

import subprocess
import sys

import pytest

from eiderd import errors
from eiderd.errors import EiderError, ExitCode


def test_the_codes_are_those_that_scripts_rely_on() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0, "BUG": 1, "USAGE": 2, "DEGRADED": 3, "NO_SUCH_BACKUP": 10, "BUSY": 11,
        "VERIFICATION_FAILED": 12, "NO_SPACE": 13, "SOURCE_UNAVAILABLE": 14, "INTERRUPTED": 130,
    }  # fmt: skip


def test_help_prints_the_table_of_codes() -> None:
    command = [sys.executable, "-m", "eiderd", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    flat = " ".join(said.split())
    for code in ExitCode:
        assert f"{code.value} {code.meaning}" in flat


@pytest.mark.parametrize("kind", errors.KINDS.values())
def test_an_error_crosses_processes_unchanged(kind: type[EiderError]) -> None:
    before = kind("what happened", hint="what to type")
    after = errors.from_json(before.to_json())
    assert (type(after), after.message, after.hint) == (kind, "what happened", "what to type")


def test_every_error_can_cross() -> None:
    subclasses, known = [EiderError], set(errors.KINDS.values())
    while subclasses:
        below = subclasses.pop().__subclasses__()
        subclasses += below
        here = {kind for kind in below if kind.__module__ == errors.__name__}
        assert here <= known
