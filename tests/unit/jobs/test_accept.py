"""Only a person makes a suspect backup count, and nobody makes an unproven one count."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from eiderd import catalog, entry
from eiderd.errors import ExitCode, NoSuchBackup
from eiderd.evidence import Damage
from eiderd.jobs import accept
from eiderd.model import Backup, ContentVerdict, Ending, Level, State
from tests.unit.jobs.test_prune import DAY, _given_backup
from tests.unit.test_comparison import EMPTY, FULL, OPENED
from tests.unit.test_comparison import _given as given_content
from tests.unit.test_comparison import _verify as proven

UNREADABLE = dataclasses.replace(
    OPENED, damage=Damage.TABLE, message="facts cannot be read", tables={}
)


def _given_suspect(directory: Path) -> tuple[Backup, Backup]:
    """A good backup that was pinned, and one after it that is suspect."""
    good = _given_backup(directory, 2 * DAY, pinned=True)
    suspect = _given_backup(directory, DAY, State.SUSPECT)
    content = dataclasses.replace(
        suspect.content,
        verdict=ContentVerdict.SUSPECT,
        reasons=("facts lost 9 of 9 rows",),
        compared_with=good.id,
    )
    suspect = dataclasses.replace(suspect, content=content)
    catalog.rewrite(directory, suspect)
    return good, suspect


def test_what_is_accepted_counts_and_keeps_its_reasons(tmp_path: Path) -> None:
    good, suspect = _given_suspect(tmp_path)
    outcome = accept.run(directory=tmp_path, name=suspect.id)
    assert outcome.ending is Ending.DONE
    found = catalog.find(tmp_path, "latest")
    assert (found.id, found.state) == (suspect.id, State.VERIFIED)
    assert found.content.verdict is ContentVerdict.ACCEPTED
    assert found.content.reasons == suspect.content.reasons
    assert (tmp_path / "backup-latest.tar.gz").readlink() == Path(suspect.archive)
    assert catalog.find(tmp_path, good.id).pinned
    again = accept.run(directory=tmp_path, name=suspect.id)
    assert (again.ending, again.why) == (
        Ending.NOTHING_TO_DO, f"backup {suspect.id} is not suspect, it is verified",
    )  # fmt: skip


@pytest.mark.parametrize("state", [State.UNVERIFIED, State.CORRUPT])
def test_what_was_never_proven_is_refused(tmp_path: Path, state: State) -> None:
    made = _given_backup(tmp_path, DAY, state)
    outcome = accept.run(directory=tmp_path, name=made.id)
    assert outcome.ending is Ending.REFUSED
    assert str(state) in outcome.why
    assert catalog.read(tmp_path).backups == (made,)


def test_a_suspect_one_whose_last_proof_failed_is_refused_until_one_succeeds(
    tmp_path: Path,
) -> None:
    good = given_content(tmp_path, 2 * DAY, tables=FULL)
    suspect = given_content(tmp_path, DAY, State.SUSPECT, EMPTY, ContentVerdict.SUSPECT)
    (tmp_path / f"{suspect.archive}.sha256").write_text(f"ab  {suspect.archive}\n")
    unread = proven(tmp_path, suspect, opened=UNREADABLE)
    assert (unread.state, unread.proof.level) == (State.SUSPECT, Level.BLOCKS)
    outcome = accept.run(directory=tmp_path, name=suspect.id)
    assert outcome.ending is Ending.REFUSED
    assert "failed: facts cannot be read" in outcome.why
    assert catalog.recorded(tmp_path, suspect.id) == unread
    assert catalog.find(tmp_path, "latest").id == good.id
    proven(tmp_path, unread)
    assert accept.run(directory=tmp_path, name=suspect.id).ending is Ending.DONE
    assert catalog.find(tmp_path, "latest").id == suspect.id


def test_a_suspect_one_whose_archive_is_gone_is_refused(tmp_path: Path) -> None:
    _good, suspect = _given_suspect(tmp_path)
    (tmp_path / suspect.archive).unlink()
    assert accept.run(directory=tmp_path, name=suspect.id).ending is Ending.REFUSED
    with pytest.raises(NoSuchBackup):
        accept.run(directory=tmp_path, name="20200101-000000")


def test_the_verb_says_what_it_did_and_how_to_unpin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EIDER_DATABASE__PATH", str(tmp_path / "data" / "x.duckdb"))
    monkeypatch.setenv("EIDER_BACKUP__DIRECTORY", str(tmp_path / "backups"))
    monkeypatch.setenv("EIDER_SERVICE__STATE", str(tmp_path / "state"))
    good, suspect = _given_suspect(tmp_path / "backups")
    unproven = _given_backup(tmp_path / "backups", DAY, State.UNVERIFIED)
    assert entry.main(["show", suspect.id]) == ExitCode.DONE
    said = f"suspect, compared with {good.id}; facts lost 9 of 9 rows"
    assert said in capsys.readouterr().out
    assert entry.main(["accept", unproven.id]) == ExitCode.VERIFICATION_FAILED
    assert f"eider verify {unproven.id}" in capsys.readouterr().err
    assert entry.main(["accept", suspect.id]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"✓ accepted {suspect.id}"
    assert f"eider unpin {good.id}" in out
    assert entry.main(["accept", suspect.id]) == ExitCode.DONE
    assert "nothing to do" in capsys.readouterr().out
