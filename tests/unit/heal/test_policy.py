"""The policy of healing: one rule at a time, and what holds whatever happens."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.heal import actions, policy
from eiderd.healing import Attempt, Decision, Limits, Pause, Ready, Seen, Switch, Verdict
from eiderd.health import Finding, Kind, Severity
from eiderd.model import Job, RunOutcome

NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)
ALL = Limits(allowed=frozenset(Switch), tries=3, cooldown=5 * MINUTE)


def _found(kind: Kind = Kind.JOB_FAILED, subject: str = "backup") -> Finding:
    return Finding(kind=kind, subject=subject, severity=Severity.WARNING, message="m", command="c")


def _seen(*ago: int, kind: Kind = Kind.JOB_FAILED, subject: str = "backup") -> Seen:
    """Return a finding seen so many minutes ago."""
    looks = tuple(NOON - minutes * MINUTE for minutes in ago)
    return Seen(finding=_found(kind, subject), looks=looks)


def _tried(ago: int, job: Job = Job.BACKUP, **more: Any) -> Attempt:
    at = NOON - ago * MINUTE
    words = {"ended_at": at, "outcome": RunOutcome.FAILED, "why": "no", **more}
    return Attempt(job=job, name=(Kind.JOB_FAILED, "backup"), at=at, **words)


def _decide(*seen: Seen, **more: Any) -> tuple[Decision, ...]:
    words: dict[str, Any] = {
        "repairs": actions.TABLE,
        "ask": lambda _repair, _found: Ready(True),
        "past": policy.Past(),
        "limits": ALL,
        "busy": "",
        "now": NOON,
        **more,
    }
    return policy.decide(seen=seen, **words)


def _one(*seen: Seen, **more: Any) -> Decision:
    (decision,) = _decide(*seen, **more)
    return decision


def test_what_two_looks_found_is_repaired() -> None:
    decision = _one(_seen(2, 1))
    assert decision.verdict is Verdict.ACT
    assert (decision.job, decision.command) == (Job.BACKUP, "eider backup")


def test_once_is_not_twice() -> None:
    assert "seen once" in _one(_seen(1)).why
    assert _one(_seen(1)).verdict is Verdict.WAIT
    assert _one(_seen()).verdict is Verdict.WAIT


def test_two_ticks_of_the_clock_are_not_two_looks() -> None:
    for minutes in range(9):
        assert _one(_seen(1), now=NOON + minutes * MINUTE).verdict is Verdict.WAIT


def test_a_check_that_no_longer_looks_is_not_believed() -> None:
    decision = _one(_seen(30, 20))
    assert decision.verdict is Verdict.WAIT
    assert "does not look" in decision.why


def test_looks_of_before_the_last_repair_do_not_count() -> None:
    past = policy.Past(attempts=[_tried(10)])
    assert _one(_seen(11, 9), past=past).verdict is Verdict.WAIT
    assert "since the last repair" in _one(_seen(11, 9), past=past).why
    assert _one(_seen(9, 8), past=past).verdict is Verdict.ACT
    other = policy.Past(attempts=[_tried(10, Job.PRUNE)])
    assert _one(_seen(11, 9), past=other).verdict is Verdict.WAIT, "another repair may have helped"


@pytest.mark.parametrize(("met", "said"), [(False, "no room"), (None, "is not known: no room")])
def test_what_is_not_known_to_be_there_is_not_used(met: bool | None, said: str) -> None:  # noqa: FBT001
    decision = _one(_seen(2, 1), ask=lambda _repair, _found: Ready(met, "no room"))
    assert decision.verdict is Verdict.WAIT
    assert said in decision.why


def test_nobody_is_pushed_aside() -> None:
    decision = _one(_seen(2, 1), busy="the job restore")
    assert decision.verdict is Verdict.WAIT
    assert "the job restore" in decision.why


def test_a_pause_holds_until_its_end() -> None:
    pause = Pause(since=NOON - HOUR, until=NOON + HOUR, reason="x")
    decision = _one(_seen(2, 1), past=policy.Past(pause=pause))
    assert (decision.verdict, decision.next_at) == (Verdict.PAUSED, NOON + HOUR)
    over = dataclasses.replace(pause, until=NOON)
    assert _one(_seen(2, 1), past=policy.Past(pause=over)).verdict is Verdict.ACT
    endless = dataclasses.replace(pause, until=None)
    assert _one(_seen(2, 1), past=policy.Past(pause=endless)).verdict is Verdict.PAUSED


def test_what_is_switched_off_is_only_said() -> None:
    off = _one(_seen(2, 1), limits=dataclasses.replace(ALL, enabled=False))
    assert (off.verdict, off.why) == (Verdict.OFF, "heal.enabled is false")
    one = _one(_seen(2, 1), limits=dataclasses.replace(ALL, allowed=frozenset()))
    assert (one.verdict, one.why) == (Verdict.OFF, "heal.backup is false")
    assert one.command == "eider backup"


def test_each_try_that_did_not_help_doubles_the_wait() -> None:
    limits = dataclasses.replace(ALL, tries=50)
    waits = []
    for count in range(1, 12):
        past = [_tried(100 + 100 * number) for number in range(count)][::-1]
        until = policy.cool_until(past, Job.BACKUP, limits=limits)
        assert until
        waits.append((until - past[-1].at) / MINUTE)
    assert waits[:4] == [5, 10, 20, 40]
    assert max(waits) == waits[-1] == 6 * 60, "capped at a quarter of the period"
    helped = [_tried(300), _tried(200, confirmed_at=NOON), _tried(100)]
    until = policy.cool_until(helped, Job.BACKUP, limits=limits)
    assert until == helped[-1].at + 5 * MINUTE


def test_while_it_cools_it_says_until_when() -> None:
    past = policy.Past(attempts=[_tried(4)])
    decision = _one(_seen(2, 1), past=past)
    assert (decision.verdict, decision.next_at) == (Verdict.COOLING, NOON + MINUTE)
    assert decision.tries == 1


def test_after_the_last_try_a_person_is_called_with_the_command() -> None:
    past = policy.Past(attempts=[_tried(300), _tried(200), _tried(100, why="no room")])
    decision = _one(_seen(2, 1), past=past)
    assert decision.verdict is Verdict.STOPPED
    assert decision.why == "it was tried 3 times within 24 hours, the last time: no room"
    assert decision.command == "eider backup"
    old = policy.Past(attempts=[_tried(24 * 60), *past.attempts[1:]])
    assert _one(_seen(2, 1), past=old).verdict is Verdict.ACT, "one is out of the period"


def test_what_was_given_up_stays_so_until_somebody_resumes() -> None:
    given_up = policy.Past(stopped={Job.BACKUP: NOON - 9 * HOUR})
    assert _one(_seen(2, 1), past=given_up).verdict is Verdict.STOPPED
    spent = policy.Past(attempts=[_tried(300), _tried(200), _tried(100)], resumed_at=NOON - HOUR)
    assert _one(_seen(2, 1), past=spent).verdict is Verdict.ACT


def test_tries_that_helped_count_too_or_it_would_go_on_for_ever() -> None:
    past = policy.Past(attempts=[_tried(n, confirmed_at=NOON) for n in (300, 200, 100)])
    assert _one(_seen(2, 1), past=past).verdict is Verdict.STOPPED


def test_one_repair_at_a_time_the_worst_first() -> None:
    first, second = _decide(_seen(2, 1, kind=Kind.CORRUPT_BACKUP, subject="a"), _seen(2, 1))
    assert (first.verdict, second.verdict) == (Verdict.ACT, Verdict.WAIT)
    assert "one repair at a time" in second.why
    working = policy.Past(attempts=[_tried(10, Job.PRUNE, outcome=None, ended_at=None)])
    assert _one(_seen(2, 1), past=working).verdict is Verdict.WAIT
    same = policy.Past(attempts=[_tried(10, outcome=None, ended_at=None)])
    assert _one(_seen(2, 1), past=same).verdict is Verdict.AT_WORK


def test_a_low_disk_has_steps_and_only_then_a_person() -> None:
    low = _seen(2, 1, kind=Kind.DISK_LOW, subject="data+backups+state")
    steps = _decide(low)
    assert [(one.job, one.verdict) for one in steps[:1]] == [(Job.PRUNE, Verdict.ACT)]
    assert all(one.verdict is Verdict.WAIT for one in steps[1:])
    nothing = _decide(low, ask=lambda _repair, _found: Ready(False, "nothing is left"))
    assert nothing[-1].verdict is Verdict.PROPOSED
    assert nothing[-1].command == "eider compact"


def test_of_another_disk_nothing_of_ours_is_pruned() -> None:
    only_data = _decide(_seen(2, 1, kind=Kind.DISK_LOW, subject="data"))
    assert [one.verdict for one in only_data] == [Verdict.PROPOSED]


@pytest.mark.parametrize("kind", [Kind.NATS_DRIFT, Kind.NATS_LAG, Kind.SCHEMA_AHEAD])
def test_what_only_a_person_can_know_is_never_done(kind: Kind) -> None:
    decision = _one(_seen(2, 1, kind=kind, subject="x"))
    assert (decision.verdict, decision.job, decision.command) == (Verdict.PROPOSED, None, "c")


def test_what_is_too_much_to_name_is_not_moved() -> None:
    assert _decide(_seen(2, 1, kind=Kind.CORRUPT_BACKUP, subject="others")) == ()
    assert _one(_seen(2, 1, kind=Kind.CORRUPT_BACKUP, subject="x")).command == "eider quarantine x"


# The table --------------------------------------------------------------------------------------


def test_nothing_in_the_table_deletes_or_restores_unasked() -> None:
    assert {repair.job for repair in actions.TABLE} == {
        Job.BACKUP, Job.VERIFY, Job.DRILL, Job.QUARANTINE, Job.PRUNE, Job.CLEAN, Job.ENSURE,
        Job.RESTORE, None,
    }  # fmt: skip
    restoring = [repair for repair in actions.TABLE if repair.job is Job.RESTORE]
    assert {repair.switch for repair in restoring} == {Switch.RESTORE}
    assert all((repair.job is None) == (repair.switch is None) for repair in actions.TABLE)


def test_what_the_table_says_to_type_exists() -> None:
    from tests.verbs import refused  # noqa: PLC0415

    for repair in actions.TABLE:
        if repair.command:
            assert refused(repair.command.split()[1:]) is None, repair.command


# What the checks say of it ----------------------------------------------------------------------


def test_only_a_look_after_it_confirms_a_repair() -> None:
    tried = _tried(10)
    words: dict[str, Any] = {"present": [], "repairs": actions.TABLE}
    before, after = {Job.FRESHNESS: NOON - 11 * MINUTE}, {Job.FRESHNESS: NOON}
    assert policy.confirmed([tried], looked=before, **words) == ()
    assert policy.confirmed([tried], looked={Job.DISK: NOON}, **words) == ()
    assert policy.confirmed([tried], looked=after, **words) == ((Job.BACKUP, tried.name),)
    there = {**words, "present": [tried.name]}
    assert policy.confirmed([tried], looked=after, **there) == ()
    at_work = dataclasses.replace(tried, outcome=None)
    assert policy.confirmed([at_work], looked=after, **words) == ()


def test_what_was_given_up_is_over_when_every_check_has_looked() -> None:
    words: dict[str, Any] = {"repairs": actions.TABLE}
    looked = {Job.FRESHNESS: NOON}
    assert policy.over([Job.BACKUP], seen=[], looked={}, **words) == ()
    assert policy.over([Job.BACKUP], seen=[_seen(1)], looked=looked, **words) == ()
    assert policy.over([Job.BACKUP], seen=[], looked=looked, **words) == (Job.BACKUP,)


# Whatever happens -------------------------------------------------------------------------------

_KINDS = sorted({repair.kind for repair in actions.TABLE})
_MOMENTS = st.integers(-30 * 60, 10).map(lambda minutes: NOON + minutes * MINUTE)
_NAMES = st.sampled_from(["", "backup", "verify", "backups+state", "data", "x", "others"])
_SEEN = st.builds(
    lambda kind, subject, looks: Seen(finding=_found(kind, subject), looks=tuple(sorted(looks))),
    st.sampled_from(_KINDS), _NAMES, st.lists(_MOMENTS, max_size=2),
)  # fmt: skip
_ATTEMPTS = st.lists(
    st.builds(
        Attempt, job=st.sampled_from(actions.JOBS),
        name=st.tuples(st.sampled_from(_KINDS), _NAMES), at=_MOMENTS,
        ended_at=st.none() | _MOMENTS, outcome=st.none() | st.sampled_from(RunOutcome),
        confirmed_at=st.none() | _MOMENTS,
    ),
    max_size=12,
).map(lambda found: sorted(found, key=lambda one: one.at))  # fmt: skip
_PAUSES = st.none() | st.builds(Pause, since=_MOMENTS, until=st.none() | _MOMENTS)


@given(
    seen=st.lists(_SEEN, max_size=6, unique_by=lambda one: one.finding.name),
    attempts=_ATTEMPTS,
    pause=_PAUSES,
    stopped=st.dictionaries(st.sampled_from(actions.JOBS), _MOMENTS),
    allowed=st.frozensets(st.sampled_from(Switch)),
    met=st.sampled_from([True, False, None]),
    busy=st.sampled_from(["", "", "the job x"]),
    tries=st.integers(1, 5),
)
def test_whatever_happened_the_law_is_kept(  # noqa: PLR0917
    seen: list[Seen], attempts: list[Attempt], pause: Pause | None,
    stopped: dict[Job, datetime.datetime], allowed: frozenset[Switch], met: bool | None, busy: str,  # noqa: FBT001
    tries: int,
) -> None:  # fmt: skip
    limits = dataclasses.replace(ALL, tries=tries, allowed=allowed)
    past = policy.Past(attempts=attempts, pause=pause, stopped=stopped)
    decisions = _decide(
        *seen, past=past, limits=limits, busy=busy, ask=lambda _repair, _found: Ready(met, "x")
    )
    acts = [one for one in decisions if one.verdict is Verdict.ACT]
    assert len(acts) <= 1
    assert all(one.why and one.said and one.command for one in decisions)
    for act in acts:
        assert act.job is not None
        assert met is True
        assert not busy
        assert not (pause and (pause.until is None or pause.until > NOON))
        assert act.job not in stopped
        mine = [one for one in attempts if one.job is act.job]
        assert sum(NOON - one.at < limits.period for one in mine) < tries
        assert all(one.outcome is not None for one in attempts)
        if mine:
            assert (mine[-1].ended_at or mine[-1].at) + limits.cooldown <= NOON
        (about,) = [one for one in seen if one.finding.name == act.name]
        last = max(((one.ended_at or one.at) for one in attempts), default=None)
        assert len(about.looks) == 2
        assert all(last is None or look > last for look in about.looks)
        switches = {r.switch for r in actions.TABLE if (r.job, r.kind) == (act.job, act.kind)}
        assert switches <= allowed
