"""A machine for the tests: a small Debian with its own systemd, booted by systemd-nspawn.

Nothing of the host's systemd or D-Bus is used, and its network is only a loopback of its own. The
trees are made once and kept under ~/.cache/eiderd-tests; each box is a copy of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.helpers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE: Final = Path.home() / ".cache" / "eiderd-tests" / "systemd"
SUITES: Final = {"12": "bookworm", "13": "trixie"}
_PACKAGES: Final = (
    "systemd", "systemd-sysv", "dbus", "polkitd", "acl", "python3", "procps", "util-linux",
)  # fmt: skip
_QUIET: Final = (
    "console-getty.service", "getty.target", "apt-daily.timer", "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
    "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service",
)  # fmt: skip
_TREE_VERSION: Final = 1
_BOOT_SECONDS: Final = 60
_LIFE_SECONDS: Final = 1800
_BOUNDING: Final = ("memory", "pids")
# nspawn shows the groups of version 1 for reading only. These are the box's own: its systemd is to
# find that it may write there.
_BOOT_WITH_V1: Final = (
    'for one; do mount -o remount,bind,rw "/sys/fs/cgroup/$one" || exit 96; done; '
    "exec /lib/systemd/systemd"
)
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str:
    """Return why there can be no box here; empty: there can."""
    if os.geteuid() != 0:
        return "a box needs root: namespaces, mounts and control groups"
    tools = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap"}
    absent = [package for tool, package in tools.items() if not shutil.which(tool)]
    if absent:
        return f"not installed: {' '.join(absent)}"
    if _unified() is None or not os.access(_unified() or "", os.W_OK):
        return "there is no control group hierarchy of version 2 that may be written to"
    return ""


def _unified() -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _what, place, kind, *_rest = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


def limits_missing() -> str:
    """Return why a box here cannot bound memory and tasks; empty: one with `limits` can."""
    unified = _unified()
    controllers = (unified / "cgroup.controllers").read_text().split() if unified else []
    if {"memory", "pids"} <= set(controllers) or len(_v1_groups()) == len(_BOUNDING):
        return ""
    return "no control group hierarchy here has both the memory and the pids controller"


def _v1_groups() -> dict[str, Path]:
    """Return the group that this process is in, by controller, where version 1 has those."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number, names, path = line.split(":", 2)
        own.update(dict.fromkeys(names.split(","), path))
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _what, place, kind, options, *_rest = line.split()
        for name in set(_BOUNDING) & set(options.split(",")):
            if kind == "cgroup":
                found[name] = Path(place, own[name].strip("/"))
    return found


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock file: other workers of this test run may want the same thing made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# Trees ------------------------------------------------------------------------------------------


def tree(debian: str, *, also: tuple[str, ...] = ()) -> Path:
    """Return a Debian tree that nobody may change, made when it is not there.

    `also` are packages that most tests can do without.
    """
    told = json.dumps([_TREE_VERSION, debian, _PACKAGES + also, _QUIET]).encode()
    home = CACHE / f"{SUITES[debian]}-{hashlib.sha256(told).hexdigest()[:12]}"
    with alone(CACHE / f"{SUITES[debian]}.lock"):
        if not home.exists():
            aside = CACHE / f".{home.name}.new"
            shutil.rmtree(aside, ignore_errors=True)
            _bootstrap(aside, SUITES[debian], packages=_PACKAGES + also)
            _furnish(aside)
            aside.rename(home)
    return home


def _bootstrap(target: Path, suite: str, *, packages: tuple[str, ...]) -> None:
    # In namespaces of its own: whatever goes wrong, no mount and no process stays.
    ran = subprocess.run(
        [
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
            "--propagation", "private", "--", "mmdebstrap", "--mode=root", "--variant=apt",
            f"--include={','.join(packages)}", '--aptopt=APT::Install-Recommends "false"',
            "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*", suite, str(target),
        ],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert ran.returncode == 0, f"no tree of {suite}: {ran.stderr[-2000:]}"


def _furnish(root: Path) -> None:
    for name in ("etc/dpkg/dpkg.cfg.d/99mmdebstrap", "etc/apt/apt.conf.d/99mmdebstrap",
                 "usr/sbin/policy-rc.d"):  # fmt: skip
        (root / name).unlink(missing_ok=True)
    (root / "etc/dpkg/dpkg.cfg.d/box").write_text("force-unsafe-io\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").write_text("box\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost box\n::1 localhost\n")
    journal = root / "etc/systemd/journald.conf.d"
    journal.mkdir(parents=True, exist_ok=True)
    (journal / "box.conf").write_text("[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n")
    for name in _QUIET:
        masked = root / "etc/systemd/system" / name
        masked.unlink(missing_ok=True)
        masked.symlink_to("/dev/null")
    default = root / "etc/systemd/system/default.target"
    default.unlink(missing_ok=True)
    default.symlink_to("/lib/systemd/system/multi-user.target")
    for archive in (root / "var/cache/apt").glob("*.bin"):
        archive.unlink()
    for lists in (root / "var/lib/apt/lists").glob("*"):
        shutil.rmtree(lists) if lists.is_dir() else lists.unlink()


# Boxes ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """How a command in the box ended."""

    code: int
    stdout: str
    stderr: str


class Box:
    """A machine. It runs between `boot` and `halt`; its files stay until the end.

    One with `limits` bounds memory and tasks, also where only groups of version 1 can; then nothing
    can be frozen in it.
    """

    def __init__(
        self, folder: Path, *, debian: str, also: tuple[str, ...] = (), limits: bool = False
    ) -> None:
        self._folder = folder
        self.v1 = _v1_groups() if limits else {}
        self.root = folder / "root"
        self._name = f"eiderd-{os.getpid()}-{folder.name[:20]}"
        self._groups: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0
        folder.mkdir(parents=True)
        subprocess.run(
            ["cp", "-a", "--reflink=auto", str(tree(debian, also=also)), str(self.root)],
            check=True, timeout=300,
        )  # fmt: skip

    # Up and down

    def boot(self) -> float:
        """Start it and wait until systemd is up. Return how many seconds that took."""
        began = time.monotonic()
        self._make_groups()
        joined = " ".join(f"'{group}/cgroup.procs'" for group in self._groups)
        command = [
            "sh", "-c", f'for one in {joined}; do echo $$ > "$one"; done; exec "$@"', "box",
            "setpriv", "--pdeathsig", "KILL", "--",
            "systemd-nspawn", "--quiet", f"--directory={self.root}",
            f"--machine={self._name}", "--register=no", "--keep-unit", "--console=read-only",
            "--hostname=box", "--timezone=off", "--link-journal=no", "--suppress-sync=yes",
            "--system-call-filter=bpf", "--private-network",
        ]  # fmt: skip
        environment = {"PATH": _PATH}
        if self.v1:
            command += ["--kill-signal=SIGRTMIN+3", "sh", "-c", _BOOT_WITH_V1, "boot", *self.v1]
        else:
            command.append("--boot")
            environment["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "1"
        with (self._folder / "boot.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, start_new_session=True,
            )  # fmt: skip
        until(self._is_up, seconds=_BOOT_SECONDS, what=f"a boot: {self._folder}/boot.log")
        # A bind mount of nspawn's that units with ProtectKernelTunables= do not see: to them it
        # would be another boot than to everybody else.
        self.run("umount", "/proc/sys/kernel/random/boot_id")
        return time.monotonic() - began

    def halt(self) -> None:
        """Shut it down as a machine is."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=90)
        self._clean()

    def kill(self) -> None:
        """Cut the power."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=30)
        self._clean()

    def _make_groups(self) -> None:
        unified = _unified()
        assert unified
        self._groups = [unified / self._name]
        v1 = Path("/sys/fs/cgroup/systemd")
        if v1.is_dir():
            self._groups.append(v1 / self._name)
        self._groups += [group / self._name for group in self.v1.values()]
        for group in self._groups:
            group.mkdir()

    def _is_up(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "boot.log").read_text()[-2000:]
        if not self._init:
            self._init = self._find_init()
        if not self._init:
            return False
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def _find_init(self) -> int:
        for members in self._groups[0].rglob("cgroup.procs"):
            for pid in members.read_text().split():
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{pid}/status").read_text()
                    inside = status.partition("NSpid:")[2].partition("\n")[0].split()
                    name = status.partition("Name:")[2].split()[0]
                    if len(inside) > 1 and inside[-1] == "1" and name == "systemd":
                        return int(pid)
        return 0

    def _clean(self) -> None:
        self._init, self._process = 0, None
        for group in self._groups:
            with contextlib.suppress(OSError):
                (group / "cgroup.kill").write_text("1")
            until(lambda group=group: _removed(group), what=f"{group} to go")  # type: ignore[misc]
        self._groups = []
        with contextlib.suppress(OSError):
            Path("/run/systemd/nspawn/propagate", self._name).rmdir()
        about = self.root.stat()
        lock = Path(f"/run/systemd/nspawn/locks/inode-{about.st_dev}:{about.st_ino}")
        lock.unlink(missing_ok=True)

    # Inside

    def run(self, *words: str, stdin: bytes = b"", seconds: float = 120) -> Ran:
        """Run a command inside, as root, to its end."""
        command = [
            "nsenter", "--target", str(self._init), "--mount", "--uts", "--ipc", "--net", "--pid",
            "--cgroup", "--", "env", "--ignore-environment", f"PATH={_PATH}", "HOME=/root",
            "LANG=C.UTF-8", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0", *words,
        ]  # fmt: skip
        ran = subprocess.run(
            command, input=stdin, capture_output=True, timeout=seconds, check=False
        )
        return Ran(ran.returncode, ran.stdout.decode(errors="replace"), ran.stderr.decode())

    def do(self, *words: str, stdin: bytes = b"", seconds: float = 120) -> str:
        """Run a command that must succeed. Return what it printed."""
        ran = self.run(*words, stdin=stdin, seconds=seconds)
        assert ran.code == 0, f"{words}: {ran.code}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        return ran.stdout

    def write(
        self, path: str, text: str | bytes, *, mode: str = "644", owner: str = "root"
    ) -> None:
        data = text.encode() if isinstance(text, str) else text
        folder = str(Path(path).parent)
        self.do("mkdir", "--parents", folder)
        self.do("sh", "-c", 'cat > "$1"', "write", path, stdin=data)
        self.do("chmod", mode, path)
        self.do("chown", owner, path)

    def show(self, unit: str, property_: str) -> str:
        return self.do("systemctl", "show", "--value", f"--property={property_}", unit).strip()

    def journal(self, unit: str) -> str:
        return self.do("journalctl", "--no-pager", "--output=cat", "--unit", unit)

    def await_show(self, unit: str, property_: str, *wanted: str, seconds: float = 30) -> None:
        """Wait until a property of a unit is one of these."""
        until(
            lambda: self.show(unit, property_) in wanted,
            seconds=seconds,
            what=f"{property_} of {unit} to be {wanted}",
        )


def _removed(group: Path) -> bool:
    for inner in sorted(group.rglob("*"), reverse=True):
        if inner.is_dir():
            with contextlib.suppress(OSError):
                inner.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


@contextlib.contextmanager
def booted(folder: Path, *, debian: str = "12") -> Iterator[Box]:
    """Yield a machine that is up. Nothing is left of it afterwards."""
    box = Box(folder, debian=debian)
    try:
        box.boot()
        yield box
    finally:
        box.kill()
        shutil.rmtree(folder, ignore_errors=True)
