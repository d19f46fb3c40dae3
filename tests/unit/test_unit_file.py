"""The unit that ships: systemd understands it, and it agrees with the service."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from eiderd import config, service

UNIT = Path(__file__).parents[2] / "systemd" / "eiderd.service"


def _unit() -> configparser.RawConfigParser:
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(UNIT)
    return parsed


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    # What it starts is not installed here, nor its user.
    text = UNIT.read_text().replace("ExecStart=/usr/bin/eiderd", "ExecStart=/bin/true")
    copy = tmp_path / "eiderd.service"
    copy.write_text(text)
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "eiderd.service" not in ran.stderr, ran.stderr
    assert ran.returncode == 0, ran.stderr


def test_it_gives_the_service_the_time_that_it_takes_to_end_and_to_live() -> None:
    unit = _unit()["Service"]
    assert unit["Type"] == "notify"
    assert float(unit["TimeoutStopSec"]) > service._END_SECONDS + 2
    assert float(unit["WatchdogSec"]) > service._SLOWEST_BEAT_SECONDS
    assert str(config.DEFAULT_PATH) in unit["ExecStart"]
    assert Path("/var/lib", unit["StateDirectory"]) == config.Service().state
