"""Pinning changes that one word, and nothing else that is known of a backup."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from eiderd import catalog, entry
from eiderd.errors import ExitCode, NoSuchBackup, VerificationFailed
from eiderd.jobs import pin
from eiderd.model import Ending, State
from tests.unit.jobs.test_prune import DAY, _given_backup


def test_a_pin_is_recorded_and_taken_back(tmp_path: Path) -> None:
    made = _given_backup(tmp_path, DAY)
    pinned = pin.run(directory=tmp_path, name=made.id, pinned=True)
    assert (pinned.ending, pinned.value) == (Ending.DONE, dataclasses.replace(made, pinned=True))
    assert catalog.read(tmp_path).backups == (pinned.value,)
    again = pin.run(directory=tmp_path, name="latest", pinned=True)
    assert (again.ending, again.why) == (
        Ending.NOTHING_TO_DO, f"backup {made.id} is pinned already",
    )  # fmt: skip
    unpinned = pin.run(directory=tmp_path, name=made.id, pinned=False)
    assert unpinned.value == made
    assert catalog.read(tmp_path).backups == (made,)
    again = pin.run(directory=tmp_path, name=made.id, pinned=False)
    assert again.ending is Ending.NOTHING_TO_DO


def test_a_note_takes_the_place_of_its_own(tmp_path: Path) -> None:
    made = _given_backup(tmp_path, DAY)
    for note, ending in (("why", Ending.DONE), ("why", Ending.NOTHING_TO_DO), ("", Ending.DONE)):
        outcome = pin.run(directory=tmp_path, name=made.id, pinned=True, note=note)
        assert (outcome.ending, outcome.value.note) == (ending, note)


def test_a_pin_does_not_make_a_missing_archive_part_of_the_record(tmp_path: Path) -> None:
    made = _given_backup(tmp_path, DAY)
    archive = tmp_path / made.archive
    archive.rename(tmp_path / "away")
    assert pin.run(directory=tmp_path, name=made.id, pinned=True).value.state is State.CORRUPT
    (tmp_path / "away").rename(archive)
    assert catalog.find(tmp_path, made.id).state is State.VERIFIED


def test_a_name_that_is_not_there_or_not_believed(tmp_path: Path) -> None:
    made = _given_backup(tmp_path, DAY)
    with pytest.raises(NoSuchBackup):
        pin.run(directory=tmp_path, name="20200101-000000", pinned=True)
    (tmp_path / catalog.manifest_name(made.id)).write_text("{}")
    with pytest.raises(VerificationFailed):
        pin.run(directory=tmp_path, name=made.id, pinned=True)


def test_the_verbs_say_what_they_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EIDER_DATABASE__PATH", str(tmp_path / "data" / "x.duckdb"))
    monkeypatch.setenv("EIDER_BACKUP__DIRECTORY", str(tmp_path / "backups"))
    monkeypatch.setenv("EIDER_SERVICE__STATE", str(tmp_path / "state"))
    made = _given_backup(tmp_path / "backups", DAY)
    assert entry.main(["pin", made.id, "--note", "before the move"]) == ExitCode.DONE
    assert capsys.readouterr().out == f"✓ pinned {made.id}\n"
    assert entry.main(["list"]) == ExitCode.DONE
    assert "pinned before the move" in capsys.readouterr().out
    assert entry.main(["show", made.id]) == ExitCode.DONE
    assert "pinned    no rule removes it" in capsys.readouterr().out
    assert entry.main(["pin", made.id]) == ExitCode.DONE
    assert capsys.readouterr().out == f"nothing to do: backup {made.id} is pinned already\n"
    assert entry.main(["unpin", made.id, "--json"]) == ExitCode.DONE
    assert '"pinned": false' in capsys.readouterr().out
    assert entry.main(["pin", "20200101-000000"]) == ExitCode.NO_SUCH_BACKUP
    assert "eider list" in capsys.readouterr().err
