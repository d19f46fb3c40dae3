"""What the shell offers when somebody presses Tab."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING

import pytest

from eiderd import catalog, manifest
from eiderd.evidence import StreamTaken
from tests import helpers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Place

TAKEN = StreamTaken(
    stream="KEPT", messages=1, first_seq=1, last_seq=1, bytes=1, consumers=0, method="snapshot",
    captured_at=datetime.datetime(2026, 3, 29, 12, tzinfo=datetime.UTC),
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = helpers.given_place(tmp_path_factory.mktemp("completion"))
    place.configure(nats__streams={"PLAYBACK": {"subjects": ["playback.>"]}})
    made = catalog.find(place.backups, place.backup()["id"])
    kept = dataclasses.replace(made, nats=(TAKEN,))
    place.manifest(made.id).write_bytes(manifest.sealed(kept))
    python = place.state / "engines" / "1.4.3" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return place


def _offered(config: Path, *words: str) -> list[str]:
    """Return what bash is given for the last of these words."""
    typed = ("eider", "--config", str(config), *words)
    told = {
        "_EIDER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(typed),
        "COMP_CWORD": str(len(typed) - 1),
    }
    ran = helpers.run_eider(env=told).good_manners()
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.mark.parametrize("verb", ["show", "verify", "restore", "pin", "accept"])
def test_the_backups_of_the_configuration_that_was_named_are_offered(
    place: Place, verb: str
) -> None:
    (id_,) = place.listed()
    assert _offered(place.config, verb, "") == ["latest", id_]
    assert _offered(place.config, verb, id_[:6]) == [id_]


def test_engines_and_streams_are_offered_without_a_network(place: Place) -> None:
    assert _offered(place.config, "engine", "remove", "") == ["1.4.3"]
    assert _offered(place.config, "nats", "restore", "latest", "") == ["KEPT"]
    assert _offered(place.config, "nats", "migrate", "") == ["PLAYBACK"]


def test_where_nothing_is_known_nothing_is_offered_or_said(tmp_path: Path) -> None:
    for words in (("show",), ("engine", "remove"), ("nats", "restore", "latest"),
                  ("nats", "migrate")):  # fmt: skip
        assert _offered(tmp_path / "none.toml", *words, "") == []
