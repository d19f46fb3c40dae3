"""Every finding and every alert has a runbook, and what the runbooks say to type exists."""

from __future__ import annotations

import re

import pytest

from eiderd import resources, runbooks
from eiderd.config import Settings
from eiderd.health import Kind
from tests.verbs import refused, typed

NAMES = sorted(runbooks.NAMES)


def _given_text(name: str) -> str:
    text = runbooks.text(name)
    assert text is not None
    return text


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_finding_has_a_runbook(kind: Kind) -> None:
    assert _given_text(kind).startswith("# ")


def test_there_is_no_runbook_that_nothing_leads_to() -> None:
    assert {path.stem for path in resources.runbooks().iterdir()} == runbooks.NAMES


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../eiderd.toml",
        "disk_low.md",
        "/etc/passwd",
        "disk_low/",
        "DISK_LOW",
        "a\0b",
    ],
)
def test_no_other_name_leads_anywhere(name: str) -> None:
    assert runbooks.text(name) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_says_what_is_not_lost_and_what_to_type(name: str) -> None:
    text = _given_text(name)
    assert re.search(r"\*\*Not\s+lost:\*\*", text)
    assert "## Look" in text
    assert "## Put it right" in text
    assert list(typed(text))
    assert max(map(len, text.splitlines())) <= 110
    assert len(text.splitlines()) <= 70


@pytest.mark.parametrize("name", NAMES)
def test_what_it_says_to_type_exists(name: str) -> None:
    assert [problem for words in typed(_given_text(name)) if (problem := refused(words))] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_that_it_names_exist(name: str) -> None:
    known = {
        f"{field.alias or section}.{key}"
        for section, field in Settings.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {})
    }
    sections = "|".join({setting.split(".")[0] for setting in known})
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)(?: = [^`]*)?`", _given_text(name)))
    assert named <= known


@pytest.mark.parametrize("name", NAMES)
def test_the_runbooks_that_it_names_exist(name: str) -> None:
    named = set(re.findall(r"\*([a-z]+_[a-z_]+)\*", _given_text(name)))
    assert named <= runbooks.NAMES


def test_a_command_that_does_not_exist_is_found() -> None:
    text = "Type `eider restor` or:\n```sh\neider list --colour   # nice\neider verify ID\n```\n"
    assert [refused(words) is None for words in typed(text)] == [False, True, False]
