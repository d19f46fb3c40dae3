"""How it is logged: for a person as ever, for the journal with a priority and without the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_SPEAK = """
import os, sys
import structlog
from eiderd import log
from eiderd.errors import ConfigError
if sys.argv[1] == "here":
    seen = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{seen.st_dev}:{seen.st_ino}"
elif sys.argv[1] == "elsewhere":
    os.environ["JOURNAL_STREAM"] = "8:12345"
kind, form = sys.argv[2:]
(log.configure if kind == "service" else log.configure_verb)(level="debug", format_=form)
speaker = structlog.get_logger()
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(speaker, level)("It is so.", word="so")
try:
    password = "hunter2"
    raise ValueError("one" + chr(10) + "two")
except ValueError as error:
    speaker.error("A page failed.", exc_info=error)
log.complain(ConfigError("2 problems:\\n  - one\\n  - two", hint="Correct it."))
"""


def _said(tmp_path: Path, *, stream: str, kind: str = "service", form: str = "text") -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    with (tmp_path / "stderr").open("wb") as file:
        subprocess.run(
            [sys.executable, "-c", _SPEAK, stream, kind, form],
            stderr=file,
            check=True,
            env=environment,
        )
    return (tmp_path / "stderr").read_text().splitlines()


def test_the_journal_is_told_the_priority_and_not_the_time(tmp_path: Path) -> None:
    lines = _said(tmp_path, stream="here")
    assert [line[:3] for line in lines[:5]] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert {line[3:].rstrip() for line in lines[:5]} == {lines[0][3:].rstrip()}
    assert lines[0].startswith("<7>It is so.")
    assert "word=so" in lines[0]


def test_each_line_of_an_error_has_its_priority(tmp_path: Path) -> None:
    lines = _said(tmp_path, stream="here")
    assert "<3>ValueError: one" in lines
    assert "<3>two" in lines
    assert all(line.startswith("<3>") for line in lines[5:])
    assert lines[-4:] == [
        "<3>eiderd: 2 problems:",
        "<3>  - one",
        "<3>  - two",
        "<3>  hint: Correct it.",
    ]


def test_a_document_for_the_journal_is_whole(tmp_path: Path) -> None:
    line = _said(tmp_path, stream="here", form="json")[3]
    assert line.startswith("<3>")
    assert {"level", "timestamp", "event", "word"} == set(json.loads(line[3:]))


@pytest.mark.parametrize(
    ("stream", "kind"), [("nowhere", "service"), ("elsewhere", "service"), ("here", "verb")]
)
def test_others_are_told_time_and_level(tmp_path: Path, stream: str, kind: str) -> None:
    """Also when the variable is that of another stream, as in what a person's session starts."""
    lines = _said(tmp_path, stream=stream, kind=kind)
    assert lines[0][:2] == "20"
    assert "[error" in lines[3]
    assert not any(line.startswith("<") for line in lines[:-4])
    assert lines[-4].startswith("<3>" if stream == "here" else "eiderd: ")


@pytest.mark.parametrize("stream", ["here", "nowhere"])
def test_a_traceback_tells_no_values(tmp_path: Path, stream: str) -> None:
    said = "\n".join(_said(tmp_path, stream=stream))
    assert "Traceback" in said
    assert "hunter2" not in said
