"""Side environments are made whole or not at all, by the verbs."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers import Place, environment, given_place, interrupt, start, until

OTHER = "1.4.3"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of another engine, fetched once, as one would carry it to a machine apart."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    subprocess.run([*pip, "--dest", folder, f"duckdb=={OTHER}"], check=True, timeout=300)
    return next(folder.glob("*.whl"))


NO_IMPORT = "raise ImportError('this one is broken')"
NO_DATABASE = """
__version__ = "9.9.9"
class Error(Exception): pass
class OutOfMemoryException(Error): pass
class DuckDBPyConnection: pass
def connect(*_args, **_words):
    raise Error("IO Error: no database today")
"""


def _given_bad_wheel(folder: Path, code: str = NO_IMPORT) -> Path:
    """A wheel that installs as DuckDB and does not work."""
    folder.mkdir(exist_ok=True)
    path = folder / "duckdb-9.9.9-py3-none-any.whl"
    about = "duckdb-9.9.9.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("duckdb.py", code)
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: duckdb\nVersion: 9.9.9\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return path


def _engines(place: Place) -> Path:
    return place.state / "engines"


def _left(place: Place) -> list[str]:
    return (
        sorted(path.name for path in _engines(place).iterdir()) if _engines(place).exists() else []
    )


def test_an_engine_comes_from_a_wheel_proves_backups_and_goes(tmp_path: Path, wheel: Path) -> None:
    place = given_place(tmp_path)
    before = os.umask(0o077)
    try:
        made = place.eider("engine", "add", OTHER, "--wheel", str(wheel), "--json", seconds=200)
    finally:
        os.umask(before)
    assert made.code == 0, made
    assert made.json["made"]
    _holds_that_others_may_run_it(place)
    assert made.json["add_to_config"] == f'others = ["{OTHER}"]'
    assert _left(place) == [OTHER]
    place.configure(engine__others=[OTHER], engine__application=OTHER)
    again = place.eider("engine", "add", OTHER, "--json").json
    assert (again["made"], again["add_to_config"]) == (False, None)
    listed = {one["version"]: one for one in place.eider("engine", "list", "--json").json}
    assert listed[OTHER]["configured"]
    assert listed[OTHER]["application"]
    assert not any(one["problem"] for one in listed.values())
    assert place.eider("verify", "--json").code == 10
    asked = place.eider("engine", "remove", OTHER)
    assert (asked.code, _left(place)) == (2, [OTHER])
    assert place.eider("engine", "remove", OTHER, "--yes").code == 0
    assert _left(place) == []


def _holds_that_others_may_run_it(place: Place) -> None:
    """Hold it whoever made it: here, somebody who shares nothing."""
    home = _engines(place) / OTHER
    shared = stat.S_IROTH | stat.S_IXOTH
    for folder in (_engines(place), home, home / "bin", home / "lib"):
        assert folder.stat().st_mode & shared == shared, folder


@pytest.mark.parametrize(
    "version", ["1.4", "latest", "1.4.3; true", "../1.4.3", "1.4.3-dev1", "٣.٤.٣"]
)
def test_what_is_no_version_is_refused(tmp_path: Path, version: str) -> None:
    place = given_place(tmp_path)
    ran = place.eider("engine", "add", version)
    assert (ran.code, "no version" in ran.stderr) == (2, True), ran
    assert _left(place) == []


@pytest.mark.parametrize("code", [NO_IMPORT, NO_DATABASE])
def test_one_that_does_not_work_leaves_nothing(tmp_path: Path, code: str) -> None:
    place = given_place(tmp_path)
    bad = _given_bad_wheel(tmp_path / "wheels", code)
    ran = place.eider("engine", "add", "9.9.9", "--wheel", str(bad), seconds=200)
    assert (ran.code, "Nothing was kept" in ran.stderr) == (2, True), ran
    assert _left(place) == []


def test_another_version_than_was_asked_for_leaves_nothing(tmp_path: Path, wheel: Path) -> None:
    place = given_place(tmp_path)
    ran = place.eider("engine", "add", "1.4.2", "--wheel", str(wheel), seconds=200)
    assert (ran.code, f"it is DuckDB {OTHER}" in ran.stderr) == (2, True), ran
    assert _left(place) == []


def test_what_pip_cannot_find_leaves_nothing_and_names_the_way_without_a_network(
    tmp_path: Path,
) -> None:
    place = given_place(tmp_path)
    nowhere = environment(
        PIP_INDEX_URL=(tmp_path / "nowhere").as_uri(), PIP_CONFIG_FILE="/dev/null"
    )
    ran = place.eider("engine", "add", "1.4.3", env=nowhere, seconds=200)
    assert (ran.code, "--wheel" in ran.stderr) == (2, True), ran
    assert _left(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_one_that_was_cut_short_leaves_nothing_that_stays(
    tmp_path: Path, wheel: Path, number: signal.Signals
) -> None:
    place = given_place(tmp_path)
    process = start("engine", "add", OTHER, "--wheel", str(wheel), config=place.config)
    until(lambda: any(name.startswith(f".{OTHER}") for name in _left(place)))
    interrupt(process, number)
    if number is signal.SIGINT:
        assert _left(place) == []
    bad = _given_bad_wheel(tmp_path / "wheels")
    place.eider("engine", "add", "9.9.9", "--wheel", str(bad), seconds=200)
    assert _left(place) == []


def test_a_broken_one_that_is_configured_is_shown(tmp_path: Path) -> None:
    place = given_place(tmp_path)
    (_engines(place) / "1.5.5").mkdir(parents=True)
    place.configure(engine__others=["1.5.5"])
    ran = place.eider("engine", "list", "--json")
    assert ran.code == 3, ran
    assert [one["version"] for one in ran.json if one["problem"]] == ["1.5.5"]


def test_the_spatial_extension_is_asked_for_and_must_load(tmp_path: Path, wheel: Path) -> None:
    place = given_place(tmp_path)
    made = place.eider("engine", "add", OTHER, "--wheel", str(wheel), seconds=200)
    assert made.code == 0, made
    words = ("engine", "add", OTHER, "--spatial")
    refused = place.eider(*words, "--wheel", str(wheel), seconds=200)
    assert (refused.code, "spatial" in refused.stderr) == (2, True), refused
    assert _left(place) == [OTHER]  # the one without it, as it was
    made = place.eider(*words, "--json", seconds=200)
    assert (made.code, made.json["made"]) == (0, True), made
    assert not place.eider(*words, "--json").json["made"]
    assert _left(place) == [OTHER]
