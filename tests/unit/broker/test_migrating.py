"""Which streams a move is of."""

from __future__ import annotations

from typing import Any

import pytest

from eiderd.broker import migrating
from eiderd.errors import ConfigError

HERE: dict[str, Any] = {
    "streams": {
        "ORDERS": {"config": {"name": "ORDERS", "subjects": ["orders.>"]}},
        "MIRROR": {"config": {"name": "MIRROR"}},
        "HALF": {"config": {"name": "HALF", "subjects": ["_eiderd.0123.>"]}},
    }
}


def test_all_are_meant_but_what_a_killed_restore_left() -> None:
    assert migrating._names(HERE, wanted=()) == ["ORDERS", "MIRROR"]


def test_those_that_are_named_are_meant() -> None:
    assert migrating._names(HERE, wanted=("MIRROR",)) == ["MIRROR"]
    with pytest.raises(ConfigError, match="no stream NOTHING there"):
        migrating._names(HERE, wanted=("NOTHING",))
