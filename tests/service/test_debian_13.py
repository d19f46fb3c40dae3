"""The same package for the next Debian: another Python, another systemd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.installed import Machine, machine

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("trixie") / "box", debian="13") as made:
        made.do("systemctl", "enable", "--now", "eiderd")
        made.await_backup()
        yield made


def test_it_runs_and_backs_up(installed: Machine) -> None:
    assert installed.show("eiderd", "ActiveState") == "active"
    assert installed.eider("show", "latest")["state"] == "verified"
    assert "\neider_last_verified_timestamp_seconds 1" in installed.get("/metrics")


def test_polkit_lets_it_freeze_this_unit_and_no_other(installed: Machine) -> None:
    for verb in ("freeze", "thaw"):
        assert installed.as_eiderd("systemctl", "--no-ask-password", verb, "app").code == 0
        assert installed.as_eiderd("systemctl", "--no-ask-password", verb, "other").code != 0


def test_the_maintenance_unit_may_do_what_it_is_for(installed: Machine) -> None:
    unit = "eiderd-maintain@compact"
    installed.as_eiderd("systemctl", "--no-ask-password", "start", unit)
    assert "may not write" not in installed.journal(unit)
    assert "job_failed" not in installed.journal(unit)
    assert installed.show("app", "ActiveState") == "active"
