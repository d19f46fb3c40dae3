"""A machine with the package on it, and an application of another user to back up."""

from __future__ import annotations

import contextlib
import json
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests import busy_application
from tests.helpers import until
from tests.service import box, product
from tests.service.box import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON: Final = "/usr/lib/eiderd/bin/python3"
DATABASE: Final = "/var/lib/app/app.duckdb"
BUSY: Final = "/run/app/busy"
BACKUPS: Final = "/var/lib/eiderd/backups"
ALSO: Final = ("rpm", "pipx")  # one tree for all tests that want more than the rest
_APPLICATION: Final = Path(busy_application.__file__)
_UNITS: Final = Path(__file__).parents[2] / "systemd"

# The strictest umask there is, as a hardened unit has it: nobody else may read what it makes.
_UNIT: Final = f"""\
[Service]
ExecStart={PYTHON} -I /srv/application.py {DATABASE} {BUSY}
User=app
StateDirectory=app
StateDirectoryMode=0700
RuntimeDirectory=app
Environment=SECRET=of-the-application
UMask=0077
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
_CONFIG: Final = f"""\
[database]
path = "{DATABASE}"
[mirror]
passes = 10
rate_limit = "40MB"
interval = "never"
[application]
kind = "systemd"
unit = "app.service"
allow_freeze = true
timeout = "20s"
[engine]
application = "2.0.0"
[server]
basic_auth = "/run/credentials/eiderd.service/eiderd.basic-auth"
[compact]
window = "00:00-23:59"
min_gain = 0.0
"""


# Quicker to find a hang, and to begin again, than a person would want it.
_HASTE: Final = (
    "[Service]\nWatchdogSec=10\nTimeoutAbortSec=2\nRestartSec=1\n[Unit]\nStartLimitBurst=99\n"
)


class Machine(Box):
    """A box in the terms of eiderd."""

    def install(self, package: Path) -> str:
        self.write(f"/root/{package.name}", package.read_bytes())
        return self.do("dpkg", "--install", f"/root/{package.name}")

    def eider(self, *words: str) -> Any:  # noqa: ANN401  (whatever document it is)
        """Run a verb, as root, that must succeed. Return its document."""
        return json.loads(self.do("eider", *words, "--json"))

    def python(self, script: str, *words: str) -> str:
        """Run a script inside, as root, with the interpreter of the package."""
        return self.do(PYTHON, "-I", "-c", textwrap.dedent(script), *words)

    def get(self, path: str) -> str:
        return self.python(
            """
            import sys, urllib.request
            request = urllib.request.Request("http://127.0.0.1:9857" + sys.argv[1])
            request.add_header("Authorization", "Basic dXNlcjpwYXNz")
            print(urllib.request.urlopen(request, timeout=10).read().decode())
            """,
            path,
        )

    def as_eiderd(self, *words: str) -> box.Ran:
        return self.run("runuser", "--user", "eiderd", "--", *words)

    def forget_backups(self) -> None:
        """Stop the service and remove every backup: when it begins again, one is overdue."""
        self.do("systemctl", "stop", "eiderd")
        self.do("sh", "-c", f"rm -rf {BACKUPS}/* /var/lib/eiderd/mirror")

    def await_backup(self, *, seconds: float = 90) -> dict[str, Any]:
        """Wait for the first verified backup. Return what is known of it."""
        until(
            lambda: "verified" in self.backups().values(), seconds=seconds, what="a verified backup"
        )
        newest: dict[str, Any] = self.eider("show", "latest")
        return newest

    def commits(self) -> str:
        """Return what changes as long as the application writes."""
        # Its WAL comes and goes: one that went a moment ago is no failure.
        return self.run("sh", "-c", f"stat --format='%n %Y %s %y' {DATABASE}*").stdout

    def backups(self) -> dict[str, str]:
        return {one["id"]: one["state"] for one in self.eider("list")}

    def begin_maintenance(self) -> None:
        """Let the unit that restores be at work, as long as until `end_maintenance`."""
        self.write(
            "/run/systemd/system/eiderd-maintain@restore.service.d/slow.conf",
            "[Service]\nExecStart=\nExecStart=sleep 300\n",
        )
        self.do("systemctl", "daemon-reload")
        self.do("systemctl", "start", "--no-block", "eiderd-maintain@restore")
        self.await_show("eiderd-maintain@restore", "ActiveState", "activating")

    def end_maintenance(self) -> None:
        self.run("systemctl", "stop", "eiderd-maintain@restore")
        self.do("rm", "-r", "/run/systemd/system/eiderd-maintain@restore.service.d")
        self.do("systemctl", "daemon-reload")

    def files_of_others(self) -> str:
        """Return what in eiderd's folder is not eiderd's."""
        return self.do("find", "/var/lib/eiderd", "!", "-user", "eiderd")

    def give_an_application(self) -> None:
        self.write("/etc/sysusers.d/app.conf", "u app -\n")
        self.do("systemd-sysusers", "app.conf")
        self.write("/srv/application.py", _APPLICATION.read_bytes())
        self.write("/etc/systemd/system/app.service", _UNIT)
        self.write("/etc/systemd/system/other.service", "[Service]\nExecStart=sleep infinity\n")
        self.do("systemctl", "daemon-reload")
        self.do("systemctl", "start", "app", "other")
        self.do("systemctl", "enable", "app")
        until(lambda: self.run("test", "-e", DATABASE).code == 0, what="a database")

    def configure(self) -> None:
        """Do what `eider setup` does with consent."""
        folder = str(Path(DATABASE).parent)
        self.do("setfacl", "--modify", "u:eiderd:rx,d:u:eiderd:rX", folder)
        self.do("sh", "-c", f"setfacl --modify u:eiderd:r {folder}/*")
        # systemd gives the folder its mode at each start, which would take the list's mask away.
        self.write(
            "/etc/systemd/system/app.service.d/10-eiderd.conf",
            "# Written by `eider setup`, which also removes it: 0\n"
            "[Service]\nStateDirectoryMode=0750\n",
        )
        rule = (_UNITS / "eiderd-application.rules").read_text()
        self.write(
            "/etc/polkit-1/rules.d/50-eiderd-application.rules",
            rule.replace("@UNIT@", json.dumps("app.service")),
        )
        # heal.restore is for the unit alone: the service would bring back what a test breaks.
        self.write(
            "/etc/systemd/system/eiderd-maintain@.service.d/data.conf",
            f"[Service]\nReadWritePaths={folder}\nEnvironment=EIDER_HEAL__RESTORE=true\n",
        )
        self.write("/etc/systemd/system/eiderd.service.d/haste.conf", _HASTE)
        self.write("/etc/credstore/eiderd.basic-auth", "user:pass\n", mode="600")
        self.write("/etc/eiderd/eiderd.toml", _CONFIG)
        self.do("systemctl", "daemon-reload")


@contextlib.contextmanager
def unconfigured(folder: Path, *, debian: str = "12") -> Iterator[Machine]:
    """Yield a machine with the package and the application, as nobody has configured it."""
    package = product.deb(debian=debian)
    made = Machine(folder, debian=debian)
    try:
        made.boot()
        made.install(package)
        made.give_an_application()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def machine(folder: Path, *, debian: str = "12") -> Iterator[Machine]:
    """Yield the same, with a configuration."""
    with unconfigured(folder, debian=debian) as made:
        made.configure()
        yield made
