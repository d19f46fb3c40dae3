"""What a copy of the imitation's database must satisfy, and what it holds: `facts`, `acknowledged`.

It judges copies independently of the backup service. Needs only Python and duckdb.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    import argparse

# No connection may ever reach for the network.
APPLICATION = Path(__file__).with_name("cartographus.py")
SETTINGS: dict[str, Any] = {"autoinstall_known_extensions": "false"}

# --- facts: what an exact copy must satisfy, whatever instant it is of ---

INVARIANTS = {
    "playback_events_match_audit": """
        SELECT (SELECT count(*) FROM playback_events) = playback_total FROM newest""",
    "geolocations_match_audit": """
        SELECT (SELECT count(*) FROM geolocations) = geolocation_total FROM newest""",
    "housekeeping_matches_audit": """
        SELECT (SELECT count(*) FROM audit_events WHERE commit_number IS NULL)
            + (SELECT count(*) FROM dedupe_audit_log) = housekeeping_total FROM newest""",
    "running_sum_matches_audit": """
        SELECT (SELECT coalesce(sum(play_duration + percent_complete), 0) FROM playback_events)
            + (SELECT coalesce(sum(accuracy_radius), 0) FROM geolocations) = running_sum
        FROM newest""",
    "every_batch_is_whole": """
        SELECT count(*) = 0 FROM (
            SELECT split_part(transaction_id, ':', 3)::BIGINT AS number, count(*) AS events
            FROM playback_events GROUP BY number) AS found
        FULL JOIN (
            SELECT number, playback_total - before AS events FROM steps
            WHERE playback_total <> before) AS told USING (number)
        WHERE found.events IS DISTINCT FROM told.events""",
    "keys_are_unique": """
        SELECT count(*) = count(DISTINCT id) AND count(*) = count(DISTINCT correlation_key)
            AND count(*) = count(DISTINCT (rating_key, user_id, started_at))
        FROM playback_events""",
    "tokens_match_usage_log": """
        SELECT (SELECT coalesce(sum(use_count), 0) FROM personal_access_tokens) = count(*)
            AND count(*) = (SELECT count(*) FROM steps WHERE kind = 'use_token')
        FROM pat_usage_log""",
    "mappings_match_audit": """
        SELECT (SELECT coalesce(sum(seen_count), 0) FROM user_mappings) = count(*)
        FROM steps WHERE kind = 'map_user'""",
}
STEPS = """
    WITH steps AS (
        SELECT commit_number AS number, event_type AS kind, playback_total,
            lag(playback_total, 1, 0) OVER (ORDER BY commit_number) AS before
        FROM audit_events WHERE commit_number IS NOT NULL),
    newest AS (SELECT * FROM audit_events WHERE commit_number = (SELECT max(number) FROM steps))"""


def index_finds_rows(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether the newest events, seen by a scan, are found through a unique index too."""
    keys = connection.execute(
        "SELECT correlation_key FROM playback_events ORDER BY started_at DESC LIMIT 25"
    ).fetchall()
    lookup = "SELECT count(*) FROM playback_events WHERE correlation_key = ?"
    return all(connection.execute(lookup, key).fetchall() == [(1,)] for key in keys)


def examine(database: Path) -> dict[str, Any]:
    """Given a database or a crash image, open it read-only and return what it holds.

    Raise duckdb.Error where the engine cannot.
    """
    if not database.is_file():
        raise FileNotFoundError(f"no such database: {database}")
    with duckdb.connect(str(database), read_only=True, config=SETTINGS) as connection:

        def value(query: str) -> object:
            return (connection.execute(STEPS + query).fetchone() or (None,))[0]

        commits = value("SELECT coalesce(max(number), 0) FROM steps")
        contiguous = value("SELECT count(*) = max(number) AND min(number) = 1 FROM steps")
        invariants = {name: bool(value(query)) for name, query in INVARIANTS.items()}
        invariants["index_finds_rows"] = index_finds_rows(connection)
        return {
            "engine": duckdb.__version__,
            "commits": commits,
            "contiguous": bool(contiguous),
            "playback_events": value("SELECT count(*) FROM playback_events"),
            "geolocations": value("SELECT count(*) FROM geolocations"),
            "invariants": invariants,
            "intact": bool(contiguous) and all(invariants.values()),
        }


def facts(arguments: argparse.Namespace) -> int:
    """Print what a copy holds; the engine runs in a child, which a bad copy may crash."""
    if arguments.inside:
        return facts_inside(arguments.database)
    command = [
        sys.executable,
        str(APPLICATION),
        "facts",
        "--inside",
        "--database",
        arguments.database,
    ]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    answer = child.stdout
    if child.returncode not in (0, 1) or not answer:
        lines = child.stderr.strip().splitlines() or ["no message"]
        answer = failure(f"the engine died (exit status {child.returncode}): {lines[-1]}")
    say(answer.strip())
    return child.returncode and 1


def facts_inside(database: Path) -> int:
    """Print the facts from this very process."""
    try:
        found = examine(database)
    except (duckdb.Error, OSError) as error:
        say(failure(str(error).splitlines()[0]))
        return 1
    say(json.dumps(found))
    return 0 if found["intact"] else 1


def say(answer: str) -> None:
    """Write one line where the caller waits for it."""
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()


def failure(message: str) -> str:
    """Return the answer for a copy that could not be read."""
    return json.dumps({"intact": False, "error": message})


# --- acknowledged ---


def acknowledged(ledger: Path, *, from_ns: int, to_ns: int) -> dict[str, int]:
    """Given the instants between which a copy was taken, return what it may hold.

    An exact copy has every commit up to `acknowledged_before`, and none after `begun_before`. One
    ledger is for one life of a database: after going back to an older copy, start a new one.
    """
    done = begun = 0
    # A last line without its end is still being written: its figures may lack digits.
    for line in ledger.read_text().split("\n")[:-1]:
        match line.split():
            case ["done", number, instant] if int(instant) <= from_ns:
                done = max(done, int(number))
            case ["begin", number, instant] if int(instant) <= to_ns:
                begun = max(begun, int(number))
    return {"acknowledged_before": done, "begun_before": begun}


def print_acknowledged(arguments: argparse.Namespace) -> int:
    """Print the answer of `acknowledged` as JSON."""
    found = acknowledged(arguments.ledger, from_ns=arguments.from_ns, to_ns=arguments.to_ns)
    say(json.dumps(found))
    return 0
