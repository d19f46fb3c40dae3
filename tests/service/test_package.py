"""The package through its life: installed, upgraded, put back, removed, purged. Backups stay."""

from __future__ import annotations

import re
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
    installed.do("systemctl", "disable", "--now", "eiderd")
    installed.install(product.deb(release=2))
    assert installed.show("eiderd", "ActiveState") == "inactive"
    installed.do("systemctl", "enable", "--now", "eiderd")


def test_it_is_not_exchanged_while_the_database_is(installed: Machine) -> None:
    installed.write(
        "/run/systemd/system/eiderd-maintain@restore.service.d/slow.conf",
        "[Service]\nExecStart=\nExecStart=sleep 60\n",
    )
    installed.do("systemctl", "daemon-reload")
    installed.do("systemctl", "start", "--no-block", "eiderd-maintain@restore")
    installed.await_show("eiderd-maintain@restore", "ActiveState", "activating")
    ran = installed.run("dpkg", "--remove", "eiderd")
    assert ran.code != 0
    assert "wait for its end" in ran.stderr
    installed.run("systemctl", "stop", "eiderd-maintain@restore")
    installed.do("rm", "-r", "/run/systemd/system/eiderd-maintain@restore.service.d")
    installed.do("systemctl", "daemon-reload")
    assert _pid(installed)


def test_a_downgrade_is_an_upgrade_the_other_way(installed: Machine) -> None:
    backups = installed.backups()
    installed.install(product.deb(release=1))
    assert "-1+" in _version(installed)
    assert _pid(installed)
    assert installed.backups() == backups


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
    installed.install(product.deb())
    assert installed.run("eider", "list").code == 2  # nothing is configured: as new
    installed.do("dpkg", "--purge", "eiderd")
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
    subprocess.run(
        [sys.executable, str(build), "deb", "--debian", "12", "--to", str(tmp_path)],
        check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    again = next(tmp_path.glob("*.deb"))
    assert again.name == first.name
    assert again.read_bytes() == first.read_bytes()


def test_the_rpm_says_the_same() -> None:
    if not shutil.which("rpm"):
        pytest.skip("rpm is not installed")

    def asked(*words: str) -> str:
        return subprocess.run(
            ["rpm", "--nosignature", "-qp", *words, str(product.rpm())],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip

    assert re.match(r"eiderd-\d", asked())
    assert "/usr/lib/systemd/system/eiderd.service" in asked("--list")
    assert asked("--configfiles").split() == ["/etc/eiderd/eiderd.toml"]
    assert "/usr/bin/python3.11" in asked("--requires")
    assert "systemd-sysusers" in asked("--scripts")
