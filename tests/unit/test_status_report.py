"""`eider status` for a person: what is not known is not said to be so."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING

from eiderd.cli import status_report
from eiderd.health import Finding, Kind, Severity
from eiderd.status import Service
from tests import statuses

if TYPE_CHECKING:
    import pytest

UNREADABLE = Finding(
    kind=Kind.JOURNAL_UNWRITABLE,
    severity=Severity.WARNING,
    message="the journal cannot be kept: cannot read /var/lib/eiderd/journal.jsonl",
    command="dmesg | tail",
)


def test_without_the_journal_nobody_says_that_the_service_does_not_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = dataclasses.replace(statuses.well(), service=Service())
    status_report.show(stopped, zone=datetime.UTC)
    assert "not running" in capsys.readouterr().out
    unknown = dataclasses.replace(stopped, findings=(UNREADABLE,))
    status_report.show(unknown, zone=datetime.UTC)
    said = capsys.readouterr().out
    assert "not running" not in said
    assert "not known; see: systemctl status eiderd" in said
