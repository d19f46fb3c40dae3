"""`eider setup` on a real machine: with the package, and for an installation without one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import until
from tests.service import product
from tests.service.installed import DATABASE, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "/var/lib/app"
WORDS = ("setup", "--unit", "app", "--database", DATABASE)
OWN = "/opt/eiderd"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the package and an application, as nobody has configured it."""
    folder = tmp_path_factory.mktemp("setup") / "box"
    package = product.deb()
    made = Machine(folder, debian="12")
    try:
        made.boot()
        made.install(package)
        made.give_an_application()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _left(answer: Any) -> list[str]:  # noqa: ANN401  (a document)
    return [row["what"] for row in answer["steps"] if row["state"] != "done"]


def test_the_machine_is_made_ready_and_backed_up(bare: Machine) -> None:
    shown = bare.eider(*WORDS, "--dry-run")
    assert shown["changed"] == 0
    assert len(_left(shown)) >= 5
    assert bare.as_eiderd("cat", DATABASE).code != 0

    made = bare.eider(*WORDS, "--yes")
    assert made["to_do"] == 0
    marks = {check["name"]: check["mark"] for check in made["checks"]}
    assert marks["database"] == marks["state"] == marks["backups"] == "well", made["checks"]
    again = bare.eider(*WORDS)
    assert (again["changed"], _left(again)) == (0, [])

    bare.do("systemctl", "enable", "--now", "eiderd")
    bare.await_backup()
    for _time in range(3):  # its WAL is made anew again and again, with a umask of 077
        until(
            lambda: bare.as_eiderd("sh", "-c", f"cat {DATABASE} {DATABASE}.wal").code == 0,
            what="a WAL that can be read",
        )
        bare.do("systemctl", "restart", "app")
    for attempt in (f"touch {FOLDER}/x", f"echo >> {DATABASE}", f"mv {DATABASE} {FOLDER}/y"):
        assert bare.as_eiderd("sh", "-c", attempt).code != 0, attempt


def test_what_it_gave_is_taken_back(bare: Machine) -> None:
    assert bare.eider("setup", "--remove", "--yes")["to_do"] == 0
    assert "eiderd" not in bare.do("getfacl", "-cp", FOLDER)
    assert bare.as_eiderd("ls", FOLDER).code != 0
    assert bare.run("ls", "/etc/systemd/system/eiderd-maintain@.service.d").code != 0
    assert bare.backups(), "backups went too"


def test_without_a_package_the_units_are_installed_for_this_environment(bare: Machine) -> None:
    bare.do("cp", "-a", "/usr/lib/eiderd", OWN)
    bare.do("systemctl", "stop", "eiderd")
    bare.do("dpkg", "--purge", "eiderd")
    bare.do("sh", "-c", f"sed -i '1s#/usr/lib/eiderd#{OWN}#' {OWN}/bin/eider*; userdel eiderd || :")
    made = bare.do(f"{OWN}/bin/eider", *WORDS, "--systemd", "--yes", "--json")
    assert '"to_do": 0' in made
    bare.do("systemctl", "start", "eiderd")  # returns when it is ready
    assert f"{OWN}/bin/eiderd" in bare.show("eiderd", "ExecStart")
    assert bare.show("eiderd", "User") == "eiderd"
    assert '"to_do": 0' in bare.do(f"{OWN}/bin/eider", *WORDS, "--systemd", "--json")

    bare.do(f"{OWN}/bin/eider", "setup", "--remove", "--yes")
    assert bare.show("eiderd", "LoadState") == "not-found"
    assert bare.run("find", "/etc", "-name", "*eiderd*", "-path", "*system*").stdout.strip() == ""
