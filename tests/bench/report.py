"""Writes RESULTS.md: the newest figures, each beside its budget, and what they were measured on."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench import measure, tools, writer
from tests.bench.compare import Row
from tests.bench.measure import Usage
from tests.bench.restore import Restores, milliseconds
from tests.bench.service import Lives
from tests.bench.startup import Timing
from tests.bench.tools import COLD, RESTIC, TAR, WARM
from tests.bench.writer import Contest

TO_TAR, PEAK, WRITER, LISTING = 0.20, 300e6, 0.90, 0.5
RESTORE, FROZEN = 1.3, 1.0  # times `tar -xzf`; seconds
READY, RESIDENT, IDLE, ANSWER = 2.0, 64e6, 0.005, 0.010  # of the service
_NOTES = """\
Every tool reads the same closed file, from warm page cache, into a fresh folder; rounds are
interleaved, wall and CPU seconds are medians, ratios are medians of the ratios within a round, and
memory is the worst of the rounds. *Cold* has no mirror yet; *warm* finds the one of the run before,
of a database that has not changed, which is the best case. Only eider syncs what it wrote before it
says so. Making an empty repository is not counted for restic and borg. eider keeps a mirror as
large as the database beside its backups, unless `mirror.keep = false`; it is not in *stored*."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """What one run of the bench found. A part that was left out is None or empty."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    runs: int
    bytes: int = 0
    compared: Mapping[str, Row] = field(default_factory=dict)
    memory: dict[int, Usage] = field(default_factory=dict)
    phases: Mapping[int, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    restores: Restores | None = None
    contests: Sequence[Contest] = ()
    timings: Sequence[Timing] = ()
    lives: Sequence[Lives] = ()


def render(found: Findings) -> str:
    parts = (
        ["# Results", "", "Written by `make bench`; do not edit. Budgets are eiderd's own.", ""],
        _machine(found),
        _compared(found) if found.compared else _absent("The comparison of tools"),
        _restore(found.restores) if found.restores else _absent("Restore"),
        _memory(found) if found.memory else _absent("Memory"),
        _writer(found.contests) if found.contests else _absent("A live writer"),
        _startup(found.timings) if found.timings else _absent("Start-up"),
        _service(found.lives) if found.lives else _absent("The service"),
        _phases(found) if found.phases else _absent("Phases"),
    )
    return "\n".join(line for part in parts for line in part)


def _absent(what: str) -> list[str]:
    return [f"{what}: not measured in this run.", ""]


def _met(*, good: bool, budget: str) -> str:
    return f"{'met' if good else '**not met**'} ({budget})"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _title in titles[1:])]
    return [*(f"| {' | '.join(cells)} |" for cells in (titles, rule, *rows)), ""]


def _machine(found: Findings) -> list[str]:
    about = [f"{key}: {value}" for key, value in found.machine.items()]
    versions = [f"- {name}: {version}" for name, version in found.versions.items()]
    hint = tools.how_to_install()
    missing = [f"- what is not installed comes with: `{hint}`"] if hint else []
    return [f"- {'; '.join(about)}; {found.runs} rounds", *versions, *missing, ""]


# The comparison ----------------------------------------------------------------------------------


def _compared(found: Findings) -> list[str]:
    titles = ("tool", "wall s", "CPU s", "peak MB", "stored MB", "x tar czf", "x restic",
              "proven to restore")  # fmt: skip
    rows = [cells for row in found.compared.values() for cells in _tool(row)]
    return [
        f"## One database of {found.bytes / 1e6:.0f} MB, from start to the end of the tool's check",
        "",
        *_table(titles, rows),
        *_budgets(found.compared),
        "",
        _NOTES,
        f"Memory below {measure.floor_bytes() / 1e6:.0f} MB cannot be told from the bench's own.",
        "",
    ]


def _tool(row: Row) -> Iterator[tuple[str, ...]]:
    name = row.tool.name
    if row.usage is None:
        yield (name, "not installed", *[""] * 6)
        return
    failed = row.tool.proof.startswith("yes") and not row.proven
    yield (
        name,
        *_usage(row.usage),
        f"{row.stored / 1e6:.0f}",
        _ratio(row.to_tar),
        _ratio(row.to_restic),
        "NO: it failed" if failed else row.tool.proof,
    )
    for step, usage in row.steps:
        yield (f"· {step}", *_usage(usage), *[""] * 4)


def _usage(usage: Usage) -> tuple[str, str, str]:
    return f"{usage.wall:.2f}", f"{usage.cpu:.2f}", _peak(usage.peak_bytes)


def _peak(peak_bytes: int) -> str:
    floor = measure.floor_bytes()
    return f"< {floor / 1e6:.0f}" if peak_bytes <= floor * 1.1 else f"{peak_bytes / 1e6:.0f}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _budgets(rows: Mapping[str, Row]) -> Iterator[str]:
    for name in (COLD, WARM):
        to_tar, to_restic = rows[name].to_tar, rows[name].to_restic
        if to_tar is None:
            yield f"- {name}, {TAR}: nothing to compare with"
        else:
            verdict = _met(good=to_tar <= TO_TAR, budget=f"<= {TO_TAR:.2f} x {TAR}")
            yield f"- {name}: {to_tar:.2f} x {TAR}: {verdict}"
        if to_restic is None:
            yield f"- {name}, {RESTIC}: not installed, nothing to compare with"
        else:
            verdict = _met(good=to_restic < 1, budget="faster than backup + check --read-data")
            yield f"- {name}: {to_restic:.2f} x {RESTIC}: {verdict}"


# The other parts ---------------------------------------------------------------------------------


def _restore(found: Restores) -> list[str]:
    middle = statistics.median
    budget = f"<= {1000 * FROZEN:g} ms"
    frozen = _met(good=max(found.frozen) <= FROZEN, budget=budget) if found.frozen else "not once"
    old, new = (size / 1e6 for size in found.compact_bytes)
    rows = [
        ("`tar -xzf`, s", f"{middle(found.tar):.2f}", "unsynced, unproven"),
        ("`eider restore --to DIR`, s", f"{middle(found.folder):.2f}", "with both proofs, synced"),
        (
            "· x `tar -xzf`",
            f"{found.ratio:.2f}",
            _met(good=found.ratio <= RESTORE, budget=f"<= {RESTORE} x"),
        ),
        ("`eider restore`: the application is down, s", f"{middle(found.down):.2f}", ""),
        (
            "`eider backup` of a writer that never rests: frozen, ms",
            milliseconds(found.frozen),
            f"{frozen}; {len(found.frozen)} of {found.backups} had to freeze it",
        ),
        (
            "`eider compact`: the application is down, s",
            f"{found.compact_down:.2f}",
            f"{old:.0f} MB to {new:.0f} MB",
        ),
        ("· s per GB", f"{found.compact_seconds_per_gb:.1f}", ""),
    ]
    return [
        f"## Putting a database of {found.bytes / 1e6:.0f} MB back",
        "",
        *_table(("", "median", ""), rows),
        "Down is from the call of the application's `stop` to the call of its `start`: what those",
        "take themselves is the application's.",
        "",
    ]


def _memory(found: Findings) -> list[str]:
    rows = [
        (
            f"{size / 1e6:.0f} MB",
            f"{usage.peak_bytes / 1e6:.0f}",
            f"{usage.wall:.1f}",
            _met(good=usage.peak_bytes <= PEAK, budget=f"<= {PEAK / 1e6:.0f} MB"),
        )
        for size, usage in found.memory.items()
    ]
    return [
        "## Memory: the largest process of a cold `eider backup`",
        "",
        *_table(("database", "peak MB", "wall s", "budget"), rows),
        "Beyond some 1,800 MB the database has no more rows of the application, only artwork.",
        "",
    ]


def _writer(contests: Sequence[Contest]) -> list[str]:
    rows = [
        (
            f"a pause of {contest.pace:g} s between rounds" if contest.pace else "flat out",
            f"{writer.rate(contest.alone):.1f}",
            f"{writer.rate(contest.backed_up):.1f}",
            f"{100 * contest.ratio:.0f} %",
            writer.spread(contest),
            f"{1000 * writer.slowest_of_hundred(contest.alone):.0f}",
            f"{1000 * writer.slowest_of_hundred(contest.backed_up):.0f}",
            f"{contest.verified} of {contest.verified + contest.failed}",
            _met(good=contest.ratio >= WRITER, budget=f">= {100 * WRITER:.0f} %"),
        )
        for contest in contests
    ]
    titles = ("writer", "commits/s alone", "with backups", "ratio", "ratio of each pair",
              "COMMIT p99 ms alone", "with backups", "verified", "budget")  # fmt: skip
    return [
        "## A live writer, while backups run one after the other without a pause",
        "",
        *_table(titles, rows),
        "Windows with and without backups alternate. Flat out, the writer alone takes more than a",
        "core, so on two cores it must share: that line says what is left, no application is so.",
        "",
    ]


def _startup(timings: Sequence[Timing]) -> list[str]:
    rows = []
    for timing in timings:
        budget = ""
        if timing.work is not None and timing.backups >= 10_000:
            budget = _met(good=timing.work <= LISTING, budget=f"<= {LISTING} s of work")
        rows.append(
            (
                timing.name,
                f"{timing.backups:,}"
                if timing.name.startswith(("eider list", "eider prune"))
                else "",
                f"{timing.total.wall:.2f}",
                f"{timing.total.cpu:.2f}",
                "" if timing.work is None else f"{timing.work:.2f}",
                budget,
            )
        )
    titles = ("command", "backups", "wall s", "CPU s", "without start-up", "budget")
    return ["## Start-up", "", *_table(titles, rows)]


def _service(lives: Sequence[Lives]) -> list[str]:
    idle = [life.idle for life in lives if life.idle]
    metrics = [life.metrics for life in lives if life.metrics]
    page = [life.page for life in lives if life.page]
    budgets = {
        "READY after": _met(
            good=max(max(life.ready) for life in lives) <= READY, budget=f"<= {READY:g} s"
        ),
        "resident": _met(
            good=max(one.resident for one in idle) <= RESIDENT, budget=f"<= {RESIDENT / 1e6:.0f} MB"
        ),
        "of a core": _met(
            good=max(one.share for one in idle) <= IDLE, budget=f"<= {100 * IDLE:g} %"
        ),
        "`/metrics` p99": _met(
            good=max(one.slowest_of_hundred for one in metrics) <= ANSWER,
            budget=f"<= {1000 * ANSWER:.0f} ms",
        ),
    }
    columns = [_life(life) for life in lives]
    rows = [
        (name, *(column.get(name, "") for column in columns), budgets.get(name, ""))
        for name in columns[-1]
    ]
    return [
        "## The service, while nothing runs but its watchers",
        "",
        *_table(("", *(_backups(life.backups) for life in lives), "budget"), rows),
        f"Memory and the share of a core: {idle[0].seconds:.0f} s after READY, one page and one",
        "`/metrics`, with every child that ended. The service answers one request per connection,",
        f"so an answer is timed from connecting to its end; {page[0].count:,} of each. Where there",
        "is no backup yet, the first one runs, and only the beginning is timed. `/healthz` has",
        "next to nothing to compute: what it takes, HTTP and the machine take.",
        "",
    ]


def _backups(count: int) -> str:
    return f"{count:,} backup{'' if count == 1 else 's'}"


def _life(life: Lives) -> dict[str, str]:
    """Return the figures of one catalog by name. Without backups there are few."""
    shown = {"READY after": f"{statistics.median(life.ready):.2f} s (worst {max(life.ready):.2f})"}
    if not (life.idle and life.metrics and life.page and life.health):
        return shown
    shown |= {
        "resident": f"{life.idle.resident / 1e6:.1f} MB",
        "· proportional (PSS)": f"{life.idle.proportional / 1e6:.1f} MB",
        "· resident after all requests": f"{life.resident_at_last / 1e6:.1f} MB",
        "of a core": f"{100 * life.idle.share:.2f} %",
    }
    asked = {"`/healthz`": life.health, "`/metrics`": life.metrics, "`/`": life.page}
    for name, answers in asked.items():
        shown |= {
            f"{name} median": f"{1000 * answers.median:.1f} ms",
            f"{name} p99": f"{1000 * answers.slowest_of_hundred:.1f} ms",
            f"· CPU of the service for one {name}": f"{1000 * answers.cpu:.1f} ms",
            f"· size of {name}": f"{answers.size / 1e3:.1f} kB",
        }
    ended = f"{statistics.median(life.ended):.2f} s (worst {max(life.ended):.2f})"
    return shown | {"SIGTERM to its end": ended}


def _phases(found: Findings) -> list[str]:
    lines = ["## Where the time of a backup goes: each phase alone", ""]
    for size, phases in found.phases.items():
        rows = [
            (
                str(phase["name"]),
                f"{phase['wall']:.2f}",
                f"{phase['cpu']:.2f}",
                f"{float(str(phase['peak_bytes'])) / 1e6:.0f}",
                _inside(phase["inside"]),
            )
            for phase in phases
        ]
        lines += [f"A database of {size / 1e6:.0f} MB:", ""]
        lines += _table(("phase", "wall s", "CPU s", "peak MB", "wall s inside"), rows)
    return [
        *lines,
        "In a backup, archive then check run beside open and read. A backup's own process (start,",
        "imports, catalog) is not a phase.",
        "",
    ]


def _inside(parts: object) -> str:
    if not isinstance(parts, Mapping):
        return ""
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())
