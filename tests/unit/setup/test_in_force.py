"""A configuration beside the units that read it: what root sees in a shell, and they do not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eiderd import resources
from eiderd.config import Settings
from eiderd.setup import in_force
from eiderd.setup.sandbox import PROPERTIES
from eiderd.setup.unit_file import words

if TYPE_CHECKING:
    import pytest

FILE = Path("/etc/eiderd/eiderd.toml")
NATS = {"url": "nats://10.9.8.7:4222"}


def _given_units(
    monkeypatch: pytest.MonkeyPatch,
    *more: str,
    closed: tuple[str, ...] = (),
    config: str = str(FILE),
) -> None:
    """As shipped, with these drop-ins for both; the user cannot read what is `closed`."""
    files = {
        in_force.SERVICE: "eiderd.service",
        in_force.MAINTAIN: "eiderd-maintain@.service",
    }

    def said(unit: str, _names: object) -> dict[str, tuple[str, ...]]:
        texts = [(resources.units() / files[unit]).read_text(), *more]
        start = ("{", "argv[]=/usr/bin/eiderd", "--config", config, ";", "}")
        return {**words(texts, PROPERTIES), "User": ("eiderd",), "ExecStart": start}

    def unreadable(paths: list[str], *, user: str, groups: tuple[str, ...]) -> list[str]:
        assert user == "eiderd"
        del groups
        return [path for path in paths if path in closed]

    monkeypatch.setattr("eiderd.outside.sandbox.in_force", said)
    monkeypatch.setattr("eiderd.outside.sandbox.unreadable", unreadable)
    monkeypatch.setattr("eiderd.outside.sandbox.groups_of", lambda _user: ("eiderd",))
    monkeypatch.setattr("eiderd.outside.resolver.nameservers", lambda: ())


def _settings(**sections: Any) -> Settings:
    return Settings.model_validate({"database": {"path": "/srv/app/x.duckdb"}, **sections})


def _said(settings: Settings, file: Path | None = FILE) -> dict[str, str]:
    found = in_force.lacks(settings, file)
    assert found is not None
    return {lack.said: lack.command for lack in found}


def test_where_no_unit_reads_this_configuration_there_is_nothing_to_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _given_units(monkeypatch)
    assert in_force.lacks(_settings(nats=NATS), None) is None
    assert in_force.lacks(_settings(nats=NATS), Path("/home/me/eiderd.toml")) is None
    monkeypatch.setattr("eiderd.outside.sandbox.in_force", lambda *_words: None)
    assert in_force.lacks(_settings(nats=NATS), FILE) is None


def test_what_the_service_may_not_is_said_until_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    _given_units(monkeypatch)
    assert _said(_settings()) == {}
    assert list(_said(_settings(nats=NATS)).values()) == ["eider setup"]
    _given_units(monkeypatch, "[Service]\nIPAddressAllow=10.9.8.7\n")
    assert _said(_settings(nats=NATS)) == {}


def test_the_unit_that_writes_counts_only_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    _given_units(monkeypatch)
    for sections in ({"heal": {"restore": True}}, {"compact": {"window": "02:00-04:00"}}):
        (said,) = _said(_settings(**sections))
        assert said.startswith("eiderd-maintain@restore.service: ")
        assert "/srv/app" in said
    by_url = {"window": "02:00-04:00", "url": "http://127.0.0.1/compact"}
    assert _said(_settings(compact=by_url)) == {}


def test_a_configuration_that_the_service_cannot_read_is_found_by_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "eiderd.toml"
    file.touch()
    _given_units(monkeypatch, closed=(str(file),), config=str(file))
    assert _said(_settings(), file) == {
        f"eiderd cannot read {file} (the configuration)": f"chgrp eiderd {file} && chmod g+r {file}"
    }


def test_a_file_that_the_user_cannot_read_has_the_command_that_opens_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "my files"
    folder.mkdir()
    for name in ("creds", "key.pem", "chain.pem", "x.duckdb"):
        (folder / name).write_text("x")
    settings = _settings(
        database={"path": str(folder / "x.duckdb")},
        nats={"url": "nats://127.0.0.1", "credentials": str(folder / "creds")},
        server={
            "tls_certificate": str(folder / "chain.pem"),
            "tls_key": str(folder / "key.pem"),
            "basic_auth": str(folder / "missing"),  # the service itself says that
        },
    )
    open_home = "[Service]\nProtectHome=no\nPrivateTmp=no\n"
    closed = [str(folder / name) for name in ("creds", "key.pem", "missing", "x.duckdb")]
    _given_units(monkeypatch, open_home, closed=tuple(closed))
    assert list(_said(settings).values()) == [
        "eider setup",
        f"setfacl -m u:eiderd:rX '{folder}/key.pem'",
        f"chown eiderd '{folder}/creds'",
    ]
    _given_units(monkeypatch, open_home, closed=(str(folder), *closed))
    assert f"setfacl -m u:eiderd:x '{folder}'" in _said(settings).values()
    assert any("may not pass through" in said for said in _said(settings))
