"""Versions as people write them, and a matrix as a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import config
from eiderd.errors import ConfigError
from eiderd.schema import compatibility, matrices
from eiderd.schema.compatibility import is_older, numbers

NUMBERS = st.lists(st.integers(0, 99_999), min_size=2, max_size=4).map(tuple)
ROW = '[[version]]\napplication = "{}"\nschema = {}\n'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("v1.50.1", (1, 50, 1)),
        ("1.50.1-rc1+build.7", (1, 50, 1)),
        ("ghcr.io/tomtom215/cartographus:v1.51.0", (1, 51, 0)),
        ("cartographus 1.50.1 (go1.25.4)", (1, 50, 1)),
        ("Release V2.0", (2, 0)),
        ("v1.0.0+", (1, 0, 0)),
        ("7", (7,)),
        ("dev", None),
        ("", None),
        (None, None),
        ("deadbeef12", None),
        ("9" * 40, None),
    ],
)
def test_a_version_is_found_in_what_people_write(
    text: str | None, found: tuple[int, ...] | None
) -> None:
    assert numbers(text) == found


@given(NUMBERS, st.sampled_from(["", "v", "Version ", "x/y:v"]), st.sampled_from(["", "-rc1", "+"]))
def test_what_stands_around_a_version_does_not_matter(
    version: tuple[int, ...], before: str, after: str
) -> None:
    assert numbers(before + ".".join(map(str, version)) + after) == version


@given(NUMBERS, NUMBERS, NUMBERS)
def test_older_is_an_order(
    one: tuple[int, ...], two: tuple[int, ...], three: tuple[int, ...]
) -> None:
    assert not is_older(one, one)
    assert not (is_older(one, two) and is_older(two, one))
    if is_older(one, two) and is_older(two, three):
        assert is_older(one, three)
    assert not is_older(one, (*one, 0))
    assert not is_older((*one, 0), one)


def test_the_closest_row_is_the_one_that_counts() -> None:
    matrix = compatibility.read(
        'application = "x"\n' + ROW.format("1.x", 1) + ROW.format("1.5", 5) + ROW.format("1.5.3", 6)
    )
    said = {
        text: row and row.schema_
        for text in ("1.2", "1.5.0", "1.5.3", "1", "2.0", "x")
        for row in [matrix.of(numbers(text))]
    }
    assert said == {"1.2": 1, "1.5.0": 5, "1.5.3": 6, "1": 1, "2.0": None, "x": None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "application"),
        ('application = "x"', "version"),
        ('application = "x"\n' + ROW.format("1.x", 2) + ROW.format("2.x", 1), "older than that"),
        ('application = "x"\n' + ROW.format("2.x", 1) + ROW.format("1.x", 1), "must stand before"),
        ('application = "x"\n' + ROW.format("1.*.2", 1), "must be a version"),
        ('application = "x"\n' + ROW.format("1.x", -1), "greater than or equal"),
        ('application = "x"\nfoo = 1\n' + ROW.format("1.x", 1), "foo"),
        ('application = "x"\n' + ROW.format("1.x", 1) + 'duckdb = "new"\n', "must be a version"),
        ("= =", "not TOML"),
        ("a = " + "[" * 5000, "not TOML: it is nested too deeply"),
    ],
)
def test_a_matrix_that_cannot_be_meant_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compatibility.read(text)


def _load(folder: Path, compatible: str) -> config.Settings:
    path = folder / "eiderd.toml"
    path.write_text(
        f'[database]\npath = "/data/x.duckdb"\n[schema]\ncompatibility = "{compatible}"\n'
    )
    return config.load(path)[0]


def test_a_matrix_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('application = "mine"\n' + ROW.format("1.x", 1))
    assert _load(tmp_path, str(file)).schema_.compatibility == str(file)
    assert matrices.named(str(file)).application == "mine"
    assert _load(tmp_path, "cartographus").schema_.compatibility == "cartographus"


@pytest.mark.parametrize("name", ["mine.toml", "/no/such/file.toml", "/etc"])
def test_a_matrix_that_is_not_there_is_refused_with_the_configuration(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"schema\.compatibility"):
        _load(tmp_path, name)


def test_without_a_profile_no_application_is_compared_with_that_of_another(tmp_path: Path) -> None:
    path = tmp_path / "eiderd.toml"
    path.write_text('[database]\npath = "/data/x.duckdb"\n')
    assert config.load(path)[0].schema_.compatibility is None
    path.write_text('profile = "cartographus"\n[database]\npath = "/data/x.duckdb"\n')
    assert config.load(path)[0].schema_.compatibility == "cartographus"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('version = "1.0.0"\nversion_url = "http://127.0.0.1/v"', "exclude each other"),
        ('version = "dev"', "must be one"),
        ('version_url = "ftp://x/"', "must be a URL"),
        ('version_url = "http://me:secret@x/"', "password"),
        ('version_field = "version"', "version_field"),
        ("version_command = []", "version_command"),
    ],
)
def test_a_version_that_cannot_be_asked_for_is_refused(
    lines: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "eiderd.toml"
    path.write_text(f'[database]\npath = "/data/x.duckdb"\n[application]\n{lines}\n')
    with pytest.raises(ConfigError, match=said):
        config.load(path)


@pytest.mark.parametrize("text", ["never", "1s", "5m"])
def test_an_interval_is_spelled_as_it_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "eiderd.toml"
    path.write_text(f'[database]\npath = "/data/x.duckdb"\n[mirror]\ninterval = "{text}"\n')
    assert config.shown(config.load(path)[0])["mirror"]["interval"] == text


def test_an_interval_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "eiderd.toml"
    path.write_text('[database]\npath = "/data/x.duckdb"\n[mirror]\ninterval = "200ms"\n')
    with pytest.raises(ConfigError, match="at least 1s"):
        config.load(path)
