"""The unit files that setup writes: whole, for this installation, and known again by their seal."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import resources
from eiderd.setup import units as setup_units

if TYPE_CHECKING:
    from pathlib import Path


def _given_files(
    bin_folder: str = "/opt/eiderd/bin", config: str = "/etc/eiderd/e.toml"
) -> dict[str, str]:
    shipped = {name: (resources.units() / name).read_text() for name in setup_units.PLACES}
    return setup_units.files(shipped, bin_folder=bin_folder, config=config)


def test_everything_that_ships_for_systemd_is_placed() -> None:
    shipped = {path.name for path in resources.units().iterdir()}
    assert shipped == {*setup_units.PLACES, setup_units.TEMPLATE}


def test_the_units_start_this_installation_with_its_configuration() -> None:
    every = _given_files()
    for name in ("eiderd.service", "eiderd-maintain@.service"):
        text = every[setup_units.PLACES[name]]
        assert "ExecStart=/opt/eiderd/bin/eiderd --config /etc/eiderd/e.toml" in text
        assert "/usr/bin/eiderd" not in text
    assert all(map(setup_units.is_sealed, every.values()))


def test_the_policy_of_the_bus_is_still_one() -> None:
    policy = ET.fromstring(_given_files()[setup_units.PLACES["eiderd.dbus.conf"]])  # noqa: S314
    assert policy.tag == "busconfig"


def test_systemd_understands_what_is_written(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    bin_folder = tmp_path / "my own bin"
    bin_folder.mkdir()
    (bin_folder / "eiderd").write_text("#!/bin/sh\n")
    (bin_folder / "eiderd").chmod(0o755)
    unit = tmp_path / "eiderd.service"
    unit.write_text(_given_files(str(bin_folder))[setup_units.PLACES["eiderd.service"]])
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "eiderd.service" not in ran.stderr, ran.stderr


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_a_seal_holds_until_anything_is_changed(text: str) -> None:
    for comment in ("#", "//", "<!--"):
        sealed = setup_units.sealed(text, comment=comment)
        assert setup_units.is_sealed(sealed)
        assert not setup_units.is_sealed(sealed + "x")
        assert not setup_units.is_sealed(text)


def test_a_rule_names_one_unit_whatever_it_is_called() -> None:
    template = (resources.units() / setup_units.TEMPLATE).read_text()
    said = setup_units.application_rules(template, unit='a"b\\x2d.service')
    assert 'const unit = "a\\"b\\\\x2d.service";' in said
    assert "@UNIT@" not in said
