"""What the unit in force says, what a name means, and what a user cannot read: asked for real."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd.outside import sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

# As systemd 252 and 257 say it.
SHOWN = """\
LoadState=loaded
MemoryMax=3221225472
IPAddressAllow=127.0.0.0/8 ::1/128
ReadWritePaths=/mnt/big "/srv/my data" "/srv/a b'c"
SupplementaryGroups=
ExecStart={ path=/usr/bin/eiderd ; argv[]=/usr/bin/eiderd --config /etc/eiderd/eiderd.toml ; pid=0 }
"""


def _given_systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> Path:
    asked = folder / "asked"
    program = folder / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {asked}\ncat <<"END"\n{said}END\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return asked


def test_what_systemctl_shows_is_taken_word_by_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _given_systemctl(tmp_path, monkeypatch, SHOWN)
    found = sandbox.in_force("eiderd.service", ("MemoryMax", "ReadWritePaths"))
    assert asked.read_text().split() == [
        "--no-pager", "show", "--property=LoadState,MemoryMax,ReadWritePaths", "--",
        "eiderd.service",
    ]  # fmt: skip
    assert found is not None
    assert found["MemoryMax"] == ("3221225472",)
    assert found["ReadWritePaths"] == ("/mnt/big", "/srv/my data", "/srv/a b'c")
    assert found["SupplementaryGroups"] == ()
    assert "/etc/eiderd/eiderd.toml" in found["ExecStart"]


def test_where_there_is_no_unit_or_no_systemd_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _given_systemctl(tmp_path, monkeypatch, "LoadState=not-found\nMemoryMax=infinity\n")
    assert sandbox.in_force("eiderd.service", ("MemoryMax",)) is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert sandbox.in_force("eiderd.service", ("MemoryMax",)) is None


def test_a_name_is_looked_up_and_an_address_is_itself() -> None:
    assert sandbox.addresses("10.9.8.7") == ("10.9.8.7",)
    assert sandbox.addresses("FD00::0:1") == ("fd00::1",)
    assert sandbox.addresses("localhost", literally=True) == ("127.0.0.1",)
    assert sandbox.addresses("-s") == ()
    assert sandbox.addresses("box", literally=True) == ()


def test_what_getent_says_is_each_address_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "getent"
    said = "fe80::1%%eth0 STREAM nats\\n10.0.0.5 STREAM nats\\n10.0.0.5 DGRAM\\n"
    program.write_text(f'#!/bin/sh\n[ "$*" = "ahosts nats" ] && printf "{said}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert sandbox.addresses("nats") == ("10.0.0.5", "fe80::1")
    assert sandbox.addresses("gone") == ()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own only its owner."""
    with tempfile.TemporaryDirectory(prefix="eider-sandbox-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can tell what others may read")
def test_what_another_user_cannot_read_or_pass_is_told(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    closed = folder / "closed to it's user"
    closed.mkdir(mode=0o700)
    paths = {name: folder / name for name in ("open", "shut", "own")}
    for path in (*paths.values(), closed / "below"):
        path.write_text("x")
        path.chmod(0o600)
    paths["open"].chmod(0o644)
    os.chown(paths["own"], nobody.pw_uid, nobody.pw_gid)
    every = [str(path) for path in (folder, *paths.values(), closed, closed / "below")]
    assert sandbox.unreadable(every, user="nobody", groups=()) == [
        str(paths["shut"]), str(closed), str(closed / "below"),
    ]  # fmt: skip
    assert sandbox.unreadable(every, user="no-such-user", groups=()) == []
    paths["shut"].chmod(0o640)
    group = sandbox.groups_of("root")[0]
    assert str(paths["shut"]) not in sandbox.unreadable(every, user="nobody", groups=(group,))


def test_an_ordinary_user_tells_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert sandbox.unreadable(["/root"], user="nobody", groups=()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_user_tells_of_itself(folder: Path) -> None:
    closed = folder / "closed"
    closed.write_text("x")
    closed.chmod(0)
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert sandbox.unreadable([str(folder), str(closed)], user=me, groups=()) == [str(closed)]
