"""Without root and systemd-nspawn there is no machine to test on: that is said, and skipped."""

from __future__ import annotations

import pytest

from tests.service import box


@pytest.fixture(scope="session", autouse=True)
def _a_machine_is_there() -> None:
    if why := box.missing():
        pytest.skip(why)
