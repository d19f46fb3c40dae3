"""What earlier versions of eiderd wrote is read; what a later one wrote is left alone.

The fixtures were written by the code of four moments: `first` had backups only, `service` the
timetable and the journal, `restore` the exchange of files, `heal` repairs and their pause. They are
kept as they were written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from eiderd import catalog, config, entry, memory
from eiderd.errors import StoreUnavailable
from eiderd.evidence import Exchange
from eiderd.journal import Journal
from eiderd.memory import Memory
from eiderd.model import FORMAT, Job, RunOutcome, State
from eiderd.outside import swap
from tests.helpers import run_eider

FIXTURES = Path(__file__).parents[1] / "fixtures" / "formats"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())
WITH_JOURNAL = [name for name in VERSIONS if (FIXTURES / name / "journal.jsonl").exists()]
NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


def _given_backups(version: str, folder: Path) -> Path:
    shutil.copytree(FIXTURES / version / "backups", folder, symlinks=True)
    folder.chmod(0o700)
    return folder


def _given_settings(tmp_path: Path, backups: Path, more: str = "") -> Path:
    path = tmp_path / "eiderd.toml"
    path.write_text(
        f'[service]\nstate = "{tmp_path}/state"\n[backup]\ndirectory = "{backups}"\n'
        f'[database]\npath = "/srv/example/data/app.duckdb"\n{more}'
    )
    return path


def _given_journal(tmp_path: Path, *lines: dict[str, Any], version: str = "service") -> Path:
    path = tmp_path / "journal.jsonl"
    shutil.copyfile(FIXTURES / version / "journal.jsonl", path)
    path.chmod(0o600)
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def _opened(path: Path) -> Journal:
    return Journal(path, pid=1, who=lambda _pid: None)


# What earlier versions wrote --------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_read_and_means_the_same(version: str, tmp_path: Path) -> None:
    found = catalog.read(_given_backups(version, tmp_path / "backups"))
    assert not found.unreadable
    assert [backup.sequence for backup in found.backups] == [1, 2]
    first, second = found.backups
    assert (first.note, second.note) == ("the first", "")
    assert first.pinned is (version != "first")
    for backup in found.backups:
        assert backup.state is State.VERIFIED
        assert backup.proof.level == 4
        assert backup.proof.rows == backup.content.tables["facts"].rows == 20
        assert [member.name for member in backup.members] == ["app.duckdb"]
        assert backup.source.path == "/srv/example/data/app.duckdb"
        assert backup.created_at.date() == datetime.date(2026, 11, 22)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_archive_is_proven_by_this_version(version: str, tmp_path: Path) -> None:
    backups = _given_backups(version, tmp_path / "backups")
    settings = _given_settings(tmp_path, backups)
    ran = run_eider("verify", "--all", "--level", "4", "--json", config=settings)
    assert ran.code == 0, ran
    assert [one["proof"]["rows"] for one in ran.json] == [20, 20]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_configuration_is_read_and_means_the_same(version: str) -> None:
    settings, _file = config.load(FIXTURES / version / "eiderd.toml")
    assert str(settings.database.path) == "/srv/example/data/app.duckdb"
    assert str(settings.service.state) == "/srv/example/state"
    assert settings.mirror.rate_limit == 50_000_000
    assert settings.engine.deadline == datetime.timedelta(minutes=10)
    assert (settings.log.level, settings.log.format) == ("warning", "json")
    if version != "first":
        assert (settings.retention.daily, settings.retention.min_count) == (7, 2)
        assert settings.content.time_columns == {"facts": "id"}


@pytest.mark.parametrize("version", WITH_JOURNAL)
def test_every_journal_is_read_and_means_the_same(version: str, tmp_path: Path) -> None:
    with _opened(_given_journal(tmp_path, version=version)).memory() as known:
        assert known.last_number == 7
        assert known.runs[Job.BACKUP, RunOutcome.DONE] == 2
        assert known.runs[Job.BACKUP, RunOutcome.FAILED] == 1
        assert known.runs[Job.PRUNE, RunOutcome.NOTHING_TO_DO] == 3
        assert known.failures[Job.BACKUP] == 1
        assert known.last[Job.BACKUP].why.startswith("there is no database")
        assert known.service is not None
        assert not known.open
        assert not known.strange
        assert known.samples
        pause = known.heal.pause
        assert (pause.reason if pause else None) == ("at work" if version == "heal" else None)


# What a later version wrote ---------------------------------------------------------------------


def _sealed(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, indent=1).removesuffix("\n}").encode()
    return body + b',\n "seal": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


@pytest.mark.parametrize("how", ["sealed", "sealed otherwise", "of other fields"])
def test_a_later_manifest_is_not_believed_listed_and_nothing_is_removed(
    how: str, tmp_path: Path
) -> None:
    backups = _given_backups("restore", tmp_path / "backups")
    path = max(backups.glob("backup-2*.json"))
    document = json.loads(path.read_bytes())
    document.pop("seal")
    document["format"] = FORMAT + 1
    if how == "of other fields":
        document = {"format": FORMAT + 1, "id": document["id"], "sequence": 2, "shape": "another"}
    data = _sealed(document)
    path.write_bytes(data.replace(b'"seal"', b'"sign"') if how == "sealed otherwise" else data)
    found = catalog.read(backups)
    assert [doubt.problem for doubt in found.unreadable] == [
        f"a newer eiderd wrote it (format {FORMAT + 1})"
    ]
    assert found.unreadable[0].sequence == 2
    before = _bytes_of(backups)
    settings = _given_settings(tmp_path, backups, "[retention]\nmax_count = 1\nmin_count = 1\n")
    listed = io.StringIO()
    with contextlib.redirect_stdout(listed):
        assert entry.main(["--config", str(settings), "list"]) in (0, 3)
        entry.main(["--config", str(settings), "prune"])
    assert path.stem.removeprefix("backup-") in listed.getvalue()
    assert _bytes_of(backups) == before


def _bytes_of(folder: Path) -> dict[Path, bytes]:
    every = (path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    return {path: path.read_bytes() for path in every}


LATER: list[dict[str, Any]] = [
    {"word": "began", "number": 8, "job": "teleport", "at": "2026-11-22T16:00:00+00:00",
     "planned_at": None, "who": "1:2:x"},
    {"word": "ended", "number": 8, "at": "2026-11-22T16:00:01+00:00", "seconds": 1.0,
     "outcome": "transcended", "why": "", "hint": "", "backup": ""},
    {"word": "sang", "song": "of a later time"},
    {"word": "raised", "kind": "too_quiet", "subject": "", "at": "2026-11-22T16:00:00+00:00"},
    {"word": "missed", "job": "teleport", "count": 2},
    {"word": "healing", "job": "teleport", "kind": "disk_low", "subject": "data",
     "at": "2026-11-22T16:00:00+00:00", "why": "x"},
]  # fmt: skip


def test_words_and_names_of_a_later_version_stop_nothing(tmp_path: Path) -> None:
    journal = _opened(_given_journal(tmp_path, *LATER))
    with journal.memory() as known:
        assert known.runs[Job.BACKUP, RunOutcome.DONE] == 2
        assert [told["word"] for told in known.strange] == [
            "began", "sang", "raised", "missed", "healing",
        ]  # fmt: skip
    run = journal.begin(Job.BACKUP, at=NOW, planned_at=None)
    assert run.number == 9, "a number was given twice"
    assert journal.trouble is None


def test_an_outcome_of_a_later_version_ends_the_run(tmp_path: Path) -> None:
    began = {**LATER[0], "job": "backup"}
    with _opened(_given_journal(tmp_path, began, LATER[1])).memory() as known:
        assert not known.open


def test_what_a_later_version_wrote_is_kept_when_the_journal_is_shortened(tmp_path: Path) -> None:
    journal = _opened(_given_journal(tmp_path, *LATER))
    with journal.memory() as known:
        shortened, strange = known.shortened(at=NOW), list(known.strange)
    again = Memory()
    again.read(json.dumps(told).encode() for told in shortened)
    assert list(again.strange) == strange
    assert again.runs == known.runs


def test_totals_with_a_name_of_a_later_version_are_taken_as_far_as_they_go() -> None:
    told = Memory().shortened(at=NOW)[0] | {
        "runs": [["teleport", "done", 3], ["backup", "transcended", 1], ["backup", "done", 5]],
        "seconds": {"teleport": 1.0, "backup": 2.0},
        "missed": {"teleport": 1, "backup": 4},
        "failures": {"teleport": 1, "backup": 6},
        "pruned": [7, 8],
    }
    known = Memory()
    known.read([json.dumps(told).encode()])
    assert dict(known.runs) == {(Job.BACKUP, RunOutcome.DONE): 5}
    assert (known.missed[Job.BACKUP], known.failures[Job.BACKUP]) == (4, 6)
    assert (known.pruned_backups, known.pruned_bytes) == (7, 8)


def test_a_journal_of_a_later_format_is_not_added_to_nor_shortened(tmp_path: Path) -> None:
    later = {"word": "totals", "format": memory.FORMAT + 1, "shape": "another"}
    path = _given_journal(tmp_path, later)
    before = path.read_bytes()
    journal = _opened(path)
    run = journal.begin(Job.BACKUP, at=NOW, planned_at=None)
    journal.end(run, at=NOW, seconds=1, outcome=RunOutcome.DONE)
    journal._shorten(at=NOW)
    assert path.read_bytes() == before
    assert journal.trouble
    assert "newer eiderd" in journal.trouble.message
    assert "mv " in journal.trouble.hint
    with journal.memory() as known:  # what this process did is known to it all the same
        assert known.last[Job.BACKUP].outcome is RunOutcome.DONE


PLAN = Exchange(
    kind="restore", what="x", live="app.duckdb", had_live=True, wal_base="app.duckdb",
    incoming="new", incoming_wals=(), aside="app.duckdb.before-restore-20261122-000000",
    aside_wals=(), live_wals=("app.duckdb.wal",), staging=None, restart=False, phase="moving",
)  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"format": 3}, "newer eiderd"),
        ({"format": 3, "colour": "red"}, "newer eiderd"),
        ({"phase": "halfway"}, "how far it came"),
        ({"colour": "red"}, "cannot be read"),
    ],
)
def test_an_exchange_that_a_later_version_began_is_not_ended(
    more: dict[str, Any], said: str, tmp_path: Path
) -> None:
    database = tmp_path / "app.duckdb"
    database.write_bytes(b"the old one")
    path = tmp_path / ".app.duckdb.eider-swap.json"
    path.write_text(json.dumps(dataclasses.asdict(PLAN) | more))
    path.chmod(0o600)
    before = {one: one.read_bytes() for one in tmp_path.iterdir()}
    with pytest.raises(StoreUnavailable, match=said):
        swap.unfinished(database, state=tmp_path)
    assert {one: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_an_exchange_that_the_version_before_began_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".app.duckdb.eider-swap.json"
    old = dataclasses.asdict(PLAN)
    for key in ("format", "before"):
        old.pop(key)
    path.write_text(json.dumps(old))
    path.chmod(0o600)
    assert swap.unfinished(tmp_path / "app.duckdb", state=tmp_path) == PLAN
