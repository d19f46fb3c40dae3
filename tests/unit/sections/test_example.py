"""What is written twice is held together here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from eiderd import config, resources
from eiderd.sections import example, reference

ROOT = Path(__file__).parents[3]


def test_the_annotated_configuration_is_the_settings() -> None:
    written = (ROOT / "config" / "eiderd.toml").read_text()
    assert written == example.annotated(), "run: eider config example > config/eiderd.toml"


def test_the_reference_is_the_settings() -> None:
    written = (ROOT / "config" / "REFERENCE.md").read_text()
    assert written == reference.markdown(), "run: eider config reference > config/REFERENCE.md"
    for title, section in config.shown(_whole()).items():
        for key in section if isinstance(section, dict) else ():
            assert f"| `{title}.{key}` |" in written


def _whole() -> config.Settings:
    return config.Settings.model_validate({"database": {"path": "/data/x.duckdb"}})


def test_the_annotated_configuration_loads(tmp_path: Path) -> None:
    path = tmp_path / "eiderd.toml"
    path.write_text(example.annotated())
    settings, found = config.load(path)
    assert (str(settings.database.path), found) == ("/data/cartographus.duckdb", path)


def test_every_default_in_it_is_the_default(tmp_path: Path) -> None:
    """Uncommented, it must mean the same."""
    plain, whole = tmp_path / "plain.toml", tmp_path / "whole.toml"
    plain.write_text(example.annotated())
    text = "\n".join(
        line for line in example.annotated().splitlines() if not line.endswith("# not set")
    )
    whole.write_text(re.sub(r"(?m)^# (\w+ = )", r"\1", text.replace("# profile", "## profile")))
    assert config.load(whole)[0] == config.load(plain)[0]


@pytest.mark.parametrize("name", resources.profiles())
def test_a_profile_holds_only_settings(name: str, tmp_path: Path) -> None:
    path = tmp_path / "eiderd.toml"
    path.write_text(f'profile = "{name}"\n[database]\npath = "/data/x.duckdb"\n')
    settings, _found = config.load(path)
    document = settings.model_dump(mode="json", by_alias=True)
    for section, values in tomllib.loads(resources.profiles()[name].read_text()).items():
        for key, value in values.items():
            assert _holds(document[section][key], value)


def _holds(document: object, value: object) -> bool:
    """Whether all that a profile says is in the settings, which have more in what is nested."""
    if isinstance(value, dict) and isinstance(document, dict):
        return all(_holds(document.get(key), inner) for key, inner in value.items())
    return document == value
