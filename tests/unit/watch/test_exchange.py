"""When an exchange of database files counts as unfinished, and when it is just at work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from eiderd.errors import EiderError, NotADatabase, SourceUnavailable, StoreUnavailable
from eiderd.evidence import Exchange
from eiderd.health import Finding, Kind, Severity
from eiderd.outside import swap
from eiderd.watch import exchange

BEGUN = Exchange(
    kind="restore", what="20261122-031502", live="app.duckdb", had_live=True, wal_base="app.duckdb",
    incoming="i", incoming_wals=(), aside="A", aside_wals=(), live_wals=(), staging=None,
    restart=True, phase="moving",
)  # fmt: skip


def _found(
    *, looks: tuple[Exchange | EiderError | None, ...], at_work: tuple[bool, ...] = (False, False)
) -> tuple[Finding, ...]:
    """Let the watcher look at these one after the other."""

    def one_by_one(answers: Iterator[object]) -> Callable[[], object]:
        def answer() -> object:
            given = next(answers)
            if isinstance(given, EiderError):
                raise given
            return given

        return answer

    return exchange.run(
        look=one_by_one(iter(looks)),  # type: ignore[arg-type]
        is_whole=swap.is_whole,
        is_at_work=one_by_one(iter(at_work)),  # type: ignore[arg-type]
    )


def test_what_a_run_left_in_the_middle_is_critical() -> None:
    (found,) = _found(looks=(BEGUN, BEGUN))
    assert (found.kind, found.severity) == (Kind.EXCHANGE_UNFINISHED, Severity.CRITICAL)
    assert "20261122-031502" in found.message
    assert "no database" in found.message
    assert found.command == "eider restore"


def test_a_compaction_is_ended_by_the_verb_that_began_it() -> None:
    (found,) = _found(looks=(dataclasses.replace(BEGUN, kind="compact"),) * 2)
    assert found.command == "eider compact"


@pytest.mark.parametrize("kind", ["restore", "undo", "roll back"])
def test_whatever_restores_is_ended_by_restore(kind: str) -> None:
    (found,) = _found(looks=(dataclasses.replace(BEGUN, kind=kind),) * 2)
    assert found.command == "eider restore"


def test_files_that_are_in_place_are_no_missing_database() -> None:
    (found,) = _found(looks=(dataclasses.replace(BEGUN, phase="in"),) * 2)
    assert found.severity is Severity.CRITICAL
    assert "no database" not in found.message


def test_nothing_begun_is_nothing_found() -> None:
    assert _found(looks=(None,)) == ()


@pytest.mark.parametrize("at_work", [(True,), (False, True)])
def test_a_run_at_work_on_it_is_as_it_should_be(at_work: tuple[bool, ...]) -> None:
    assert _found(looks=(BEGUN, BEGUN), at_work=at_work) == ()


def test_one_that_ended_between_two_looks_is_none() -> None:
    assert _found(looks=(BEGUN, None)) == ()


def test_a_plan_that_cannot_be_believed_is_found_as_well() -> None:
    strange = StoreUnavailable("/data/.x says so, but it cannot be read", hint="Look: ls -la /data")
    (found,) = _found(looks=(strange,))
    assert (found.severity, found.command) == (Severity.CRITICAL, "Look: ls -la /data")


def test_where_nothing_can_be_seen_no_exchange_is_told_of() -> None:
    with pytest.raises(SourceUnavailable):
        _found(looks=(SourceUnavailable("eiderd may not enter /data"),))


def test_a_hostile_name_does_not_steer_the_terminal() -> None:
    (found,) = _found(looks=(dataclasses.replace(BEGUN, what="\x1b[31mred"),) * 2)
    assert "\x1b" not in found.message


# Is it a database? --------------------------------------------------------------------------------


def _raises(error: Exception) -> Callable[[], None]:
    def look() -> None:
        raise error

    return look


def test_a_file_that_is_no_database_is_critical_when_two_looks_in_a_row_say_so() -> None:
    look = _raises(NotADatabase("/data/\x1b[31mx is not a DuckDB database"))
    found, suspected = exchange.ruined(look=look, suspected=False)
    assert (found, suspected) == ((), True)
    (finding,), suspected = exchange.ruined(look=look, suspected=suspected)
    assert suspected
    assert (finding.kind, finding.severity) == (Kind.NOT_A_DATABASE, Severity.CRITICAL)
    assert finding.command == "eider restore --dry-run"
    assert "\x1b" not in finding.message


def test_who_looks_only_once_believes_it() -> None:
    found, _suspected = exchange.ruined(look=_raises(NotADatabase("x")), suspected=None)
    assert found


@pytest.mark.parametrize("error", [SourceUnavailable("there is no database"), None])
@pytest.mark.parametrize("suspected", [True, False, None])
def test_what_cannot_be_reached_is_not_known_to_be_ruined(
    error: Exception | None,
    suspected: bool | None,  # noqa: FBT001
) -> None:
    look = _raises(error) if error else lambda: None
    assert exchange.ruined(look=look, suspected=suspected) == ((), False)
