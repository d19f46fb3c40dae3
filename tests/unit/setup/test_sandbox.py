"""What a configuration needs of the unit, what the unit lets through, and the drop-in between."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import resources
from eiderd.config import Settings
from eiderd.errors import ConfigError
from eiderd.setup import needs as setup_needs
from eiderd.setup.needs import Eyes
from eiderd.setup.sandbox import (
    PROPERTIES,
    SERVED,
    Allowed,
    Lack,
    Needs,
    allowed,
    drop_in,
    groups_in,
    missing,
    opened,
    spelled,
)
from eiderd.setup.unit_file import words

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = {
    "nats.lan": ("10.0.0.5", "fd00::5"),
    "localhost": ("127.0.0.1",),
    "here": ("127.0.1.1",),
}


def _look_up(host: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return NAMES.get(host, ())


def _needs(
    *, writes: bool = False, links: Mapping[str, str] | None = None, **sections: Any
) -> Needs:
    document = {"database": {"path": "/srv/app/x.duckdb"}, **sections}
    eyes = Eyes(
        look_up=_look_up,
        real=lambda path: (links or {}).get(path, path),
        nameservers=("192.168.1.1", "fe80::1%eth0", "127.0.0.53"),
    )
    return setup_needs.of(Settings.model_validate(document), eyes, writes=writes)


def _shipped(name: str = "eiderd.service", *more: str) -> Allowed:
    texts = [(resources.units() / name).read_text(), *more]
    return allowed(words(texts, PROPERTIES))


def _drop_in(needs: Needs, unit: Allowed | None = None) -> str | None:
    return drop_in(missing(needs, unit or _shipped()), needs)


def _lines(needs: Needs, unit: Allowed | None = None) -> list[str]:
    return (_drop_in(needs, unit) or "").splitlines()


def _said(needs: Needs, unit: Allowed | None = None) -> str:
    return "; ".join(lack.said for lack in missing(needs, unit or _shipped()))


# Nothing ----------------------------------------------------------------------------------------


def test_the_service_needs_nothing_where_its_sandbox_is_enough() -> None:
    here = "http://127.0.0.1:3857/health"
    needs = _needs(
        application={"health_url": here, "version_url": "http://[::1]:1/v", "kind": "none"},
        nats={"url": ["nats://localhost:4222", "nats://here:4222"]},
        compact={"url": "http://0.0.0.0:1/compact"},
        server={"listen": "localhost:9857"},
    )
    assert list(missing(needs, _shipped())) == []
    assert _drop_in(needs) is None


def test_the_maintenance_unit_writes_in_the_folder_of_the_database_and_nothing_more() -> None:
    assert _drop_in(_needs(writes=True), _shipped("eiderd-maintain@.service")) == (
        "[Service]\nReadWritePaths=/srv/app\n"
    )


# Addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sections", "setting"),
    [
        ({"application": {"health_url": "http://172.17.0.2:3857/h"}}, "application.health_url"),
        ({"application": {"version_url": "https://172.17.0.2/v"}}, "application.version_url"),
        ({"compact": {"url": "http://172.17.0.2:3857/c"}}, "compact.url"),
        ({"nats": {"url": "nats://user:secret@172.17.0.2:4222"}}, "nats.url"),
        ({"nats": {"url": ["nats://127.0.0.1", "tls://172.17.0.2:4222"]}}, "nats.url"),
        ({"nats": {"url": "nats://127.0.0.1, nats://172.17.0.2"}}, "nats.url"),
    ],
)
def test_an_address_that_the_configuration_names_is_let_through(
    sections: dict[str, Any], setting: str
) -> None:
    needs = _needs(**sections)
    assert _lines(needs) == ["[Service]", "IPAddressAllow=172.17.0.2"]
    said = _said(needs)
    assert "172.17.0.2" in said
    assert setting in said
    assert "secret" not in said
    opened_up = _shipped("eiderd.service", "[Service]\nIPAddressAllow=172.17.0.0/16\n")
    assert _drop_in(needs, opened_up) is None


def test_of_a_name_the_addresses_of_now_are_and_who_is_asked_for_them() -> None:
    needs = _needs(nats={"url": "nats://nats.lan:4222"})
    assert _lines(needs) == ["[Service]", "IPAddressAllow=10.0.0.5 fd00::5 192.168.1.1 fe80::1"]
    other = "10.0.0.4 192.168.1.1 fd00::5 fe80::1"
    moved = _shipped("eiderd.service", f"[Service]\nIPAddressAllow={other}\n")
    assert _said(needs, moved) == (
        "the service may not reach 10.0.0.5 (nats.lan, nats.url): "
        "IPAddressAllow= of its unit does not have it"
    )


def test_a_name_that_nobody_knows_is_said_and_not_let_through() -> None:
    needs = _needs(nats={"url": "nats://gone.lan:4222"})
    unknown = [lack for lack in missing(needs, _shipped()) if "gone.lan" in lack.said]
    assert [(lack.lines, lack.command) for lack in unknown] == [((), "getent ahosts gone.lan")]
    anybody = _shipped("eiderd.service", "[Service]\nIPAddressAllow=any\n")
    assert list(missing(needs, anybody)) == []


@pytest.mark.parametrize("listen", ["0.0.0.0:9857", "[::]:9857", "192.168.1.9:9857", "mine:9857"])
def test_who_listens_for_others_lets_private_networks_in_unless_somebody_was_let_in(
    listen: str,
) -> None:
    needs = _needs(server={"listen": listen}, nats={"url": "nats://10.9.9.9"})
    assert _lines(needs)[1] == f"IPAddressAllow=10.9.9.9 {' '.join(SERVED)}"
    only_nats = _shipped("eiderd.service", "[Service]\nIPAddressAllow=10.9.9.9\n")
    assert "server.listen" in _said(needs, only_nats)
    somebody = _shipped("eiderd.service", "[Service]\nIPAddressAllow=10.9.9.9 192.0.2.7\n")
    assert _said(needs, somebody) == ""


def test_the_maintenance_unit_needs_only_what_is_no_private_network() -> None:
    unit = _shipped("eiderd-maintain@.service")
    needs = _needs(
        writes=True,
        application={"health_url": "http://10.9.8.7/h"},
        nats={"url": "nats://192.0.2.7"},
        server={"listen": "0.0.0.0:9857"},
    )
    assert _lines(needs, unit) == [
        "[Service]", "IPAddressAllow=192.0.2.7", "ReadWritePaths=/srv/app",
    ]  # fmt: skip


# Files ------------------------------------------------------------------------------------------


def test_backups_elsewhere_are_writable_and_their_disk_is_awaited() -> None:
    needs = _needs(
        backup={"directory": "/mnt/big/eiderd"}, application={"kind": "docker", "container": "x"}
    )
    lacks = list(missing(needs, _shipped()))
    assert opened(lacks, needs) == ["/mnt/big/eiderd"]
    assert (drop_in(lacks, needs) or "").splitlines() == [
        "[Unit]",
        "RequiresMountsFor=/mnt/big/eiderd",
        "",
        "[Service]",
        "SupplementaryGroups=docker",
        "ReadWritePaths=/mnt/big/eiderd",
    ]
    assert "/srv/app" not in (drop_in(lacks, needs) or "")  # the service never writes there


def test_a_link_opens_where_it_leads() -> None:
    links = {"/var/lib/eiderd/backups": "/mnt/big", "/var/lib/eiderd": "/mnt/state"}
    assert "ReadWritePaths=/mnt/big" in _lines(_needs(links=links))
    whole = {"/var/lib/eiderd": "/mnt/state", "/var/lib/eiderd/backups": "/mnt/state/backups"}
    assert _lines(_needs(links=whole)) == []
    assert _lines(_needs(links=whole, backup={"directory": "/mnt/state/b"})) == []


def test_data_in_a_home_is_all_that_is_seen_of_it() -> None:
    home = {"path": "/home/me/app/x.duckdb"}
    service = _drop_in(_needs(database=home))
    assert service == "[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths=/home/me/app\n"
    maintain = _lines(_needs(database=home, writes=True), _shipped("eiderd-maintain@.service"))
    assert maintain[1:] == [
        "ReadWritePaths=/home/me/app", "ProtectHome=tmpfs", "BindPaths=/home/me/app",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="unit"):
        _drop_in(_needs(database={"path": "/home/me/a:b/x.duckdb"}))


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"backup": {"directory": "/home/b", "include": ["/home/i/f"]}}, "BindPaths=/home/b"),
        ({"backup": {"include": ["/home/i/f"]}}, "BindReadOnlyPaths=/home/i/f"),
        ({"service": {"state": "/root/state"}}, "BindPaths=/root/state"),
        ({"engine": {"others": ["/home/e/1.4.3", "1.5.0"]}}, "BindReadOnlyPaths=/home/e/1.4.3"),
        ({"engine": {"others": ["1.4.3"], "directory": "/home/e"}},
         "BindReadOnlyPaths=/home/e/1.4.3"),
        ({"nats": {"credentials": "/root/n/creds"}}, "BindReadOnlyPaths=/root/n"),
        ({"database": {"path": "/var/tmp/d/x.duckdb"}}, "BindReadOnlyPaths=/var/tmp/d"),  # noqa: S108
        ({"compact": {"url": "http://127.0.0.1/", "url_headers": "/root/h/x"}},
         "BindReadOnlyPaths=/root/h"),
        ({"server": {"tls_certificate": "/home/t/a.pem", "tls_key": "/home/t/b.pem"}},
         "BindReadOnlyPaths=/home/t"),
        ({"application": {"kind": "docker", "container": "compose:/home/c/compose.yaml:app"}},
         "BindReadOnlyPaths=/home/c"),
        ({"application": {"kind": "commands", "commands": {"state": ["/root/bin/state", "x"]}}},
         "BindReadOnlyPaths=/root/bin"),
    ],
)  # fmt: skip
def test_what_the_sandbox_hides_is_shown(sections: dict[str, Any], line: str) -> None:
    needs = _needs(**sections)
    lines = _lines(needs)
    assert line in lines
    assert ("ProtectHome=tmpfs" in lines) == ("tmp" not in line)
    assert _drop_in(needs, _shipped("eiderd.service", "\n".join(lines))) is None


def test_a_credential_and_a_command_in_the_path_are_no_files() -> None:
    needs = _needs(
        nats={"url": "nats://127.0.0.1", "credentials": "eiderd.nats-credentials"},
        server={"basic_auth": "/run/credentials/eiderd.service/eiderd.basic-auth"},
        application={"version_command": ["app", "--version"]},
    )
    assert {place.path for place in needs.places} == {
        "/var/lib/eiderd", "/var/lib/eiderd/backups", "/srv/app",
    }  # fmt: skip


def test_a_folder_cannot_say_more_to_systemd_than_its_name() -> None:
    assert spelled('/srv/a "b" %h') == '"/srv/a \\"b\\" %%h"'
    with pytest.raises(ConfigError, match="unit"):
        spelled("/srv/a\nReadWritePaths=/")
    odd = _needs(backup={"directory": '/srv/a "b" %h'})
    assert _drop_in(odd, _shipped("eiderd.service", _drop_in(odd) or "")) is None


def test_no_setting_with_a_place_or_an_address_is_forgotten() -> None:
    """Whoever adds one has it in `needs` too, or the sandbox forbids what root's shell does not."""
    found = {
        f"{section}.{key}"
        for section, inner in Settings.model_fields.items()
        for key, field in getattr(inner.annotation, "model_fields", {}).items()
        if "Path" in str(field.annotation) or key.endswith(("url", "listen", "_file"))
    }
    assert found == {
        "service.state", "database.path", "backup.directory", "backup.include",
        "application.health_url", "application.version_url", "compact.url", "nats.url",
        "nats.token_file", "nats.password_file", "nats.tls_ca", "nats.tls_certificate",
        "nats.tls_key", "server.listen", "server.tls_certificate", "server.tls_key",
        "server.basic_auth", "engine.directory",
    }  # fmt: skip


# Memory, groups ---------------------------------------------------------------------------------


def test_an_engine_with_more_memory_gets_it() -> None:
    assert _lines(_needs(engine={"memory_limit": "2GB"})) == []
    needs = _needs(engine={"memory_limit": "8GB"})
    assert _lines(needs) == ["[Service]", "MemoryMax=10G"]
    assert "engine.memory_limit" in _said(needs)
    assert _drop_in(needs, _shipped("eiderd.service", "[Service]\nMemoryMax=infinity\n")) is None
    percent = _shipped("eiderd.service", "[Service]\nMemoryMax=50%\n")
    assert _drop_in(needs, percent) is None  # of what, only systemd knows


def test_a_group_that_the_user_is_in_anyway_is_not_missing() -> None:
    needs = _needs(application={"kind": "docker", "container": "x"})
    assert _lines(needs) == ["[Service]", "SupplementaryGroups=docker"]
    assert groups_in(_drop_in(needs) or "") == ["docker"]
    assert list(missing(needs, allowed({}, groups=["docker"]))) == []


def test_docker_is_opened_to_the_maintenance_unit_and_nothing_else_that_is_shut() -> None:
    needs = _needs(writes=True, application={"kind": "docker", "container": "x"})
    unit = _shipped("eiderd-maintain@.service")
    made = _drop_in(needs, unit) or ""
    assert "SupplementaryGroups=docker" in made
    opened_up = _shipped("eiderd-maintain@.service", made)
    assert set(unit.shut) - set(opened_up.shut) == {"-/run/docker.sock", "-/run/podman"}
    assert set(opened_up.shut) < set(unit.shut)
    assert _drop_in(needs, opened_up) is None
    assert "InaccessiblePaths" not in (_drop_in(_needs(writes=True), unit) or "")


# Laws -------------------------------------------------------------------------------------------

_HOSTS = st.sampled_from(
    ["127.0.0.1", "10.1.2.3", "192.0.2.1", "[fd00::1]", "nats.lan", "gone.lan", "localhost"]
)
_FOLDERS = st.sampled_from(
    ["/srv/app", "/home/me/data", "/root/x", "/run/user/y", "/mnt/big", "/srv/my data"]
)
_DOCUMENTS = st.fixed_dictionaries(
    {"database": st.fixed_dictionaries({"path": _FOLDERS.map(lambda one: f"{one}/x.duckdb")})},
    optional={
        "nats": st.fixed_dictionaries({"url": _HOSTS.map(lambda one: f"nats://{one}:4222")}),
        "application": st.fixed_dictionaries(
            {"health_url": _HOSTS.map(lambda one: f"http://{one}/health")}
        ),
        "server": st.fixed_dictionaries({"listen": _HOSTS.map(lambda one: f"{one}:9857")}),
        "backup": st.fixed_dictionaries({"directory": _FOLDERS.map(lambda one: f"{one}/b")}),
        "engine": st.fixed_dictionaries({"memory_limit": st.integers(10**8, 10**11)}),
    },
)


@given(document=_DOCUMENTS, writes=st.booleans())
def test_with_its_drop_in_nothing_is_missing_that_it_could_give(
    document: dict[str, Any], *, writes: bool
) -> None:
    name = "eiderd-maintain@.service" if writes else "eiderd.service"
    try:
        needs = _needs(writes=writes, **document)
        text = _drop_in(needs, _shipped(name))
    except ConfigError:  # a place that cannot be bound
        return
    left = [lack for lack in missing(needs, _shipped(name, text or "")) if lack.lines]
    assert left == []
    assert "any" not in (text or "").replace("=", " ").split()


def test_every_lack_says_what_to_type() -> None:
    assert Lack(said="x").command == "eider setup"


# What is in force -------------------------------------------------------------------------------


def test_what_systemctl_says_is_understood() -> None:
    unit = allowed(
        {
            "IPAddressAllow": ("127.0.0.0/8", "::1/128", "10.9.8.7/32"),
            "IPAddressDeny": ("::/0", "0.0.0.0/0"),
            "ReadWritePaths": ("/mnt/big", "-/srv/my data"),
            "BindPaths": ("/root/x:/root/x:rbind",),
            "BindReadOnlyPaths": ("/data:/home/me/app:rbind",),
            "ProtectHome": ("tmpfs",),
            "ProtectSystem": ("strict",),
            "PrivateTmp": ("yes",),
            "MemoryMax": ("3221225472",),
        }
    )
    needs = _needs(
        application={"health_url": "http://10.9.8.7/"},
        backup={"directory": "/srv/my data/b"},
        service={"state": "/root/x"},
        database={"path": "/home/me/app/x.duckdb"},
    )
    assert _said(needs, unit) == ""
    assert "10.9.8.8" in _said(_needs(application={"health_url": "http://10.9.8.8/"}), unit)


def test_a_unit_without_a_sandbox_lets_everything_through() -> None:
    needs = _needs(
        nats={"url": "nats://gone.lan"},
        server={"listen": "0.0.0.0:1"},
        database={"path": "/home/x/x.duckdb"},
        backup={"directory": "/mnt/b"},
    )
    assert list(missing(needs, allowed({}))) == []
