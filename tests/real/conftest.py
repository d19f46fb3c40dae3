"""Fixtures of the tests that run true engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import EngineUnavailable, engine_python

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def engines() -> Callable[[str], Path]:
    """Return a callable: engine version -> interpreter of its side environment."""
    known: dict[str, Path] = {}

    def python_of(version: str) -> Path:
        # Failing, not skipping: a proof that silently did not run would look like one that held.
        if version not in known:
            try:
                known[version] = engine_python(version)
            except EngineUnavailable as reason:
                pytest.fail(str(reason), pytrace=False)
        return known[version]

    return python_of
