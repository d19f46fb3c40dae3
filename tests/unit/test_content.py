"""When a backup that restores perfectly is suspect all the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import content
from eiderd.evidence import TableContent
from eiderd.model import Content, ContentVerdict


def _given(**rows: int | tuple[int, str | None]) -> Content:
    """Tables by name: their rows, and the newest value of their time column."""
    tables = {}
    for name, said in rows.items():
        count, newest = said if isinstance(said, tuple) else (said, None)
        tables[name] = TableContent(rows=count, fingerprint="f", newest=newest)
    return Content(tables=tables)


def _reasons(old: Content | None, new: Content, **more: Any) -> tuple[str, ...]:
    asked = {"max_row_loss": 0.2, "min_rows": 100, **more}
    verdict, reasons = content.compare(old=old, new=new, **asked)
    assert (verdict is ContentVerdict.SUSPECT) == bool(reasons)
    assert verdict in (ContentVerdict.SUSPECT, ContentVerdict.NORMAL)
    return reasons


def test_the_first_backup_has_nothing_to_be_compared_with() -> None:
    assert _reasons(None, _given(events=0)) == ()


def test_a_database_that_was_emptied_is_suspect() -> None:
    old = _given(playback_events=1_203_004, notes=3)
    assert _reasons(old, _given(playback_events=0, notes=0)) == (
        "playback_events lost 1,203,004 of 1,203,004 rows",
        "the whole database lost 1,203,007 of 1,203,007 rows",
    )


def test_a_table_that_vanished_is_suspect() -> None:
    old = _given(events=1000, words=100, few=99)
    assert _reasons(old, _given(events=1000)) == ("words is gone; it had 100 rows",)


@pytest.mark.parametrize(
    ("share", "before", "after", "suspect"),
    [
        (0.2, 1000, 800, False), (0.2, 1000, 799, True), (0.29, 100, 71, False),
        (0.2, 99, 0, False), (0.2, 100, 0, True), (1.0, 100, 0, False), (0.2, 100, 1000, False),
    ],
)  # fmt: skip
def test_the_share_that_may_be_lost_is_the_last_that_may(
    *, share: float, before: int, after: int, suspect: bool
) -> None:
    # A table beside it, so that only the one table's loss is judged.
    old, new = _given(events=before, other=10_000), _given(events=after, other=10_000)
    assert bool(_reasons(old, new, max_row_loss=share)) == suspect


def test_many_small_tables_emptied_are_suspect_together() -> None:
    old = Content(tables={f"t{n}": TableContent(rows=50, fingerprint="f") for n in range(9)})
    new = Content(tables={f"t{n}": TableContent(rows=0, fingerprint="f") for n in range(9)})
    assert _reasons(old, new) == ("the whole database lost 450 of 450 rows",)


@pytest.mark.parametrize(("after", "suspect"), [(162, False), (122, False), (1, False), (0, True)])
def test_a_table_that_the_application_trims_may_shrink_but_not_become_empty(
    *, after: int, suspect: bool
) -> None:
    old, new = _given(log=162, other=10_000), _given(log=after, other=10_000)
    reasons = _reasons(old, new, trimmed=["log"])
    assert reasons == (("log lost 162 of 162 rows",) if suspect else ())


def test_a_table_that_the_application_trims_does_not_make_the_whole_suspect() -> None:
    old, new = _given(log=10_000, events=200), _given(log=10, events=200)
    assert _reasons(old, new, trimmed=["log"]) == ()
    assert _reasons(old, _given(log=10, events=100), trimmed=["log"]) == (
        "events lost 100 of 200 rows",
        "the whole database lost 100 of 200 rows",
    )
    assert _reasons(old, _given(events=200), trimmed=["log"]) == (
        "log is gone; it had 10,000 rows",
    )


@pytest.mark.parametrize(
    ("was", "became", "suspect"),
    [
        ("2026-11-20T10:00:00", "2026-11-20T09:59:59.9", True),
        ("2026-11-20T10:00:00", "2026-11-20T10:00:00", False),
        ("2026-11-20T10:00:00", "2026-11-21T00:00:00", False),
        ("2026-11-20T10:00:00.5+00", "2026-11-20T10:00:00+00", True),
        ("2026-11-20T12:00:00+02", "2026-11-20T10:30:00+00", False),  # later, whatever it looks
        ("2026-11-20T10:00:00+00", "2026-11-20T09:00:00", False),  # the column's type changed
        ("2026-11-20", "2026-11-19", True),
        ("1000", "999", True),
        ("999", "1000", False),
        ("pear", "apple", False),  # no time at all
        ("2026-11-20T10:00:00", None, True),
        (None, None, False),
        (None, "2026-11-20T10:00:00", False),
    ],
)
def test_time_that_goes_back_is_suspect(
    *, was: str | None, became: str | None, suspect: bool
) -> None:
    old, new = _given(events=(100, was)), _given(events=(100, became))
    assert bool(_reasons(old, new)) == suspect
    assert _reasons(_given(events=(99, was)), _given(events=(99, became))) == ()


def test_the_reason_names_both_times() -> None:
    [reason] = _reasons(_given(events=(100, "2026-11-20")), _given(events=(100, "2026-11-19")))
    assert reason == "events went back in time, from 2026-11-20 to 2026-11-19"


def test_a_time_nobody_asks_for_any_more_is_not_missed() -> None:
    old, new = _given(events=(100, "2026-11-20")), _given(events=100)
    assert _reasons(old, new, timed=("events",)) == (
        "events has no newest time any more; it was 2026-11-20",
    )
    assert _reasons(old, new, timed=("others",)) == ()


def test_the_reasons_are_not_endless() -> None:
    old = Content(tables={f"t{n}": TableContent(rows=100, fingerprint="f") for n in range(5000)})
    reasons = _reasons(old, Content())
    assert len(reasons) == 21
    assert reasons[-2:] == (
        "and 4,981 other reasons",
        "the whole database lost 500,000 of 500,000 rows",
    )


_tables = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(
        TableContent,
        rows=st.integers(0, 10**6),
        fingerprint=st.just("f"),
        newest=st.none()
        | st.dates().map(str)
        | st.sampled_from(["", "pear", "12", "nan", "sNaN", "-inf"]),
    ),
)


@given(_tables, _tables, st.floats(0.01, 1), st.integers(1, 1000))
def test_whatever_is_compared_there_is_an_answer_and_the_same_is_normal(
    one: dict[str, TableContent], other: dict[str, TableContent], share: float, least: int
) -> None:
    _reasons(Content(tables=one), Content(tables=other), max_row_loss=share, min_rows=least)
    same = Content(tables=one)
    assert _reasons(same, same, max_row_loss=share, min_rows=least) == ()
