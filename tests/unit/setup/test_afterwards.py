"""What to type next: it fits what runs, and each line works as it stands."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING, Any, cast

import pytest

from eiderd.setup.afterwards import commands

if TYPE_CHECKING:
    from eiderd.outside.host import Host

CONFIG = "/etc/eiderd/eiderd.toml"
WRITTEN = {"kind": "write", "state": "changed", "command": ""}
DECLINED = {"kind": "command", "state": "declined", "command": "systemctl daemon-reload"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    active: bool = False
    runs_systemd: bool = True
    is_this_machine: bool = True
    configured: bool = True
    installed: frozenset[str] = frozenset({"eiderd.service"})

    def is_active(self, unit: str) -> bool:
        return self.active and unit == "eiderd.service"

    def is_file(self, path: str) -> bool:
        return self.configured and path.endswith(".toml")

    def units(self) -> frozenset[str]:
        return self.installed


def _said(
    *rows: dict[str, str], config: str = CONFIG, removed: bool = False, **facts: Any
) -> tuple[str, ...]:
    host = cast("Host", _Host(**facts))
    return commands(host, rows, config=config, removed=removed)


def test_a_first_backup_then_the_service_and_the_doctor_by_itself() -> None:
    """The doctor exits with 3 for a warning: nothing may hang on that."""
    assert _said(WRITTEN) == ("eider backup", "systemctl enable --now eiderd", "eider doctor")


def test_a_service_that_runs_was_restarted_by_setup_itself() -> None:
    assert _said(WRITTEN, active=True) == ("eider doctor",)
    assert _said(active=True) == ()


def test_a_command_that_was_declined_is_still_to_be_done() -> None:
    assert _said(WRITTEN, DECLINED, active=True) == ("systemctl daemon-reload", "eider doctor")


@pytest.mark.parametrize(
    ("facts", "start"),
    [
        ({"runs_systemd": False}, "eiderd"),
        ({"runs_systemd": False, "is_this_machine": False}, "systemctl enable --now eiderd"),
        ({"installed": frozenset()}, "eiderd"),
    ],
)
def test_without_a_unit_or_systemd_it_is_started_as_it_can_be(
    facts: dict[str, Any], start: str
) -> None:
    assert _said(WRITTEN, **facts) == ("eider backup", start, "eider doctor")


def test_another_configuration_is_named_in_each() -> None:
    mine = "/home/me/my config.toml"
    assert [shlex.split(line) for line in _said(WRITTEN, config=mine)] == [
        ["eider", "--config", mine, "backup"],
        ["eiderd", "--config", mine],
        ["eider", "--config", mine, "doctor"],
    ]


def test_where_the_configuration_was_declined_there_is_nothing_to_begin_with() -> None:
    assert _said({**WRITTEN, "state": "declined"}, configured=False) == ()


def test_after_a_removal_a_service_that_runs_is_to_be_stopped() -> None:
    assert _said(WRITTEN, removed=True) == ()
    assert _said(WRITTEN, removed=True, active=True) == ("systemctl disable --now eiderd",)
