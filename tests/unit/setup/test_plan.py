"""What setup is going to do: who may read what, and where backups go."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.errors import ConfigError
from eiderd.setup.evidence import Data, Disk, Standing
from eiderd.setup.plan import (
    changes_of,
    disk_for_backups,
    fitting,
    grants,
    group_of,
    is_granted,
    is_open,
    mode_drop_in,
    mode_that_lasts,
    words_of,
)
from eiderd.setup.unit_file import parse

GB = 10**9
MODES = st.integers(0, 0o777)


def _standing(path: str, mode: int, *, group_id: int = 500) -> Standing:
    folder = not path.endswith((".duckdb", ".wal"))
    return Standing(path=path, is_folder=folder, mode=mode, group="app", group_id=group_id)


def _given_data(
    folder: str = "/srv/app", *, above: int = 0o755, mode: int = 0o750, file: int = 0o640
) -> Data:
    return Data(
        path=f"{folder}/x.duckdb",
        bytes=GB,
        device=1,
        above=(_standing("/", 0o755), _standing("/srv", above)),
        folder=_standing(folder, mode),
        files=(_standing(f"{folder}/x.duckdb", file), _standing(f"{folder}/x.duckdb.wal", file)),
    )


def _given_disk(mount: str, device: int, free: int = 50 * GB, *, writable: bool = True) -> Disk:
    return Disk(mount=mount, device=device, free_bytes=free, writable=writable)


# Reading ----------------------------------------------------------------------------------------


def test_nothing_is_granted_where_everybody_may_read() -> None:
    assert is_open(_given_data(mode=0o755, file=0o644))
    for above, mode, file in (
        (0o755, 0o750, 0o644),
        (0o755, 0o755, 0o640),
        (0o750, 0o755, 0o644),
        (0o755, 0o751, 0o644),
    ):
        assert not is_open(_given_data(above=above, mode=mode, file=file))


def test_what_is_granted_is_the_way_the_folder_and_the_files_and_no_writing() -> None:
    found = {one.path: one for one in grants(_given_data(above=0o700))}
    assert {path: one.rights for path, one in found.items()} == {
        "/srv": "x",
        "/srv/app": "rx",
        "/srv/app/x.duckdb": "r",
        "/srv/app/x.duckdb.wal": "r",
    }
    assert [one.path for one in found.values() if one.inherited] == ["/srv/app"]
    for one in found.values():
        mine = [entry for entry in changes_of(one, user="9")[1].split(",") if "u:9:" in entry]
        assert mine
        assert not any("w" in entry.rpartition(":")[2] for entry in mine)


@given(MODES)
def test_new_files_are_as_open_as_the_database_and_no_more(mode: int) -> None:
    """A default entry makes the kernel forget the umask: the base has to stand for it."""
    folder = next(one for one in grants(_given_data(mode=0o777, file=mode)) if one.inherited)
    base = dict(entry.split("::") for entry in folder.base.split(","))
    for key, shift in (("d:g", 3), ("d:o", 0)):
        bits = (mode >> shift) & 6
        assert ("r" in base[key]) == bool(bits & 4)
        assert ("w" in base[key]) == bool(bits & 2)


LISTED = """user::rwx
user:987:{mine}
group::r-x
mask::{mask}
other::---
default:user::rwx
default:user:987:r-x
default:group::r-x
default:mask::r-x
default:other::---
"""


@pytest.mark.parametrize(
    ("mine", "mask", "well"),
    [("r-x", "r-x", True), ("r-x", "---", False), ("--x", "r-x", False), ("rwx", "rwx", True)],
)
def test_a_right_counts_only_if_the_mask_lets_it(mine: str, mask: str, *, well: bool) -> None:
    folder = next(one for one in grants(_given_data()) if one.inherited)
    said = LISTED.format(mine=mine, mask=mask)
    assert is_granted(folder, said, user=987) is well
    assert not is_granted(folder, said, user=988)
    assert not is_granted(folder, said.replace("default:user:987:r-x\n", ""), user=987)


def test_a_default_that_was_there_stays_as_it_is() -> None:
    folder = next(one for one in grants(_given_data()) if one.inherited)
    assert "d:g::" in " ".join(words_of(fitting(folder, "user::rwx\n")))
    assert "d:g::" not in " ".join(words_of(fitting(folder, LISTED)))


def test_what_is_taken_back_is_the_own_entry_and_a_default_that_nobody_else_needs() -> None:
    given_ = next(one for one in grants(_given_data()) if one.inherited)
    back = dataclasses.replace(given_, takes_back=True)
    said = LISTED.format(mine="r-x", mask="r-x")
    assert changes_of(fitting(back, said), user="987") == ("-k", "-x", "u:987")
    kept = ("-x", "u:987,d:u:987")
    others = said + "default:user:1000:rwx\n"
    assert changes_of(fitting(back, others), user="987") == kept
    stricter = said.replace("default:group::r-x", "default:group::---")
    assert changes_of(fitting(back, stricter), user="987") == kept
    assert is_granted(back, "user::rwx\n", user=987)
    assert not is_granted(back, said, user=987)


def test_a_group_does_only_if_it_can_read_all_and_is_not_roots() -> None:
    data = _given_data()
    assert group_of(data) == "app"
    roots = dataclasses.replace(
        data,
        folder=_standing("/srv/app", 0o750, group_id=0),
        files=tuple(dataclasses.replace(one, group_id=0) for one in data.files),
    )
    strangers = dataclasses.replace(data, above=(_standing("/srv", 0o750, group_id=7),))
    for bad in (_given_data(file=0o600), _given_data(mode=0o700), roots, strangers):
        with pytest.raises(ConfigError, match="cannot read"):
            group_of(bad)


@pytest.mark.parametrize(
    ("folder", "mode", "needed"),
    [
        ("app", 0o700, 0o750),
        ("app", 0o755, None),
        ("app", 0o710, 0o750),
        ("other", 0o700, None),
        ("app/data", 0o700, None),
    ],
)
def test_a_mode_that_systemd_sets_at_each_start_lets_the_list_count(
    folder: str, mode: int, needed: int | None
) -> None:
    text = f"[Service]\nStateDirectory=first {folder}:link\nStateDirectoryMode={mode:04o}\n"
    unit = parse("app.service", [text])
    data = dataclasses.replace(_given_data(), folder=_standing("/var/lib/app", 0o700))
    assert mode_that_lasts(unit, data) == needed
    below = dataclasses.replace(data, folder=_standing("/var/lib/app/data/db", 0o700))
    wanted = None if mode & 0o010 or folder == "other" else mode | 0o010
    assert mode_that_lasts(unit, below) == wanted
    path, said = mode_drop_in(unit, 0o750)
    assert path == "/etc/systemd/system/app.service.d/10-eiderd.conf"
    assert parse("app.service", [text, said]).state_mode == 0o750


# Backups ----------------------------------------------------------------------------------------


def test_backups_go_to_the_roomiest_other_disk() -> None:
    disks = [_given_disk("/", 9), _given_disk("/mnt/a", 2, 30 * GB), _given_disk("/mnt/b", 3)]
    chosen = disk_for_backups(_given_data(), disks, taken=())
    assert chosen is not None
    assert chosen.mount == "/mnt/b"


@pytest.mark.parametrize(
    "disk",
    [
        _given_disk("/", 2),
        _given_disk("/mnt/data", 1),  # the database's own
        _given_disk("/mnt/x", 7),  # that of /var/lib/eiderd
        _given_disk("/mnt/x", 2, writable=False),
        _given_disk("/mnt/x", 2, 4 * GB),
        _given_disk("/home", 2),
        _given_disk("/mnt/a\x1b", 2),
    ],
)
def test_a_disk_that_is_no_other_or_has_no_room_is_not_taken(disk: Disk) -> None:
    assert disk_for_backups(_given_data(), [disk], taken=(7,)) is None
