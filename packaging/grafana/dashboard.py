"""Writes the dashboard for Grafana, config/grafana/eiderd.json, so that nobody edits JSON by hand.

Run: python packaging/grafana/dashboard.py > config/grafana/eiderd.json
"""

from __future__ import annotations

import sys
from typing import Final, TypeAlias

from grafana_foundation_sdk.builders import common as build_common
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataTransformerConfig,
    DynamicConfigValue,
    VariableRefresh,
    VariableSort,
)

from parts import (
    BLUE,
    GREEN,
    HERE,
    ORANGE,
    RED,
    SOURCE,
    coloured,
    figure,
    fixed,
    graph,
    mapping,
    now,
    stacked,
    steps,
)

AnyPanel: TypeAlias = stat.Panel | table.Panel | timeseries.Panel

STATE_COLOURS: Final = {"verified": GREEN, "unverified": ORANGE, "suspect": ORANGE, "corrupt": RED}


# Rows -------------------------------------------------------------------------------------------


def _can_i_restore() -> list[AnyPanel]:
    last = f"eider_last_verified_timestamp_seconds{{{HERE}}}"
    limit = f"eider_verified_age_limit_seconds{{{HERE}}}"
    condition = figure(
        "Condition",
        "Well, degraded (a person should look within days) or ill (there is, or soon will be, "
        "nothing to restore).",
        f"eider_condition{{{HERE}}} == 1",
        "{{condition}}",
    ).text_mode(common.BigValueTextMode.NAME)
    for name, colour in (("well", GREEN), ("degraded", ORANGE), ("ill", RED)):
        condition.override_by_name(name, fixed(colour))
    age = figure(
        "Newest verified backup",
        "How old the newest backup is that is proven to restore. What was written since would be "
        "lost with the live database.",
        f"time() - ({last} > 0)",
    )
    share = figure(
        "Age against its limit",
        "100 % is backup.fresh_within, and an alarm. 1,000 % also stands for never.",
        f"clamp_max((time() - {last}) / {limit}, 10)",
    )
    oldest = figure(
        "Recoverable since",
        "The earliest state that can be restored: the oldest verified backup.",
        f"(eider_recoverable_oldest_timestamp_seconds{{{HERE}}} > 0) * 1000",
    )
    pruning = figure(
        "Pruning",
        "Frozen while the evidence is missing that deleting needs; why says: eider prune --explain",
        f'sum by (instance) (eider_prune_frozen{{{HERE}, reason!="no_rules"}}) > bool 0',
    )
    proof = figure(
        "Last proof",
        "When a backup last passed a proof, by a backup or by verify.",
        f"(eider_last_proof_timestamp_seconds{{{HERE}}} > 0) * 1000",
    )
    return [
        condition,
        age.unit(units.DurationSeconds).decimals(0).no_value("never"),
        share.unit(units.PercentUnit).decimals(0).thresholds(steps((0.8, ORANGE), (1, RED))),
        oldest.unit(units.DateTimeFromNow).no_value("nothing"),
        pruning.mappings([mapping(v0=("as the rules say", GREEN), v1=("frozen", ORANGE))]),
        proof.unit(units.DateTimeFromNow).no_value("never"),
        _findings(),
        _ages(last, limit),
    ]


def _findings() -> table.Panel:
    severities = mapping(
        critical=("critical", RED), warning=("warning", ORANGE), notice=("notice", BLUE)
    )
    coloured = [
        DynamicConfigValue("mappings", [severities]),
        DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
    ]
    link = {
        "title": "What to do",
        "url": "http://${__data.fields.instance}/runbook/${__data.fields.kind}",
        "targetBlank": True,
    }
    return (
        table.Panel()
        .title("Findings")
        .description("What a person should know now. A kind leads to what to do about it.")
        .datasource(SOURCE)
        .with_target(now(f"eider_findings{{{HERE}}} > 0"))
        .with_transformation(_shown("severity", "kind", "instance", "Value"))
        .override_by_name("severity", coloured)
        .override_by_name("kind", [DynamicConfigValue("links", [link])])
        .override_by_name("Value", [DynamicConfigValue("displayName", "how many")])
        .no_value("nothing to say")
        .show_header(True)
        .height(8)
        .span(12)
    )


def _shown(*fields: str) -> DataTransformerConfig:
    """Return what puts the columns of a table in order and hides those that every query has."""
    order = {name: place for place, name in enumerate(fields)}
    hide = dict.fromkeys(("Time", "__name__", "job"), True)
    return DataTransformerConfig(
        id_val="organize", options={"indexByName": order, "excludeByName": hide}
    )


def _ages(last: str, limit: str) -> timeseries.Panel:
    panel = graph(
        "Age of the newest verified backup",
        "It falls to zero with each backup that is proven, and must stay below the limit.",
        units.Seconds,
        (f"time() - ({last} > 0)", "age"),
        (limit, "limit"),
        width=12,
    )
    return coloured(panel, {"age": BLUE, "limit": RED})


def _backups() -> list[AnyPanel]:
    counts = graph(
        "Backups by state",
        "Only verified ones count, for retention, freshness and alerts.",
        units.Short,
        (f"eider_backups{{{HERE}}}", "{{state}}"),
    ).decimals(0)
    held = f"increase(eider_frozen_seconds_bucket{{{HERE}}}[30d])"
    sizes = graph(
        "Size of the archives",
        "By the state of their backup.",
        units.BytesIEC,
        (f"eider_backups_bytes{{{HERE}}}", "{{state}}"),
    )
    return [
        coloured(stacked(counts), STATE_COLOURS),
        coloured(stacked(sizes), STATE_COLOURS),
        graph(
            "Live database",
            "Its file, the log beside it, and the archive of the newest verified backup.",
            units.BytesIEC,
            (f"eider_database_bytes{{{HERE}}}", "database"),
            (f"eider_wal_bytes{{{HERE}}}", "write-ahead log"),
            (f"eider_newest_backup_bytes{{{HERE}}}", "newest archive"),
        ),
        graph(
            "Rows by table",
            "Of the twenty largest in the newest verified backup. Look into a line that falls.",
            units.Short,
            (f"topk(20, eider_rows{{{HERE}}})", "{{table}}"),
            width=16,
        ),
        graph(
            "Rows in all",
            "That its proof read in the newest verified backup.",
            units.Short,
            (f"eider_newest_backup_rows{{{HERE}}}", "rows"),
        ),
        graph(
            "How long a restore takes",
            "As the last drill measured it: a backup was restored into scratch, with all proofs.",
            units.Seconds,
            (f"eider_last_drill_seconds{{{HERE}}}", "restore"),
            width=12,
        ),
        graph(
            "Application held still",
            "Frozen or stopped for a backup; none when its copy converged by itself.",
            units.Seconds,
            (f"eider_last_frozen_seconds{{{HERE}}}", "newest backup"),
            (
                f"histogram_quantile(0.95, sum by (le, instance) ({held}))",
                "19 of 20 in 30 days, at most",
            ),
            width=12,
        ),
    ]


def _jobs() -> list[AnyPanel]:
    long = '"backup|verify|drill|prune"'
    runs = f'eider_job_runs_total{{{HERE}, job_name!~"freshness|disk|content|ballast"}}'
    outcomes = graph(
        "Runs by outcome",
        "Within each interval; the quick looks of the watchers are left out.",
        units.Short,
        (
            f"sum by (job_name, outcome) (increase({runs}[$__rate_interval])) > 0",
            "{{job_name}}: {{outcome}}",
        ),
    ).draw_style(common.GraphDrawStyle.BARS)
    outcomes.override_by_regexp(".*(failed|died)", fixed(RED))
    when = [
        (f"(eider_job_last_success_timestamp_seconds{{{HERE}}} > 0) * 1000", "A"),
        (f"(eider_job_next_run_timestamp_seconds{{{HERE}}} > 0) * 1000", "B"),
    ]
    times = (
        table.Panel()
        .title("Last and next runs")
        .description("When each job was last done, and when the timetable wants it next.")
        .datasource(SOURCE)
        .unit(units.DateTimeFromNow)
        .show_header(True)
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_shown("job_name", "instance", "Value #A", "Value #B"))
        .override_by_name("Value #A", [DynamicConfigValue("displayName", "last done")])
        .override_by_name("Value #B", [DynamicConfigValue("displayName", "next")])
        .override_by_name("job_name", [DynamicConfigValue("displayName", "job")])
        .height(8)
        .span(8)
    )
    for expression, letter in when:
        times.with_target(now(expression, reference=letter))
    return [
        graph(
            "How long they take",
            "The last run of each job that was done. Quick looks of the watchers are left out.",
            units.Seconds,
            (
                f"eider_job_last_duration_seconds{{{HERE}, job_name=~{long}}} > 0",
                "{{job_name}}",
            ),
        ),
        outcomes,
        times,
    ]


def _disk() -> list[AnyPanel]:
    return [
        graph(
            "Free",
            "What an ordinary user may still write. data is where the live database stands.",
            units.BytesIEC,
            (f"eider_disk_free_bytes{{{HERE}}}", "{{place}}"),
        ),
        graph(
            "Used",
            "As a share of the filesystem.",
            units.PercentUnit,
            (
                f"1 - eider_disk_free_bytes{{{HERE}}} / eider_disk_total_bytes{{{HERE}}}",
                "{{place}}",
            ),
        )
        .max(1)
        .thresholds(steps((0.9, ORANGE), (0.95, RED)))
        .thresholds_style(
            build_common.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        ),
        graph(
            "Full in",
            "If it goes on like this. There is no line for a disk that does not fill.",
            units.Seconds,
            (f"eider_disk_seconds_to_full{{{HERE}}} < Inf", "{{place}}"),
        ),
    ]


def _service() -> list[AnyPanel]:
    # Other targets have these names as well.
    ours = "and on (job, instance) eider_build_info"
    version = figure(
        "Version", "Of eiderd.", f"eider_build_info{{{HERE}}}", "{{version}}"
    ).text_mode(common.BigValueTextMode.NAME)
    config = figure(
        "Configuration",
        "Refused: the file has an error, and the one from before is in force. eider config check",
        f"eider_config_last_reload_successful{{{HERE}}}",
    ).mappings([mapping(v0=("refused", RED), v1=("in force", GREEN))])
    since = figure(
        "Up since",
        "When the service began.",
        f"(eider_up_since_timestamp_seconds{{{HERE}}} > 0) * 1000",
    )
    return [
        version,
        since.unit(units.DateTimeFromNow).no_value("not running"),
        config,
        graph(
            "Memory",
            "Of the service itself. Engines and copies run in processes of their own.",
            units.BytesIEC,
            (f"process_resident_memory_bytes{{{HERE}}} {ours}", "resident"),
            width=6,
        ),
        graph(
            "Processor",
            "Share of one core that the service itself uses.",
            units.PercentUnit,
            (f"rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval]) {ours}", "cores"),
            width=6,
        ),
    ]


# The whole --------------------------------------------------------------------------------------


def _variables(board: build.Dashboard) -> None:
    board.with_variable(
        build.DatasourceVariable("datasource").label("Data source").type("prometheus")
    )
    board.with_variable(
        build.QueryVariable("instance")
        .label("Instance")
        .datasource(SOURCE)
        .query({"query": "label_values(eider_build_info, instance)", "refId": "instance"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .multi(True)
    )


def text() -> str:
    """Return the dashboard as JSON."""
    board = (
        build.Dashboard("eiderd")
        .uid("eiderd")
        .description("Verified backups of a live DuckDB database: can I restore, and for how long?")
        .tags(["eiderd", "backup"])
        .timezone("browser")
        .time("now-7d", "now")
        .refresh("1m")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
    )
    _variables(board)
    number = 1
    for title, panels in (
        ("Can I restore?", _can_i_restore()),
        ("Backups", _backups()),
        ("Jobs", _jobs()),
        ("Disk", _disk()),
        ("Service", _service()),
    ):
        board.with_row(build.Row(title).id(number))
        for place, panel in enumerate(panels, number + 1):
            board.with_panel(panel.id(place))
        number += len(panels) + 1
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(board.build()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
