"""What the doctor concludes: whatever is not well has one command, and nothing bad is silent."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import doctor, own_folders
from eiderd.doctor import Check, Mark
from eiderd.evidence import (
    ApplicationSeen,
    ApplicationState,
    DatabaseSeen,
    EngineSeen,
    FolderSeen,
    Health,
    ServiceSeen,
)
from eiderd.health import Finding, Kind, Severity
from eiderd.setup.sandbox import Lack

if TYPE_CHECKING:
    from collections.abc import Iterable

DATABASE = DatabaseSeen(
    problem="", hint="", bytes=1_000_000, engine="v1.4.3", storage_version=64, encrypted=False,
    device=1, logs={"x.wal": 10}, holder="app (PID 7, user app)", aside=(),
    unfinished="",
)  # fmt: skip
FOLDER = FolderSeen(
    exists=True, is_folder=True, owner="eiderd", mode=0o700, writable=True, device=2,
    filesystem="ext4 on /", free_bytes=10**9, total_inodes=10**6, free_inodes=10**6, leftovers=(),
)  # fmt: skip
BUNDLED = EngineSeen(version="2.0.0", bundled=True, problem="", spatial=False)
OTHER = EngineSeen(version="1.4.3", bundled=False, problem="", spatial=None)


def _of_database(**changes: object) -> dict[str, Check]:
    seen = dataclasses.replace(DATABASE, **changes)  # type: ignore[arg-type]
    return _named(doctor.of_database("/data/x.duckdb", seen))


def _of_folder(
    name: str = "backups",
    *,
    user: str = "eiderd",
    device: int = 1,
    busy: bool = False,
    **changes: object,
) -> dict[str, Check]:
    seen = dataclasses.replace(FOLDER, **changes)  # type: ignore[arg-type]
    return _named(
        own_folders.of_folder(
            name, "/b", seen, user=user, keeper="eiderd", database_device=device, busy=busy
        )
    )


def _named(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def _bad(checks: dict[str, Check]) -> set[str]:
    for check in checks.values():
        assert check.said
        assert bool(check.command) == (check.mark is not Mark.WELL), check
    return {name for name, check in checks.items() if check.mark is not Mark.WELL}


def test_what_is_well_is_said_without_a_command() -> None:
    assert _bad(_of_database()) == set()
    assert _bad(_of_folder()) == set()
    assert _of_database()["lock"].said == "held by app (PID 7, user app)"


def test_a_note_is_well_enough() -> None:
    note = Check(name="rescued", mark=Mark.NOTE, said="a folder", command="rm -r -- /x")
    assert doctor.is_all_well((doctor.of_python("3.12.1"), note))


def test_nothing_looked_at_is_not_well() -> None:
    assert not doctor.is_all_well(())
    assert not doctor.is_all_well((doctor.of_python("3.12.1"), doctor.of_tools(["ionice"])))
    assert doctor.is_all_well((doctor.of_python("3.12.1"),))


def test_a_database_that_cannot_be_read_is_a_problem() -> None:
    checks = _of_database(problem="may not read it", hint="setfacl")
    assert checks["database"].mark is Mark.PROBLEM
    assert checks["database"].command == "setfacl"


def test_an_encrypted_database_is_a_warning() -> None:
    assert _bad(_of_database(encrypted=True)) == {"database"}


@pytest.mark.parametrize(("holder", "bad"), [("", {"wal"}), ("somebody", set())])
def test_a_second_log_is_a_warning_when_no_checkpoint_can_be_running(
    holder: str, bad: set[str]
) -> None:
    logs = {"x.wal": 10, "x.wal.checkpoint": 5}
    checks = _of_database(logs=logs, holder=holder)
    assert _bad(checks) == bad


def test_a_restore_that_did_not_end_is_a_problem() -> None:
    to_end = "eider compact --dry-run"
    check = _of_database(unfinished="compact (backup 7)", to_end=to_end)["exchange"]
    assert (check.mark, check.command) == (Mark.PROBLEM, to_end)
    assert "backup 7" in check.said


def test_where_an_exchange_did_not_end_nobody_is_told_to_make_a_new_database() -> None:
    gone = {"problem": "there is no database", "hint": "start the application once"}
    checks = _of_database(**gone, unfinished="compact (x)", to_end="eider compact --dry-run")
    assert checks["database"].command == "eider compact --dry-run"


def test_backups_on_the_disk_of_the_database_are_a_warning_and_the_state_is_not() -> None:
    assert _bad(_of_folder(device=2)) == {"same disk"}
    assert _bad(_of_folder("state", device=2)) == set()


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({"writable": False}, Mark.PROBLEM),
        ({"is_folder": False}, Mark.PROBLEM),
        ({"mode": 0o750}, Mark.WARNING),
        ({"mode": 0o755, "exists": False}, Mark.WELL),
    ],
)
def test_a_folder_must_be_ours_and_private(changes: dict[str, object], mark: Mark) -> None:
    assert _of_folder(**changes)["backups"].mark is mark  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("user", "changes", "command"),
    [
        ("eiderd", {"exists": False}, "install -d -m 0700 -o eiderd /b"),
        ("eiderd", {"owner": "root"}, "chown eiderd /b"),
        ("eiderd", {}, "chmod u+rwx /b"),
        ("eiderd", {"read_only": True}, "findmnt -T /b"),
        ("app", {}, "sudo eider doctor"),
        ("app", {"exists": False}, "sudo eider doctor"),
    ],
)
def test_a_folder_is_opened_to_nobody_but_the_user_whose_it_is(
    user: str, changes: dict[str, object], command: str
) -> None:
    check = _of_folder(user=user, writable=False, **changes)["backups"]  # type: ignore[arg-type]
    assert check.command == command


def test_what_could_not_be_looked_at_is_not_none() -> None:
    (check,) = doctor.of_backups(
        age_seconds=None, fresh_seconds=1.0, newest="", rules={}, known=False
    )
    assert "not known" in check.said
    assert "no verified backup" not in check.said


def test_few_inodes_are_a_warning_and_none_counted_is_not() -> None:
    assert _bad(_of_folder(free_inodes=9_999)) == {"backups inodes"}
    assert _bad(_of_folder(free_inodes=0, total_inodes=0)) == set()


def test_what_a_run_left_is_a_warning_unless_one_is_at_work() -> None:
    left = (".staging/20260101-000000",)
    assert _bad(_of_folder(leftovers=left)) == {"backups leftovers"}
    assert _bad(_of_folder(leftovers=left, busy=True)) == set()


@pytest.mark.parametrize(
    ("mode", "mark", "readers"),
    [
        (0o600, Mark.WELL, "root may read"),
        (0o640, Mark.WELL, "the group eiderd may read"),
        (0o644, Mark.WELL, "everybody may read"),
        (0o664, Mark.PROBLEM, "the group eiderd may change"),
        (0o646, Mark.PROBLEM, "everybody may change"),
    ],
)
def test_who_may_read_and_change_the_configuration(mode: int, mark: Mark, readers: str) -> None:
    check = doctor.of_configuration("/etc/e.toml", owner="root", group="eiderd", mode=mode)
    assert check.mark is mark
    assert readers in check.said


def test_the_engine_of_the_application_is_missed() -> None:
    assert _bad(_named(doctor.of_engines([BUNDLED, OTHER], application="v1.4.3"))) == set()
    broken = dataclasses.replace(OTHER, problem="it does not start")
    for engines in ([BUNDLED], [BUNDLED, broken]):
        checks = _named(doctor.of_engines(engines, application="1.4.3"))
        assert checks["application's engine"].command == "eider engine add 1.4.3"
    assert "engine" in _bad(checks)


def test_an_engine_that_does_not_work_is_a_problem_whichever_it_is() -> None:
    for one in (BUNDLED, OTHER):
        broken = dataclasses.replace(one, problem="it does not start")
        assert _bad(_named(doctor.of_engines([broken], application=None))) >= {"engine"}


@pytest.mark.parametrize(
    ("running", "answers", "mark"),
    [
        (True, True, Mark.WELL),
        (True, False, Mark.PROBLEM),
        (False, True, Mark.WARNING),
        (False, False, Mark.WARNING),
    ],
)
def test_the_service_must_run_and_answer(running: bool, answers: bool, mark: Mark) -> None:  # noqa: FBT001
    seen = ServiceSeen(answers=answers, said="refused")
    assert doctor.of_service(running=running, address="h:1", seen=seen).mark is mark


@pytest.mark.parametrize(
    ("doubtful", "synchronised", "mark"),
    [
        (False, True, Mark.WELL),
        (False, None, Mark.WELL),
        (False, False, Mark.WARNING),
        (True, True, Mark.WARNING),
    ],
)
def test_the_clock_must_be_kept(doubtful: bool, synchronised: bool | None, mark: Mark) -> None:  # noqa: FBT001
    assert doctor.of_clock(doubtful=doubtful, synchronised=synchronised).mark is mark


@pytest.mark.parametrize(("age", "bad"), [(None, True), (3600.0, False), (90_000.0, True)])
def test_the_newest_verified_backup_must_be_there_and_fresh(age: float | None, bad: bool) -> None:  # noqa: FBT001
    checks = doctor.of_backups(
        age_seconds=age, fresh_seconds=86_400, newest="one", rules={"min_count": 3, "daily": 7}
    )
    named = _named(checks)
    assert (named["backup"].mark is Mark.PROBLEM) == bad
    assert named["retention"].said == "daily 7"


def test_what_the_sandbox_forbids_is_a_problem_each() -> None:
    lacks = [Lack(said="no way to 10.9.8.7"), Lack(said="no name", command="getent ahosts nats")]
    checks = list(doctor.of_sandbox(lacks))
    assert [(check.mark, check.command) for check in checks] == [
        (Mark.PROBLEM, "eider setup"),
        (Mark.PROBLEM, "getent ahosts nats"),
    ]
    assert [check.mark for check in doctor.of_sandbox(())] == [Mark.WELL]


def test_an_application_that_is_ill_is_a_warning() -> None:
    seen = ApplicationSeen(
        name="unit x", state=ApplicationState.RUNNING, to_see_why="see", to_thaw="thaw"
    )
    for well, mark in ((True, Mark.WELL), (False, Mark.WARNING)):
        health = Health(well=well, why="it said so")
        check = doctor.of_application(dataclasses.replace(seen, health=health))
        assert check.mark is mark
    check = doctor.of_application(dataclasses.replace(seen, state=ApplicationState.FAILED))
    assert (check.mark, check.command) == (Mark.WARNING, "see")


def test_an_application_that_was_left_frozen_is_thawed() -> None:
    seen = ApplicationSeen(
        name="unit x", state=ApplicationState.RUNNING, frozen=True, to_thaw="systemctl thaw x"
    )
    check = doctor.of_application(seen)
    assert (check.mark, check.command) == (Mark.WARNING, "systemctl thaw x")


@given(st.sampled_from(Kind), st.sampled_from(Severity))
def test_no_finding_is_called_well(kind: Kind, severity: Severity) -> None:
    found = Finding(kind=kind, severity=severity, message="m", command="c")
    for check in doctor.of_findings([found]):
        assert check.mark is not Mark.WELL
        assert check.command == "c"


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        ("systemctl enable --now eiderd", "eiderd"),
        ("journalctl -u eiderd -g backup", "eider status"),
        ("timedatectl set-ntp true", "date"),
        ("systemctl status app.service", "systemctl status app.service"),
        ("eider backup", "eider backup"),
        ("", ""),
    ],
)
def test_without_systemd_nothing_of_systemd_is_to_be_typed(command: str, typed: str) -> None:
    check = doctor.Check(name="x", mark=Mark.WARNING, said="y", command=command)
    assert doctor.as_typed([check], systemd=False) == (dataclasses.replace(check, command=typed),)
    assert doctor.as_typed([check], systemd=True) == (check,)
