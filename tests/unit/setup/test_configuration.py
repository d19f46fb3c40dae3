"""The configuration that setup writes: what was found, and whatever a person had chosen."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eiderd import config
from eiderd.errors import ConfigError
from eiderd.sections import example
from eiderd.setup import configuration as setup_configuration
from eiderd.setup.configuration import chosen, merged, text_of, wanted
from eiderd.setup.facts import Application

if TYPE_CHECKING:
    from pathlib import Path

FOUND = Application(
    kind="systemd",
    name="carto.service",
    database="/srv/carto/carto.duckdb",
    known=True,
    health_url="http://127.0.0.1:3900/api/v1/health",
    nats_url="nats://127.0.0.1:4222",
)
FIRST = chosen(state=None, backups="/mnt/big/eiderd")
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "retention": st.dictionaries(st.sampled_from(["daily", "weekly"]), st.integers(0, 50)),
        "log": st.fixed_dictionaries({}, optional={"level": st.sampled_from(["info", "error"])}),
        "content": st.fixed_dictionaries(
            {"time_columns": st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3)}
        ),
        "application": st.fixed_dictionaries(
            {"kind": st.sampled_from(["none", "systemd"]), "unit": st.just("old.service")}
        ),
        "database": st.fixed_dictionaries({"path": st.just("/old.duckdb")}),
    },
)


def _wanted(*, docker: bool = False) -> dict[str, Any]:
    return wanted(FOUND, database=FOUND.database, docker=docker)


def test_a_password_in_a_url_is_not_told_with_what_changes() -> None:
    old = '[nats]\nurl = "nats://me:hush@a"\n[compact]\nurl = ["nats://me:hush/@a", 5]\n'
    said = list(setup_configuration.changes(old, '[nats]\nurl = "nats://b"\n', path="x"))
    assert said == [
        " [nats]", '-url = "nats://***@a"', '+url = "nats://b"',
        " [compact]", '-url = ["nats://***@a", 5]',
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["9" * 5000, "0x" + "f" * 5000, "[" * 5000])
def test_what_no_toml_can_mean_is_told_as_that(value: str) -> None:
    with pytest.raises(ConfigError, match="x is not TOML"):
        setup_configuration.read(f"a = {value}", path="x")


def test_a_new_configuration_loads_and_means_what_was_found(tmp_path: Path) -> None:
    document = merged(None, found=_wanted(), first=FIRST)
    assert document is not None
    path = tmp_path / "eiderd.toml"
    path.write_text(text_of(document))
    loaded, _file = config.load(path)
    assert loaded.profile == "cartographus"
    assert str(loaded.database.path) == FOUND.database
    assert (loaded.application.kind, loaded.application.unit) == ("systemd", "carto.service")
    assert loaded.application.health_url == FOUND.health_url
    assert str(loaded.backup.directory) == "/mnt/big/eiderd"
    assert loaded.retention.daily == 14
    assert loaded.nats.urls == ("nats://127.0.0.1:4222",)


def test_the_example_that_a_package_brings_is_no_choice() -> None:
    new = merged(None, found=_wanted(), first=FIRST)
    nothing: dict[str, Any] = {}
    for untouched in (nothing, {"log": nothing}, tomllib.loads(example.annotated())):
        assert merged(untouched, found=_wanted(), first=FIRST) == new


@settings(max_examples=30)
@given(CHOICES)
def test_what_a_person_chose_stays_and_a_second_time_nothing_changes(old: dict[str, Any]) -> None:
    old = {"mirror": {"passes": 77}, **old}
    document = merged(old, found=_wanted(), first=FIRST)
    assert document is not None
    for section in ("mirror", "log", "content", "retention"):
        assert document.get(section) == old.get(section)
    if old.get("application", {}).get("kind") == "none":
        assert document["application"] == old["application"]
    read = tomllib.loads(text_of(document))
    assert merged(read, found=_wanted(), first=FIRST) is None


def test_what_the_profile_says_need_not_be_said_again() -> None:
    short = {"profile": "cartographus", "database": {"path": "/data/x"}, "retention": {"daily": 1}}
    usual = {"application": {"unit": "cartographus.service"}, "database": {"path": "/data/x"}}
    assert merged(short, found=usual, first=FIRST) is None


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_hostile_name_stays_one_value(name: str) -> None:
    document = {"database": {"path": name}, "content": {"time_columns": {name: name}}}
    read = tomllib.loads(text_of(document))
    assert read["database"] == {"path": name}
    assert read["content"] == {"time_columns": {name: name}}


def test_docker_is_spoken_with_only_when_that_was_asked_for() -> None:
    one = Application(kind="docker", name="carto", database="/data/x", known=True)
    assert "application" not in wanted(one, database="/data/x", docker=False)
    keeper = wanted(one, database="/data/x", docker=True)["application"]
    assert keeper == {"kind": "docker", "container": "carto"}


def test_a_setting_that_eiderd_does_not_know_is_not_lost_in_silence() -> None:
    with pytest.raises(ConfigError, match="strange"):
        text_of({"database": {"path": "/x"}, "strange": {"a": 1}})
    with pytest.raises(ConfigError, match="one of its settings"):
        text_of({"database": {"path": "/x", "colour": "red"}})


def test_what_is_no_toml_is_left_alone() -> None:
    with pytest.raises(ConfigError, match="is not TOML"):
        setup_configuration.read("path = ", path="/etc/eiderd/eiderd.toml")


def test_what_a_person_is_shown_is_what_is_in_force_and_no_comment() -> None:
    """The example of a package, or nothing, becomes a file of two hundred lines of comments."""
    new = text_of({"database": {"path": "/srv/x"}, "nats": {"url": "nats://a"}})
    wanted = [" [database]", '+path = "/srv/x"', " [nats]", '+url = "nats://a"']
    assert list(setup_configuration.changes(None, new, path="x")) == wanted
    assert list(setup_configuration.changes("# daily = 7\n", new, path="x")) == wanted
    assert not list(setup_configuration.changes(new, f"# mine\n{new}", path="x"))


def test_what_goes_is_shown_before_what_comes() -> None:
    old = 'profile = "a"\n[database]\npath = "/old"\n[log]\nlevel = "error"\n'
    new = 'profile = "b"\n[database]\npath = "/new"\n'
    assert list(setup_configuration.changes(old, new, path="x")) == [
        '-profile = "a"',
        '+profile = "b"',
        " [database]",
        '-path = "/old"',
        '+path = "/new"',
        " [log]",
        '-level = "error"',
    ]
