"""What every test may rely on: no setting of the machine's own leaks in."""

from __future__ import annotations

import os

import pytest
import structlog


@pytest.fixture(autouse=True)
def _no_eider_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("EIDER_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_logging_of_another_test() -> None:
    structlog.reset_defaults()
