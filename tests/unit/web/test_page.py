from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import html.parser
import itertools
import re
import time
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eiderd.health import Condition, Finding, Kind, Severity
from eiderd.model import Brief, BriefContent, Job, RunOutcome, State
from eiderd.status import Frozen, Running, Status
from eiderd.units import spoken
from eiderd.web import drawings, page
from tests import statuses

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
MOMENTS = st.datetimes(
    min_value=datetime.datetime(1990, 1, 1),  # noqa: DTZ001
    max_value=datetime.datetime(2090, 1, 1),  # noqa: DTZ001
    timezones=st.just(datetime.UTC),
)
BACKUPS = st.lists(
    st.builds(
        lambda number, at, state, pinned: statuses.brief(number, at=at, state=state, pinned=pinned),
        st.integers(1, 10_000), MOMENTS, st.sampled_from(State), st.booleans(),
    ),
    max_size=60,
)  # fmt: skip
ZONES = st.sampled_from([None, datetime.UTC, BERLIN, zoneinfo.ZoneInfo("Pacific/Apia")])


class _Words(html.parser.HTMLParser):
    """What a person reads, and what the tags are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self._open[-1:]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def _given_page(status: Status) -> _Words:
    return _Words(page.status_page(status, zone=BERLIN))


def test_the_first_sentence_says_how_old_the_newest_verified_backup_is() -> None:
    text = _given_page(statuses.well()).text
    assert "Last verified backup: 2 hours ago" in text
    assert "Sunday 22 November 2026, 09:15:00 CET" in text
    assert "2026-11-22 08:15:00 UTC" in text
    assert "27,339 rows of 21 tables were read back, 42.4 MB" in text
    assert "Condition: well. Nothing needs you." in text


def test_a_later_backup_that_is_not_verified_does_not_count() -> None:
    text = _given_page(statuses.with_findings()).text
    assert "Last verified backup: 38 hours ago" in text
    assert "Friday 20 November 2026, 21:15:00 CET" in text
    assert "27,117 rows" in text
    assert "Condition: ill." in text


def test_it_says_when_there_is_no_verified_backup() -> None:
    text = _given_page(statuses.empty()).text
    assert "There is no verified backup" in text
    assert "Last verified backup" not in text
    corrupt = [statuses.brief(1, at=statuses.AT, state=State.CORRUPT)]
    status = dataclasses.replace(statuses.empty(), backups=tuple(corrupt))
    assert "There is no verified backup" in _given_page(status).text


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (statuses.well(), "✓ 2 h · eiderd"),
        (statuses.with_findings(), "✗ 38 h · eiderd"),
        (statuses.empty(), "✗ no backup · eiderd"),
    ],
)
def test_the_title_and_the_icon_tell_the_state(status: Status, title: str) -> None:
    text = page.status_page(status)
    assert f"<title>{title}</title>" in text
    icons = [values["href"] for tag, values in _Words(text).tags if tag == "link"]
    assert len(icons) == 1
    assert str(icons[0]).startswith("data:image/svg+xml,")


def test_each_condition_has_an_icon_of_its_own() -> None:
    tones = {found.value: page._icon(found.value) for found in Condition}
    assert len(set(tones.values())) == len(Condition)


def test_findings_stand_worst_first_with_what_to_type_and_a_runbook() -> None:
    seen = _given_page(statuses.with_findings())
    severities = re.findall(r"[✗!i] (critical|warning|notice)", seen.text)
    assert severities == ["critical", "warning", "warning", "notice"]
    assert "eider accept 20261121-201500" in seen.text
    assert "for 27 hours, since Sat 21 Nov, 09:12" in seen.text
    links = [values["href"] for tag, values in seen.tags if tag == "a"]
    assert "runbook/no_verified_backup" in links
    assert "runbook/disk_filling" in links


def test_every_kind_of_everything_can_be_shown() -> None:
    status = statuses.with_findings()
    first = status.recent[0]
    status = dataclasses.replace(
        status,
        findings=tuple(
            Finding(kind=kind, severity=severity, message="m", command="c")
            for kind in Kind
            for severity in Severity
        ),
        recent=tuple(
            dataclasses.replace(first, outcome=outcome, seconds=None if outcome is None else 3.0)
            for outcome in (*RunOutcome, None)
        ),
        frozen=tuple(Frozen),
        running=tuple(Running(job=job, began_at=statuses.AT) for job in Job),
    )
    text = _given_page(status).text
    assert all(str(outcome).replace("_", " ") in text for outcome in RunOutcome)
    assert f"and {len(Kind) * len(Severity) - 50} more: eider status" in text


def test_what_runs_and_what_comes_next_is_told_with_its_limit() -> None:
    text = _given_page(statuses.with_findings()).text
    assert "backup running for 94 seconds of at most 4 hours" in text
    assert "verify in 6 days Sun 29 Nov, 05:30" in text


def test_a_disk_that_fills_up_is_told_with_its_time() -> None:
    text = _given_page(statuses.with_findings()).text
    assert "backups 4.0 GB of 40.0 GB free" in text
    assert "! full in about 31 hours" in text
    assert "! full" not in _given_page(statuses.well()).text


def test_only_the_newest_twenty_are_listed_and_the_page_stays_small() -> None:
    thousand = page.status_page(statuses.with_backups(1000), zone=BERLIN)
    assert len(thousand.encode()) <= 100_000
    seen = _Words(thousand)
    assert "and 980 more: eider list" in seen.text
    assert sum(tag == "svg" for tag, _ in seen.tags) < 20
    assert "919 verified" in seen.text


def test_a_page_of_a_thousand_backups_is_quickly_made() -> None:
    status = statuses.with_backups(1000)
    page.status_page(status)
    began = time.process_time()
    page.status_page(status)
    took = time.process_time() - began
    assert took < 1, "some 10 ms is what it takes"


HOSTILE = (
    "<script>alert(1)</script>\u202e\x1b[31m\x00"
    + "long" * 2_500
    + " word" * 2_000
    + "\ud800'\"&{{ 7*7 }}"
)


def _hostile() -> Status:
    status = statuses.with_findings()
    content = BriefContent(reasons=(HOSTILE,))
    disks = tuple(dataclasses.replace(disk, path=HOSTILE) for disk in status.disks)
    return dataclasses.replace(
        status, database=HOSTILE, directory=HOSTILE, version=HOSTILE, disks=disks,
        findings=(Finding(kind=Kind.DISK_LOW, subject=HOSTILE, severity=Severity.WARNING,
                          message=HOSTILE, command=HOSTILE),),
        backups=tuple(dataclasses.replace(b, id=HOSTILE, note=HOSTILE, content=content)
                      for b in status.backups),
        recent=tuple(dataclasses.replace(r, why=HOSTILE, backup=HOSTILE) for r in status.recent),
    )  # fmt: skip


def test_hostile_words_are_shown_as_words() -> None:
    text = page.status_page(_hostile())
    seen = _Words(text)
    assert not {"script", "img", "iframe"} & {tag for tag, _ in seen.tags}
    assert "<script>alert(1)" in seen.text
    assert "49" not in seen.text.partition("{{ 7")[0][-3:]
    assert not {char for char in text if not char.isprintable() and char != "\n"}
    text.encode()  # no lone surrogates
    assert len(text) < 120_000


def test_no_page_has_a_script_or_anything_from_elsewhere() -> None:
    pages = [
        page.status_page(statuses.with_findings()),
        page.runbook_page(name="x", text="# X\n\n![p](http://elsewhere/p.png)\n\n<b onclick=x>"),
        page.problem_page(title="Not Found", text="no"),
    ]
    for text in pages:
        for tag, values in _Words(text).tags:
            assert tag not in {"script", "img", "iframe", "object", "base", "form"}
            assert not [
                name for name in values if name.startswith("on") or name in {"src", "style"}
            ]
            assert tag != "link" or str(values["href"]).startswith("data:")
        assert "url(" not in page._style()
        assert "@import" not in page._style()


def test_a_runbook_is_markdown_whose_html_is_only_text() -> None:
    text = page.runbook_page(
        name="disk_low",
        text="# Disk\n\nType `df`\n\n<script>x</script>\n\n[a](javascript:alert(1))\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
    )
    seen = _Words(text)
    assert "<title>disk low · eiderd</title>" in text
    assert {"h1", "code", "table"} <= {tag for tag, _ in seen.tags}
    assert "<script>x</script>" in seen.text
    assert not [v for tag, v in seen.tags if tag == "a" and "javascript" in str(v.get("href"))]


def test_the_policy_names_the_style_sheet_that_the_page_has() -> None:
    style = re.findall(r"<style>(.*?)</style>", page.status_page(statuses.empty()), re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page.content_policy()
    assert "unsafe" not in page.content_policy()


@settings(max_examples=30, deadline=None)
@given(seconds=st.floats(0, 1e10), more=st.floats(0, 1e9))
def test_spoken_times_never_say_more_than_there_is(seconds: float, more: float) -> None:
    units = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}

    def worth(said: str) -> int:
        count, unit = said.split()
        return int(count.replace(",", "")) * units[unit.removesuffix("s")]

    said = worth(spoken(seconds))
    assert said <= seconds < said * 1.5 + 60
    assert worth(spoken(seconds + more)) >= said
    assert spoken(-5) == "0 seconds"


# Drawings ---------------------------------------------------------------------------------------


def _timeline(
    backups: list[Brief],
    *,
    now: datetime.datetime = statuses.AT,
    width: float = 340,
    fresh: float = 1e5,
    zone: datetime.tzinfo | None = datetime.UTC,
) -> drawings.Timeline:
    return drawings.timeline(backups, now=now, fresh_seconds=fresh, width=width, zone=zone)


@settings(max_examples=150, deadline=None)
@given(
    backups=BACKUPS, now=MOMENTS, width=st.sampled_from([340.0, 1000.0]),
    fresh=st.floats(0, 1e9) | st.just(float("inf")), zone=ZONES,
)  # fmt: skip
def test_whatever_there_is_is_drawn_inside_and_in_the_order_of_time(
    backups: list[Brief], now: datetime.datetime, width: float, fresh: float,
    zone: datetime.tzinfo | None,
) -> None:  # fmt: skip
    line = _timeline(backups, now=now, width=width, fresh=fresh, zone=zone)

    for mark in line.marks:
        assert mark.size <= mark.x <= line.width - mark.size
        assert mark.size + mark.needle <= mark.y <= line.axis - mark.size
    assert line.axis < line.height
    assert line.fresh is None or line.begin <= line.fresh < line.end
    for tick in line.ticks:
        assert len(tick.label) * 3 <= tick.x <= line.width - len(tick.label) * 3
    places = [tick.x for tick in line.ticks]
    assert places == sorted(set(places))
    for one, next_ in itertools.pairwise(line.ticks):
        assert next_.x - one.x >= 3 * (len(one.label) + len(next_.label)), "labels overlap"

    counts = dict.fromkeys(State, 0)
    for mark in line.marks:
        counts[mark.state] += mark.count
    assert counts == {state: sum(b.state is state for b in backups) for state in State}
    for state in State:
        lane = sorted((m for m in line.marks if m.state is state), key=lambda mark: mark.last)
        assert [mark.x for mark in lane] == sorted(mark.x for mark in lane)
        # They never overlap.
        assert all(b.x - a.x >= a.size + b.size for a, b in itertools.pairwise(lane))


@given(
    state=st.sampled_from(State), x=st.floats(0, 1000), y=st.floats(0, 100), size=st.floats(1, 9)
)
def test_a_mark_stays_within_its_size(state: State, x: float, y: float, size: float) -> None:
    path = drawings.outline(state, x=x, y=y, size=round(size, 1))
    if state is State.VERIFIED:  # a circle: where it begins, and two half circles
        assert path.startswith(f"M{x - round(size, 1):.1f} {y:.1f}a")
        return
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
    assert all(abs(right - x) <= size + 0.2 for right in numbers[::2])
    assert all(abs(down - y) <= size + 0.2 for down in numbers[1::2])


def test_each_state_has_its_own_shape() -> None:
    assert len({drawings.outline(state, x=8, y=8, size=5) for state in State}) == len(State)


@given(few=st.integers(0, 10_000), more=st.integers(0, 10_000))
def test_more_backups_are_never_a_smaller_mark(few: int, more: int) -> None:
    assert drawings.mark_size(few) <= drawings.mark_size(few + more)


@given(part=st.floats(-1e15, 1e15), whole=st.floats(-1e15, 1e15), width=st.floats(1, 1000))
def test_a_bar_is_never_filled_beyond_its_ends(part: float, whole: float, width: float) -> None:
    assert 0 <= drawings.share(part, whole, width=width) <= width + 0.05


def test_the_newest_backup_stands_exactly_in_its_place() -> None:
    hour = datetime.timedelta(hours=1)
    backups = [statuses.brief(n, at=statuses.AT - n * hour) for n in range(240)]
    line = _timeline(backups)
    assert max(mark.x for mark in line.marks) == line.end
    assert len(line.marks) < 30
    assert line.marks[0].last == statuses.AT


def test_ticks_are_local_midnights_also_when_the_clocks_change() -> None:
    now = datetime.datetime(2026, 10, 27, 12, tzinfo=datetime.UTC)  # CEST ended on the 25th
    backups = [statuses.brief(n, at=now - n * statuses.DAY) for n in range(5)]
    line = _timeline(backups, now=now, width=1000, zone=BERLIN)
    labels = [tick.label for tick in line.ticks]
    assert [label for label in labels if "Oct" in label] == ["24 Oct", "25 Oct", "26 Oct", "27 Oct"]
    assert set(labels) - {"24 Oct", "25 Oct", "26 Oct", "27 Oct"} <= {"12:00"}


@pytest.mark.parametrize(
    ("days", "label"), [(1, "12:00"), (10, "14 Nov"), (300, "Apr 2026"), (4000, "Jan 2020")]
)
def test_ticks_fit_the_span(days: int, label: str) -> None:
    backups = [statuses.brief(1, at=statuses.AT - days * statuses.DAY)]
    line = _timeline(backups, width=1000)
    assert label in [tick.label for tick in line.ticks]
    assert 3 <= len(line.ticks) <= 16


def test_the_band_begins_where_a_verified_backup_is_expected() -> None:
    backups = [statuses.brief(1, at=statuses.AT - 10 * statuses.DAY)]
    line = _timeline(backups, fresh=5 * 86_400)
    assert line.fresh == pytest.approx(line.width / 2, abs=0.1)
    assert _timeline(backups, fresh=60).fresh is None  # too narrow to be seen
    assert _timeline([], fresh=1e9).fresh == line.begin


def test_where_nobody_could_look_it_does_not_say_that_there_is_none() -> None:
    blind = Finding(
        kind=Kind.WATCHER_FAILED, subject="freshness", severity=Severity.WARNING,
        message="it cannot look", command="ls",
    )  # fmt: skip
    text = _given_page(dataclasses.replace(statuses.empty(), findings=(blind,))).text
    assert "Which backups there are is not known" in text
    assert "no verified backup" not in text
