"""The true Prometheus and Alertmanager: found, started on ports of their own, and asked."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.helpers import until
from tests.running import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SECONDS = 60
INTERVAL = "1s"

# Debian's name first: `alertmanager` alone is what the project's own archives have.
_NAMES = {"alertmanager": ("prometheus-alertmanager", "alertmanager")}


def tool(name: str) -> str:
    """Return the path of a program of Prometheus, or skip the test and say what is missing."""
    for candidate in _NAMES.get(name, (name,)):
        if found := shutil.which(candidate):
            return found
    pytest.skip(f"there is no {name}: apt-get install prometheus prometheus-alertmanager")


def promtool(*words: str | Path, said: str = "", cwd: Path | None = None) -> None:
    """Run promtool, which must be content and say nothing that it would have otherwise."""
    ran = subprocess.run(
        [tool("promtool"), *map(str, words)],
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        cwd=cwd,
    )
    assert ran.returncode == 0, f"promtool {words}:\n{ran.stdout}{ran.stderr}"
    if words[:2] == ("check", "metrics"):
        assert ran.stdout + ran.stderr == ""


# Asking -----------------------------------------------------------------------------------------


def _get(url: str) -> Any:  # noqa: ANN401  (whatever it answers)
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return json.load(answer)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=SECONDS):
            return True
    except (urllib.error.URLError, OSError):
        return False


@dataclasses.dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and figure of each series that the expression gives now."""
        words = urllib.parse.urlencode({"query": expression})
        found = _get(f"{self.url}/api/v1/query?{words}")["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule, with how its last evaluation went."""
        groups = _get(f"{self.url}/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = _get(f"{self.url}/api/v1/targets")["data"]["activeTargets"]
        return found

    def await_scrape(self, *, seconds: float = SECONDS) -> None:
        """Wait until every target has answered with metrics that Prometheus can read."""
        until(
            lambda: all(target["health"] == "up" for target in self.targets()),
            seconds=seconds,
            what=f"a good scrape: {[target['lastError'] for target in self.targets()]}",
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Alertmanager:
    """A running Alertmanager."""

    url: str

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that fire now, with labels and annotations."""
        found: list[dict[str, Any]] = _get(f"{self.url}/api/v2/alerts?active=true")
        return found

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.alerts()}

    def await_firing(self, name: str, *, seconds: float = SECONDS) -> dict[str, Any]:
        """Wait until an alert has come here, and return it."""
        until(lambda: name in self.firing(), seconds=seconds, what=f"{name} fires")
        return next(one for one in self.alerts() if one["labels"]["alertname"] == name)

    def await_resolved(self, name: str, *, seconds: float = SECONDS) -> None:
        until(lambda: name not in self.firing(), seconds=seconds, what=f"{name} is over")


# Starting ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _running(command: Sequence[str], *, log: Path, url: str) -> Iterator[None]:
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=log.parent
        )
    try:
        until(
            lambda: process.poll() is not None or _is_ready(url), seconds=SECONDS, what=command[0]
        )
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


@contextlib.contextmanager
def alertmanager(folder: Path) -> Iterator[Alertmanager]:
    """Run an Alertmanager that keeps its alerts to itself."""
    program = tool("alertmanager")
    folder.mkdir(parents=True)
    config = folder / "alertmanager.yml"
    config.write_text(
        yaml.safe_dump({"route": {"receiver": "none"}, "receivers": [{"name": "none"}]})
    )
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with _running(command, log=folder / "log", url=f"http://{address}"):
        yield Alertmanager(f"http://{address}")


@contextlib.contextmanager
def prometheus(
    folder: Path,
    *,
    target: str,
    rules: Mapping[str, Path],
    alerts_to: Alertmanager | None = None,
    hold: str = INTERVAL,
    scrape: Mapping[str, object] | None = None,
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `target` (HOST:PORT) each second as the job `eiderd`.

    `hold` takes the place of each `for` in the rules; `scrape` adds to the scrape configuration.
    """
    program = tool("prometheus")
    folder.mkdir(parents=True)
    job = {"job_name": "eiderd", "static_configs": [{"targets": [target]}], **(scrape or {})}
    document: dict[str, Any] = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "scrape_configs": [job],
        "rule_files": [str(quickened(path, folder, hold=hold)) for path in rules.values()],
    }
    if alerts_to:
        where = {"static_configs": [{"targets": [alerts_to.url.removeprefix("http://")]}]}
        document["alerting"] = {"alertmanagers": [where]}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(document))
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--rules.alert.resend-delay=1s",
    ]
    with _running(command, log=folder / "log", url=f"http://{address}"):
        yield Prometheus(f"http://{address}")


def quickened(path: Path, folder: Path, *, hold: str) -> Path:
    """Return a copy of a rule file that is evaluated each second and waits only `hold`."""
    document = yaml.safe_load(path.read_text())
    for group in document["groups"]:
        group["interval"] = INTERVAL
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = hold
    copy = folder / path.name
    copy.write_text(yaml.safe_dump(document))
    return copy
