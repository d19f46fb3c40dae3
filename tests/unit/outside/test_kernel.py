"""What the kernel tells, with names in it that are no UTF-8: anybody may begin such a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd.outside import kernel, lock_holder, process

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOLD = """import fcntl, sys
with open("/proc/self/comm", "wb") as name:
    name.write(b"caf\\xe9)\\n")
held = open(sys.argv[1], "rb+")
fcntl.lockf(held, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A file, and who holds it: a process whose name and arguments are Latin-1."""
    file = tmp_path / "app.duckdb"
    file.write_bytes(b"x")
    command: list[str | bytes] = [b"caf\xe9", "-c", _HOLD, os.fsencode(file)]
    with subprocess.Popen(
        command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield file, holder.pid
        holder.kill()


def test_who_holds_a_file_is_told_whatever_its_name(odd: tuple[Path, int]) -> None:
    file, pid = odd
    held = lock_holder.holder(file)
    assert held is not None
    assert held.pid == pid
    assert "caf\ufffd" in held.command


def test_a_process_is_told_from_others_whatever_its_name(odd: tuple[Path, int]) -> None:
    _, pid = odd
    assert b"caf\xe9)" in Path(f"/proc/{pid}/stat").read_bytes()
    assert process.who(pid) == process.who(pid) != process.who(os.getpid())


def test_a_mount_point_is_told_as_it_is() -> None:
    assert kernel.plain("/srv/My\\040Media\\134é") == "/srv/My Media\\é"
    assert kernel.plain("/srv/media") == "/srv/media"


def test_no_capability_of_an_unknown_kind_is_had() -> None:
    assert kernel.capabilities("CapNone") == 0
