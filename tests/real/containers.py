"""A Docker of the tests' own, and the image of eiderd, made as packaging/container says.

Its daemon listens on a socket of its own, its containers have no network but the host's, and what
it built stays in ~/.cache/eiderd-tests, so that only what changed is built again. No registry is
asked: the image to begin from is made of the Debian tree of the service tests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pip
import pytest

from tests import busy_application
from tests.helpers import until
from tests.service import box

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT: Final = Path(__file__).parents[2]
PYTHON: Final = "/opt/eiderd/bin/python"
USER: Final = 10001
APPLICATION: Final = Path(busy_application.__file__)
_ROWS: Final = "200000"
_HOME: Final = box.CACHE.with_name("docker")
_RUN: Final = Path("/run/eiderd-tests")
_BASE: Final = "python:3.11-slim"
_CERTIFICATES: Final = "etc/ssl/certs/ca-certificates.crt"
_UP_SECONDS: Final = 30.0
# What the image needs of a container: nothing.
CONFINED: Final = (
    "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
)  # fmt: skip


def missing() -> str:
    """Return why there can be no Docker here; empty: there may be one."""
    if os.geteuid() != 0:
        return "a Docker of the tests' own needs root"
    tools = {"dockerd": "docker.io", "docker": "docker.io", "mmdebstrap": "mmdebstrap"}
    absent = sorted({package for tool, package in tools.items() if not shutil.which(tool)})
    return f"not installed: {' '.join(absent)}" if absent else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Docker:
    """A daemon that runs, and where it listens."""

    host: str

    @property
    def env(self) -> dict[str, str]:
        return {"DOCKER_HOST": self.host}

    def run(
        self, *words: str, stdin: bytes | None = None, seconds: float = 60, **env: str
    ) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            ["docker", *words], input=stdin, capture_output=True, check=False, timeout=seconds,
            env={**os.environ, **self.env, **env},
        )  # fmt: skip
        return subprocess.CompletedProcess(
            ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode(errors="replace")
        )

    def do(self, *words: str, **more: Any) -> str:
        """Run a command that must succeed. Return what it printed."""
        ran = self.run(*words, **more)
        assert ran.returncode == 0, f"{words}: {ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"
        return ran.stdout.strip()

    def start(self, name: str, *words: str, options: tuple[str, ...] = CONFINED) -> str:
        """Start a container of the image in the background. Return its id."""
        return self.do("run", "--detach", f"--name={name}", *options, *words)

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.do("inspect", "--format={{json .State}}", name))
        return found

    def restarts(self, name: str) -> int:
        return int(self.do("inspect", "--format={{.RestartCount}}", name))

    def is_paused(self, name: str) -> bool:
        return bool(self.state(name)["Paused"])

    def remove(self, *names: str) -> None:
        self.run("rm", "--force", "--volumes", *names)

    def start_application(self, name: str, data: Path, *options: str) -> None:
        """Start one that holds DATA/app.duckdb open and writes for ever; wait for the database."""
        data.mkdir(parents=True, exist_ok=True)
        os.chown(data, USER, USER)
        command = (PYTHON, "-I", "/application.py", "/data/app.duckdb", "/data/busy", _ROWS)
        self.start(
            name, *options, *self.mounted(data), f"--volume={APPLICATION}:/application.py:ro",
            "eiderd", *command,
        )  # fmt: skip
        until((data / "ready").exists, what=f"a database: {self.run('logs', name).stderr}")

    @staticmethod
    def mounted(data: Path, *, options: str = "") -> tuple[str, ...]:
        return (f"--volume={data}:/data{options}",)

    def events(self, name: str, *, since: float) -> list[str]:
        """Return what became of a container since then, in order."""
        words = ("events", f"--since={since:.9f}", f"--until={time.time():.9f}")
        said = self.do(*words, f"--filter=container={name}", "--format={{.Action}}")
        return said.splitlines()


@contextlib.contextmanager
def running() -> Iterator[Docker]:
    """Yield a Docker that runs and has the image `eiderd`; skip, saying why, where none can run."""
    if why := missing():
        pytest.skip(why)
    with box.alone(_HOME.with_suffix(".lock")):
        _tidy()
        _RUN.mkdir(mode=0o700)
        with (_RUN / "log").open("wb") as log:
            daemon = subprocess.Popen(
                _command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        docker = Docker(f"unix://{_RUN}/docker.sock")
        try:
            _await(docker, daemon)
            _forget(docker)
            _build(docker)
            yield docker
        finally:
            _forget(docker)
            daemon.terminate()
            daemon.wait(timeout=60)
            _tidy()


def _tidy() -> None:
    """Remove what a daemon leaves behind: a network namespace, empty control groups."""
    subprocess.run(
        ["umount", "--lazy", f"{_RUN}/netns/default"], check=False, capture_output=True, timeout=10
    )
    shutil.rmtree(_RUN, ignore_errors=True)
    for group in [
        *Path("/sys/fs/cgroup").glob("eiderd-tests"),
        *Path("/sys/fs/cgroup").glob("*/eiderd-tests"),
    ]:
        with contextlib.suppress(OSError):
            group.rmdir()


def _command() -> list[str]:
    return [
        "setpriv", "--pdeathsig", "TERM", "--",
        "dockerd", f"--data-root={_HOME}", f"--exec-root={_RUN}", f"--pidfile={_RUN}/pid",
        f"--host=unix://{_RUN}/docker.sock", "--exec-opt=native.cgroupdriver=cgroupfs",
        "--cgroup-parent=/eiderd-tests", "--containerd-namespace=eiderd-tests", "--bridge=none",
        "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false",
    ]  # fmt: skip


def _await(docker: Docker, daemon: subprocess.Popen[bytes]) -> None:
    def is_up() -> bool:
        if daemon.poll() is not None:
            last = (_RUN / "log").read_text(errors="replace").strip().splitlines()[-1:]
            pytest.skip(f"dockerd does not run here: {' '.join(last)[-300:]}")
        return docker.run("version").returncode == 0

    until(is_up, seconds=_UP_SECONDS, what="dockerd")


def _forget(docker: Docker) -> None:
    """Remove every container: also those of a run that was killed."""
    ran = docker.run("ps", "--all", "--quiet")
    if ids := ran.stdout.split():
        docker.remove(*ids)


# The image --------------------------------------------------------------------------------------


def _build(docker: Docker) -> None:
    tree = box.tree("12")
    ours = f"eiderd-base:{tree.name}"
    if docker.run("image", "inspect", ours).returncode != 0:
        _import(docker, tree, ours)
    docker.do("tag", ours, _BASE)
    build = ("build", "--network=host", f"--file={PROJECT}/packaging/container/Dockerfile")
    old = {} if docker.run("buildx", "version").returncode == 0 else {"DOCKER_BUILDKIT": "0"}
    # The first stage gets a name, or it would go with what is old.
    for more in (("--target=build", "--tag=eiderd-build"), ("--tag=eiderd",)):
        docker.do(*build, *_settings_of_pip(), *more, str(PROJECT), seconds=600, **old)
    docker.run("image", "prune", "--force")


def _settings_of_pip() -> list[str]:
    """Let pip find, in there, what it finds here."""
    wanted = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
    return [f"--build-arg={name}" for name in wanted if name in os.environ]


def _import(docker: Docker, tree: Path, name: str) -> None:
    """Make an image that looks like the official one of Python, as far as it is used."""
    env = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    env.pop("PIP_FIND_LINKS", None)
    changes = [f"--change=ENV {key}={value}" for key, value in env.items()]
    command = ["docker", "import", *changes, "-", name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, **docker.env}
    ) as child:
        assert child.stdin
        with tarfile.open(fileobj=child.stdin, mode="w|") as tar:
            tar.add(tree, ".", filter=_wanted)
            _furnish(tar)
    assert child.returncode == 0


_PIP: Final = "usr/local/lib/python3.11/dist-packages/pip"


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    left = member.name.endswith("/EXTERNALLY-MANAGED") or member.name in (
        "./var/cache", "./dev", f"./{_CERTIFICATES}",
    )  # fmt: skip
    return None if left or not (member.isfile() or member.isdir() or member.issym()) else member


def _furnish(tar: tarfile.TarFile) -> None:
    link = tarfile.TarInfo("./usr/local/bin/python")
    link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin/python3"
    tar.addfile(link)
    script = tarfile.TarInfo("./usr/local/bin/pip")
    text = b'#!/bin/sh\nexec python3 -m pip "$@"\n'
    script.mode, script.size = 0o755, len(text)
    tar.addfile(script, io.BytesIO(text))
    tar.add(Path(pip.__file__).parent, f"./{_PIP}")
    if Path(f"/{_CERTIFICATES}").exists():
        tar.add(Path(f"/{_CERTIFICATES}").resolve(), f"./{_CERTIFICATES}")
