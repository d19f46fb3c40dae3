from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eiderd.errors import SourceUnavailable
from eiderd.outside.host import Host

if TYPE_CHECKING:
    from pathlib import Path


def test_a_database_that_the_application_has_not_made_yet_is_told_of_as_such(
    tmp_path: Path,
) -> None:
    with pytest.raises(SourceUnavailable, match=r"no database at /data/app\.duckdb yet") as told:
        Host(tmp_path).data("/data/app.duckdb")
    assert "Start the application once" in told.value.hint
    assert "eider setup --database" in told.value.hint


def test_disks_are_proposed_whatever_their_names(tmp_path: Path) -> None:
    names = ("média", "my disk", "x")
    for name in names:
        (tmp_path / "mnt" / name).mkdir(parents=True)
    mounts = tmp_path / "proc" / "mounts"
    mounts.parent.mkdir()
    lines = ["/mnt/média ext4 rw,x", r"/mnt/my\040disk xfs ro", "/mnt/x nfs rw", "/mnt/no ext4 rw"]
    mounts.write_bytes("".join(f"/dev/x {line} 0 0\n" for line in lines).encode())
    with mounts.open("ab") as file:  # as a disk with a label of another time has it
        file.write(b"/dev/x /mnt/caf\xe9 ext4 rw 0 0\n")
    # All are folders of one disk here: each is told when it is the first.
    assert [disk.mount for disk in Host(tmp_path).disks()] == ["/mnt/média"]
    mounts.write_text(f"/dev/x {lines[1]} 0 0\n")
    (disk,) = Host(tmp_path).disks()
    assert disk.mount == "/mnt/my disk"
    assert not disk.writable


def test_without_proc_no_disk_is_known(tmp_path: Path) -> None:
    assert Host(tmp_path).disks() == ()
