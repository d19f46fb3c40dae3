"""`pipx install .` as the README has it, by Debian's pipx, and then `eider setup --systemd`."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.service import product
from tests.service.installed import ALSO, DATABASE, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCES: Final = ("daemon", "systemd", "config", "packaging", "pyproject.toml", "README.md",
                   "LICENSE")  # fmt: skip
_HERE: Final = "/opt/pipx/venvs/eiderd"
_WORDS: Final = ("setup", "--unit", "app", "--database", DATABASE, "--systemd")


@pytest.fixture(scope="module")
def by_pipx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("pipx") / "box"
    wheels = product.wheels()
    made = Machine(folder, debian="12", also=ALSO)
    try:
        shutil.copytree(wheels, made.root / "root/wheels")
        for name in _SOURCES:
            source, to = product.PROJECT / name, made.root / "root/eiderd" / name
            to.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copyfile(source, to)
        made.boot()
        made.do(
            "env", "--chdir=/root/eiderd", "PIPX_HOME=/opt/pipx", "PIPX_BIN_DIR=/usr/local/bin",
            # Here there is no network.
            "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/root/wheels",
            "pipx", "install", ".", seconds=300,
        )  # fmt: skip
        # The application needs a Python with duckdb, where the package would have one.
        made.do("ln", "-s", _HERE, "/usr/lib/eiderd")
        made.give_an_application()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _setup(machine: Machine, *words: str, eider: str = "eider") -> Any:  # noqa: ANN401  (a document)
    """Run setup, which may find something to say of its backups: there are none yet."""
    return json.loads(machine.run(eider, *_WORDS, *words, "--json").stdout)


def test_the_commands_are_on_the_path(by_pipx: Machine) -> None:
    for name in ("eider", "eiderd"):
        assert by_pipx.do("sh", "-c", f"command -v {name}").strip() == f"/usr/local/bin/{name}"
    assert by_pipx.do("eider", "--version").startswith("eider ")
    assert by_pipx.do("eiderd", "--version")


def test_below_root_the_service_could_not_read_it(by_pipx: Machine) -> None:
    """Where pipx puts things unless it is told: setup says so before it changes anything."""
    by_pipx.do("cp", "-a", "/opt/pipx", "/root/pipx")
    ran = by_pipx.run(
        "/root/pipx/venvs/eiderd/bin/python", "-m", "eiderd", *_WORDS, "--yes", "--json"
    )
    assert ran.code == 2
    assert "its sandbox hides that" in ran.stdout
    assert "PIPX_HOME=/opt/pipx" in ran.stdout
    assert by_pipx.run("find", "/etc", "-name", "*eiderd*").stdout == ""
    by_pipx.do("rm", "-r", "/root/pipx")


def test_what_a_umask_has_shut_is_told_with_the_command_that_opens_it(by_pipx: Machine) -> None:
    by_pipx.do("chmod", "-R", "go=", "/opt/pipx")  # root had a umask of 077
    ran = by_pipx.run("eider", *_WORDS, "--yes", "--json")
    assert ran.code == 2
    error = json.loads(ran.stdout)["error"]
    assert "may not enter or read" in error["message"]
    by_pipx.do("sh", "-c", error["hint"].partition(": ")[2])
    assert _setup(by_pipx, "--dry-run")["changed"] == 0


def test_the_units_run_what_pipx_installed(by_pipx: Machine) -> None:
    assert _setup(by_pipx, "--yes")["to_do"] == 0
    assert _setup(by_pipx)["changed"] == 0
    by_pipx.do("systemctl", "enable", "--now", "eiderd")  # returns when it is ready
    assert f"{_HERE}/bin/eiderd" in by_pipx.show("eiderd", "ExecStart")
    assert by_pipx.show("eiderd", "User") == "eiderd"
    assert by_pipx.await_backup()["state"] == "verified"


def test_all_of_it_is_taken_back(by_pipx: Machine) -> None:
    by_pipx.do("eider", "setup", "--remove", "--yes")
    assert by_pipx.show("eiderd", "LoadState") == "not-found"
    assert by_pipx.do("find", "/etc/systemd", "-xtype", "l") == ""
    assert by_pipx.run("find", "/etc", "-name", "*eiderd*", "-path", "*system*").stdout == ""
    assert by_pipx.backups(), "backups went too"
    by_pipx.do("env", "PIPX_HOME=/opt/pipx", "PIPX_BIN_DIR=/usr/local/bin",
               "pipx", "uninstall", "eiderd")  # fmt: skip
    assert by_pipx.run("find", "/usr/local/bin", "/opt", "-name", "eider*").stdout == ""
