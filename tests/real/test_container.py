"""eiderd in a container of its own, as packaging/container makes it: confined, without systemd.

The application runs in another container. Without root and `dockerd` this is skipped, and says why.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import until
from tests.real import containers

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK, SLOW = "1GB", "1MB"
_READY = """
import urllib.error, urllib.request
try:
    print(urllib.request.urlopen("http://127.0.0.1:9857/readyz", timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    print(0)
"""
# The states of all processes but itself: who they are, and whether they are dead and not buried.
_PROCESSES = """
import os
from pathlib import Path
for stat in Path("/proc").glob("[0-9]*/stat"):
    if int(stat.parent.name) != os.getpid():
        pid, _, rest = stat.read_text().partition(" (")
        name, _, rest = rest.rpartition(") ")
        print(pid, name, rest[0])
"""


class Home:
    """The folders of an eiderd in a container, and what runs there."""

    def __init__(self, docker: containers.Docker, root: Path) -> None:
        self.docker = docker
        self.data, self.state, self.config = root / "data", root / "state", root / "eiderd.toml"
        self.state.mkdir(mode=0o700)
        os.chown(self.state, containers.USER, containers.USER)
        root.chmod(0o755)
        self.configure()

    def configure(self, *, rate: str = QUICK) -> None:
        self.config.write_text(
            '[database]\npath = "/data/app.duckdb"\n'
            f'[mirror]\nrate_limit = "{rate}"\ninterval = "never"\n'
            '[server]\nlisten = "0.0.0.0:9857"\n'
            "[retention]\nkeep_recent_hours = 48\n"
            '[log]\nformat = "json"\n'
        )

    @property
    def options(self) -> tuple[str, ...]:
        return (
            *containers.CONFINED, "--tmpfs=/tmp",
            f"--volume={self.config}:/etc/eiderd/eiderd.toml:ro",
            f"--volume={self.state}:/var/lib/eiderd",
        )  # fmt: skip

    def forget_everything(self) -> None:
        """Leave an empty folder: when it begins again, a backup is overdue."""
        for path in self.state.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def begin(self) -> None:
        """Start eiderd, in a new container."""
        data = self.docker.mounted(self.data, options=":ro")
        self.docker.start("eiderd", *data, "eiderd", options=self.options)

    def until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.docker.state("eiderd")["Running"], self.docker.run("logs", "eiderd").stderr
            return self.python(_READY) == "200"

        until(is_ready, seconds=60, what="/readyz to be well")

    def python(self, script: str) -> str:
        return self.docker.do("exec", "eiderd", "python", "-I", "-c", script)

    def eider(self, *words: str) -> Any:  # noqa: ANN401  (whatever document it is)
        return json.loads(self.docker.run("exec", "eiderd", "eider", *words, "--json").stdout)

    def once(self, *words: str) -> Any:  # noqa: ANN401
        """Run a verb in a container of its own, which may write to the data."""
        data = self.docker.mounted(self.data)
        command = ("run", "--rm", *self.options, *data, "eiderd", "eider", *words, "--json")
        return json.loads(self.docker.run(*command).stdout)

    def copies(self) -> bool:
        """Whether a backup is at work: the first files of the mirror are there."""
        return any((self.state / "mirror").glob("*"))

    def words(self) -> list[str]:
        """Return the stable word of each line that it logged, in order."""
        said = self.docker.run("logs", "eiderd").stderr
        return [json.loads(line)["word"] for line in said.splitlines() if line.startswith("{")]

    def processes(self) -> list[tuple[str, str]]:
        """Return name and state of every process in the container but the one that asks."""
        lines = [line.split() for line in self.python(_PROCESSES).splitlines()]
        return [(" ".join(words[1:-1]), words[-1]) for words in lines]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A live application in one container, an eiderd that is ready in another."""
    with containers.running() as docker:
        made = Home(docker, tmp_path_factory.mktemp("home"))
        docker.start_application("app", made.data)
        made.begin()
        made.until_ready()
        yield made


def test_it_takes_a_verified_backup_of_an_application_in_another_container(home: Home) -> None:
    (backup,) = home.eider("list")
    assert backup["state"] == "verified"
    assert "ready" in home.words()
    assert home.docker.do("exec", "eiderd", "id", "-u") == str(containers.USER)
    written = {path.name for path in home.data.iterdir()}
    assert written <= {"app.duckdb", "app.duckdb.wal", "ready"}


def test_the_doctor_there_is_content_and_speaks_of_no_systemd(home: Home) -> None:
    checks = {one["name"]: one for one in home.eider("doctor")["checks"]}
    assert checks["lock"]["said"] == "held by a process outside this container"
    assert checks["service"]["mark"] == "well"
    for one in checks.values():
        assert not {"systemctl", "journalctl", "timedatectl"} & set(one["command"].split()), one
    ill = {name for name, one in checks.items() if one["mark"] == "problem"}
    assert not ill


def test_what_others_leave_behind_is_buried(home: Home) -> None:
    home.docker.do("exec", "eiderd", "sh", "-c", "(sleep 0.2; exit 1) & (sleep 0.1) & exit 0")
    until(lambda: not any(name == "sleep" for name, _state in home.processes()))
    until(lambda: not any(name == "sh" for name, _state in home.processes()))
    assert not [one for one in home.processes() if one[1] == "Z"]


def test_a_restore_is_refused_while_an_application_outside_holds_the_database(home: Home) -> None:
    refused = home.once("restore", "latest", "--yes")
    assert "a process outside this container" in refused["error"]["message"]
    before = home.data.joinpath("app.duckdb").stat().st_ino
    home.docker.do("stop", "-t", "5", "app")
    restored = home.once("restore", "latest", "--yes")
    assert "error" not in restored, restored
    after = home.data.joinpath("app.duckdb").stat()
    assert after.st_ino != before
    assert after.st_uid == containers.USER
    home.docker.do("start", "app")
    wal = home.data / "app.duckdb.wal"
    until(lambda: wal.exists() and wal.stat().st_size > 0, what="an application that writes")


def test_docker_stop_ends_a_backup_in_time_and_a_kill_leaves_only_usable_things(
    home: Home,
) -> None:
    home.docker.remove("eiderd")
    home.forget_everything()
    home.configure(rate=SLOW)
    home.begin()
    until(home.copies, seconds=30, what="a backup at work")
    began = time.monotonic()
    home.docker.do("stop", "-t", "10", "eiderd")
    assert time.monotonic() - began < 10 + 2  # with what Docker itself takes
    state = home.docker.state("eiderd")
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    shutil.rmtree(home.state / "mirror")
    home.docker.do("start", "eiderd")
    until(home.copies, seconds=30, what="a backup at work again")
    home.docker.do("kill", "eiderd")
    home.configure()
    home.docker.do("start", "eiderd")
    home.until_ready()
    until(lambda: [one["state"] for one in home.eider("list")] == ["verified"], seconds=60)
    assert home.words().count("run_died") == 1


def test_a_service_that_is_killed_ends_its_container(home: Home) -> None:
    # So that Docker, told to restart it, does.
    (service,) = (
        line.split()[0] for line in home.python(_PROCESSES).splitlines()
        if line.split()[0] != "1" and line.split()[1] in ("eiderd", "python", "python3")
    )  # fmt: skip
    home.docker.do("exec", "eiderd", "sh", "-c", f"kill -9 {service}")
    until(lambda: not home.docker.state("eiderd")["Running"])
    assert home.docker.state("eiderd")["ExitCode"] == 137
