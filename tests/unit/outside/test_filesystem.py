"""Looks at true filesystems, one that never answers, and the ballast as a file."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eiderd.errors import ChildFailed, NoSpace, StoreUnavailable
from eiderd.outside import filesystem
from tests import helpers

MB = 1 << 20
root_only = pytest.mark.skipif(not helpers.is_root(), reason="only root may mount a small disk")


@pytest.fixture(autouse=True)
def _nobody_left_behind() -> Iterator[None]:
    yield
    for child in filesystem._left_behind.values():
        child.kill()
        child.wait()
    filesystem._left_behind.clear()


@pytest.fixture
def hung(tmp_path: Path) -> tuple[str, ...]:
    """A `stat` that never answers, and writes down each time that it was asked."""
    script = tmp_path / "hung-stat"
    script.write_text(f'#!/bin/sh\necho asked >> "{tmp_path}/asked"\nsleep 1000 & wait\n')
    script.chmod(0o755)
    return (str(script),)


def _times_asked(folder: Path) -> int:
    asked = folder / "asked"
    return len(asked.read_text().splitlines()) if asked.exists() else 0


# Looks --------------------------------------------------------------------------------------------


def test_a_look_says_what_the_kernel_says(tmp_path: Path) -> None:
    found = filesystem.look(tmp_path)
    kernel = os.statvfs(tmp_path)
    assert found.total_bytes == kernel.f_blocks * kernel.f_frsize
    assert found.total_inodes == kernel.f_files
    assert found.device == tmp_path.stat().st_dev
    assert 0 < found.free_bytes <= found.total_bytes
    assert 0 < found.used_bytes <= found.total_bytes


@root_only
def test_a_small_disk_in_figures(tmp_path: Path) -> None:
    with helpers.small_disk(tmp_path / "disk", size="4m") as folder:
        empty = filesystem.look(folder)
        assert empty.total_bytes == empty.free_bytes == 4 * MB
        assert empty.used_bytes == 0
        assert empty.device != tmp_path.stat().st_dev
        (folder / "x").write_bytes(bytes(3 * MB))
        full = filesystem.look(folder)
        assert full.free_bytes == MB
        assert full.used_bytes == 3 * MB
        assert full.free_inodes == empty.free_inodes - 1


def test_a_folder_that_is_not_made_yet_is_the_one_above(tmp_path: Path) -> None:
    assert filesystem.look(tmp_path / "a" / "b").device == tmp_path.stat().st_dev


def test_a_name_that_looks_like_a_switch_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "-c $(reboot)\n%n"
    folder.mkdir()
    assert filesystem.look(folder).device == tmp_path.stat().st_dev
    monkeypatch.chdir(folder)
    Path("--version").mkdir()
    assert filesystem.look(Path("--version")).device == tmp_path.stat().st_dev


def test_a_link_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/proc/self")
    assert filesystem.look(link).device == Path("/proc/self").stat().st_dev


def test_what_cannot_be_looked_at_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailable, match="Not a directory") as caught:
        filesystem.look(tmp_path / "file" / "below")
    assert caught.value.hint
    with pytest.raises(ChildFailed, match="cannot run"):
        filesystem.look(tmp_path, command=("/nowhere/stat",))


def test_a_disk_that_hangs_is_given_up_at_the_deadline(
    tmp_path: Path, hung: tuple[str, ...]
) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"does not answer within 0\.3 s") as caught:
        filesystem.look(tmp_path, deadline_seconds=0.3, command=hung)
    assert 0.3 <= time.monotonic() - began < 3
    assert "dmesg" in caught.value.hint
    (child,) = filesystem._left_behind.values()
    helpers.until(lambda: child.poll() is not None, what="the child was not killed")
    # It has gone, so somebody may ask again: now the disk is well.
    assert filesystem.look(tmp_path).total_bytes
    assert not filesystem._left_behind


def test_one_that_cannot_be_killed_is_left_alone_and_no_other_is_sent_after_it(
    tmp_path: Path, hung: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an uninterruptible sleep, where SIGKILL waits for the disk."""
    killed = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", lambda pid, number: killed.append((pid, number)))
        for seconds in (0.5, 5.0):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="does not answer"):
                filesystem.look(tmp_path, deadline_seconds=seconds, command=hung)
            assert time.monotonic() - began < 3
    assert _times_asked(tmp_path) == 1
    ((pid, number),) = killed
    assert number == signal.SIGKILL
    # Another folder is another matter.
    assert filesystem.look(tmp_path.parent).total_bytes
    os.killpg(pid, signal.SIGKILL)
    helpers.until(lambda: filesystem._left_behind[tmp_path].poll() is not None)
    assert filesystem.look(tmp_path).total_bytes


def test_whether_something_is_there_is_asked_the_same_way(
    tmp_path: Path, hung: tuple[str, ...]
) -> None:
    path = tmp_path / ".ballast"
    assert not filesystem.is_there(path)
    path.symlink_to("nowhere")
    assert filesystem.is_there(path)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        filesystem.is_there(path, deadline_seconds=0.1, command=hung)


# The ballast --------------------------------------------------------------------------------------


def _real_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_a_ballast_is_private_and_takes_real_blocks(tmp_path: Path) -> None:
    path = tmp_path / ".ballast"
    filesystem.make_ballast(path, size=3 * MB)
    assert path.stat().st_size == 3 * MB
    assert _real_bytes(path) >= 3 * MB
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = filesystem.ballast_at(path)
    assert found is not None
    assert (found.bytes, found.ours) == (3 * MB, True)
    assert list(tmp_path.iterdir()) == [path]
    filesystem.release_ballast(path)
    assert filesystem.ballast_at(path) is None
    filesystem.release_ballast(path)


@pytest.mark.parametrize("how", ["refused", "holes"])
def test_where_space_cannot_be_set_aside_it_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def allocate(descriptor: int, offset: int, length: int) -> None:
        if how == "refused":
            raise OSError(95, "Operation not supported")
        os.ftruncate(descriptor, length)  # as glibc does where zeros become holes

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    path = tmp_path / ".ballast"
    filesystem.make_ballast(path, size=3 * MB + 17)
    assert path.stat().st_size == 3 * MB + 17
    assert _real_bytes(path) >= 3 * MB
    assert len(set(path.read_bytes()[-4096:])) > 100, "zeros would be compressed away"
    found = filesystem.ballast_at(path)
    assert found is not None
    assert found.ours


@root_only
def test_a_ballast_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    with helpers.small_disk(tmp_path / "disk", size="2m") as folder:
        with pytest.raises(NoSpace):
            filesystem.make_ballast(folder / ".ballast", size=3 * MB)
        assert list(folder.iterdir()) == []
        assert filesystem.look(folder).free_bytes == 2 * MB


def test_what_a_killed_run_left_of_one_is_removed(tmp_path: Path) -> None:
    path, aside = tmp_path / ".ballast", tmp_path / ".ballast.new"
    filesystem.make_ballast(aside, size=MB)
    assert filesystem.ballast_at(path) is None
    assert not aside.exists()
    aside.touch(0o600)  # killed between the first two steps
    assert filesystem.ballast_at(path) is None
    filesystem.make_ballast(path, size=MB)
    assert [one.name for one in tmp_path.iterdir()] == [".ballast"]


def _somebodys_file(path: Path) -> None:
    path.write_bytes(b"my notes")


def _empty_file(path: Path) -> None:
    path.touch()


def _folder(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _second_name(path: Path) -> None:
    other = path.with_name("other")
    filesystem.make_ballast(other, size=1000)
    path.hardlink_to(other)


@pytest.mark.parametrize(
    "given", [_somebodys_file, _empty_file, _folder, _link, _pipe, _second_name]
)
def test_what_eiderd_did_not_make_is_not_its_own(tmp_path: Path, given: object) -> None:
    path = tmp_path / ".ballast"
    given(path)  # type: ignore[operator]
    found = filesystem.ballast_at(path)
    assert found is not None
    assert not found.ours
    with pytest.raises(StoreUnavailable, match="not eiderd's"):
        filesystem.release_ballast(path)
    assert os.path.lexists(path)


@root_only
def test_another_users_file_is_not_eiderds(tmp_path: Path) -> None:
    path = tmp_path / ".ballast"
    filesystem.make_ballast(path, size=1000)
    os.chown(path, 1234, 1234)
    found = filesystem.ballast_at(path)
    assert found is not None
    assert not found.ours


def test_a_small_ballast_is_still_ones_own(tmp_path: Path) -> None:
    path = tmp_path / ".ballast"
    filesystem.make_ballast(path, size=10)
    found = filesystem.ballast_at(path)
    assert found is not None
    assert (found.bytes, found.ours) == (10, True)


def test_the_machine_has_the_stat_that_is_asked() -> None:
    said = subprocess.run(["stat", "--version"], capture_output=True, text=True, check=True)
    assert "coreutils" in said.stdout
