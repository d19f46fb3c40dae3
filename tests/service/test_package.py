"""The package through its life: installed, upgraded, put back, removed, purged. Backups stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers import until
from tests.service import product
from tests.service.installed import BACKUPS, Machine, machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SITE = "/usr/lib/eiderd/lib/python3.11/site-packages"
_OTHER_PACKAGE = """\
Package: other
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: has a file that is not its own
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("package") / "box") as made:
        made.do("systemctl", "enable", "--now", "eiderd")
        made.await_backup()
        yield made


def _version(machine: Machine) -> str:
    return machine.do("dpkg-query", "--show", "--showformat=${Version}", "eiderd")


def _pid(machine: Machine) -> str:
    until(lambda: machine.show("eiderd", "MainPID") != "0", what="the service")
    machine.await_show("eiderd", "ActiveState", "active")
    return machine.show("eiderd", "MainPID")


# One after the other, as they happen to a machine ------------------------------------------------


def test_what_is_installed_is_in_its_place(installed: Machine) -> None:
    assert installed.do("eider", "--version").startswith("eider ")
    installed.do("sh", "-c", "test -s /usr/share/bash-completion/completions/eider")
    assert installed.do("dpkg", "--verify", "eiderd") == "??5?????? c /etc/eiderd/eiderd.toml\n"
    assert installed.do("stat", "--format=%U %a", BACKUPS).strip() == "eiderd 700"
    # Nothing tells where it was built: the same sources make the same package anywhere.
    assert installed.run("sh", "-c", f"grep -l bin/eider {_SITE}/*/RECORD").stdout == ""
    # Resources that are no modules: profiles, rules, runbooks, the unit files.
    found = installed.python(
        """
        from eiderd import resources
        print(*resources.profiles(), *resources.rules(), resources.compatibility().exists(),
              (resources.runbooks() / "disk_low.md").exists(), resources.demo().exists(),
              (resources.units() / "eiderd.service").exists())
        """
    )
    assert found.split()[0] == "cartographus"
    assert "eiderd" in found
    assert found.split()[-4:] == ["True"] * 4


def test_an_upgrade_goes_on_with_the_new_version(installed: Machine) -> None:
    backups, before = installed.backups(), _pid(installed)
    installed.install(product.deb(release=2))
    assert "-2+" in _version(installed)
    assert _pid(installed) != before
    assert installed.backups() == backups
    assert "compact" in installed.do("cat", "/etc/eiderd/eiderd.toml")  # what was written stays


def test_one_that_is_stopped_stays_stopped(installed: Machine) -> None:
    installed.do("systemctl", "stop", "eiderd")  # it is enabled all the same
    installed.install(product.deb(release=2))
    assert installed.show("eiderd", "ActiveState") == "inactive"
    assert installed.show("eiderd", "UnitFileState") == "enabled"
    installed.do("systemctl", "start", "eiderd")


@pytest.mark.parametrize("verb", ["--install", "--remove"])
def test_it_is_not_exchanged_while_the_database_is(installed: Machine, verb: str) -> None:
    package = product.deb(release=1)
    installed.write(f"/root/{package.name}", package.read_bytes())
    before = _pid(installed)
    installed.begin_maintenance()
    ran = installed.run("dpkg", verb, {"--install": f"/root/{package.name}"}.get(verb, "eiderd"))
    assert ran.code != 0
    assert "wait for its end" in ran.stderr
    installed.end_maintenance()
    assert "-2+" in _version(installed)
    assert _pid(installed) == before


def test_after_an_upgrade_that_failed_it_goes_on(installed: Machine) -> None:
    """A file of another package is in the way of the new version."""
    in_the_way = "/usr/share/eiderd/grafana/eiderd.json"
    installed.write("/root/other/DEBIAN/control", _OTHER_PACKAGE)
    installed.write(f"/root/other{in_the_way}", "")
    installed.do("dpkg-deb", "--build", "/root/other", "/root/other.deb")
    installed.do("dpkg", "--install", "--force-overwrite", "/root/other.deb")
    package = product.deb(release=1)
    before = _pid(installed)
    ran = installed.run("dpkg", "--install", f"/root/{package.name}")
    assert ran.code != 0
    assert "trying to overwrite" in ran.stderr
    assert "-2+" in _version(installed)
    assert _pid(installed) != before
    installed.do("test", "-d", f"{_SITE}/eiderd/__pycache__")
    installed.do("dpkg", "--purge", "other")


def test_a_downgrade_is_an_upgrade_the_other_way(installed: Machine) -> None:
    installed.do("systemctl", "disable", "eiderd")  # and what runs all the same runs again
    backups, before = installed.backups(), _pid(installed)
    installed.install(product.deb(release=1))
    assert "-1+" in _version(installed)
    assert _pid(installed) != before
    assert installed.show("eiderd", "UnitFileState") == "disabled"
    assert installed.backups() == backups
    installed.do("systemctl", "enable", "eiderd")


def test_no_library_that_was_exchanged_starts_a_restore_anew(installed: Machine) -> None:
    told = installed.do(
        "perl", "-e",
        """
        our %nrconf = (override_rc => {});
        do "/etc/needrestart/conf.d/eiderd.conf" or die $@;
        my %left = %{$nrconf{override_rc}};
        for my $unit (@ARGV) { print "$unit\n" if grep { $unit =~ /$_/ && !$left{$_} } keys %left }
        """,
        "eiderd.service", "eiderd-maintain@restore.service", "eiderd-maintain@compact.service",
    )  # fmt: skip
    assert told.split() == ["eiderd-maintain@restore.service", "eiderd-maintain@compact.service"]


def test_removed_and_installed_again_it_goes_on(installed: Machine) -> None:
    backups = installed.backups()
    installed.do("dpkg", "--remove", "eiderd")
    assert installed.run("pgrep", "--uid", "eiderd").stdout == ""
    assert installed.run("test", "-e", "/usr/lib/eiderd").code == 1
    assert len(installed.do("sh", "-c", f"ls {BACKUPS}/backup-2*.tar.gz").split()) == len(backups)
    installed.install(product.deb())
    assert _pid(installed)  # it was enabled, and is
    assert installed.backups() == backups


def test_purged_only_the_backups_are_left(installed: Machine) -> None:
    there = installed.do("sh", "-c", f"cd {BACKUPS} && sha256sum *")
    ran = installed.run("dpkg", "--purge", "eiderd")
    assert ran.code == 0, ran
    assert "the backups stay" in ran.stdout
    assert installed.do("sh", "-c", f"cd {BACKUPS} && sha256sum *") == there
    state = set(installed.do("ls", "/var/lib/eiderd").split())
    assert {"backups", "journal.jsonl"} <= state
    assert not state & {"mirror", "scratch", "engines", "service.lock"}
    left = installed.do(
        "find", "/etc", "/usr", "/run", "/var", "-xdev", "-name", "*eiderd*",
        "!", "-path", "/var/lib/eiderd*", "!", "-path", "/run/systemd/*",
        "!", "-path", "/var/log/*", "!", "-path", "/etc/credstore/*",
    )  # fmt: skip
    assert left == ""
    installed.do("systemctl", "mask", "eiderd")
    installed.install(product.deb())
    assert installed.run("eider", "list").code == 2  # nothing is configured: as new
    assert installed.show("eiderd", "LoadState") == "masked"
    installed.do("systemctl", "unmask", "eiderd")
    assert installed.show("eiderd", "ActiveState") == "inactive"
    assert installed.show("eiderd", "UnitFileState") == "disabled"


def test_one_that_was_removed_long_ago_takes_nothing_from_its_successor(installed: Machine) -> None:
    there = installed.do("sh", "-c", f"cd {BACKUPS} && sha256sum *")
    own, drop_in = (
        "/etc/systemd/system/eiderd.service",
        "/etc/systemd/system/eiderd.service.d/x.conf",
    )
    mirror = "/var/lib/eiderd/mirror/app.duckdb"
    installed.do("dpkg", "--remove", "eiderd")
    for path in (own, drop_in, mirror):
        installed.write(path, "# of an eiderd that is no package\n")
    assert "stays" in installed.do("dpkg", "--purge", "eiderd")
    installed.do("ls", own, drop_in, mirror)
    assert installed.do("sh", "-c", f"cd {BACKUPS} && sha256sum *") == there


# Files ------------------------------------------------------------------------------------------


def test_lintian_finds_no_error() -> None:
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    ran = subprocess.run(
        ["lintian", "--fail-on", "error", "--no-tag-display-limit", "--allow-root",
         str(product.deb())],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout


def test_the_same_sources_make_the_same_package(tmp_path: Path) -> None:
    first = product.deb()
    build = product.PROJECT / "packaging/system/build.py"
    made_at = first.read_bytes()[24:36].decode().strip()  # of the first member (ar(5))
    subprocess.run(
        [sys.executable, str(build), "deb", "--debian", "12", "--to", str(tmp_path)],
        check=True, capture_output=True, timeout=600,
        env={**os.environ, "SOURCE_DATE_EPOCH": made_at},  # the first may be of an earlier commit
    )  # fmt: skip
    again = next(tmp_path.glob("*.deb"))
    assert again.name == first.name
    assert again.read_bytes() == first.read_bytes()
