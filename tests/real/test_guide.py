"""The operators' guide, heading by heading: what one types today, and the verb of `eider` for it.

The headings, their order and the commands of today are those of the application's "Database
Migration Guide". Each test does both, on a live imitation of the application with a true engine:
`systemctl` and `docker-compose` are the supervisor's stop and start, `/data` is the place's folder.
Where a command of today fails, it is shown to fail. Headings that ask the application's own API
only (Tautulli Database Import, Export Data) have nothing that eiderd replaces.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import helpers
from tests.helpers import Entry, Place, Ran, until
from tests.nats_servers import nats_cluster, nats_server, urls
from tests.real import streams
from tests.real.supervised import Run, supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nats.aio.client import Client

    Engines = Callable[[str], Path]

ENGINE, NEXT_ENGINE = "1.4.3", "1.5.6"
LONG_AGO_SECONDS = 40 * 86_400
STREAM, EVENTS = "MEDIA_EVENTS", 200
ROOM = "20GB"  # the stream asks for 10

_MIGRATE = """
import os, sys
import duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("SET wal_autocheckpoint = '1GB'")
connection.execute("INSERT INTO schema_migrations (version, name) VALUES (24, 'split_events')")
if sys.argv[2] == "breaks":
    connection.execute("DELETE FROM playback_events WHERE hash(id) % 2 = 0")
    connection.execute("DROP TABLE audit_events")
    connection.execute("CREATE TABLE audit_events (id TEXT)")
os._exit(0)  # as a process that dies: the WAL stays
"""
_LOOK = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
input()
"""
_QUERY = """
import json, sys
import duckdb
database, read_only, *statements = sys.argv[1:]
with duckdb.connect(database, read_only=read_only == "1") as connection:
    connection.execute("SET enable_progress_bar = false")
    for statement in statements:
        found = connection.execute(statement).fetchall()
print(json.dumps(found, default=str))
"""


@pytest.fixture
def app(engines: Engines, tmp_path: Path) -> Iterator[Run]:
    extra = tmp_path / "etc" / "env"
    extra.parent.mkdir()
    extra.write_text("DUCKDB_MAX_MEMORY=2GB\n")
    environments = [str(engines(version).parent.parent) for version in (ENGINE, NEXT_ENGINE)]
    with supervised(
        tmp_path,
        engines(ENGINE),
        engine__application=ENGINE,
        engine__others=environments,
        backup__include=[str(extra)],
        application__timeout="60s",  # the machine may be busy
    ) as run:
        yield run


def _given_nats(root: Path, url: str) -> Place:
    """Configure NATS alone, with the stream and the consumers of the application's profile."""
    place = helpers.Place(root)
    place.config.write_text(
        f'profile = "cartographus"\n[service]\nstate = "{place.state}"\n'
        f'[database]\npath = "{place.database}"\n[backup]\ndirectory = "{place.backups}"\n'
        f'[nats]\nurl = "{url}"\ntimeout = "5s"\n'
    )
    return place


# What the procedures are made of ----------------------------------------------------------------


def _typed(command: str, app: Run) -> subprocess.CompletedProcess[str]:
    """Run what a person types today, where `/data` is the folder of the database."""
    data = app.database.parent
    return subprocess.run(
        ["bash", "-c", command.replace("/data", str(data))],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=data,
    )


def _sql(app: Run, database: Path, *statements: str, read_only: bool = True) -> list[list[Any]]:
    """Return what the application's engine answers to the last statement."""
    ran = subprocess.run(
        [app.python, "-c", _QUERY, database, str(int(read_only)), *statements],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip().splitlines()[-1])
    found: list[list[Any]] = json.loads(ran.stdout)
    return found


def _migrate(app: Run, *, breaks: bool) -> None:
    """Let a newer version migrate the stopped database, well or half."""
    how = "breaks" if breaks else "works"
    subprocess.run([app.python, "-c", _MIGRATE, app.database, how], check=True, timeout=60)


def _upgrade(app: Run, engines: Engines) -> None:
    app.stop()
    app.install(engines(NEXT_ENGINE))
    assert app.do("start") == 0
    assert app.runs()


def _their_archive(app: Run, id_: str, path: Path) -> Path:
    """Write an archive as the application's own backup makes it: all below `database/`."""
    path.parent.mkdir(exist_ok=True)
    entries = helpers.read_archive(app.place.archive(id_))
    theirs = [
        Entry(entry.name.replace("app", "database/cartographus", 1), entry.data)
        for entry in entries
        if entry.name.startswith("app.duckdb")
    ]
    return helpers.write_archive(path, theirs)


def _eider(app: Run, *words: str, code: int = 0, settings: Mapping[str, str] | None = None) -> Ran:
    """Run a verb that must end like this."""
    env = {f"EIDER_{name}": value for name, value in (settings or {}).items()}
    ran = app.place.eider(*words, env=env).good_manners()
    assert ran.code == code, ran
    return ran


def _checks(app: Run) -> dict[str, dict[str, str]]:
    """Return what `eider doctor` says of each thing."""
    ran = app.place.eider("doctor", "--json").good_manners()
    return {check["name"]: check for check in ran.json["checks"]}


def _is_back(app: Run, made: dict[str, Any]) -> None:
    """Hold that the application runs, on exactly the rows of that backup and what came since."""
    assert app.runs()
    until(lambda: app.acknowledged() > 0, what="a commit of the restored application")
    app.stop()
    facts = app.facts()
    assert facts["intact"], facts
    assert facts["playback_events"] >= made["content"]["tables"]["playback_events"]["rows"]


# Pre-Migration Checklist ------------------------------------------------------------------------


def test_pre_migration_checklist_create_backup(app: Run) -> None:
    """systemctl stop cartographus; cp -r /data /data.backup.$(date +%Y%m%d)  ->  eider backup

    Of a running application, such a copy is broken or not by chance; so it has to be stopped.
    """
    before = app.acknowledged()
    made = _eider(app, "backup", "--note", "before v1.51.0", "--json").json
    assert made["state"] == "verified"
    assert made["note"] == "before v1.51.0"
    assert app.runs(), "nobody had to stop it"
    until(lambda: app.acknowledged() > before, what="it committed meanwhile")


def test_pre_migration_checklist_verify_backup_integrity(app: Run, tmp_path: Path) -> None:
    """tar -tzf /data/backups/backup-*.tar.gz | head  ->  eider verify"""
    made = app.place.backup()
    archive = app.place.archive(made["id"])
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    today = _typed(f"tar -tzf {damaged} | head", app)
    assert today.returncode == 0, "half an archive, and today's check is content"
    assert "app.duckdb" in today.stdout
    assert "ended before" in _eider(app, "verify", str(damaged), code=12).stderr
    proof = _eider(app, "verify", made["id"], "--json").json["proof"]
    assert proof["level"] == 4
    assert proof["rows"] == made["proof"]["rows"] > 0


# Version Upgrade Procedures ---------------------------------------------------------------------


def test_minor_version_upgrade(app: Run) -> None:
    """docker-compose up -d; curl .../api/v1/health  ->  eider backup; ...; eider doctor"""
    made = app.place.backup()
    app.stop()
    assert app.do("start") == 0
    assert _checks(app)["application"]["mark"] == "well"
    assert app.place.listed()[made["id"]] == "verified"


def test_major_version_upgrade(app: Run, engines: Engines) -> None:
    """docker-compose down; cp -r /var/lib/cartographus ...backup.v1; up -d  ->  eider backup

    Then the new version, and `eider backup` again: what the new version made of it is proven too,
    and compared with what was there before.
    """
    before = app.place.backup()
    _upgrade(app, engines)
    after = app.place.backup()
    assert after["state"] == "verified"
    assert after["content"]["verdict"] == "normal"
    assert set(after["content"]["tables"]) == set(before["content"]["tables"])
    _eider(app, "verify", before["id"])


def test_binary_upgrade(app: Run, engines: Engines) -> None:
    """mv cartographus-linux-amd64 ....old; curl -LO ...; systemctl status  ->  eider doctor

    A binary that does not start is seen by the same command.
    """
    app.place.backup()
    _upgrade(app, engines)
    assert "is running and well" in _checks(app)["application"]["said"]
    app.stop()
    (app.root / "current").unlink()
    (app.root / "current").symlink_to(app.root / "nowhere")
    seen = _checks(app)["application"]
    assert seen["mark"] != "well"
    assert seen["command"]


# DuckDB Migrations ------------------------------------------------------------------------------


def test_manual_schema_inspection(app: Run, tmp_path: Path) -> None:
    """systemctl stop cartographus; duckdb /data/cartographus.duckdb  ->  eider schema

    SELECT * FROM schema_migrations; SHOW TABLES  ->  eider schema
    DESCRIBE playback_events  ->  eider schema --table playback_events

    The guide says that it may be opened read-only while the service runs. It may not.
    """
    with pytest.raises(RuntimeError, match="Could not set lock"):
        _sql(app, app.database, "SHOW TABLES")
    made = app.place.backup()
    shown = app.place.eider("schema", "--json").good_manners().json
    assert set(shown["tables"]) == set(made["content"]["tables"])
    assert shown["schema"]["version"] == made["content"]["schema_version"]
    described = _eider(app, "schema", "--table", "playback_events", "--json").json
    said = {column["name"]: column["type"] for column in described["columns"]}
    assert said["id"] == "UUID"
    # Whatever else SQL can tell: on a copy of the moment, while the application goes on.
    app.restored("--to", str(tmp_path / "look"))
    columns = _sql(app, tmp_path / "look" / "app.duckdb", "DESCRIBE playback_events")
    assert {name: type_ for name, type_, *_more in columns} == said
    assert app.runs()


def test_handling_failed_migrations(app: Run, tmp_path: Path) -> None:
    """rm -rf /data/cartographus.duckdb*; tar -xzf backup-latest.tar.gz -C /data  ->  eider restore

    An archive of the application's own unpacks below `database/`: with the first line typed and
    the second believed, the application begins again with an empty database.
    """
    made = app.place.backup()
    app.stop()
    _migrate(app, breaks=True)
    assert not app.facts()["intact"]
    theirs = _their_archive(app, made["id"], tmp_path / "theirs" / "backup-latest.tar.gz")
    today = _typed(f"rm -rf /data/app.duckdb*; tar -xzf {theirs} -C /data", app)
    assert today.returncode == 0
    assert not app.database.exists()
    assert (app.database.parent / "database" / "cartographus.duckdb").exists()
    assert app.do("start") == 0
    until(lambda: app.acknowledged() > 0, what="a commit")
    app.stop()
    assert app.facts()["commits"] < made["content"]["tables"]["audit_events"]["rows"]
    # eider puts either archive where it belongs, and what is there now is set aside.
    app.restored(str(theirs))
    assert app.facts()["intact"]
    assert app.do("start") == 0
    app.stop()
    _migrate(app, breaks=True)
    assert app.do("start") == 0
    app.restored("latest")
    app.do("start")
    _is_back(app, made)
    kept = {name for name in app.data() if ".before-restore-" in name}
    assert kept, "the failed migration can be looked at, and reported"


# NATS JetStream Migration -----------------------------------------------------------------------


async def _play(client: Client) -> None:
    """Publish events, as the application does."""
    for number in range(EVENTS):
        await client.jetstream().publish("playback.start", str(number).encode())


def test_embedded_to_external_nats(tmp_path: Path) -> None:
    """nats stream info ...; NATS_URL=...; docker logs ... | grep nats  ->  eider nats migrate

    The guide leaves what is in the embedded server behind: the new one begins with an empty stream.
    """
    with (
        nats_server(tmp_path / "embedded", max_file=ROOM) as embedded,
        nats_cluster(tmp_path / "c", max_file=ROOM) as cluster,
    ):
        place = _given_nats(tmp_path, embedded.url)
        assert place.eider("nats", "ensure").code == 0
        streams.talk(embedded.url, _play)
        to = ("--to", ",".join(urls(cluster)))
        planned = place.eider("nats", "migrate", *to, "--dry-run")
        assert planned.code == 0, planned
        assert streams.names(cluster[0].url) == []
        moved = place.eider("nats", "migrate", *to, "--yes")
        assert moved.code == 0, moved
        events = streams.everything(cluster[0].url, STREAM)
        assert len(events) == EVENTS
        assert streams.everything(embedded.url, STREAM) == events, "the old one is not changed"
        there = _given_nats(tmp_path, ",".join(urls(cluster)))
        assert there.eider("nats", "check").stdout.startswith("ok")


def test_external_nats_cluster_requirements(tmp_path: Path) -> None:
    """A server without JetStream: nats.conf by heart  ->  eider nats check"""
    with nats_server(tmp_path / "nats", jetstream=False) as server:
        said = _given_nats(tmp_path, server.url).eider("nats", "check")
    assert said.code == 3
    assert "JetStream" in said.stdout


def test_stream_and_consumer_recreation(tmp_path: Path) -> None:
    """nats stream add ... --subjects ...; nats consumer add ...  ->  eider nats ensure

    What the guide types makes another stream than the application does: other subjects, and
    retention=workqueue.
    """
    with nats_server(tmp_path / "nats", max_file=ROOM) as server:
        place = _given_nats(tmp_path, server.url)
        missing = place.eider("nats", "check")
        assert missing.code == 3
        assert STREAM in missing.stdout
        assert place.eider("nats", "ensure").code == 0
        assert place.eider("nats", "check").code == 0
        assert streams.names(server.url) == [STREAM]


# Data Import and Export -------------------------------------------------------------------------


def test_direct_duckdb_export(app: Run, tmp_path: Path) -> None:
    """systemctl stop cartographus; duckdb ... COPY ...; systemctl start  ->  eider restore --to DIR

    The application is not stopped for an export.
    """
    made = app.place.backup()
    export = tmp_path / "playbacks.parquet"
    copy = f"COPY (SELECT * FROM playback_events) TO '{export}' (FORMAT PARQUET)"
    with pytest.raises(RuntimeError, match="Could not set lock"):
        _sql(app, app.database, copy)
    before = app.acknowledged()
    said = app.restored("--to", str(tmp_path / "export"))
    _sql(app, Path(said["restored"]["database"]), copy)
    rows = _sql(app, tmp_path / "new", f"SELECT count(*) FROM '{export}'", read_only=False)
    assert rows == [[made["content"]["tables"]["playback_events"]["rows"]]]
    assert app.runs()
    until(lambda: app.acknowledged() > before, what="it went on committing")


# Rollback Procedures ----------------------------------------------------------------------------


def test_quick_rollback(app: Run, engines: Engines) -> None:
    """rm -rf /data/cartographus.duckdb*; tar -xzf pre-upgrade-backup.tar.gz  ->  eider restore ID

    The backup from before the upgrade, under the version from before; what the new version wrote
    stays set aside and `eider restore --undo` returns to it.
    """
    made = app.place.backup()
    _upgrade(app, engines)
    app.write_more()
    app.stop()
    newer = app.facts()["commits"]
    app.install(engines(ENGINE))
    app.restored(made["id"])
    assert app.facts()["commits"] < newer
    assert app.do("start") == 0
    _is_back(app, made)
    app.install(engines(NEXT_ENGINE))
    app.restored("--undo")
    assert app.facts()["commits"] == newer


def test_full_rollback_with_data(app: Run, tmp_path: Path) -> None:
    """rm -rf /data/*; tar -xzf .../backup-full.tar.gz -C /data; cp env.backup env
    ->  eider restore ID; eider restore ID --files --to DIR

    Today's first line also removes the backups that stand in /data/backups.
    """
    made = app.place.backup()
    theirs = _their_archive(app, made["id"], app.database.parent / "backups" / "b.tar.gz")
    environment = tmp_path / "etc" / "env"
    environment.write_text("DUCKDB_MAX_MEMORY=0\n")
    app.stop()
    assert _typed("rm -rf /data/*", app).returncode == 0
    assert not theirs.exists()
    assert app.place.archive(made["id"]).exists(), "eiderd's stand elsewhere, and it insists"
    app.restored(made["id"])
    app.restored(made["id"], "--files", "--to", str(tmp_path / "all"))
    unpacked = tmp_path / "all" / "files" / str(environment).lstrip("/")
    shutil.copyfile(unpacked, environment)
    assert environment.read_text() == "DUCKDB_MAX_MEMORY=2GB\n"
    assert app.do("start") == 0
    _is_back(app, made)


def test_point_in_time_recovery(app: Run) -> None:
    """curl .../backup/list | jq; rm -rf ...; tar -xzf backup-20240115-020000.tar.gz
    ->  eider restore --at 2024-01-15T02:30
    """
    wanted = app.place.backup()
    instant = time.strftime("%Y-%m-%dT%H:%M:%S")
    time.sleep(1.1)  # ids have whole seconds
    app.place.backup()
    plan = _eider(app, "restore", "--at", instant, "--dry-run", "--json").json["plan"]
    assert plan["source"]["what"] == wanted["id"]
    said = app.restored("--at", instant)
    assert said["restored"]["what"] == wanted["id"]
    assert said["restored"]["health"]["well"] is True
    _is_back(app, wanted)


# Troubleshooting --------------------------------------------------------------------------------


def test_migration_fails_on_startup(app: Run) -> None:
    """docker logs cartographus | grep -i "error|failed"  ->  eider doctor; eider restore"""
    made = app.place.backup()
    app.stop()
    _migrate(app, breaks=True)
    app.do("start")
    until(lambda: not app.runs(), what="it does not come up")
    assert _checks(app)["application"]["mark"] == "warning"
    app.restored("latest")
    assert app.do("start") == 0
    _is_back(app, made)


def test_database_locked_error(app: Run) -> None:
    """fuser -v /data/cartographus.duckdb; fuser -k ...  ->  eider doctor

    `fuser -k` kills the application as readily as whoever is in its way.
    """
    made = app.place.backup()
    app.stop()
    with subprocess.Popen(
        [app.python, "-c", _LOOK, app.database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        app.do("start")
        assert not app.runs()
        assert "Could not set lock" in (app.root / "log").read_text()
        assert f"PID {other.pid}" in _checks(app)["lock"]["said"]
        refused = _eider(app, "restore", "--yes", code=11, settings={"APPLICATION__TIMEOUT": "2s"})
        assert f"PID {other.pid}" in refused.stderr
        assert other.poll() is None, "whoever it is, it is left alone"
        other.communicate("\n")
    assert app.do("start") == 0
    _is_back(app, made)


def test_nats_connection_failed(tmp_path: Path) -> None:
    """docker logs ... | grep -i nats; nats server check connection  ->  eider nats check"""
    with nats_server(tmp_path / "nats", max_file=ROOM) as server:
        place = _given_nats(tmp_path, server.url)
        assert place.eider("nats", "ensure").code == 0
        server.stop()
        gone = place.eider("nats", "check")
        assert gone.code == 14
        assert gone.stdout.count("\n") == 1
        assert str(server.port) in gone.stdout
        server.start()
        assert place.eider("nats", "check").code == 0


def test_schema_version_mismatch(app: Run) -> None:
    """duckdb ... -c "SELECT * FROM schema_migrations"; docker pull ...:v1.51.0  ->  eider schema

    It knows which version goes with which schema, and says which one to install.
    """
    app.stop()
    _sql(
        app,
        app.database,
        "DELETE FROM schema_migrations",
        "INSERT INTO schema_migrations (version, name) VALUES (22, 'newer')",
        "CHECKPOINT",
        read_only=False,
    )
    matrix = {"SCHEMA__COMPATIBILITY": "cartographus", "APPLICATION__VERSION": "1.49.2"}
    shown = _eider(app, "schema", "--json", code=3, settings=matrix).json
    assert shown["schema"]["version"] == 22
    (found,) = [one for one in shown["findings"] if one["kind"] == "schema_ahead"]
    assert "1.50" in found["message"] + found["command"]


def test_disk_space_issues_during_migration(app: Run) -> None:
    """find /data/backups -name "*.tar.gz" -mtime +30 -delete  ->  eider prune
    curl -X POST .../api/v1/admin/compact  ->  eider compact

    When backups stopped a month ago and nobody saw it, today's line removes the last one there is.
    """
    made = app.place.backup()
    theirs = _their_archive(app, made["id"], app.database.parent / "backups" / "b.tar.gz")
    for archive in (theirs, app.place.archive(made["id"])):
        long_ago = time.time() - LONG_AGO_SECONDS
        os.utime(archive, (long_ago, long_ago))
    assert _typed("find /data/backups -name '*.tar.gz' -mtime +30 -delete", app).returncode == 0
    assert not theirs.exists()
    disks = _eider(app, "status", "--json").json["disks"]
    assert {disk["place"] for disk in disks} >= {"data", "backups"}
    assert all(disk["free_bytes"] for disk in disks)
    rules = {"RETENTION__MAX_AGE_DAYS": "30", "RETENTION__MIN_COUNT": "1"}
    _eider(app, "prune", "--dry-run", settings=rules)
    _eider(app, "prune", settings=rules)
    assert app.place.listed() == {made["id"]: "verified"}
    # What compaction would bring is measured first, on a copy; the application runs on.
    looked = app.place.eider("compact", "--dry-run", "--json", seconds=300)
    # How much dead space there is depends on what the application has done by now.
    assert looked.good_manners().code in {0, 3}, looked
    assert (looked.code == 3) == ("compact.min_gain" in str(looked.json))
    assert looked.json.get("exchanged") is None
    assert app.runs()
