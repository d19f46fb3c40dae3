"""Who may not look is told whose it is, and never that there is nothing."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eiderd import entry, examination, lookout
from eiderd.cli import session
from eiderd.errors import NotPermitted
from eiderd.outside import rights
from tests.helpers import Place, is_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

assert examination
assert lookout  # what a verb imports late, a stranger may not be able to read
STRANGER, OWNER = 54321, 12345
root_only = pytest.mark.skipif(not is_root(), reason="only root can become somebody else")


@pytest.fixture
def place() -> Iterator[Place]:
    """A place that everybody may pass, and in it the folders of eiderd, which are OWNER's."""
    root = Path(tempfile.mkdtemp(prefix="eider-rights-"))
    root.chmod(0o755)
    made = Place(root).configure()
    made.config.chmod(0o644)
    for folder in (made.state, made.backups):
        folder.mkdir(mode=0o700)
        if is_root():
            os.chown(folder, OWNER, OWNER)
    yield made
    shutil.rmtree(root)


def _as_user(number: int, do: Callable[[], object]) -> None:
    """Do it in a child that is this user. What fails there fails here."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(number, number, number)
            os.setresuid(number, number, number)
            do()
        except BaseException:  # noqa: BLE001  (told, and then the exit code)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@root_only
@pytest.mark.parametrize("verb", ["status", "list", "show", "verify", "backup", "prune", "schema"])
def test_a_stranger_is_told_whose_it_is_and_what_to_type(
    place: Place, verb: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def do() -> None:
        assert entry.main(["--config", str(place.config), verb, "--json"]) == 2

    _as_user(STRANGER, do)
    error = json.loads(capfd.readouterr().out)["error"]
    closed = place.backups if verb in {"list", "show"} else place.state
    assert error["message"] == f"only {OWNER} and root may read {closed}"
    assert error["hint"] == f"Run: sudo eider --config {place.config} {verb} --json"
    assert error["kind"] == "NotPermitted"


@root_only
def test_who_may_read_the_backups_may_list_them(place: Place) -> None:
    place.backups.chmod(0o755)
    command = ["--config", str(place.config), "list"]
    _as_user(STRANGER, lambda: _is(entry.main(command), 0))


def _is(said: int, wanted: int) -> None:
    assert said == wanted


@root_only
def test_the_owner_may_look(place: Place) -> None:
    def do() -> None:
        rights.ensure_visible((place.state, place.backups), state=place.state, verb="eider list")

    _as_user(OWNER, do)


@root_only
def test_the_owner_of_the_state_is_told_how_to_get_backups_that_are_not_his(place: Place) -> None:
    os.chown(place.backups, 0, 0)

    def do() -> None:
        with pytest.raises(NotPermitted, match="only root may read") as caught:
            rights.ensure_visible((place.backups,), state=place.state, verb="eider list")
        assert caught.value.hint == f"Let {OWNER}: chown {OWNER} {place.backups}"

    _as_user(OWNER, do)


@root_only
def test_root_checks_the_configuration_with_the_rights_of_the_service(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    os.chown(place.backups, 0, 0)
    place.backups.chmod(0o755)

    def do() -> None:
        assert entry.main(["--config", str(place.config), "config", "check"]) == 2
        said = capsys.readouterr().err
        assert f"backup.directory: {OWNER} cannot write in {place.backups}" in said
        assert "service.state" not in said

    _as_user(0, do)


@root_only
def test_a_folder_on_the_way_is_named(place: Place) -> None:
    place.root.chmod(0o700)

    def do() -> None:
        with pytest.raises(NotPermitted, match="only root may read") as caught:
            rights.ensure_visible((place.state,), state=place.state, verb="eider list")
        assert caught.value.message.endswith(str(place.root))
        assert caught.value.hint == "Run: sudo eider list"

    _as_user(OWNER, do)


def test_what_is_not_there_is_not_forbidden(tmp_path: Path) -> None:
    rights.ensure_visible((tmp_path / "none",), state=tmp_path / "none", verb="eider list")
    assert not rights.is_stranger(tmp_path / "none")


@root_only
@pytest.mark.parametrize(("user", "hint"), [("eiderd", "chgrp"), ("joe", "Run: sudo eider")])
def test_a_configuration_that_may_not_be_read(
    place: Place, user: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.config.chmod(0o600)
    monkeypatch.setattr(rights, "me", lambda: user)
    session.config = place.config

    def do() -> None:
        with pytest.raises(NotPermitted, match=f"only root may read {place.config}") as caught:
            session.load()
        assert hint in caught.value.hint

    _as_user(STRANGER, do)
