"""The second half of the demo: the service looks after the imitation application for a minute."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any, Final

import incidents
from eiderd.errors import ChildFailed, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

EIDERD: Final = (sys.executable, "-c", "from eiderd.service import run; run()")
READY_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 60.0
BY_HAND: Final = 2  # backups that somebody types meanwhile; the others the clock takes
SHOWN: Final = (
    'eider_condition{condition="well"}',
    "eider_last_verified_timestamp_seconds",
    'eider_backups{state="verified"}',
    'eider_job_runs_total{job_name="backup",outcome="done"}',
    'eider_job_runs_total{job_name="prune",outcome="done"}',
    "eider_pruned_backups_total",
)  # fmt: skip


def play(config: Path, console: Console, *, seconds: float, application: int) -> dict[str, Any]:
    """Run the service for so long, at least until it took and pruned a backup by its clock.

    Then let things go wrong. `application` is the process whose database it looks after.
    """
    port = incidents.free_port()
    page = f"http://127.0.0.1:{port}/"
    with incidents.broker(config.parent) as url:
        config.write_text(config.read_text() + _more(port=port, broker=url))
        if url:  # the application would do it at its start
            _type(config, "nats", "ensure")
        with _service(config) as service:
            story = _look_after(service, page, config, console, seconds=seconds)
            console.print("[bold]7[/] Things go wrong, each for real:")
            scene = incidents.Scene(
                page=page, config=config, backups=config.parent / "backups",
                application=application, broker=url,
            )  # fmt: skip
            told = incidents.play(scene, console)
            _show_status(config, console)
    worked = story["worked"] and all(one["seen_to"] for one in told)
    return {"page": page, **story, "incidents": told, "worked": worked}


def _more(*, port: int, broker: str | None) -> str:
    return (
        f'schedule = "* * * * *"\n[retention]\nmax_count = 3\n'
        f'[server]\nlisten = "127.0.0.1:{port}"\n[mirror]\ninterval = "5s"\n'
        f'[heal]\ncooldown = "5s"\n[disk]\nballast = "{incidents.BALLAST}"\n'
        + (f'[nats]\nurl = "{broker}"\n' if broker else "")
    )


def _look_after(
    service: subprocess.Popen[bytes], page: str, config: Path, console: Console, *, seconds: float
) -> dict[str, Any]:
    _until_ready(service, page)
    console.print(
        "[bold]6[/] The service takes over, with a backup every minute of which three are "
        f"kept. Its page, for {seconds:.0f} s: [bold link={page}]{page}[/]"
    )
    before, until = _scrape(page), time.monotonic() + seconds
    samples = before
    for _number in range(BY_HAND):
        soon = min(until, time.monotonic() + seconds / 6)
        samples = _watch(page, console, samples, until=soon)
        _type(config, "backup")
    samples = _watch(page, console, samples, until=until)
    deadline = time.monotonic() + READY_SECONDS
    while not _has_worked(before, samples) and time.monotonic() < deadline:
        samples = _watch(page, console, samples, until=time.monotonic() + 1)
    console.print(f"  [dim]curl {page}metrics[/]")
    for name in SHOWN:
        console.print(f"  {name} {samples[name]:.0f}", markup=False)
    _show_status(config, console)
    return {"worked": _has_worked(before, samples), **_counts(samples)}


def _type(config: Path, *words: str) -> None:
    """Do as a person would: again while the service is at work, then expect it to go well."""
    command = [*incidents.EIDER, "--config", str(config), *words]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        ran = subprocess.run(command, check=False, capture_output=True, text=True)
        if ran.returncode != ExitCode.BUSY or time.monotonic() > deadline:
            break
    if ran.returncode:
        raise ChildFailed(
            f"eider {' '.join(words)} ended with {ran.returncode}: {ran.stderr.strip()}",
            hint="Run the demo again.",
        )


def _has_worked(before: dict[str, float], now: dict[str, float]) -> bool:
    """Whether the clock took a backup, besides those typed, and pruned one."""
    taken = _counts(now)["backups_taken"] - _counts(before)["backups_taken"]
    return taken > BY_HAND and _counts(now)["backups_pruned"] > 0


def _counts(samples: dict[str, float]) -> dict[str, int]:
    return {
        "backups_taken": int(samples['eider_job_runs_total{job_name="backup",outcome="done"}']),
        "backups_pruned": int(samples["eider_pruned_backups_total"]),
        "backups_kept": int(samples['eider_backups{state="verified"}']),
    }


def _watch(
    page: str, console: Console, last: dict[str, float], *, until: float
) -> dict[str, float]:
    """Say each time that the counts change. Return the last scrape."""
    while time.monotonic() < until:
        time.sleep(0.5)
        before, last = last, _scrape(page)
        counts = _counts(last)
        if counts != _counts(before):
            console.print(
                f"  [green]✓[/] {counts['backups_taken']} backups taken and verified, "
                f"{counts['backups_pruned']} pruned, {counts['backups_kept']} kept"
            )
    return last


def _show_status(config: Path, console: Console) -> None:
    said = subprocess.run([*incidents.EIDER, "--config", str(config), "status"],
                          check=False, capture_output=True, text=True).stdout  # fmt: skip
    console.print("  [dim]eider status[/]")
    for line in said.splitlines():
        console.print(f"  {line}", markup=False, no_wrap=True, overflow="ellipsis")


@contextlib.contextmanager
def _service(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = config.with_name("service.log")
    with log.open("wb") as output:
        process = subprocess.Popen([*EIDERD, "--config", str(config)], stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            finally:
                process.kill()
                process.wait()


def _until_ready(service: subprocess.Popen[bytes], page: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{page}readyz") as answer:
            if json.load(answer)["age_seconds"] is not None:
                return
        time.sleep(0.05)
    raise ChildFailed("the service did not become ready", hint="Run the demo again.")


def _scrape(page: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{page}metrics") as answer:
        lines = answer.read().decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}
