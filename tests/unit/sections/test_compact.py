"""The section [compact]: what it may say, and what it makes of the timetable."""

from __future__ import annotations

import datetime

import pytest
from pydantic import ValidationError

from eiderd.config import Settings
from eiderd.frame import frame_of
from eiderd.model import Job
from eiderd.schedule import Cron, Entry, Lane
from eiderd.sections.compact import CompactSection

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def _entries(**compact: object) -> list[Entry]:
    said = {"database": {"path": "/data/a"}, "compact": compact}
    frame = frame_of(Settings.model_validate(said), zone=datetime.UTC, at=NOON)
    return [entry for entry in frame.timetable if entry.job is Job.COMPACT]


def test_never_by_itself_unless_there_is_a_window() -> None:
    assert _entries() == []
    (entry,) = _entries(window="Sun 03:00-05:00")
    assert (entry.when, entry.lane) == (Cron("0 3 * * sun"), Lane.STORE)
    assert entry.limit >= datetime.timedelta(hours=2)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"window": "sundays"}, "must be days and times"),
        ({"min_gain": 1}, "less than 1"),
        ({"min_gain": -0.1}, "greater than"),
        ({"url": "ftp://a/b"}, "must be a URL"),
        ({"url": "http://me:secret@a/b"}, "no password"),
        ({"url": "http://a/b", "url_headers": "relative/file"}, "absolute"),
        ({"url": "http://a/b", "url_headers": "../x"}, "absolute"),
        ({"url_headers": "/etc/headers"}, "needs compact.url"),
        ({"backup_within": "soon"}, "has a unit"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        CompactSection.model_validate(said)


def test_headers_come_from_a_file_or_a_credential() -> None:
    for name in ("/etc/eiderd/headers", "compact-headers"):
        assert CompactSection(url="https://a/b", url_headers=name).url_headers == name
