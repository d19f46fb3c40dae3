"""What a service that was taken over could make root do, when root types a verb: nothing.

Everything here is tried as `eiderd`, who owns the folder of the backups and may put there what it
likes; then root uses `eider` as on any other day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.installed import BACKUPS, DATABASE, Machine, machine

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE = "/var/lib/eiderd"
PRECIOUS = "/srv/precious"
TAKEN = "/srv/taken"
FOLDER = DATABASE.rpartition("/")[0]
# An interpreter that says who runs it, then does what it is asked.
_ENGINE = f"""\
#!/bin/sh
id -u >> {TAKEN}; grep Cap /proc/self/status >> {TAKEN}
exec /usr/lib/eiderd/bin/python3 "$@"
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("root") / "box") as made:
        made.do("systemctl", "start", "eiderd")
        made.await_backup()
        made.do("systemctl", "stop", "eiderd")
        yield made


@pytest.fixture
def taken_over(box: Machine) -> Iterator[Machine]:
    box.do("mkdir", "-p", f"{PRECIOUS}/folder")
    box.write(f"{PRECIOUS}/file", "three years of work", mode="600")
    box.do("touch", TAKEN)
    box.do("chmod", "666", TAKEN)
    yield box
    box.do("sh", "-c", f"rm -rf {PRECIOUS} {TAKEN} {STATE}/scratch {BACKUPS}/.staging /srv/engines")


def _as_eiderd(box: Machine, script: str) -> None:
    ran = box.as_eiderd("sh", "-euc", script)
    assert ran.code == 0, ran


def _is_untouched(box: Machine) -> bool:
    return box.do("cat", f"{PRECIOUS}/file") == "three years of work" and (
        box.do("ls", PRECIOUS).split() == ["file", "folder"]
    )


VERBS = (
    ("backup",), ("verify", "latest"), ("pin", "latest"), ("unpin", "latest"), ("list",),
    ("prune", "--dry-run"), ("clean",), ("status",), ("schema",), ("doctor",),
    ("restore", "--dry-run"), ("restore", "--to", "/root/copy"), ("compact", "--dry-run"),
    ("rescue", DATABASE), ("engine", "list"),
)  # fmt: skip


def test_a_link_in_eiderds_folder_lets_root_remove_nothing(taken_over: Machine) -> None:
    for name in (f"{STATE}/scratch", f"{BACKUPS}/.staging"):
        _as_eiderd(taken_over, f"rm -rf {name}; ln -s {PRECIOUS} {name}")
        for verb in VERBS:
            taken_over.run("eider", *verb, "--json")
            assert _is_untouched(taken_over), f"{verb} through {name}"
            taken_over.do("rm", "-rf", "/root/copy")


def test_a_link_under_the_name_of_a_manifest_lets_root_write_nothing(taken_over: Machine) -> None:
    newest = taken_over.eider("show", "latest")["id"]
    link = f"{BACKUPS}/.backup-{newest}.json.new"
    _as_eiderd(taken_over, f"ln -s {PRECIOUS}/file {link}")
    taken_over.run("eider", "pin", "latest")
    taken_over.run("eider", "unpin", "latest")
    assert _is_untouched(taken_over)


def test_an_engine_that_eiderd_can_change_is_not_run_by_root(taken_over: Machine) -> None:
    home = f"{STATE}/engines/1.4.3"
    taken_over.write("/srv/engine.sh", _ENGINE)
    _as_eiderd(
        taken_over,
        f"mkdir -p {home}/bin; cp /srv/engine.sh {home}/bin/python; chmod 755 {home}/bin/python",
    )
    config = taken_over.do("cat", "/etc/eiderd/eiderd.toml")
    named = config.replace(
        '[engine]\napplication = "2.0.0"', f'[engine]\napplication = "1.4.3"\nothers = ["{home}"]'
    )
    assert named != config
    taken_over.write("/etc/eiderd/eiderd.toml", named)
    try:
        for verb in VERBS:
            taken_over.run("eider", *verb, "--json")
            taken_over.do("rm", "-rf", "/root/copy")
        said = taken_over.run("eider", "rescue", DATABASE)
    finally:
        taken_over.write("/etc/eiderd/eiderd.toml", config)
    lines = taken_over.do("cat", TAKEN).splitlines()
    assert "0" not in lines, "root ran it"
    assert {line.split()[1] for line in lines if line.startswith("CapEff")} <= {"0" * 16}
    assert lines, "nobody ran it: the test shows nothing"
    assert "can be changed by others than root" in said.stderr


def test_root_goes_on_with_the_groups_that_the_unit_gives_the_service(box: Machine) -> None:
    box.do("systemctl", "stop", "app")
    box.do("setfacl", "--recursive", "--remove-all", FOLDER)
    box.do("chmod", "--recursive", "u=rwX,g=rX,o=", FOLDER)
    refused = box.run("eider", "backup", "--json")
    assert refused.code == 14, refused
    drop_in = "/etc/systemd/system/eiderd.service.d/groups.conf"
    box.write(drop_in, "[Service]\nSupplementaryGroups=app\n")
    box.do("systemctl", "daemon-reload")
    try:
        assert box.eider("backup")["state"] == "verified"
    finally:
        box.do("rm", drop_in)
        box.configure()
        box.do("systemctl", "start", "app")
