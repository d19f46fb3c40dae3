"""The words of the JSON that scripts read: once published, they stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers import Place, given_place, run_eider

BACKUP = {
    "id", "sequence", "created_at", "state", "archive", "bytes", "pinned", "note",
    "consistency", "proof", "content",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = given_place(tmp_path_factory.mktemp("words"))
    assert made.eider("backup", "--note", "before the upgrade", "--json").code == 0
    return made


def _holds_the_words(backup: dict[str, Any]) -> None:
    assert set(backup) >= BACKUP
    assert backup["state"] in {"verified", "unverified", "suspect", "corrupt"}
    assert set(backup["consistency"]) >= {
        "method", "passes", "frozen_seconds", "iteration", "wal_bytes"}  # fmt: skip
    assert set(backup["proof"]) >= {"level", "at", "engine", "tables", "rows"}
    assert set(backup["content"]) >= {"verdict", "schema_version", "tables"}
    for table in backup["content"]["tables"].values():
        assert set(table) >= {"rows", "fingerprint"}


@pytest.mark.parametrize("words", [("list",), ("show",), ("backup",)])
def test_a_backup_is_told_in_the_same_words_everywhere(place: Place, words: tuple[str]) -> None:
    told = place.eider(*words, "--json").json
    for backup in told if isinstance(told, list) else [told]:
        _holds_the_words(backup)


def test_the_newest_comes_first_and_latest_is_the_newest(place: Place) -> None:
    place.eider("backup")
    rows = place.eider("list", "--json").json
    assert [row["sequence"] for row in rows] == sorted((r["sequence"] for r in rows), reverse=True)
    assert place.eider("show", "--json").json["id"] == rows[0]["id"]
    assert "members" not in rows[0]
    assert [m["name"] for m in place.eider("show", "--json").json["members"]] == [
        "app.duckdb", "app.duckdb.wal"]  # fmt: skip


def test_a_person_is_told_the_same_in_tables(place: Place) -> None:
    listed = place.eider("list").stdout
    assert "before the upgrade" in listed
    assert "verified" in listed
    shown = place.eider("show").stdout
    for part in ("double-collect", "level 4", "facts", "sha256"):
        assert part in shown


def test_verify_tells_its_proof(place: Place) -> None:
    for words in (("verify",), ("verify", "--level", "2")):
        told = place.eider(*words, "--json").json
        assert told["proof"]["failure"] is None
        assert told["proof"]["level"] >= 2
    everything = place.eider("verify", "--all", "--json").json
    assert len(everything) == len(place.eider("list", "--json").json)


def test_config_show_is_a_configuration(place: Place, tmp_path: Path) -> None:
    again = tmp_path / "again.toml"
    again.write_text(place.eider("config", "show").stdout)
    first = place.eider("config", "show", "--json").json
    assert run_eider("config", "show", "--json", config=again).json == first


def test_config_check_is_content(place: Place) -> None:
    assert place.eider("config", "check", "--json").json["ok"] is True


def test_extra_files_stand_below_files_in_the_archive(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    (folder / "deep").mkdir(parents=True)
    (folder / "env").write_text("A=1\n")
    (folder / "deep" / "more").write_text("B=2\n")
    here = place.clone(tmp_path / "place").configure(backup__include=[str(folder)])
    members = here.eider("backup", "--json").json["members"]
    assert [m["name"] for m in members][2:] == [f"files{folder}/deep/more", f"files{folder}/env"]
    assert here.eider("verify", "--json").code == 0
    assert not list(here.state.rglob("more"))


def test_a_mirror_that_is_not_kept_is_gone_afterwards(place: Place, tmp_path: Path) -> None:
    here = place.clone(tmp_path / "place").configure(mirror__keep=False)
    assert here.eider("backup").code == 0
    assert not (here.state / "mirror").exists()
