"""How what is there differs from what is expected, and what it would take to undo it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.broker import drift
from eiderd.broker.drift import Change

HOUR = 3600 * 10**9
VALUES = st.one_of(st.integers(), st.booleans(), st.none(), st.text(), st.lists(st.text()))
CONFIGS = st.dictionaries(  # what a server may say
    st.sampled_from(["subjects", "max_age", "max_bytes", "storage", "allow_direct", "x"]), VALUES
)
WANTED = st.fixed_dictionaries(  # what a configuration may say
    {},
    optional={
        "subjects": st.lists(st.text(), min_size=1),
        "max_age": st.integers(10**6, 10**18),
        "max_bytes": st.integers(1, 10**15),
        "storage": st.sampled_from(["file", "memory"]),
        "allow_direct": st.booleans(),
    },
)


def _given(wanted: dict[str, Any], found: dict[str, Any]) -> list[tuple[str, Change]]:
    differences = drift.differences(wanted=wanted, found=found)
    return [(one.field, one.change) for one in differences]


@given(config=WANTED, more=CONFIGS)
def test_what_is_as_expected_has_no_difference_whatever_else_is_there(
    config: dict[str, Any], more: dict[str, Any]
) -> None:
    assert drift.differences(wanted=config, found={**more, **config}) == ()


@given(wanted=WANTED, found=CONFIGS)
def test_undoing_every_difference_leaves_none(
    wanted: dict[str, Any], found: dict[str, Any]
) -> None:
    differences = drift.differences(wanted=wanted, found=found)
    assert all(one.said.isprintable() for one in differences)
    fields = {one.key: one.wanted for one in differences}
    assert drift.differences(wanted=wanted, found={**found, **fields}) == ()
    assert set(fields) <= set(wanted)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"subjects": ["a", "b"]}, {"subjects": ["b", "a"]}),
        ({"allow_direct": False}, {}),
        ({"filter_subject": "a"}, {"filter_subject": "a"}),
        ({"filter_subjects": ["a"]}, {"filter_subject": "a"}),
    ],
)
def test_what_the_server_says_in_other_words_is_the_same(
    wanted: dict[str, Any], found: dict[str, Any]
) -> None:
    assert _given(wanted, found) == []


@pytest.mark.parametrize(
    ("key", "wanted", "found", "change"),
    [
        ("max_age", HOUR, 2 * HOUR, Change.REMOVES),
        ("max_age", 2 * HOUR, HOUR, Change.PLAIN),
        ("max_age", HOUR, 0, Change.REMOVES),  # unlimited
        ("max_bytes", 10, -1, Change.REMOVES),
        ("max_bytes", 10, 5, Change.PLAIN),
        ("max_msgs", 10, 11, Change.REMOVES),
        ("max_msgs_per_subject", 1, -1, Change.REMOVES),
        ("subjects", ["a"], ["a", "b"], Change.PLAIN),
        ("storage", "file", "memory", Change.FIXED),
        ("retention", "limits", "workqueue", Change.FIXED),
        ("deliver_policy", "new", "all", Change.FIXED),
        ("ack_wait", HOUR, 2 * HOUR, Change.PLAIN),
    ],
)
def test_what_it_would_take(key: str, wanted: object, found: object, change: Change) -> None:
    (difference,) = drift.differences(wanted={key: wanted}, found={key: found})
    assert difference.change is change


@pytest.mark.parametrize(
    ("wanted", "found", "command"),
    [
        (
            {"subjects": ["a"], "max_age": HOUR},
            {"max_age": 0},
            "eider nats ensure --drift --dry-run",
        ),
        (
            {"max_age": HOUR, "max_bytes": 10**9},
            {},
            "nats stream edit O --max-age=3600s --max-bytes=1000000000",
        ),
        ({"storage": "file"}, {"storage": "memory"}, "nats stream info O"),
    ],
)
def test_what_to_type(wanted: dict[str, Any], found: dict[str, Any], command: str) -> None:
    assert drift.command("O", drift.differences(wanted=wanted, found=found)) == command


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("max_age", 7 * 24 * HOUR, "1w"),
        ("max_age", 0, "unlimited"),
        ("max_age", 1, "1 ns"),
        ("max_age", 2**63, "9223372036854775808 ns"),
        ("max_bytes", 10 * 2**30, "10GiB"),
        ("max_bytes", -1, "unlimited"),
        ("ack_wait", 30 * 10**9, "30s"),
        ("subjects", ["a", "b\x1b[31m"], "a, b\N{REPLACEMENT CHARACTER}[31m"),
        ("subjects", [], "none"),
        ("deliver_group", "", "none"),
        ("allow_direct", True, "true"),
    ],
)
def test_values_as_a_person_writes_them(key: str, value: object, said: str) -> None:
    assert drift.spelled(key, value) == said
