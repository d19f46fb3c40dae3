"""What a person is shown by `eider status`: the same words as on the page, in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eiderd.cli import heal_report
from eiderd.cli.reports import columns
from eiderd.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, paint, say
from eiderd.health import Condition, Kind, Severity
from eiderd.web import page_facts
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from eiderd.status import Status

_COLOURS = {Condition.WELL: GREEN, Condition.DEGRADED: YELLOW, Condition.ILL: RED}
_SEVERITIES = {Severity.CRITICAL: RED, Severity.WARNING: YELLOW, Severity.NOTICE: DIM}
_WIDTH = 10
_NONE = "There is no verified backup."


def show(status: Status, *, zone: tzinfo) -> None:
    facts = page_facts.facts(status, zone=zone)
    _top(status, facts["top"])
    for found, shown in zip(status.findings, facts["findings"], strict=False):
        mark = paint(f"{shown['mark']} {found.severity}", _SEVERITIES[found.severity])
        since = f"since {shown['since']['brief']}" if shown["since"] else ""
        say(f"\n{mark}  {plain(shown['message'])}  {paint(since, DIM)}".rstrip())
        say(f"    {paint(plain(found.command), BOLD)}")
    say("")
    _row("service", _service(status, facts["service"]))
    _row("now", ", ".join(map(_running, facts["running"])) or "nothing runs")
    _row("next", ", ".join(map(_upcoming, facts["upcoming"])))
    counts = [f"{count} {state}" for state, count in status.counted().items() if count]
    none = "not known" if status.is_blind else "none"
    _row("backups", (", ".join(counts) or none) + f" in {plain(status.directory)}")
    _row("app", facts["application"])
    _row("nats", facts["nats"])
    _row("schema", plain(facts["schema"]))
    _row("restore", facts["restore"])
    if facts["healing"]["decisions"] or facts["healing"]["paused"]:
        _row("healing", f"{plain(facts['healing']['said'])}; see: eider status --heal")
    for disk in facts["disks"]:
        forecast = f", {disk['forecast']}" if disk["forecast"] else ""
        _row("disk", f"{disk['place']}: {disk['free']} of {disk['total']} free{forecast}")
    if facts["runs"]:
        _runs(facts["runs"])


def _top(status: Status, top: dict[str, Any]) -> None:
    said = paint(f"{top['mark']} {top['condition']}", BOLD, _COLOURS[status.condition])
    if top["age"] is None:
        none = "Which backups there are is not known." if status.is_blind else _NONE
        say(f"{said}  {paint(none, BOLD)}")
        return
    age = f"Last verified backup: {top['age']} ago"
    say(f"{said}  {paint(age, BOLD)}")
    newest = status.newest_verified
    if newest:
        say(f"  {newest.id}, {top['content']}, {top['size']}")


def _service(status: Status, service: dict[str, Any]) -> str:
    if status.service.since is None and any(
        found.kind is Kind.JOURNAL_UNWRITABLE for found in status.findings
    ):
        return paint("not known", YELLOW) + "; see: systemctl status eiderd"
    if status.service.since is None:
        return paint("not running", YELLOW) + "; start it: systemctl start eiderd"
    return f"running since {service['since']['brief']}"


def _running(running: dict[str, Any]) -> str:
    return f"{running['job']}, for {running['elapsed']}"


def _upcoming(upcoming: dict[str, Any]) -> str:
    return f"{upcoming['job']} in {upcoming['at']['away']} ({upcoming['at']['brief']})"


def _runs(runs: Iterable[dict[str, Any]]) -> None:
    rows = [
        (run["at"]["brief"], run["job"], run["took"], f"{run['mark']} {run['outcome']}", run["why"])
        for run in runs
    ]
    title, *lines = columns(("WHEN", "JOB", "TOOK", "OUTCOME", "WHY"), rows, right={"TOOK"})
    say("\n".join(("", paint(title, BOLD), *lines)))


def _row(name: str, text: str) -> None:
    if text:
        say(f"{paint(name.ljust(_WIDTH), BOLD)}{text}")


def document(status: Status) -> dict[str, Any]:
    """Return what `eider status --json` says, and what a script may rely on."""
    newest = status.newest_verified
    return {
        "condition": status.condition,
        "at": status.at,
        "version": status.version,
        "service": {"running": status.service.since is not None, "since": status.service.since},
        "newest_verified": newest,
        "age_seconds": status.age_seconds,
        "fresh_seconds": status.fresh_seconds,
        "findings": status.findings,
        "running": status.running,
        "upcoming": status.upcoming,
        "recent": status.recent,
        "backups": {str(state): count for state, count in status.counted().items()},
        "prune_frozen": status.frozen,
        "drilled": status.drilled,
        "disks": status.disks,
        "application": status.application,
        "nats": status.nats,
        "runs": [
            {"job": job, "outcome": outcome, "count": count}
            for (job, outcome), count in status.totals.runs.items()
        ],
        "missed": dict(status.totals.missed),
        "healing": heal_report.document(status),
    }
