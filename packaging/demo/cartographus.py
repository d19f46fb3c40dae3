#!/usr/bin/env python3
"""An imitation of Cartographus: a process that holds a DuckDB file open and commits to it.

For: demos, tests and benchmarks that need a live database with the real tables, indexes and write
pattern, and a way to tell whether a copy of it is exact. Every commit has a number, kept in the
database by the same transaction and in a ledger file outside it, and says what the whole must look
like after it; `facts` checks a copy against that, `acknowledged` says what a copy must contain.

Not: the application (no HTTP, no broker, no extensions needed), and nothing of the backup service,
whose judgement of a copy it is meant to check independently. Needs only Python and duckdb.
"""

from __future__ import annotations

import argparse
import http.server
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

import cartographus_schema as schema
from cartographus_facts import SETTINGS, facts, print_acknowledged, say

MEMORY: dict[str, Any] = {"max_memory": "2GB"}
SEED_COMMIT_ROWS = 100_000
KEEP_HOUSEKEEPING_ROWS = 100
SCHEMA_KNOWN = 22  # of the version that this imitates; it keeps no record of its migrations
DEFAULT_SEED_ROWS = 20_000
MOST_ONE_BY_ONE = 3


class Ledger:
    """The record outside the database: what was about to be committed, and what came back."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def begin(self, number: int) -> None:
        """Record that commit `number` is about to be asked for."""
        os.write(self._file, b"begin %d %d\n" % (number, time.time_ns()))

    def done(self, number: int) -> None:
        """Record that the engine has acknowledged commit `number`."""
        os.write(self._file, b"done %d %d\n" % (number, time.time_ns()))


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to the totals; `rows` is how many rows it wrote or deleted."""

    rows: int
    playback: int = 0
    geolocations: int = 0
    housekeeping: int = 0
    running_sum: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What the database holds after a commit, as that commit's audit row states it."""

    number: int = 0
    playback: int = 0
    geolocations: int = 0
    housekeeping: int = 0
    running_sum: int = 0

    def after(self, change: Change) -> Totals:
        """Return the totals once `change` is committed."""
        return Totals(
            number=self.number + 1,
            playback=self.playback + change.playback,
            geolocations=self.geolocations + change.geolocations,
            housekeeping=self.housekeeping + change.housekeeping,
            running_sum=self.running_sum + change.running_sum,
        )


class Application:
    """The open database, its totals, and the one way in which anything is committed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
        self.connection = connection
        self.ledger = ledger
        self.spatial = False
        self.totals = Totals()
        self.located = 0  # the address upserted last, whose H3 cells come next
        self.random = random.Random()

    def execute(self, statement: str, parameters: object = None) -> list[tuple[Any, ...]]:
        """Run one prepared statement and return its rows."""
        return self.connection.execute(statement, parameters).fetchall()

    def commit(self, action: Action) -> None:
        """Run `action` and its numbered audit row in one transaction."""
        self.connection.begin()
        change = action(self)
        totals = self.totals.after(change)
        self.execute(*audit_statement(action.__name__, change.rows, totals))
        self.ledger.begin(totals.number)
        self.connection.commit()
        self.ledger.done(totals.number)
        self.totals = totals

    def autocommit_audit(self) -> None:
        """Write the numbered row and an ordinary one in a single statement of its own."""
        totals = self.totals.after(Change(1, housekeeping=1))
        statement, parameters = audit_statement("audit", 1, totals)
        self.ledger.begin(totals.number)
        self.execute(
            f"{statement}, (?, 'auth.success', NULL, 1, NULL, NULL, NULL, NULL, "
            "'info', 'success', 'viewer_7', '{}')",
            [*parameters, str(uuid.uuid4())],
        )
        self.ledger.done(totals.number)
        self.totals = totals


Action = Callable[[Application], Change]


def audit_statement(kind: str, rows: int, totals: Totals) -> tuple[str, list[object]]:
    """Return the INSERT of the audit row that numbers a commit, and its parameters."""
    statement = """
        INSERT INTO audit_events (id, event_type, commit_number, rows_changed, playback_total,
            geolocation_total, housekeeping_total, running_sum, severity, outcome, actor_id,
            metadata)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'info', 'success', 'system', '{"component": "demo"}')"""
    return statement, [
        f"commit-{totals.number:09}",
        kind,
        totals.number,
        rows,
        totals.playback,
        totals.geolocations,
        totals.housekeeping,
        totals.running_sum,
    ]


# --- what the application commits; the function's name is the commit's event_type ---


def insert_events(
    app: Application, *, columns: list[str], first: int, last: int, target: str = ""
) -> Change:
    """Insert the events `first` up to `last` in one statement; those already there stay."""
    rows = app.execute(
        schema.insert_playback(columns, target) + " RETURNING play_duration + percent_complete",
        {"first": first, "last": last, "commit": app.totals.number + 1},
    )
    return Change(len(rows), playback=len(rows), running_sum=sum(row[0] for row in rows))


def insert_addresses(app: Application, *, first: int, last: int) -> Change:
    """Insert the geolocations of addresses `first` up to `last`, or see them once more."""
    radius = app.execute(
        schema.insert_geolocations(spatial=app.spatial) + " RETURNING accuracy_radius",
        {"first": first, "last": last},
    )
    new = max(0, last - app.totals.geolocations)
    known = len(radius) - new
    return Change(len(radius), geolocations=new, running_sum=schema.NEW_RADIUS * new + known)


def seed(count: int) -> Action:
    """Return the commit that imports the next `count` events, and addresses for a tenth of them."""

    def seed(app: Application) -> Change:
        start, known = app.totals.playback, app.totals.geolocations
        events = insert_events(app, columns=schema.ALL, first=start, last=start + count)
        places = insert_addresses(app, first=known, last=known + count // 10)
        if start == 0:
            for statement in schema.FIRST_ROWS:
                app.execute(statement)
        return Change(
            events.rows,
            events.playback,
            places.geolocations,
            0,
            events.running_sum + places.running_sum,
        )

    return seed


def batch(app: Application) -> Change:
    """Flush 1 to 1000 events, small batches being the most frequent, some redelivered."""
    first = app.totals.playback
    size = int(10 ** app.random.uniform(0, 3))
    if size <= MOST_ONE_BY_ONE:
        return one_by_one(app, first=first, last=first + size)
    redelivered = app.random.choice((0, 0, 0, size // 4))
    # An untargeted ON CONFLICT probes all 42 indexes: a second for 1000 rows, so only above.
    return insert_events(
        app,
        columns=app.random.choice((schema.LIVE, schema.LIVE, schema.ALL)),
        first=max(0, first - redelivered),
        last=first + size,
        target="(id)",
    )


def one_by_one(app: Application, *, first: int, last: int) -> Change:
    """Insert events as the application does: a prepared statement, a row at a time."""
    changes = [
        insert_events(app, columns=schema.LIVE, first=event, last=event + 1)
        for event in range(first, last)
    ]
    rows = sum(change.rows for change in changes)
    return Change(rows, playback=rows, running_sum=sum(each.running_sum for each in changes))


def stop_streams(app: Application) -> Change:
    """Update some of the newest events: they have been watched a little further."""
    limit, percent = app.random.randint(100, 500), app.random.randint(1, 5)
    [(rows,)] = app.execute(
        """UPDATE playback_events SET stopped_at = now()::TIMESTAMP,
            percent_complete = percent_complete + $percent WHERE id IN (SELECT id
            FROM playback_events WHERE percent_complete <= 95 ORDER BY started_at DESC
            LIMIT $limit)""",
        {"percent": percent, "limit": limit},
    )
    return Change(rows, running_sum=percent * rows)


def locate(app: Application) -> Change:
    """Upsert one address, new or known."""
    known = app.totals.geolocations
    app.located = app.random.choice((known, app.random.randrange(known + 1)))
    return insert_addresses(app, first=app.located, last=app.located + 1)


def index_location(app: Application) -> Change:
    """Fill in the H3 cells and the distance of one address, in a commit of its own."""
    [(rows,)] = app.execute(
        f"""UPDATE geolocations SET h3_index_6 = hash(ip_address, 6), h3_index_7 =
            hash(ip_address, 7), h3_index_8 = hash(ip_address, 8), distance_from_server =
            abs(latitude) * 111, bbox_xmin = longitude - 0.01, bbox_ymin = latitude - 0.01,
            bbox_xmax = longitude + 0.01, bbox_ymax = latitude + 0.01
            WHERE ip_address = {schema.address("$number::BIGINT")}""",
        {"number": app.located},
    )
    return Change(rows)


def use_token(app: Application) -> Change:
    """Note the use of a personal access token, and log it."""
    token = f"token-{app.random.randrange(schema.TOKENS):02}"
    app.execute(
        "UPDATE personal_access_tokens SET use_count = use_count + 1, last_used_at = "
        "now()::TIMESTAMP, last_used_ip = '10.0.0.9' WHERE id = ?",
        [token],
    )
    app.execute(
        "INSERT INTO pat_usage_log (id, token_id, user_id, action, endpoint, success) "
        "VALUES (?, ?, '1', 'authenticate', '/api/v1/stats', true)",
        [str(uuid.uuid4()), token],
    )
    return Change(2)


def map_user(app: Application) -> Change:
    """Upsert one user mapping; ids are MAX(id) + 1, as in the application."""
    user = app.random.randrange(500)
    app.execute(
        """INSERT INTO user_mappings (id, source, server_id, external_user_id, internal_user_id,
            username, email) SELECT coalesce(max(id), 0) + 1, 'plex', 'srv', $user::VARCHAR, $user,
            'viewer_' || $user, 'viewer' || $user || '@example.org' FROM user_mappings
        ON CONFLICT (source, server_id, external_user_id) DO UPDATE SET
            friendly_name = excluded.username, seen_count = seen_count + 1""",
        {"user": user},
    )
    return Change(1)


def log_duplicates(app: Application) -> Change:
    """Note some events as discarded duplicates."""
    rows = app.random.randint(1, 20)
    app.execute(
        """INSERT INTO dedupe_audit_log (id, discarded_event_id, dedupe_reason, dedupe_layer,
            user_id)
        SELECT (SELECT coalesce(max(id), 0) FROM dedupe_audit_log) + 1 + r, uuid(),
            'correlation_key', 'db_unique', r FROM range($rows::BIGINT) AS t(r)""",
        {"rows": rows},
    )
    return Change(rows, housekeeping=rows)


def retention(app: Application) -> Change:
    """Delete old ordinary audit rows and duplicates; the numbered rows stay for ever."""
    limit = {"keep": KEEP_HOUSEKEEPING_ROWS}
    [(audits,)] = app.execute(
        """DELETE FROM audit_events WHERE commit_number IS NULL AND id NOT IN (SELECT id FROM
            audit_events WHERE commit_number IS NULL ORDER BY timestamp DESC LIMIT $keep)""",
        limit,
    )
    [(duplicates,)] = app.execute(
        "DELETE FROM dedupe_audit_log WHERE id <= (SELECT max(id) FROM dedupe_audit_log) - $keep",
        limit,
    )
    return Change(audits + duplicates, housekeeping=-audits - duplicates)


# Weight, and the commits that make up such a round; () is the autocommitted audit row.
ROUNDS: tuple[tuple[int, tuple[Action, ...]], ...] = (
    (40, (batch,)),
    (10, (batch, log_duplicates)),
    (15, ()),
    (12, (locate, index_location)),
    (8, (use_token,)),
    (8, (map_user,)),
    (5, (stop_streams,)),
    (2, (retention,)),
)


def one_round(app: Application) -> None:
    """Commit what one turn of the application's wheel commits."""
    weights, rounds = zip(*ROUNDS, strict=True)
    [actions] = app.random.choices(rounds, weights)
    for action in actions:
        app.commit(action)
    if not actions:
        app.autocommit_audit()


# --- serve ---


def load_spatial(connection: duckdb.DuckDBPyConnection) -> bool:
    """Load the spatial extension if it is installed; never fetch it."""
    try:
        connection.execute("LOAD spatial")
    except duckdb.Error:
        return False
    return True


def wants_spatial(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether geolocations has, or in a new database can have, its geometry."""
    loaded = load_spatial(connection)
    columns = {
        name
        for (name,) in connection.execute(
            "SELECT column_name FROM duckdb_columns() WHERE table_name = 'geolocations'"
        ).fetchall()
    }
    if "geom" in columns and not loaded:
        sys.exit("cartographus: this database has geometries; install the spatial extension")
    return "geom" in columns if columns else loaded


def read_totals(connection: duckdb.DuckDBPyConnection) -> Totals:
    """Return what the last numbered commit says; zeros in a new database."""
    row = connection.execute(
        """SELECT commit_number, playback_total, geolocation_total, housekeeping_total, running_sum
        FROM audit_events WHERE commit_number IS NOT NULL ORDER BY commit_number DESC LIMIT 1"""
    ).fetchone()
    return Totals(*row) if row else Totals()


def prepare(app: Application, *, seed_rows: int, extra: bool) -> None:
    """Create what is missing, seed a new database, and checkpoint, as the application starts."""
    app.spatial = wants_spatial(app.connection)
    wanted = schema.tables(spatial=app.spatial, extra=extra)
    for table in wanted:
        app.execute(table.create())
    app.totals = read_totals(app.connection)
    if app.totals.number == 0:
        for first in range(0, max(1, seed_rows), SEED_COMMIT_ROWS):
            app.commit(seed(min(SEED_COMMIT_ROWS, seed_rows - first)))
    # After the rows: building an index over them is far cheaper than keeping it up to date.
    for table in wanted:
        for statement in table.create_indexes():
            app.execute(statement)
    if app.spatial:
        app.execute(schema.SPATIAL_INDEX)
    # Also what keeps 1.x from leaving indexes stale if this start replayed a WAL.
    app.execute("CHECKPOINT")


def migrate(app: Application) -> None:
    """Record one migration more, as a newer version would that somebody started once by mistake."""
    app.execute(
        """INSERT INTO schema_migrations (version, name)
        SELECT coalesce(max(version), $known) + 1, 'from a newer version' FROM schema_migrations""",
        {"known": SCHEMA_KNOWN},
    )


class Health(http.server.BaseHTTPRequestHandler):
    """Answers as the application does at /api/v1/health."""

    def do_GET(self) -> None:
        body = b'{"status":"success","data":{"status":"healthy","database_connected":true}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Say nothing: it is asked every few seconds."""


def answer_for_health(port: int) -> None:
    """Listen in a thread until the process ends."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def serve(arguments: argparse.Namespace) -> int:
    """Hold the database open and commit until told to stop, or until the time is up.

    SIGUSR1 lets it migrate once.
    """
    asked: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: asked.append(number))
    for number in (signal.SIGTERM, signal.SIGINT):
        # Like the real one, whose embedded broker leaves first: no checkpoint, the WAL stays.
        signal.signal(number, lambda *_: os._exit(0))
    connection = duckdb.connect(str(arguments.database), config={**SETTINGS, **MEMORY})
    if arguments.checkpoint_every is not None:
        connection.execute(f"SET wal_autocheckpoint = '{arguments.checkpoint_every}B'")
    app = Application(connection, Ledger(arguments.ledger))
    prepare(app, seed_rows=arguments.seed_rows, extra=arguments.extra_tables)
    if arguments.health_port:
        answer_for_health(arguments.health_port)
    say(f"ready {os.getpid()}")
    end = None if arguments.seconds is None else time.monotonic() + arguments.seconds
    while end is None or time.monotonic() < end:
        one_round(app)
        while asked:
            asked.pop()
            migrate(app)
        time.sleep(arguments.pace)
    connection.execute("CHECKPOINT")
    connection.close()
    return 0


# --- command line ---


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(
        prog="cartographus.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(required=True, metavar="serve | facts | acknowledged")
    add_serve(verbs.add_parser("serve", help="hold the database open and commit to it"))
    verb = verbs.add_parser(
        "facts",
        help="say as JSON what a copy holds, and whether it is intact",
        epilog="exit status: 0 intact, 1 not intact or unreadable",
    )
    verb.add_argument("--database", type=Path, required=True, help="opened read-only")
    verb.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    verb.set_defaults(run=facts)
    verb = verbs.add_parser("acknowledged", help="say which commits a copy of some instants holds")
    verb.add_argument("--ledger", type=Path, required=True)
    verb.add_argument(
        "--from",
        dest="from_ns",
        metavar="NS",
        type=int,
        required=True,
        help="when copying began, as time.time_ns()",
    )
    verb.add_argument(
        "--to", dest="to_ns", metavar="NS", type=int, required=True, help="when copying had ended"
    )
    verb.set_defaults(run=print_acknowledged)
    return top


def add_serve(verb: argparse.ArgumentParser) -> None:
    """Add the options of `serve`."""
    verb.epilog = """prints `ready PID` once the schema is there and checkpointed; SIGTERM and
        SIGINT end it at once and leave the WAL behind, --seconds ends it with a checkpoint"""
    verb.add_argument("--database", type=Path, required=True, help="created if absent")
    verb.add_argument(
        "--ledger",
        type=Path,
        required=True,
        help="gets `begin N NS` before and `done N NS` after every commit",
    )
    verb.add_argument(
        "--seed-rows",
        type=int,
        default=DEFAULT_SEED_ROWS,
        metavar="ROWS",
        help="playback events of a new database (default %(default)s)",
    )
    verb.add_argument(
        "--pace",
        type=float,
        default=0.05,
        metavar="SECONDS",
        help="pause between rounds of commits (default %(default)s)",
    )
    verb.add_argument(
        "--health-port", type=int, metavar="PORT", help="answer for its health (default: nowhere)"
    )
    verb.add_argument(
        "--seconds", type=float, metavar="S", help="stop after that long (default: never)"
    )
    verb.add_argument(
        "--checkpoint-every",
        type=int,
        metavar="BYTES",
        help="size of the WAL that causes a checkpoint (default: the engine's, 16 MiB)",
    )
    verb.add_argument(
        "--extra-tables",
        action="store_true",
        help="also the six tables of detection and VPN lookup",
    )
    verb.set_defaults(run=serve)


def main() -> int:
    """Run the command line."""
    arguments = parser().parse_args()
    try:
        return int(arguments.run(arguments))
    except duckdb.Error as error:
        sys.stderr.write(f"cartographus: {str(error).splitlines()[0]}\n")
        sys.stderr.flush()
        # A clean exit would close the database, and closing it writes.
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
