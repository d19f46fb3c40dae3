"""Compose files: which service, its variables, and where its folders are on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eiderd.errors import ConfigError
from eiderd.setup.compose import Service, services

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "/opt/stacks/Media Stuff/compose.yaml"
WHOLE = """
services:
  app:
    image: ghcr.io/tomtom215/cartographus:latest
    container_name: carto
    env_file: [app.env, {path: ./more.env}]
    environment:
      - HTTP_PORT=${PORT:-3900}
      - PRICE=$$5
      - EMPTY=${NOTHING}
    ports: ["127.0.0.1:8080:3900", "9000:9000/udp", {target: 1, published: 2}]
    volumes:
      - ./data:/data
      - named:/data/nats:rw
      - {type: bind, source: /mnt/big, target: /data/wal}
  db:
    image: postgres
    environment: {A: true, B: 5, C: null}
volumes:
  named:
"""


def _given(text: str, others: Mapping[str, str] | None = None) -> dict[str, Service]:
    known = {f"/opt/stacks/Media Stuff/{name}": said for name, said in (others or {}).items()}
    return {one.name: one for one in services(FILE, text, read=known.get)}


def test_a_service_is_read_with_its_variables_files_and_ports() -> None:
    others = {".env": "PORT=4000\n", "app.env": "A=1\nB=1\n", "more.env": "export B=2\n"}
    app = _given(WHOLE, others)["app"]
    assert app.container == "carto"
    assert app.environment == {
        "A": "1", "B": "2", "HTTP_PORT": "4000", "PRICE": "$5", "EMPTY": "",
    }  # fmt: skip
    assert app.ports == {3900: 8080, 1: 2}
    assert _given(WHOLE)["app"].environment["HTTP_PORT"] == "3900"
    assert _given(WHOLE)["db"].environment == {"A": "true", "B": "5"}


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("/data/app.duckdb", "/opt/stacks/Media Stuff/data/app.duckdb"),
        ("/data/wal/app.duckdb", "/mnt/big/app.duckdb"),
        ("/data/nats/x", "/var/lib/docker/volumes/mediastuff_named/_data/x"),
        ("/database/app.duckdb", None),
    ],
)
def test_a_path_of_the_container_is_found_on_this_machine(inside: str, outside: str | None) -> None:
    assert _given(WHOLE)["app"].on_this_machine(inside) == outside


def test_the_names_of_project_and_volume_are_taken_where_they_are_given() -> None:
    text = "name: mine\n" + WHOLE
    path = "/data/nats/x"
    assert _given(text)["app"].on_this_machine(path) == "/var/lib/docker/volumes/mine_named/_data/x"
    for more, folder in ((" {name: other}", "other"), (" {external: true}", "named")):
        app = _given(text.rstrip() + more)["app"]
        assert app.on_this_machine(path) == f"/var/lib/docker/volumes/{folder}/_data/x"


@pytest.mark.parametrize(
    "text", ["", "[]", "services: []", "{", "services: {a: !!python/object:os.system {}}", "a: *b"]
)
def test_what_is_no_compose_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"compose\.yaml"):
        _given(text)


def test_strange_services_are_as_if_nothing_were_said() -> None:
    text = """
services:
  a: 5
  b: {image: [x], environment: 7, volumes: {a: b}, ports: 3, env_file: 4, container_name: [x]}
  c: {volumes: [5, [], "x", {source: 1, target: 2}], ports: [[], {}, "a:b"], environment: [1, []]}
"""
    found = _given(text)
    assert set(found) == {"b", "c"}
    for one in found.values():
        assert (one.container, one.image, one.environment) == (None, "", {})
        assert (one.folders, one.ports) == ({}, {})


def test_a_file_that_repeats_itself_into_gigabytes_takes_no_time() -> None:
    lines = ["l0: &l0 [x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 20)]
    text = "\n".join([*lines, "me: &me [*me]", "services: {a: {environment: [*l19], image: *l19}}"])
    assert _given(text)["a"].environment == {}
