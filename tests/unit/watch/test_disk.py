"""Each finding about the disks: raised, and over again. And how growth is told."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.errors import StoreUnavailable
from eiderd.evidence import Filesystem
from eiderd.growth import Samples
from eiderd.health import Finding, Kind, Severity
from eiderd.status import Place
from eiderd.watch import disk

NOW = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
TEN = datetime.timedelta(minutes=10)
GB = 10**9
TOTAL = 1000 * GB
FOLDERS = {Place.DATA: Path("/data"), Place.BACKUPS: Path("/backups"), Place.STATE: Path("/state")}
LIMITS = {"warn": 5 * GB, "critical": GB, "forecast": 48 * HOUR, "ballast": None}


def _look(
    *, free: int = 500 * GB, total: int = TOTAL, device: int = 1, inodes: tuple[int, int] = (0, 0)
) -> Filesystem:
    return Filesystem(
        device=device, total_bytes=total, free_bytes=free, used_bytes=total - free,
        total_inodes=inodes[0], free_inodes=inodes[1],
    )  # fmt: skip


def _watch(
    *,
    looks: Mapping[Place, Filesystem | Exception],
    there: bool = True,
    samples: Mapping[Place, Samples] | None = None,
    now: datetime.datetime = NOW,
    **limits: Any,
) -> disk.Looks:
    def look(folder: Path) -> Filesystem:
        (place,) = (place for place, path in FOLDERS.items() if path == folder)
        found = looks[place]
        if isinstance(found, Exception):
            raise found
        return found

    return disk.run(
        now=now,
        folders={place: FOLDERS[place] for place in looks},
        look=look,
        ballast_there=lambda: there,
        samples=samples or {},
        limits=disk.Limits(**{**LIMITS, **limits}),
    )


def _found(look: Filesystem, **more: Any) -> dict[Kind, Finding]:
    findings = _watch(looks={Place.BACKUPS: look}, **more).findings
    return {found.kind: found for found in findings}


def test_a_disk_with_room_is_well() -> None:
    assert _found(_look()) == {}
    assert _found(_look(free=5 * GB, inodes=(100, 5))) == {}


@pytest.mark.parametrize(
    ("free", "total", "kind"),
    [
        (GB - 1, TOTAL, Kind.DISK_CRITICAL),
        (GB, TOTAL, Kind.DISK_LOW),
        (5 * GB - 1, TOTAL, Kind.DISK_LOW),
        (5 * GB, TOTAL, None),
        # A small disk: 5 and 10 percent.
        (GB // 2 - 1, 10 * GB, Kind.DISK_CRITICAL),
        (GB // 2, 10 * GB, Kind.DISK_LOW),
        (GB - 1, 10 * GB, Kind.DISK_LOW),
        (GB, 10 * GB, None),
        (0, 0, None),
    ],
)
def test_little_room_is_low_and_less_is_critical(free: int, total: int, kind: Kind | None) -> None:
    assert list(_found(_look(free=free, total=total))) == ([kind] if kind else [])


def test_what_is_said_has_figures_and_a_command() -> None:
    critical = _found(_look(free=GB // 2))[Kind.DISK_CRITICAL]
    assert critical.severity is Severity.CRITICAL
    assert critical.message == (
        "Only 500.0 MB of 1.0 TB are free on the disk of backups; less than 1.0 GB is critical."
    )
    assert critical.command == "df -h /backups"
    low = _found(_look(free=2 * GB))[Kind.DISK_LOW]
    assert low.severity is Severity.WARNING
    assert low.message == (
        "2.0 GB of 1.0 TB are free on the disk of backups; less than 5.0 GB is low."
    )


def test_few_inodes_are_a_finding_where_they_are_counted() -> None:
    assert _found(_look(inodes=(0, 0))) == {}
    found = _found(_look(inodes=(1000, 49)))[Kind.INODES_LOW]
    assert found.severity is Severity.WARNING
    assert "49 of 1,000 inodes" in found.message
    assert found.command == "df -i /backups"


def test_places_on_one_disk_are_one_finding() -> None:
    full, other = _look(free=0), _look(free=0, device=2)
    seen = _watch(looks={Place.DATA: full, Place.BACKUPS: other, Place.STATE: full})
    subjects = [found.subject for found in seen.findings]
    assert subjects == ["data+state", "backups"]
    assert [one.place for one in seen.disks] == [Place.DATA, Place.BACKUPS, Place.STATE]


def test_a_disk_that_does_not_answer_is_a_finding_and_the_others_are_looked_at() -> None:
    hung = StoreUnavailable("/data does not answer within 5 s")
    before = {Place.DATA: _samples([(0, 1)])}
    seen = _watch(looks={Place.DATA: hung, Place.BACKUPS: _look(free=0)}, samples=before)
    silent, critical = seen.findings
    assert (silent.kind, silent.subject) == (Kind.WATCHER_FAILED, "data")
    assert silent.severity is Severity.WARNING
    assert "does not answer within 5 s" in silent.message
    assert critical.kind is Kind.DISK_CRITICAL
    assert [one.place for one in seen.disks] == [Place.BACKUPS]
    assert seen.samples[Place.DATA] == before[Place.DATA]


def test_a_ballast_that_is_gone_is_a_warning_until_there_is_room() -> None:
    wanted = {"ballast": GB}
    assert _found(_look(), there=False) == {}
    assert _found(_look(), there=True, **wanted) == {}
    # A whole minute may pass before the job makes it: nobody needs to be woken for that.
    soon = _found(_look(free=50 * GB), there=False, **wanted)[Kind.BALLAST_RELEASED]
    assert soon.severity is Severity.NOTICE
    gone = _found(_look(free=3 * GB - 1), there=False, **wanted)[Kind.BALLAST_RELEASED]
    assert gone.severity is Severity.WARNING
    assert "when 3.0 GB are free" in gone.message


def test_a_disk_that_fills_is_a_finding_while_it_will_be_full_within_the_forecast() -> None:
    growing = {Place.BACKUPS: _samples([(n * TEN, 400 * GB + n * GB) for n in range(12)])}
    near, far = _look(free=200 * GB), _look(free=400 * GB)
    found = _found(near, samples=growing)[Kind.DISK_FILLING]
    assert found.severity is Severity.WARNING
    assert found.message == (
        "The disk of backups will be full in about 33 hours: it grows by 6.0 GB an hour and "
        "200.0 GB are free."
    )
    assert _found(far, samples=growing) == {}
    (one,) = _watch(looks={Place.BACKUPS: near}, samples=growing).disks
    assert one.growth_bytes_per_hour == pytest.approx(6 * GB)
    assert one.seconds_to_full == pytest.approx(200 / 6 * 3600)


def test_a_disk_that_empties_is_never_full() -> None:
    shrinking = {Place.BACKUPS: _samples([(n * TEN, 400 * GB - n * GB) for n in range(12)])}
    (one,) = _watch(looks={Place.BACKUPS: _look()}, samples=shrinking).disks
    assert one.growth_bytes_per_hour == pytest.approx(-6 * GB)
    assert one.seconds_to_full is None


# Growth -------------------------------------------------------------------------------------------


def _samples(
    points: list[tuple[Any, int]], *, begin: datetime.datetime = NOW - 2 * HOUR, total: int = TOTAL
) -> Samples:
    samples = Samples()
    for after, used in points:
        at = begin + (after if isinstance(after, datetime.timedelta) else after * TEN)
        samples = samples.added(at, used_bytes=used, total_bytes=total)
    return samples


def test_growth_needs_three_samples_over_an_hour() -> None:
    assert _samples([(0, 1), (7, 2)]).bytes_per_hour is None
    assert _samples([(0, 1), (1, 2), (5, 3)]).bytes_per_hour is None
    assert _samples([(0, 0), (3, 3), (6, 6)]).bytes_per_hour == pytest.approx(6)


def test_growth_is_not_moved_by_prunes_and_spikes() -> None:
    # Each prune takes back 30 of the 50 GB since the last: two fifths of 6 GB an hour remain.
    saw = [(n, n * GB - 30 * GB * (n // 50)) for n in range(250)]
    assert _samples(saw).bytes_per_hour == pytest.approx(2.4 * GB, rel=0.2)
    spikes = [(n, n * GB + (500 * GB if n % 10 == 3 else 0)) for n in range(100)]
    assert _samples(spikes).bytes_per_hour == pytest.approx(6 * GB, rel=0.05)


def test_samples_are_ten_minutes_apart_and_two_days_deep() -> None:
    samples = Samples()
    for minute in range(5 * 24 * 60):
        at = NOW + minute * datetime.timedelta(minutes=1)
        samples = samples.added(at, used_bytes=minute, total_bytes=TOTAL)
    assert len(samples.points) == 289
    assert samples.points[-1][0] - samples.points[0][0] == 48 * 3600
    assert samples.bytes_per_hour == pytest.approx(60)


def test_samples_begin_anew_when_the_clock_is_set_back_or_the_disk_is_another() -> None:
    samples = _samples([(n, n) for n in range(12)])
    back = samples.added(NOW - 5 * HOUR, used_bytes=7, total_bytes=TOTAL)
    assert [used for _at, used in back.points] == [7]
    assert back.bytes_per_hour is None
    corrected = datetime.datetime.fromtimestamp(samples.points[-1][0], tz=datetime.UTC) - TEN / 10
    assert samples.added(corrected, used_bytes=99, total_bytes=TOTAL) == samples
    other = samples.added(NOW + HOUR, used_bytes=7, total_bytes=TOTAL + 1)
    assert [used for _at, used in other.points] == [7]
    ahead = samples.added(NOW + 9999 * HOUR, used_bytes=7, total_bytes=TOTAL)
    assert [used for _at, used in ahead.points] == [7]


POINTS = st.lists(st.integers(0, 1 << 50), min_size=3, max_size=30).map(
    lambda used: [(3 * number, one) for number, one in enumerate(used)]
)


@given(points=POINTS, free=st.integers(0, 1 << 50))
def test_time_to_full_is_never_negative_and_only_of_what_grows(
    points: list[tuple[int, int]], free: int
) -> None:
    samples = {Place.DATA: _samples(points)}
    (one,) = _watch(looks={Place.DATA: _look(free=free)}, samples=samples).disks
    growth = one.growth_bytes_per_hour
    if one.seconds_to_full is None:
        assert growth is None or growth < 1
    else:
        assert growth is not None
        assert growth >= 1
        assert one.seconds_to_full >= 0


@given(points=POINTS, scale=st.integers(1, 1000), later=st.integers(0, 10**6))
def test_growth_scales_with_the_bytes_and_does_not_care_when(
    points: list[tuple[int, int]], scale: int, later: int
) -> None:
    growth = _samples(points).bytes_per_hour
    scaled = _samples([(at, used * scale) for at, used in points]).bytes_per_hour
    moved = _samples(points, begin=NOW + later * TEN).bytes_per_hour
    assert growth is not None
    assert scaled == pytest.approx(growth * scale, rel=1e-9, abs=1e-6)
    assert moved == pytest.approx(growth)


@given(points=POINTS)
def test_samples_survive_a_journal(points: list[tuple[int, int]]) -> None:
    samples = _samples(points)
    assert Samples.from_json(json.loads(json.dumps(samples.to_json()))) == samples


@given(
    document=st.recursive(
        st.none() | st.integers() | st.text() | st.floats(), lambda one: st.lists(one, max_size=4)
    )
)
def test_a_journal_that_holds_something_else_holds_no_samples(document: object) -> None:
    found = Samples.from_json(document)
    assert found.bytes_per_hour is None or found.to_json() == document


def test_too_many_samples_are_cut() -> None:
    assert len(Samples.from_json([1, [[at, at] for at in range(5000)]]).points) == 300
    assert Samples.from_json([1, [[0, 1 << 70], [4000, 1], [8000, 2]]]) == Samples()
    assert Samples.from_json([1, [[8000, 1], [4000, 1], [0, 2]]]) == Samples()
