"""`eider setup` on a real machine: with the package, and for an installation without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import until
from tests.service import product
from tests.service.installed import DATABASE, Machine, unconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "/var/lib/app"
WORDS = ("setup", "--unit", "app", "--database", DATABASE)
OWN = "/opt/eiderd"
GRANTED = "/etc/eiderd/granted"
ENGINES = "/usr/local/lib/eiderd/engines"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the package and an application, as nobody has configured it."""
    with unconfigured(tmp_path_factory.mktemp("setup") / "box") as made:
        yield made


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

    assert len(made["next"]) == 3
    for command in made["next"]:  # typed as they are told
        assert bare.run("sh", "-c", command).code in ((0, 3) if "doctor" in command else (0,))
    assert bare.show("eiderd", "ActiveState") == "active"
    assert bare.show("eiderd", "UnitFileState") == "enabled"
    assert "verified" in bare.backups().values()
    for _time in range(3):  # its WAL is made anew again and again, with a umask of 077
        until(
            lambda: bare.as_eiderd("sh", "-c", f"cat {DATABASE} {DATABASE}.wal").code == 0,
            what="a WAL that can be read",
        )
        bare.do("systemctl", "restart", "app")
    for attempt in (f"touch {FOLDER}/x", f"echo >> {DATABASE}", f"mv {DATABASE} {FOLDER}/y"):
        assert bare.as_eiderd("sh", "-c", attempt).code != 0, attempt


def test_what_it_gave_is_taken_back(bare: Machine) -> None:
    removed = bare.eider("setup", "--remove", "--yes")
    assert removed["to_do"] == 0
    assert any("still runs" in note for note in removed["notes"])
    assert removed["next"] == ["systemctl disable --now eiderd"]
    bare.do("sh", "-c", removed["next"][0])
    assert "eiderd" not in bare.do("getfacl", "-Rcp", FOLDER)
    assert bare.run("test", "-e", GRANTED).code == 1
    assert bare.as_eiderd("ls", FOLDER).code != 0
    assert bare.run("ls", "/etc/systemd/system/eiderd-maintain@.service.d").code != 0
    assert bare.backups(), "backups went too"


def test_removed_it_says_what_stays_and_purged_it_takes_it_back(bare: Machine) -> None:
    package = product.deb()
    assert bare.eider(*WORDS, "--yes")["to_do"] == 0
    bare.do("runuser", "--user", "app", "--", "sh", "-c",
            f"mkdir '{FOLDER}/it'\\''s new'; echo > '{FOLDER}/it'\\''s new/file'")  # fmt: skip
    assert bare.as_eiderd("cat", f"{FOLDER}/it's new/file").code == 0

    said = bare.do("dpkg", "--remove", "eiderd")
    lines = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert f"setfacl -R -P -x u:eiderd,d:u:eiderd -- '{FOLDER}'" in lines
    assert "rm /etc/polkit-1/rules.d/50-eiderd-application.rules" in lines
    assert bare.as_eiderd("cat", DATABASE).code == 0, "it may be installed again"
    bare.do("sh", "-ec", "\n".join(line for line in lines if line.startswith("rm ")))

    bare.do("mkdir", "-p", ENGINES)
    said = bare.do("dpkg", "--purge", "eiderd")
    assert "taken back" in said
    assert "engines that were added stay" in said
    bare.do("rm", "-r", ENGINES)
    assert "eiderd" not in bare.do("getfacl", "-Rcp", FOLDER)
    assert "default" not in bare.do("getfacl", "-cp", FOLDER)
    assert bare.as_eiderd("cat", DATABASE).code != 0
    assert bare.run("ls", "/etc/eiderd").code != 0, "a record, or an old configuration"
    assert bare.do("stat", "--format=%a", FOLDER, DATABASE).split() == ["700", "600"]
    assert "still there" in bare.do("dpkg", "--install", f"/root/{package.name}")


def test_what_the_application_puts_in_the_place_is_not_touched(bare: Machine) -> None:
    """Its folder is its own: root must not be led elsewhere when the package is purged."""
    package = product.deb()
    assert bare.eider(*WORDS, "--yes")["to_do"] == 0
    bare.do("systemctl", "stop", "app")
    other = "/srv/other"
    bare.write(other, "")
    bare.do("setfacl", "-m", "u:eiderd:r,u:app:rwx,m::r", other)
    before = bare.do("getfacl", "-p", other)
    bare.do("mv", DATABASE, f"{DATABASE}.away")
    bare.do("ln", "-s", other, DATABASE)
    bare.do("sh", "-c", f"echo 'entry {FOLDER}/none' >> {GRANTED}; echo 'rm /srv' >> {GRANTED}")
    bare.do("dpkg", "--purge", "eiderd")
    assert bare.do("getfacl", "-p", other) == before
    assert "eiderd" not in bare.do("getfacl", "-RPcp", FOLDER)
    bare.do("mv", f"{DATABASE}.away", DATABASE)
    bare.do("systemctl", "start", "app")
    bare.do("dpkg", "--install", f"/root/{package.name}")


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
