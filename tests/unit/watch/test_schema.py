"""The matrix of the guide row by row, its messages, and the laws of the comparison."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.health import Finding, Kind, Severity
from eiderd.model import Brief, BriefContent, Level, Proof, State
from eiderd.schema import matrices
from eiderd.schema.compatibility import Matrix, Row
from eiderd.schema.facts import Facts, Known, Migration, Replay, Seen, Table, Upgrade
from eiderd.watch import schema
from eiderd.watch.schema import Expected, Judgement

NOON = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
GUIDE = matrices.named("cartographus")
# What the migration guide says, written once more: application, DuckDB, schema, NATS.
ROWS = [
    ("1.48", "1.4.3", 20, "2.9"),
    ("1.49", "1.4.3", 21, "2.9"),
    ("1.50", "1.4.3", 22, "2.10"),
    ("1.51", "1.4.3", 23, "2.10"),
]
SYSTEMD = Expected(
    database="/data/app.duckdb", matrix=GUIDE, kind="systemd", name="cartographus.service"
)
DOCKER = Expected(database="/data/app.duckdb", matrix=GUIDE, kind="docker", name="cartographus")


def _seen(version: int | None = 22, **more: Any) -> Seen:
    fields: dict[str, Any] = {
        "engine": "1.4.3",
        "asked": "1.4.3",
        "by_application": True,
        "replay": Replay.YES,
        "storage": "v1.0.0+",
        "table": Table.EMPTY if version is None else Table.FILLED,
        "version": version,
        "digest": "d",
    }
    return Seen(**(fields | more))


def _facts(
    version: int | None = 22, *, application: str | None = "v1.50.1", thorough: bool = True,
    **more: Any,
) -> Facts:  # fmt: skip
    created = more.pop("created_by", "v1.4.3")
    return Facts(
        at=NOON, thorough=thorough, seen=_seen(version, **more), created_by=created,
        application=application,
    )  # fmt: skip


def _judged(*looks: Facts, **changed: Any) -> Judgement:
    """Judge the last two looks."""
    known = Known()
    for facts in looks:
        known = known.and_then(facts, question="")
    arguments: dict[str, Any] = {"now": NOON, "known": known, "briefs": (), "expected": SYSTEMD}
    return schema.run(**(arguments | changed))


def _found(*looks: Facts, **changed: Any) -> dict[Kind, Finding]:
    judged = _judged(*looks, **changed)
    assert len({found.name for found in judged.findings}) == len(judged.findings)
    return {found.kind: found for found in judged.findings}


# The matrix --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("application", "duckdb", "version", "nats"), ROWS)
def test_what_the_guide_says_goes_together_is_well(
    application: str, duckdb: str, version: int, nats: str
) -> None:
    expected = dataclasses.replace(SYSTEMD, engine=duckdb)
    for release in ("0", "7"):
        facts = _facts(version, application=f"v{application}.{release}")
        assert _found(facts, expected=expected, nats=f"{nats}.3") == {}


def test_the_shipped_matrix_is_that_of_the_guide() -> None:
    told = [(row.application, row.duckdb, row.schema_, row.nats) for row in GUIDE.version]
    assert told == [(f"{app}.x", duckdb, version, nats) for app, duckdb, version, nats in ROWS]
    assert GUIDE.sequential


@pytest.mark.parametrize(("application", "_duckdb", "version", "_nats"), ROWS)
def test_each_row_knows_what_is_older_and_what_is_newer(
    application: str, _duckdb: str, version: int, _nats: str
) -> None:
    named = f"{application}.2"
    for other in range(19, 25):
        found = set(_found(_facts(other, application=named)))
        wanted = {
            -1: {Kind.SCHEMA_BEHIND}, 0: set(), 1: {Kind.SCHEMA_AHEAD},
        }[(other > version) - (other < version)]  # fmt: skip
        assert found == wanted, other


@pytest.mark.parametrize(("application", "_duckdb", "_version", "nats"), ROWS)
def test_each_row_wants_its_nats_server_or_a_newer_one(
    application: str, _duckdb: str, _version: int, nats: str
) -> None:
    facts = _facts(_version, application=application)
    assert _found(facts, nats="2.8.4")[Kind.ENGINE_UNSUPPORTED].subject == "nats"
    for good in (nats, f"{nats}.1", "2.12.3", "3.0.0", None, "unknown"):
        assert _found(facts, nats=good) == {}, good


# The guide's messages ----------------------------------------------------------------------------


def test_schema_version_mismatch_says_which_version_to_install() -> None:
    found = _found(_facts(23, application="v1.50.1"))[Kind.SCHEMA_AHEAD]
    assert found.severity is Severity.WARNING
    assert "older than its database" in found.message
    assert "schema version 23" in found.message
    assert "Install version 1.51.x" in found.message
    assert found.command.startswith("curl -fLO https://github.com/tomtom215/")
    assert "/v1.51.0/" in found.command
    docker = _found(_facts(23, application="v1.50.1"), expected=DOCKER)[Kind.SCHEMA_AHEAD]
    assert docker.command == "docker pull ghcr.io/tomtom215/cartographus:v1.51.0"


def test_unknown_schema_version_is_newer_than_any_the_matrix_has() -> None:
    ahead = _found(_facts(24, application="1.51.3"))[Kind.SCHEMA_AHEAD]
    assert "No version in the compatibility matrix knows it" in ahead.message
    assert ahead.command == "eider schema"
    unknown = _found(_facts(24, application=None))
    assert set(unknown) == {Kind.SCHEMA_UNKNOWN}
    assert unknown[Kind.SCHEMA_UNKNOWN].severity is Severity.NOTICE
    assert "newer than those of the compatibility matrix" in unknown[Kind.SCHEMA_UNKNOWN].message
    assert set(_found(_facts(7, application=None))) == {Kind.SCHEMA_UNKNOWN}
    assert _found(_facts(22, application=None)) == {}


def test_a_pending_migration_says_where_the_log_is() -> None:
    behind = _found(_facts(21))[Kind.SCHEMA_BEHIND]
    assert behind.severity is Severity.WARNING
    assert behind.command == "journalctl -u cartographus.service -g migration"
    docker = _found(_facts(21), expected=DOCKER)[Kind.SCHEMA_BEHIND]
    assert docker.command == "docker logs cartographus 2>&1 | grep -i migration"
    compose = dataclasses.replace(DOCKER, name="compose:/srv/a b/compose.yml:app")
    assert _found(_facts(21), expected=compose)[Kind.SCHEMA_BEHIND].command == (
        "docker compose -f '/srv/a b/compose.yml' logs app 2>&1 | grep -i migration"
    )


def test_migration_failed_is_told_with_and_without_a_matrix() -> None:
    failed = Migration(version=22, name="add\x1b[31m column", failed=True)
    facts = _facts(22, migrations=(failed, Migration(version=21)))
    for matrix in (GUIDE, None):
        expected = dataclasses.replace(SYSTEMD, matrix=matrix)
        found = _found(facts, expected=expected)[Kind.SCHEMA_BEHIND]
        assert found.subject == "failed"
        assert "Migration 22 (add\N{REPLACEMENT CHARACTER}[31m column) failed" in found.message


@pytest.mark.parametrize("table", [Table.EMPTY, Table.MISSING, Table.UNREAD])
def test_an_empty_table_of_migrations_is_unknown_and_no_alarm(table: Table) -> None:
    for application in ("v1.51.0", "1.0.0", None):
        assert _found(_facts(None, application=application, table=table)) == {}


def test_a_table_of_migrations_without_a_number_is_a_notice() -> None:
    found = _found(_facts(None, table=Table.ODD))
    assert set(found) == {Kind.SCHEMA_UNKNOWN}
    assert found[Kind.SCHEMA_UNKNOWN].severity is Severity.NOTICE


def test_a_version_that_the_matrix_does_not_have_condemns_nothing() -> None:
    """Cartographus says 1.0.0 of itself, whatever it is."""
    assert _found(_facts(22, application="1.0.0")) == {}


# Upgrades ----------------------------------------------------------------------------------------


def _upgraded(old: str, new: str, version: int | None = None, **changed: Any) -> set[Kind]:
    facts = _facts(version, application=old), _facts(version, application=new)
    return set(_found(*facts, **changed))


def test_a_skipped_major_version_is_told_for_a_week() -> None:
    assert _upgraded("v1.51.2", "v3.0.0") == {Kind.VERSION_SKIPPED}
    assert _upgraded("v1.51.2", "v3.0.0", now=NOON + 7 * 24 * HOUR) == set()
    found = _found(_facts(None, application="1.9"), _facts(None, application="4.0"))
    skipped = found[Kind.VERSION_SKIPPED]
    assert "skipped major version 2, 3" in skipped.message
    assert skipped.command == "eider restore --at 2026-03-04T12:00+00:00 --dry-run"


@pytest.mark.parametrize(
    ("old", "new"),
    [("v1.48.0", "v1.51.0"), ("1.51.2", "2.0.0"), ("3.1", "1.0"), ("x", "3.0"), ("2.0", "2.0")],
)
def test_the_next_major_version_and_a_way_back_skip_nothing(old: str, new: str) -> None:
    assert Kind.VERSION_SKIPPED not in _upgraded(old, new)


def test_a_skipped_version_whose_migrations_all_ran_is_well() -> None:
    row = Row(application="3.0", schema_=30)
    matrix = Matrix(application="x", version=(*GUIDE.version, row))
    expected = dataclasses.replace(SYSTEMD, matrix=matrix)
    assert _upgraded("1.51.0", "3.0.1", 30, expected=expected) == set()
    assert Kind.VERSION_SKIPPED in _upgraded("1.51.0", "3.0.1", 23, expected=expected)
    lax = dataclasses.replace(SYSTEMD, matrix=matrix.model_copy(update={"sequential": False}))
    assert Kind.VERSION_SKIPPED not in _upgraded("1.51.0", "3.0.1", 23, expected=lax)


def test_an_application_that_is_silent_was_not_upgraded() -> None:
    known = Known().and_then(_facts(application="1.51.0"), question="")
    silent = known.named(_facts(application=None), application=None, at=NOON)
    assert (silent.application, known.and_then(silent, question="").upgrade) == ("1.51.0", None)
    new = known.named(_facts(application=None), application="2.0.0", at=NOON)
    assert known.and_then(new, question="").upgrade == Upgrade(old="1.51.0", new="2.0.0", at=NOON)


# Engines -----------------------------------------------------------------------------------------


def test_a_file_that_the_engine_of_the_application_cannot_read() -> None:
    facts = _facts(storage="v2.0.0+", created_by="v2.0.0")
    found = _found(facts)[Kind.ENGINE_UNSUPPORTED]
    assert (found.subject, found.severity) == ("duckdb", Severity.WARNING)
    assert "needs DuckDB 2.0.0 or newer, and the application has 1.4.3" in found.message
    newer = dataclasses.replace(SYSTEMD, engine="2.0.0")
    assert _found(facts, expected=newer) == {}
    assert _found(facts, expected=Expected(database="/x")) == {}


def test_a_newer_maker_of_a_file_that_both_can_read_is_a_notice() -> None:
    found = _found(_facts(created_by="v1.5.6"))[Kind.ENGINE_UNSUPPORTED]
    assert found.severity is Severity.NOTICE
    assert _found(_facts(created_by="v1.4.3")) == _found(_facts(created_by="")) == {}


# The WAL -----------------------------------------------------------------------------------------


def _bad(**more: Any) -> Facts:
    return _facts(replay=Replay.NO, why="Failure \x1b[2J", **more)


def test_a_wal_that_would_not_replay_is_critical_when_seen_twice_in_a_row() -> None:
    for thorough in (True, False):
        once = _judged(_facts(), _bad(thorough=thorough))
        assert (once.findings, once.unsure) == ((), True)
    assert _judged(_bad(), _facts(), _bad()).findings == ()
    twice = _judged(_bad(thorough=False), _bad())
    assert not twice.unsure
    (found,) = twice.findings
    assert (found.kind, found.severity) == (Kind.WAL_WOULD_NOT_REPLAY, Severity.CRITICAL)
    assert found.command == "eider backup"
    assert "eider rescue /data/app.duckdb" in found.message
    assert "\x1b" not in found.message
    assert _judged(_bad(), _bad(), _facts()).findings == ()


def test_what_another_engine_says_of_the_wal_is_a_warning() -> None:
    looks = (_bad(by_application=False), _bad(by_application=False))
    assert _found(*looks)[Kind.WAL_WOULD_NOT_REPLAY].severity is Severity.WARNING


def test_a_wal_that_was_not_asked_to_the_end_is_no_alarm() -> None:
    unknown = _facts(replay=Replay.UNKNOWN, why="the database is encrypted")
    assert _found(unknown, unknown) == {}


# Changes -----------------------------------------------------------------------------------------


def _brief(hours: int, digest: str | None, *, version: int | None = 22, **more: Any) -> Brief:
    engine, state = more.pop("engine", "1.4.3"), more.pop("state", State.VERIFIED)
    return Brief(
        id=f"b{hours}", sequence=hours, archive="x", bytes=1, state=state,
        created_at=NOON + hours * HOUR, proof=Proof(level=Level.RESTORE, at=NOON, engine=engine),
        content=BriefContent(schema_version=version, schema_digest=digest),
    )  # fmt: skip


def test_a_schema_that_changed_while_its_version_stayed_is_a_notice() -> None:
    old = (_brief(-48, "c"), _brief(-24, "c"))
    (found,) = _found(_facts(), briefs=old).values()
    assert (found.kind, found.severity) == (Kind.SCHEMA_CHANGED, Severity.NOTICE)
    assert "backup b-24" in found.message
    assert "still 22" in found.message
    # Until there are two backups that have it.
    assert set(_found(_facts(), briefs=(*old, _brief(-2, "d")))) == {Kind.SCHEMA_CHANGED}
    assert _found(_facts(), briefs=(*old, _brief(-2, "d"), _brief(-1, "d"))) == {}


def test_a_schema_that_changed_with_its_version_is_history_and_no_notice() -> None:
    old = _brief(-24, "c", version=21)
    assert _found(_facts(), briefs=(old,)) == {}
    (change,) = schema.changes((old,), latest=_facts())
    assert (change.before, change.after) == ("b-24", "now")
    assert (change.old_version, change.new_version) == (21, 22)


def test_what_two_engines_say_of_a_schema_is_not_compared() -> None:
    assert schema.changes((_brief(-24, "c", engine="2.0.0"),), latest=_facts()) == ()


def test_only_verified_backups_and_known_digests_tell_of_changes() -> None:
    doubtful = _brief(-3, "z", state=State.UNVERIFIED)
    unknown = _brief(-2, None)
    assert schema.changes((_brief(-9, "d"), doubtful, unknown), latest=_facts()) == ()
    assert schema.changes(()) == ()


def test_a_backup_that_is_newer_than_the_look_is_not_taken_for_older() -> None:
    assert schema.changes((_brief(1, "e"),), latest=_facts()) == ()


# Laws --------------------------------------------------------------------------------------------

VERSIONS = st.one_of(
    st.none(), st.sampled_from(["v1.48.0", "1.50.9", "1.51.0", "2.0.0", "1.0.0", "dev", ""])
)
LOOKS = st.builds(
    _facts,
    st.one_of(st.none(), st.integers(0, 40)),
    application=VERSIONS,
    thorough=st.booleans(),
    replay=st.sampled_from(Replay),
    storage=st.sampled_from([None, "v1.0.0+", "v1.2.0+", "v2.0.0+", "strange"]),
    created_by=st.sampled_from(["", "v1.4.3", "v1.5.5", "v2.0.0", "deadbeef"]),
    table=st.sampled_from(Table),
)
NATS = st.one_of(st.none(), st.sampled_from(["2.9.1", "2.10.0", "2.12.3", "?"]))


@given(LOOKS, NATS)
def test_no_single_look_by_words_alone_alarms_anybody(facts: Facts, nats: str | None) -> None:
    once = dataclasses.replace(facts, thorough=False)
    judged = _judged(once, nats=nats)
    assert all(found.severity is Severity.NOTICE for found in judged.findings)
    again = _judged(once, once, nats=nats)
    alarms = [found for found in again.findings if found.severity is not Severity.NOTICE]
    assert judged.unsure == bool(alarms)
    assert not again.unsure


@given(LOOKS, LOOKS, NATS)
def test_whatever_was_seen_only_what_is_seen_now_is_found(
    one: Facts, other: Facts, nats: str | None
) -> None:
    now = {found.name for found in _judged(other, other, nats=nats).findings}
    found = {found.name for found in _judged(one, other, nats=nats).findings}
    assert found <= now | {(Kind.VERSION_SKIPPED, "")}


@given(LOOKS, NATS)
def test_ahead_and_behind_exclude_each_other(facts: Facts, nats: str | None) -> None:
    kinds = set(_found(facts, facts, nats=nats))
    assert not {Kind.SCHEMA_AHEAD, Kind.SCHEMA_BEHIND} <= kinds
    if facts.seen.version is None:
        assert not {Kind.SCHEMA_AHEAD, Kind.SCHEMA_BEHIND} & kinds


@given(st.integers(0, 40), st.sampled_from(["1.48.1", "1.49.0", "1.50.0", "1.51.9"]))
def test_the_version_that_is_named_is_the_oldest_that_knows_the_schema(
    version: int, application: str
) -> None:
    found = _found(_facts(version, application=application)).get(Kind.SCHEMA_AHEAD)
    if found and "Install version" in found.message:
        named = found.message.partition("Install version ")[2].split(",")[0]
        row = next(row for row in GUIDE.version if row.application == named)
        assert row.schema_ >= version
        assert all(
            other.schema_ < version for other in GUIDE.version if other.numbers < row.numbers
        )


def test_nothing_that_was_never_looked_at_is_found() -> None:
    assert _judged() == Judgement(findings=(), unsure=False)
