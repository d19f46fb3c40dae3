"""The job does what the plan says, and an emptied database costs nobody the last good backup."""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eiderd import catalog, entry, retention, staging
from eiderd import config as configuration
from eiderd.app import App
from eiderd.errors import Busy, StoreUnavailable
from eiderd.evidence import Member
from eiderd.jobs import prune
from eiderd.model import (
    Backup,
    Consistency,
    Content,
    ContentVerdict,
    Ending,
    Level,
    Outcome,
    Proof,
    Source,
    State,
)
from eiderd.outside import clock, files
from eiderd.retention import Pruned, Rules
from eiderd.status import Frozen
from tests import helpers

NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
HARSH = Rules(min_count=1, daily=1, max_count=1, max_age_days=1)


def _given_backup(
    directory: Path, age: datetime.timedelta, state: State = State.VERIFIED, *, pinned: bool = False
) -> Backup:
    at = NOW - age
    draft = staging.draft(directory, created_at=at)
    draft.archive.write_bytes(b"archive")
    backup = Backup(
        id=draft.id, sequence=draft.sequence, created_at=at, state=state,
        archive=draft.archive.name, bytes=7, sha256="ab", pinned=pinned,
        source=Source(path="/data/x", engine="v1", storage_version=64, encrypted=False, bytes=1),
        consistency=Consistency(method="double-collect", passes=2, frozen_seconds=0.0,
                                iteration=1, wal_bytes=0, captured_from=at, captured_to=at),
        proof=Proof(level=Level.RESTORE, at=at), content=Content(),
        members=(Member(name="x", bytes=1, sha256="00"),), eiderd="0",
    )  # fmt: skip
    staging.commit(directory, backup)
    return backup


class Recorded:
    """Stands in for the journal."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def __call__(self, *, backups: int, size: int) -> None:
        self.told.append((backups, size))


def _run(
    directory: Path, rules: Rules = HARSH, *, clock_jumped: bool = False, **more: Any
) -> Outcome[Pruned]:
    asked: dict[str, Any] = {"dry_run": False, "record": Recorded(), **more}
    return prune.run(
        now=lambda: NOW,
        directory=directory,
        look=lambda: catalog.briefs(directory),
        rules=rules,
        zone=datetime.UTC,
        clock_jumped=lambda: clock_jumped,
        **asked,
    )


def _ids(directory: Path) -> list[str]:
    return [backup.id for backup in catalog.briefs(directory).backups]


def test_what_the_rules_no_longer_keep_is_removed_and_recorded(tmp_path: Path) -> None:
    old, pinned, new = (
        _given_backup(tmp_path, 3 * DAY),
        _given_backup(tmp_path, 2 * DAY, pinned=True),
        _given_backup(tmp_path, DAY / 2),
    )
    record = Recorded()
    outcome = _run(tmp_path, record=record)
    assert outcome.ending is Ending.DONE
    assert [backup.id for backup in outcome.value.removed] == [old.id]
    assert outcome.value.bytes == 7
    assert record.told == [(1, 7)]
    assert _ids(tmp_path) == [pinned.id, new.id]
    assert (tmp_path / "backup-latest.tar.gz").readlink() == Path(new.archive)
    again = _run(tmp_path)
    assert (again.ending, again.why) == (Ending.NOTHING_TO_DO, "no backup is due")


def test_a_latest_that_could_not_be_made_on_a_full_disk_is_made_when_there_is_room(
    tmp_path: Path,
) -> None:
    _old, new = (_given_backup(tmp_path, age * DAY) for age in (3, 2))
    (tmp_path / "backup-latest.tar.gz").unlink()
    assert _run(tmp_path).ending is Ending.DONE
    assert (tmp_path / "backup-latest.tar.gz").readlink() == Path(new.archive)


def test_a_look_removes_nothing(tmp_path: Path) -> None:
    for age in range(5, 0, -1):
        _given_backup(tmp_path, age * DAY)
    before, record = helpers.files_below(tmp_path), Recorded()
    outcome = _run(tmp_path, dry_run=True, record=record)
    assert outcome.ending is Ending.DONE
    assert len(outcome.value.plan.remove) == 4
    assert (outcome.value.removed, record.told) == ((), [])
    assert helpers.files_below(tmp_path) == before


def test_no_backup_at_all_is_nothing_to_do(tmp_path: Path) -> None:
    assert _run(tmp_path).ending is Ending.NOTHING_TO_DO
    assert _run(tmp_path / "none").ending is Ending.NOTHING_TO_DO


@pytest.mark.parametrize("cause", Frozen)
def test_what_freezes_is_refused_in_words_and_removes_nothing(
    tmp_path: Path, cause: Frozen
) -> None:
    state = State.UNVERIFIED if cause is Frozen.NO_VERIFIED else State.VERIFIED
    for age in range(5, 0, -1):
        _given_backup(tmp_path, age * DAY, state)
    if cause is Frozen.SUSPECT:
        _given_backup(tmp_path, DAY / 2, State.SUSPECT)
    if cause is Frozen.UNREADABLE:
        (tmp_path / "backup-20200101-000000.json").write_text("{")
    before = helpers.files_below(tmp_path)
    outcome = _run(
        tmp_path,
        Rules() if cause is Frozen.NO_RULES else HARSH,
        clock_jumped=cause is Frozen.CLOCK,
    )
    assert outcome.ending is Ending.REFUSED
    assert outcome.value.plan.frozen == (cause,)
    assert outcome.why == prune.why_frozen(outcome.value.plan.frozen)
    assert helpers.files_below(tmp_path) == before


def test_a_clock_that_is_set_while_it_waits_for_the_store_freezes_it(
    backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_now, by = clock.now, datetime.timedelta()
    monkeypatch.setattr(clock, "now", lambda: true_now() + by)
    settings = configuration.load(None)[0]
    before = _ids(backups)
    with contextlib.ExitStack() as other:
        files.private_folder(settings.service.state)
        other.enter_context(files.locked(settings.service.state, hint=""))

        def is_ending() -> bool:  # is asked while it waits
            nonlocal by
            by = 3650 * DAY
            other.close()
            return False

        outcome = App(settings, is_ending=is_ending).prune()
    assert by, "it waited"
    assert (outcome.ending, outcome.value.plan.frozen) == (Ending.REFUSED, (Frozen.CLOCK,))
    assert _ids(backups) == before


def test_one_that_may_not_be_removed_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _second, third = (_given_backup(tmp_path, age * DAY) for age in (4, 3, 2))
    helpers.forbid_removing(monkeypatch, first.archive)
    record = Recorded()
    with pytest.raises(StoreUnavailable, match="1 backups were removed, 1 could not be"):
        _run(tmp_path, record=record)
    assert _ids(tmp_path) == [first.id, third.id]
    assert record.told == [(1, 7)]


_states = st.sampled_from((State.VERIFIED, State.VERIFIED, *State))
_made = st.lists(st.tuples(st.integers(0, 90), _states, st.booleans()), max_size=8)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_made, st.integers(0, 3), st.none() | st.integers(1, 5))
def test_it_removes_exactly_what_it_explains(
    tmp_path_factory: pytest.TempPathFactory,
    made: list[tuple[int, State, bool]],
    daily: int,
    most: int | None,
) -> None:
    directory = tmp_path_factory.mktemp("agree")
    for days, state, pinned in made:
        _given_backup(directory, days * DAY, state, pinned=pinned)
    rules = Rules(min_count=1, daily=daily, max_count=most)
    before = catalog.briefs(directory).backups
    explained = _run(directory, rules, dry_run=True).value.plan
    acted = _run(directory, rules)
    assert acted.value.plan == explained
    gone = [d.backup for d in explained.decisions if not d.keep]
    assert list(acted.value.removed) == gone
    assert catalog.briefs(directory).backups == tuple(b for b in before if b not in gone)
    assert retention.decide(
        catalog.briefs(directory).backups, unreadable=0, rules=rules, now=NOW, zone=datetime.UTC,
        clock_jumped=False,
    ).remove == ()  # fmt: skip


# The empty database -------------------------------------------------------------------------------

_EMPTY = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE TABLE facts (id INTEGER PRIMARY KEY, word VARCHAR, noise UBIGINT)")
connection.close()
"""


def _given_emptied(place: helpers.Place) -> None:
    """What an application does that finds its file broken: the same schema, and nothing in it."""
    place.database.unlink()
    place.wal.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-c", _EMPTY, str(place.database)], check=True, timeout=60)


def test_a_database_that_was_emptied_costs_nobody_the_last_good_backup(tmp_path: Path) -> None:
    place = helpers.given_place(tmp_path, rows=500, wal_rows=10).configure(
        retention__min_count=1, retention__daily=1, retention__max_count=1,
        retention__max_age_days=1,
    )  # fmt: skip
    app = App(configuration.load(place.config)[0])
    good = app.backup().value
    assert (good.state, good.content.verdict) == (State.VERIFIED, ContentVerdict.NORMAL)
    assert good.content.compared_with is None

    _given_emptied(place)
    for _ in range(2):
        outcome = app.backup()
        assert (outcome.ending, outcome.value.state) == (Ending.DONE, State.SUSPECT)
        assert "facts lost 510 of 510 rows" in outcome.why
        assert outcome.value.content.compared_with == good.id
        assert app.prune().ending is Ending.REFUSED
    suspect = outcome.value
    assert app.verify(suspect, level=Level.RESTORE).value.state is State.SUSPECT
    assert catalog.recorded(place.backups, good.id).pinned
    assert place.latest == good.archive
    assert catalog.find(place.backups, "latest").id == good.id

    said = place.eider("backup").good_manners()
    assert said.code == 3
    assert "is suspect: facts lost 510 of 510 rows" in said.stderr
    assert "if it is right: eider accept" in said.stderr
    suspect = catalog.read(place.backups).backups[-1]
    assert set(place.listed().values()) == {"verified", "suspect"}

    assert app.accept(suspect.id).value.content.verdict is ContentVerdict.ACCEPTED
    assert place.latest == suspect.archive
    newer = app.backup().value
    assert (newer.state, newer.content.compared_with) == (State.VERIFIED, suspect.id)
    pruned = app.prune()
    assert pruned.ending is Ending.DONE
    left = [backup.id for backup in catalog.briefs(place.backups).backups]
    assert left == [good.id, newer.id], "the pinned one, and the newest"


# The verbs ----------------------------------------------------------------------------------------


@pytest.fixture
def backups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a configuration with harsh rules, with three backups that are long past."""
    monkeypatch.setenv("EIDER_DATABASE__PATH", str(tmp_path / "data" / "x.duckdb"))
    monkeypatch.setenv("EIDER_BACKUP__DIRECTORY", str(tmp_path / "backups"))
    monkeypatch.setenv("EIDER_SERVICE__STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EIDER_RETENTION__MIN_COUNT", "1")
    monkeypatch.setenv("EIDER_RETENTION__DAILY", "1")
    directory = tmp_path / "backups"
    for age in (1003, 1002, 1001):
        _given_backup(directory, age * DAY)
    return directory


def _said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert entry.main(list(words)) == code
    said = capsys.readouterr()
    return said.out, said.err


def test_a_dry_run_and_an_explanation_remove_nothing(
    backups: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = _ids(backups)
    out, _err = _said(capsys, "prune", "--dry-run")
    assert "2 backups would be removed, 14 bytes; 1 left" in out
    out, _err = _said(capsys, "prune", "--explain")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", third, second, first]
    assert "remove  no rule keeps it" in lines[2]
    assert "keep    the newest verified; daily 1 of 1 (" in lines[1]
    out, _err = _said(capsys, "prune", "--dry-run", "--json")
    assert '"removed": []' in out
    assert _ids(backups) == [first, second, third]


def test_a_prune_says_what_went(backups: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _first, _second, third = _ids(backups)
    out, _err = _said(capsys, "prune")
    assert "2 backups removed, 14 bytes; 1 left" in out
    assert _ids(backups) == [third]
    out, _err = _said(capsys, "prune")
    assert out == "nothing to prune: no backup is due; 1 left\n"


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--explain",), ("--json",)])
def test_a_frozen_prune_says_why_and_what_to_type(
    backups: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    suspect = _given_backup(backups, 1000 * DAY, State.SUSPECT)
    before = _ids(backups)
    out, err = _said(capsys, "prune", *words, code=3)
    assert "nothing is pruned: the content of a backup newer" in err
    assert f"eider accept {suspect.id}" in err
    assert _ids(backups) == before
    if words == ("--json",):
        assert '"frozen": [\n    "suspect"\n  ]' in out


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_prune_that_fails_hides_no_backup(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    place = helpers.given_place(tmp_path, rows=500, wal_rows=10)

    def busy(**_words: object) -> Outcome[Pruned]:
        raise Busy("another eider is at work", hint="Wait for it to end.")

    monkeypatch.setattr(prune, "run", busy)
    out, err = _said(capsys, "--config", str(place.config), "backup", *words, code=3)
    (made,) = _ids(place.backups)
    assert f"backup {made} is verified, but pruning failed: another eider is at work" in err
    assert "Wait for it to end." in err
    if words:
        assert json.loads(out)["id"] == made
    else:
        assert made in out
