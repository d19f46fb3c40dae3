"""When the replacement of a stream counts as unfinished, and when it is just at work."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from eiderd.broker.evidence import Replacement
from eiderd.errors import StoreUnavailable
from eiderd.health import Kind, Severity
from eiderd.watch import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eiderd.health import Finding

NOON = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
HERE, THERE = "nats://127.0.0.1:4222", "nats://n1:4222, nats://n2:4222"


def _given(
    stream: str = "EVENTS",
    *,
    at: datetime.datetime = NOON,
    server: str = HERE,
    folder: str = "/s/E",
) -> Replacement:
    return Replacement(stream=stream, server=server, begun_at=at, folder=folder)


def _found(
    *records: Replacement, at_work: Sequence[Sequence[datetime.datetime]] = ((), ())
) -> tuple[Finding, ...]:
    asked = iter(at_work)
    return replacing.run(
        look=lambda: records, at_work_since=lambda: next(asked), configured=lambda: HERE
    )


def test_one_that_did_not_end_is_critical_and_says_what_puts_it_back() -> None:
    (found,) = _found(_given())
    assert (found.kind, found.subject) == (Kind.NATS_REPLACE_UNFINISHED, "EVENTS")
    assert found.severity is Severity.CRITICAL
    assert "begun at 2026-03-04 12:00:00 UTC and did not end" in found.message
    assert "before is in /s/E" in found.message
    assert found.command == "eider nats restore /s/E --replace"


def test_a_server_that_is_not_the_configured_one_is_named() -> None:
    (found,) = _found(_given(server=THERE))
    assert found.command == f"eider nats restore /s/E --replace --server '{THERE}'"


def test_of_several_the_first_has_what_was_there() -> None:
    later = _given(at=NOON + MINUTE, folder="/s/later")
    elsewhere = _given(at=NOON + MINUTE, server=THERE, folder="/s/there")
    found = _found(later, _given(), elsewhere, _given("OTHER", folder="/s/O"))
    assert [one.command.split()[3] for one in found] == ["/s/E", "/s/O", "/s/there"]


def test_what_a_run_at_work_has_begun_is_as_it_should_be() -> None:
    before = NOON - MINUTE
    assert _found(_given(), at_work=((before,), (before,))) == ()
    assert _found(_given(), at_work=((before,), ())) == (), "it ended while the records were read"
    assert _found(_given(), at_work=((), (before,))) == (), "it began a moment ago"


def test_what_is_older_than_the_run_at_work_is_still_unfinished() -> None:
    assert len(_found(_given(), at_work=((NOON + MINUTE,),) * 2)) == 1


def test_nothing_begun_is_nothing_found() -> None:
    assert _found() == ()


def test_records_that_cannot_be_read_are_not_silence() -> None:
    def look() -> tuple[Replacement, ...]:
        raise StoreUnavailable("cannot read /s", hint="ls -l /s")

    (found,) = replacing.run(look=look, at_work_since=lambda: (), configured=lambda: HERE)
    assert (found.severity, found.command) == (Severity.CRITICAL, "ls -l /s")


def test_a_hostile_name_does_not_steer_the_terminal() -> None:
    (found,) = _found(_given("\x1b[31mred", server="\x1b[32m", folder="/s/\x1b[33m"))
    assert "\x1b" not in found.subject + found.message + found.command
