"""What the page, the terminal and the metrics say of the schema."""

from __future__ import annotations

import dataclasses
import datetime
import math
from typing import Any

import pytest

from eiderd.metrics import samples
from eiderd.schema.facts import Facts, Known, Replay, Seen
from eiderd.web import page_facts
from tests import statuses

NOON = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)


def _known(**seen: Any) -> Known:
    facts = Facts(
        at=NOON,
        thorough=True,
        seen=Seen(**seen),
        application="1.50.1",
    )
    return Known(latest=facts, refreshed_at=NOON)


def _said(known: Known) -> str:
    status = dataclasses.replace(statuses.well(), schema=known)
    said: str = page_facts.facts(status, zone=datetime.UTC)["schema"]
    return said


def test_the_page_says_which_schema_there_is() -> None:
    assert _said(_known(version=22)) == "version 22, application 1.50.1"


def test_the_page_keeps_quiet_about_a_schema_that_nobody_counts() -> None:
    assert _said(_known()) == _said(Known()) == ""


@pytest.mark.parametrize(
    ("replay", "figure"), [(Replay.YES, 1.0), (Replay.NO, 0.0), (Replay.UNKNOWN, math.nan)]
)
def test_whether_the_wal_replays_is_a_figure(replay: Replay, figure: float) -> None:
    status = dataclasses.replace(statuses.well(), schema=_known(replay=replay))
    assert samples.wal_replays(status) == pytest.approx(figure, nan_ok=True)
    assert math.isnan(samples.wal_replays(statuses.well()))
