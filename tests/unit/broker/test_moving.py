"""What speaks against a stream on another server, said before anything is done."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.broker import moving
from eiderd.broker.moving import StreamPlan, Wish

NOW = datetime.datetime(2026, 3, 10, tzinfo=datetime.UTC)
CONFIG = {"name": "EVENTS", "subjects": ["events.>"], "storage": "file", "num_replicas": 1}
STATE = {"messages": 10, "bytes": 1000, "first_seq": 1, "last_seq": 10, "consumer_count": 2}


def _there(**changed: Any) -> dict[str, Any]:
    limits = {"max_storage": -1, "max_memory": -1, "max_streams": -1}
    account = {"storage": 500, "memory": 0, "streams": 1, "limits": limits, "api": {"level": 1}}
    return {"version": "2.12.8", "cluster": "", "servers": 0, "account": account, "streams": {},
            **changed}  # fmt: skip


def _plan(
    config: dict[str, Any] | None = None,
    *,
    there: dict[str, Any] | None = None,
    wish: Wish | None = None,
    state: dict[str, Any] | None = None,
    needs_newer: bool = False,
    method: str = "snapshot",
) -> StreamPlan:
    return moving.plan(
        config={**CONFIG, **(config or {})}, state=state or STATE, method=method,
        needs_newer=needs_newer, there=there or _there(), wish=wish or Wish(), now=NOW,
    )  # fmt: skip


def _limited(**limits: int) -> dict[str, Any]:
    there = _there()
    there["account"]["limits"] |= limits
    return there


def test_nothing_speaks_against_a_stream_on_a_server_with_room() -> None:
    plan = _plan(there=_limited(max_storage=1500, max_streams=2))
    assert (plan.problems, plan.warnings, plan.in_the_way) == ((), (), False)
    assert (plan.messages, plan.first_seq, plan.last_seq, plan.consumers) == (10, 1, 10, 2)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (_limited(max_storage=1499), "may store 1499 bytes, 500 are used, and it needs 1000"),
        (_limited(max_streams=1), "may have 1 stream, and has them"),
        (_limited(storage_max_stream_bytes=999), "allows 999 bytes a stream"),
        (_there(version="2.9.25"), "2.10 is the oldest"),
        (_there(version="\x1b[31m"), "2.10 is the oldest"),
        (_there(streams={"EVENTS": {"config": {"subjects": ["x"]}}}), "a stream of that name"),
        (_there(streams={"OTHER": {"config": {"subjects": ["*.new"]}}}), "has the subject *.new"),
    ],
)
def test_what_speaks_against_it_is_said(there: dict[str, Any], said: str) -> None:
    (problem,) = _plan(there=there).problems
    assert said in problem
    assert problem.isprintable()


def test_replicas_need_as_many_servers() -> None:
    three = {"num_replicas": 3}
    assert "the server is alone" in _plan(three).problems[0]
    assert "fewer servers" in _plan(three, there=_there(cluster="c", servers=2)).problems[0]
    assert not _plan(three, there=_there(cluster="c", servers=3)).problems
    assert not _plan(three, wish=Wish(replicas=1)).problems


def test_what_a_newer_server_made_is_not_for_an_older_one() -> None:
    assert "made by 2.15 or newer" in _plan(needs_newer=True).problems[0]
    assert not _plan(needs_newer=True, there=_there(version="v2.15.0-preview.1")).problems
    wanting = {"metadata": {"_nats.req.level": "3"}}
    assert "needs API level 3" in _plan(wanting).problems[0]


def test_a_stream_in_the_way_is_replaced_when_that_is_wished() -> None:
    there = _there(streams={"EVENTS": {"config": {"subjects": ["events.>"]}}})
    plan = _plan(there=there, wish=Wish(replace=True))
    assert (plan.in_the_way, plan.problems) == (True, ())
    killed = _there(streams={"EVENTS": {"config": {"subjects": ["_eiderd.12.>"]}}})
    assert not _plan(there=killed).in_the_way


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [("2026-03-09", "2026-03-10", ""), ("2026-03-01", "2026-03-09", "its oldest messages"),
     ("2026-01-01", "2026-03-01", "all of its messages"), ("0001-01-01", "0001-01-01", "")],
)  # fmt: skip
def test_messages_that_the_server_would_remove_at_once_are_warned_of(
    first: str, last: str, said: str
) -> None:
    week = {"max_age": 7 * 86_400 * 10**9}
    times = {"first_ts": f"{first}T00:00:00.123456789Z", "last_ts": f"{last}T00:00:00Z"}
    warnings = _plan(week, state={**STATE, **times}).warnings
    assert [said in one for one in warnings] == ([True] if said else [])
    assert not _plan(week, state={**STATE, **times}, wish=Wish(keep_expired=True)).warnings


def test_what_is_wished_changes_the_configuration() -> None:
    assert Wish().changes() == {}
    assert Wish(replicas=3, keep_expired=True).changes() == {"num_replicas": 3, "max_age": 0}


TOKEN = st.sampled_from(["a", "b", "*"])
PATTERN = st.builds(
    lambda tokens, rest: ".".join([*tokens, *([">"] if rest else [])]),
    st.lists(TOKEN, min_size=1, max_size=3),
    st.booleans(),
)
SUBJECTS = [
    ".".join(parts)
    for length in (1, 2, 3, 4, 5)
    for parts in itertools.product("abc", repeat=length)
]


def _matches(pattern: str, subject: str) -> bool:
    wanted, given_ = pattern.split("."), subject.split(".")
    for place, part in enumerate(wanted):
        if part == ">":
            return len(given_) > place
        if place >= len(given_) or part not in {"*", given_[place]}:
            return False
    return len(wanted) == len(given_)


@given(PATTERN, PATTERN)
def test_patterns_overlap_when_a_subject_fits_both(one: str, other: str) -> None:
    both = any(_matches(one, subject) and _matches(other, subject) for subject in SUBJECTS)
    assert moving.overlap(one, other) is both is moving.overlap(other, one)


@pytest.mark.parametrize(("method", "problems"), [("messages", 1), ("snapshot", 0)])
def test_a_stream_that_counts_cannot_be_made_of_its_messages(method: str, problems: int) -> None:
    plan = _plan({"allow_msg_counter": True}, method=method)
    assert len(plan.problems) == problems


def test_that_some_streams_are_not_known_there_is_told() -> None:
    plan = _plan(there=_there(unknown="nobody answers for LOST"))
    assert (plan.problems, plan.warnings) == ((), ("nobody answers for LOST",))
