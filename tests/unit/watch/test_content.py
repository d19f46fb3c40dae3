"""Each finding about what the backups hold: raised, and over again."""

from __future__ import annotations

import datetime
from typing import Any

from eiderd.evidence import Damage
from eiderd.health import Finding, Kind, Severity
from eiderd.model import Brief, BriefContent, Failure, Level, Proof, State, Unreadable
from eiderd.status import Frozen
from eiderd.watch import content

NOON = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
LOST = BriefContent(reasons=("table \x1b[31mfacts lost 80 % of its rows", "table a is gone"))


def _brief(number: int, state: State = State.VERIFIED, **more: Any) -> Brief:
    proof = Proof(level=Level.RESTORE, at=NOON)
    return Brief(
        id=f"20260304-{number:06}", sequence=number, archive="x", bytes=1, state=state,
        created_at=NOON + datetime.timedelta(hours=number), **({"proof": proof} | more),
    )  # fmt: skip


def _found(*briefs: Brief, **changed: Any) -> dict[tuple[Kind, str], Finding]:
    arguments: dict[str, Any] = {"unreadable": (), "frozen": ()}
    findings = content.run(briefs=briefs, **(arguments | changed))
    assert len(set(findings)) == len(findings)
    return {(found.kind, found.subject): found for found in findings}


def test_verified_backups_are_well() -> None:
    assert _found() == {}
    assert _found(_brief(1), _brief(2)) == {}


def test_suspect_content_names_the_first_such_backup_and_why() -> None:
    second, third = (_brief(n, State.SUSPECT, content=LOST) for n in (2, 3))
    (found,) = _found(_brief(1), second, third).values()
    assert (found.kind, found.subject) == (Kind.SUSPECT_CONTENT, second.id)
    assert found.severity is Severity.CRITICAL
    assert found.message == (
        "Data may be lost, first in backup 20260304-000002 of 2026-03-04 14:00 UTC and in 1 later: "
        "table \N{REPLACEMENT CHARACTER}[31mfacts lost 80 % of its rows; table a is gone; "
        "the last good one is 20260304-000001. "
        "If that is as it should be: eider accept 20260304-000002"
    )
    assert found.command == "eider show 20260304-000002"


def test_suspect_content_is_over_when_a_later_backup_is_verified() -> None:
    assert _found(_brief(1), _brief(2, State.SUSPECT, content=LOST), _brief(3)) == {}


def test_corrupt_backups_are_a_warning_while_there_is_a_verified_one() -> None:
    failure = Failure(level=Level.CHECKSUM, kind=Damage.CHECKSUM, message="bytes differ")
    bad = _brief(2, State.CORRUPT, proof=Proof(level=Level.NONE, at=NOON, failure=failure))
    found = _found(_brief(1), bad)[Kind.CORRUPT_BACKUP, bad.id]
    assert found.severity is Severity.WARNING
    assert found.message == f"Backup {bad.id} is corrupt: bytes differ."
    assert found.command == f"eider verify {bad.id}"
    assert _found(bad)[Kind.CORRUPT_BACKUP, bad.id].severity is Severity.CRITICAL
    gone = _found(_brief(1), _brief(2, State.CORRUPT))[Kind.CORRUPT_BACKUP, bad.id]
    assert "its archive is gone" in gone.message


def test_many_corrupt_backups_are_five_and_a_count() -> None:
    five = _found(*(_brief(n, State.CORRUPT) for n in range(1, 6)))
    assert len(five) == 5
    many = _found(*(_brief(n, State.CORRUPT) for n in range(1, 13)))
    assert len(many) == 6
    assert (Kind.CORRUPT_BACKUP, "20260304-000012") in many
    assert (Kind.CORRUPT_BACKUP, "20260304-000007") not in many
    others = many[Kind.CORRUPT_BACKUP, "others"]
    assert others.message == "7 more backups are so too, 12 in all."


def test_a_manifest_that_cannot_be_believed_is_named_and_cannot_steer_a_shell() -> None:
    evil = Unreadable(id="$(reboot)\x1b[2J", problem="its manifest was changed")
    (found,) = _found(_brief(1), unreadable=(evil,)).values()
    assert (found.kind, found.severity) == (Kind.UNREADABLE_MANIFEST, Severity.WARNING)
    assert "its manifest was changed" in found.message
    assert "\x1b" not in found.message + found.subject
    assert found.command == "eider list"
    many = _found(unreadable=[Unreadable(id=str(n), problem="x") for n in range(9)])
    assert len(many) == 6


def test_a_prune_that_is_frozen_says_each_reason_and_what_to_type() -> None:
    suspect = _brief(2, State.SUSPECT, content=LOST)
    found = _found(_brief(1), suspect, frozen=(Frozen.SUSPECT, Frozen.CLOCK, Frozen.UNREADABLE))
    said = {subject: found.command for (kind, subject), found in found.items()
            if kind is Kind.PRUNE_FROZEN}  # fmt: skip
    assert said == {
        "suspect": f"eider accept {suspect.id}",
        "clock": "timedatectl",
        "unreadable": "eider list",
    }
    assert all(one.severity is not Severity.NOTICE for one in found.values())
    # No verified backup is the freshness watcher's to say.
    assert _found(_brief(1), frozen=(Frozen.NO_VERIFIED,)) == {}


def test_no_rules_is_worth_knowing() -> None:
    (found,) = _found(_brief(1), frozen=(Frozen.NO_RULES,)).values()
    assert (found.kind, found.severity) == (Kind.NO_RETENTION_RULES, Severity.NOTICE)
