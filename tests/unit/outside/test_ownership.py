"""What root makes in eiderd's folders is given to their owner, and nothing else is."""

from __future__ import annotations

import grp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from eiderd.errors import ConfigError
from eiderd.outside import ownership
from tests.helpers import is_root

SERVICE = 4711


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not is_root():
        pytest.skip("only root can give files away")
    made = tmp_path / "state"
    (made / "backups").mkdir(parents=True)
    (made / "not-ours").mkdir()
    os.chown(made, SERVICE, SERVICE)
    return made


def _owner(path: Path) -> int:
    return path.lstat().st_uid


def _hand_over(folder: Path) -> None:
    ownership.hand_over(folder, is_ours=lambda name: name != "not-ours")
    ownership.hand_over(folder / "missing", is_ours=bool)


def test_files_folders_and_links_get_the_owner_of_the_folder(folder: Path) -> None:
    (folder / "backups" / "one").write_text("")
    (folder / "latest").symlink_to("backups/one")
    _hand_over(folder)
    made = (folder / "backups", folder / "backups" / "one", folder / "latest")
    assert {_owner(path) for path in made} == {SERVICE}


def test_a_link_gives_away_nothing_that_it_leads_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("")
    (folder / "trap").symlink_to(tmp_path / "shadow")
    (folder / "other").symlink_to(tmp_path)
    _hand_over(folder)
    assert _owner(tmp_path / "shadow") == 0


def test_a_file_that_has_another_name_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("")
    (folder / "trap").hardlink_to(tmp_path / "shadow")
    _hand_over(folder)
    assert _owner(tmp_path / "shadow") == 0


def test_what_is_not_roots_and_what_was_left_out_stay_as_they_are(folder: Path) -> None:
    (folder / "theirs").write_text("")
    os.chown(folder / "theirs", 4712, 4712)
    (folder / "not-ours" / "one").write_text("")
    _hand_over(folder)
    assert _owner(folder / "theirs") == 4712
    assert _owner(folder / "not-ours" / "one") == 0


def test_another_disk_is_not_entered(folder: Path) -> None:
    (folder / "disk").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "disk"], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (folder / "disk" / "theirs").write_text("")
        _hand_over(folder)
        assert _owner(folder / "disk") == 0
        assert _owner(folder / "disk" / "theirs") == 0
    finally:
        subprocess.run(["umount", folder / "disk"], check=True)


def test_a_folder_of_roots_own_is_left_as_it_is(folder: Path) -> None:
    os.chown(folder, 0, 0)
    (folder / "one").write_text("")
    _hand_over(folder)
    assert _owner(folder / "one") == 0


# Going on as the owner ---------------------------------------------------------------------------

_WHO = """
import sys, os, pathlib
from eiderd.outside import ownership
sys.prefix = sys.base_prefix = sys.argv[2]
ownership.become_owner(pathlib.Path(sys.argv[1]), groups=lambda: ["daemon", "no-such-group"])
try:
    os.setuid(0)
    print("root again")
except PermissionError:
    print(os.getuid(), os.getgid(), os.getgroups())
"""


def _who(folder: Path, *, prefix: str | Path = "/usr") -> str:
    command = [sys.executable, "-c", _WHO, str(folder), str(prefix)]
    ran = subprocess.run(command, capture_output=True, check=False)
    return ran.stdout.decode().strip() or ran.stderr.decode().splitlines()[-1]


def test_root_goes_on_as_the_owner_for_good(folder: Path) -> None:
    daemon = grp.getgrnam("daemon").gr_gid
    assert _who(folder) == f"{SERVICE} {SERVICE} [{daemon}, {SERVICE}]"


def test_an_installation_that_the_owner_may_not_read_is_said(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    assert f"{SERVICE} may not read {home}" in _who(folder, prefix=home)


def test_in_a_folder_of_its_own_or_of_nobody_root_stays_root(folder: Path) -> None:
    assert _who(folder / "missing") == "root again"
    os.chown(folder, 0, 0)
    assert _who(folder) == "root again"


@pytest.mark.parametrize(
    ("owner", "group", "mode", "may"),
    [
        (0, 0, 0o700, False),
        (0, 0, 0o755, False),
        (0, 0, 0o770, False),
        (0, SERVICE, 0o770, True),
        (0, 1, 0o770, True),  # a group that only its unit gives the service
        (0, 0, 0o777, True),
        (SERVICE, 0, 0o700, True),
        (SERVICE, 0, 0o500, False),
    ],
)
def test_whether_the_owner_may_write_elsewhere(
    folder: Path, owner: int, group: int, mode: int, *, may: bool
) -> None:
    disk = Path(tempfile.mkdtemp(prefix="eider-disk-"))  # where everybody may pass
    try:
        os.chown(disk, owner, group)
        disk.chmod(mode)
        groups = [grp.getgrgid(1).gr_name]
        assert ownership.may_write(disk, keeper=folder, groups=groups) is may
        assert os.geteuid() == 0, "this process stays who it is"
    finally:
        disk.rmdir()


def test_for_nobody_yet_this_process_is_asked(folder: Path) -> None:
    assert ownership.may_write(folder, keeper=folder / "missing")


# What may be run ---------------------------------------------------------------------------------


@pytest.fixture
def program(folder: Path) -> Path:
    os.chown(folder, 0, 0)
    path = folder / "not-ours" / "python"
    path.write_text("")
    return path


def test_what_is_roots_all_the_way_may_be_run(program: Path) -> None:
    ownership.ensure_unforgeable(program)
    ownership.ensure_unforgeable(program.with_name("missing"))


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_with_roots_rights_nothing_is_run_that_others_can_replace(
    program: Path, steps: int
) -> None:
    os.chown([program, *program.parents][steps], SERVICE, SERVICE)
    with pytest.raises(ConfigError, match="can be changed by others"):
        ownership.ensure_unforgeable(program)


def test_nor_what_all_may_write(program: Path) -> None:
    program.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="can be changed by others"):
        ownership.ensure_unforgeable(program)
    program.parent.chmod(0o1777)  # as /tmp: what is root's there stays root's
    ownership.ensure_unforgeable(program)


def test_nor_what_a_link_leads_to(program: Path) -> None:
    link = program.parents[1] / "python"
    link.symlink_to(program)
    os.chown(program, SERVICE, SERVICE)
    with pytest.raises(ConfigError, match="can be changed by others"):
        ownership.ensure_unforgeable(link)
