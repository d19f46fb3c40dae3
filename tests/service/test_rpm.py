"""The .rpm through its life, by rpm itself: what it promises beyond what the .deb does is kept."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.helpers import until
from tests.service import product
from tests.service.installed import ALSO, BACKUPS, DATABASE, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG: Final = "/etc/eiderd/eiderd.toml"
_GRANTED: Final = "/etc/eiderd/granted"
_FOLDER: Final = str(Path(DATABASE).parent)
_SITE: Final = "/usr/lib/eiderd/lib/python3.11/site-packages/eiderd"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The package, and a next release: with another configuration file, and one module more."""
    first = product.rpm()
    folder = tmp_path_factory.mktemp("rpm")
    tree = folder / "tree"
    subprocess.run(
        ["cp", "-a", "--link", str(first.parents[1] / "tree-12"), str(tree)], check=True, timeout=60
    )
    shipped = tree / _CONFIG.lstrip("/")
    text = shipped.read_text()
    shipped.unlink()  # a hard link: the other tree keeps its own
    shipped.write_text(f"{text}# of release 2\n")
    added = tree / _SITE.lstrip("/") / "added" / "__init__.py"
    added.parent.mkdir()
    added.write_text("")
    build = product.PROJECT / "packaging/system/build.py"
    ran = subprocess.run(
        [sys.executable, str(build), "rpm", "--release=2", f"--tree={tree}", f"--to={folder}"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    shutil.rmtree(tree)
    return first, next(folder.glob("*.rpm"))


@pytest.fixture(scope="module")
def installed(
    tmp_path_factory: pytest.TempPathFactory, packages: tuple[Path, Path]
) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("rpm") / "box"
    made = Machine(folder, debian="12", also=ALSO)
    try:
        made.boot()
        for number, package in enumerate(packages, start=1):
            made.write(f"/root/{number}.rpm", package.read_bytes())
        _rpm(made, "--install", "/root/1.rpm")
        made.give_an_application()
        made.configure()
        made.do("systemctl", "enable", "--now", "eiderd")  # returns when it is ready
        made.await_backup()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _rpm(machine: Machine, *words: str) -> str:
    # What it needs is there, but as Debian's packages, of which rpm knows nothing.
    ran = machine.run("rpm", "--nodeps", *words)
    assert ran.code == 0, ran
    said = "\n".join(line for line in ran.stderr.splitlines() if not line.startswith("rpm: "))
    assert not re.search("warning|error|fail|No such", said.replace("warning: /etc/", "")), said
    return ran.stdout + said


def _versions(machine: Machine) -> list[str]:
    return machine.do("rpm", "--query", "--queryformat=%{RELEASE}\n", "eiderd").split()


def _pid(machine: Machine) -> str:
    until(lambda: machine.show("eiderd", "MainPID") != "0", what="the service")
    machine.await_show("eiderd", "ActiveState", "active")
    return machine.show("eiderd", "MainPID")


def _sums(machine: Machine) -> str:
    return machine.do("sh", "-c", f"cd {BACKUPS} && sha256sum backup-2*")


# One after the other, as they happen to a machine ------------------------------------------------


def test_what_is_installed_is_in_its_place(installed: Machine) -> None:
    assert installed.do("eider", "--version").startswith("eider ")
    changed = installed.run("rpm", "--nodeps", "--verify", "eiderd").stdout.split()
    assert changed[1:] == ["c", _CONFIG]  # nothing but what was written there
    assert installed.do("stat", "--format=%U %a", BACKUPS).strip() == "eiderd 700"
    assert installed.show("eiderd", "User") == "eiderd"
    assert installed.show("eiderd", "UnitFileState") == "enabled"
    compiled = installed.do("sh", "-c", f"ls {_SITE}/__pycache__")
    assert "app.cpython-311.pyc" in compiled


def test_an_upgrade_goes_on_with_the_new_version(installed: Machine) -> None:
    backups, before = installed.backups(), _pid(installed)
    written = installed.do("cat", _CONFIG)
    _rpm(installed, "--upgrade", "/root/2.rpm")
    assert _versions(installed) == ["2"]
    assert _pid(installed) != before
    assert installed.backups() == backups
    assert installed.do("cat", _CONFIG) == written
    assert "of release 2" in installed.do("cat", f"{_CONFIG}.rpmnew")
    installed.do("test", "-e", f"{_SITE}/added/__pycache__")
    assert installed.run("test", "-e", "/run/eiderd-before").code == 1


def test_it_is_not_exchanged_while_the_database_is(installed: Machine) -> None:
    before = _pid(installed)
    installed.begin_maintenance()
    for words in (("--upgrade", "--oldpackage", "/root/1.rpm"), ("--erase", "eiderd")):
        ran = installed.run("rpm", "--nodeps", *words)
        assert ran.code != 0
        assert "wait for its end" in ran.stdout + ran.stderr
    installed.end_maintenance()
    assert _versions(installed) == ["2"]
    assert _pid(installed) == before


def test_a_downgrade_is_an_upgrade_the_other_way(installed: Machine) -> None:
    installed.do("systemctl", "disable", "eiderd")  # and what runs all the same runs again
    backups, before = installed.backups(), _pid(installed)
    _rpm(installed, "--upgrade", "--oldpackage", "/root/1.rpm")
    assert _versions(installed) == ["1"]
    assert _pid(installed) != before
    assert installed.show("eiderd", "UnitFileState") == "disabled"
    assert installed.backups() == backups
    assert installed.run("test", "-e", f"{_SITE}/added").code == 1  # nor what was compiled of it


def test_one_that_is_stopped_stays_stopped(installed: Machine) -> None:
    installed.do("systemctl", "enable", "eiderd")
    installed.do("systemctl", "stop", "eiderd")
    _rpm(installed, "--upgrade", "/root/2.rpm")
    assert installed.show("eiderd", "ActiveState") == "inactive"
    assert installed.show("eiderd", "UnitFileState") == "enabled"


def test_erased_nothing_is_left_but_what_is_the_persons(installed: Machine) -> None:
    there, written = _sums(installed), installed.do("cat", _CONFIG)
    installed.do("rm", f"{_CONFIG}.rpmnew")
    installed.write(_GRANTED, f"# as setup notes it\ninherited {_FOLDER}\nentry {DATABASE}\n")
    said = _rpm(installed, "--erase", "eiderd")
    assert "the backups stay" in said
    lines = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert [line.partition(" ")[0] for line in lines[:2]] == ["setfacl"] * 2
    assert installed.as_eiderd("cat", DATABASE).code == 0, "it may be installed again"
    installed.do("sh", "-ec", "\n".join(lines))  # they work as they are told
    assert installed.as_eiderd("cat", DATABASE).code != 0
    assert installed.run("test", "-e", _GRANTED).code == 1
    assert _sums(installed) == there
    assert {"backups", "journal.jsonl"} <= set(installed.do("ls", "/var/lib/eiderd").split())
    assert installed.do("cat", f"{_CONFIG}.rpmsave") == written
    assert installed.run("pgrep", "--uid", "eiderd").stdout == ""
    assert installed.show("eiderd", "LoadState") == "not-found"
    assert installed.do("find", "/etc/systemd", "-xtype", "l") == ""  # a link to nothing
    left = installed.do(
        "find", "/etc", "/usr", "/run", "/var", "-xdev", "-name", "*eiderd*",
        "!", "-path", "/var/lib/eiderd*", "!", "-path", "/run/systemd/*",
        "!", "-path", "/var/log/*", "!", "-path", "/etc/credstore/*",
        "!", "-path", "/etc/eiderd*",
        # What `eider setup` gives, `eider setup --remove` takes.
        "!", "-path", "/etc/systemd/system/*.service.d*", "!", "-path", "/etc/polkit-1/*",
    )  # fmt: skip
    assert left == ""


def test_installed_again_it_finds_everything(installed: Machine) -> None:
    there = _sums(installed)
    assert "still there" in _rpm(installed, "--install", "/root/1.rpm")
    assert installed.show("eiderd", "ActiveState") == "inactive"  # nothing starts by itself
    installed.configure()  # what the lines at the end of it took away
    installed.do("mv", f"{_CONFIG}.rpmsave", _CONFIG)
    installed.do("systemctl", "enable", "--now", "eiderd")
    assert _sums(installed).startswith(there)
    newest = installed.eider("show", "latest")
    assert installed.eider("verify", newest["id"])


# Files ------------------------------------------------------------------------------------------


def test_it_says_what_the_deb_says(installed: Machine) -> None:
    def asked(*words: str) -> str:
        return installed.do("rpm", "--nosignature", "-qp", *words, "/root/1.rpm")

    assert re.match(r"eiderd-\d", asked())
    listed = asked("--list")
    assert "/usr/lib/systemd/system/eiderd.service" in listed
    assert "/usr/share/zsh/site-functions/_eider" in listed
    assert "/lintian/" not in listed
    assert asked("--configfiles").split() == [_CONFIG]
    assert "/usr/bin/python3.11" in asked("--requires")
