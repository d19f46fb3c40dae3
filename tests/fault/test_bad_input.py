"""What a person, a disk or another program can get wrong: one clear answer, never a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import helpers
from tests.helpers import Place, Ran

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 20
HEADER_BYTES = 12_288
ROOT_ONLY = "needs root, to mount a small disk or to be somebody else"
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--")

root_only = pytest.mark.skipif(not helpers.is_root(), reason=ROOT_ONLY)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return helpers.given_place(tmp_path_factory.mktemp("input"))


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    return made.clone(tmp_path / "place")


@pytest.fixture(scope="module")
def backed_up(made: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = made.clone(tmp_path_factory.mktemp("backed-up") / "place")
    place.backup()
    return place


@pytest.fixture
def with_backup(backed_up: Place, tmp_path: Path) -> Place:
    return backed_up.clone(tmp_path / "place")


def answers(place: Place, *words: str, code: int, env: dict[str, str] | None = None) -> Ran:
    """Run a verb twice, for a person and as JSON, and hold what holds of every refusal."""
    ran = place.eider(*words, env=env, seconds=SECONDS).good_manners()
    assert ran.code == code, ran
    assert ran.stderr.startswith("eider: "), ran
    as_json = place.eider(*words, "--json", env=env, seconds=SECONDS).good_manners()
    assert as_json.code == code, as_json
    error = as_json.json["error"]
    assert error["exit_code"] == code
    assert error["hint"]
    assert " ".join(error["message"].split()) in " ".join(ran.stderr.split())
    return ran


def nothing_left(place: Place) -> None:
    left = helpers.files_below(place.backups) if place.backups.exists() else set()
    assert left == set(), left
    if (place.state / "scratch").exists():
        assert list((place.state / "scratch").iterdir()) == []


# The database ------------------------------------------------------------------------------------


def _gone(path: Path) -> None:
    path.unlink()


def _text(path: Path) -> None:
    path.write_text("hello\n" * 10_000)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _inside_headers(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: HEADER_BYTES - 1])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _blank_headers(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:HEADER_BYTES] = bytes(8192)
    path.write_bytes(data)


def _sqlite(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(100_000))


WRONG = [_gone, _text, _empty, _inside_headers, _folder, _fifo, _endless, _loop, _dangling]
WRONG += [_blank_headers, _sqlite]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_database_that_is_none_is_named(place: Place, wrong: Callable[[Path], None]) -> None:
    place.wal.unlink()
    wrong(place.database)
    ran = answers(place, "backup", code=14)
    assert str(place.database) in ran.stderr
    nothing_left(place)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_check_of_the_configuration_names_it_too(
    place: Place, wrong: Callable[[Path], None]
) -> None:
    wrong(place.database)
    ran = answers(place, "config", "check", code=2)
    assert "database.path" in ran.stderr


@pytest.mark.parametrize("wrong", WRONG[:6])
def test_earlier_backups_stay_when_the_database_goes_wrong(
    with_backup: Place, wrong: Callable[[Path], None]
) -> None:
    (id_,) = with_backup.listed()
    wrong(with_backup.database)
    assert with_backup.eider("backup", seconds=SECONDS).good_manners().code in {12, 14}
    assert with_backup.listed() == {id_: "verified"}
    assert with_backup.latest == f"backup-{id_}.tar.gz"
    assert with_backup.eider("verify", id_).code == 0


@pytest.mark.parametrize("cut", [HEADER_BYTES, HEADER_BYTES + 1, 300_000])
def test_a_database_cut_within_its_blocks_is_never_called_verified(place: Place, cut: int) -> None:
    place.wal.unlink()
    place.database.write_bytes(place.database.read_bytes()[:cut])
    ran = place.eider("backup", "--json", seconds=SECONDS).good_manners()
    assert ran.code in {12, 14}, ran
    assert "verified" not in place.listed().values()
    assert place.latest is None


@pytest.mark.parametrize("what", ["folder", "fifo", "loop", "noise", "empty"])
def test_a_wal_that_is_none_does_not_hang(place: Place, what: str) -> None:
    place.wal.unlink()
    match what:
        case "folder":
            place.wal.mkdir()
        case "fifo":
            os.mkfifo(place.wal)
        case "loop":
            place.wal.symlink_to(place.wal.name)
        case "noise":
            place.wal.write_bytes(os.urandom(5000))
        case "empty":
            place.wal.write_bytes(b"")
    ran = place.eider("backup", "--json", seconds=SECONDS).good_manners()
    assert ran.code in ({0} if what == "empty" else {0, 12, 14}), ran
    if ran.code == 14:
        assert str(place.wal) in ran.json["error"]["message"]


def test_an_encrypted_database_is_kept_and_a_key_is_asked_for(place: Place) -> None:
    script = (
        "import duckdb, sys; c = duckdb.connect()\n"
        "c.execute(\"SET force_mbedtls_unsafe = 'true'\")\n"
        "c.execute(f\"ATTACH '{sys.argv[1]}' AS e (ENCRYPTION_KEY 'k')\")\n"
        "c.execute('CREATE TABLE e.t AS SELECT i FROM range(1000) r(i)'); c.execute('DETACH e')"
    )
    place.database.unlink()
    place.wal.unlink()
    subprocess.run([sys.executable, "-c", script, str(place.database)], check=True, timeout=30)
    ran = place.eider("backup").good_manners()
    assert ran.code == 12
    assert "key" in ran.stderr
    assert set(place.listed().values()) == {"unverified"}
    id_ = next(iter(place.listed()))
    as_json = place.eider("verify", id_, "--json").good_manners()
    assert as_json.code == 12
    assert as_json.json["proof"]["failure"]["kind"] == "key_needed"
    assert helpers.read_archive(place.archive(id_))[0].data == place.database.read_bytes()
    data = bytearray(place.archive(id_).read_bytes())
    data[len(data) // 2] ^= 1
    place.archive(id_).write_bytes(data)
    assert place.eider("verify", id_).code == 12
    assert place.listed() == {id_: "corrupt"}


@root_only
def test_without_permission_it_says_whose(place: Place) -> None:
    again = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', '']))"
    if subprocess.call([*NOBODY, sys.executable, "-c", again], stderr=subprocess.DEVNULL):
        pytest.skip("this Python stands in a folder that nobody else may enter")
    place.root.chmod(0o755)
    for parent in place.root.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    for folder in (place.backups, place.state):
        folder.mkdir()
        shutil.chown(folder, 65534, 65534)
    place.config.chmod(0o644)
    place.database.chmod(0o600)
    ran = place.eider("backup", before=NOBODY).good_manners()
    assert ran.code == 14, ran
    assert str(place.database) in ran.stderr
    assert "hint" in ran.stderr
    shutil.chown(place.backups, 0, 0)
    place.backups.chmod(0o700)
    place.database.chmod(0o644)
    place.wal.chmod(0o644)
    for words in (("backup",), ("list",), ("verify",), ("config", "check")):
        ran = place.eider(*words, "--json", before=NOBODY).good_manners()
        assert ran.code == 2, (words, ran)
        assert str(place.backups) in ran.json["error"]["message"]


# Links: which WAL is the database's? --------------------------------------------------------------


@pytest.mark.parametrize("wal", ["beside the file", "beside the link"])
def test_a_database_behind_a_link_never_loses_its_wal(place: Place, wal: str) -> None:
    """DuckDB 1.4 writes the WAL beside the link, 1.5 and later beside the file."""
    link = place.root / "link" / place.database.name
    link.parent.mkdir()
    link.symlink_to(place.database)
    if wal == "beside the link":
        place.wal.rename(link.with_name(place.wal.name))
    place.configure(database__path=str(link))
    ran = place.eider("backup", "--json").good_manners()
    rows = ran.json.get("proof", {}).get("rows")
    assert ran.code in {2, 14} or rows == helpers.ROWS + helpers.WAL_ROWS, (
        "rows that were committed are missing from a verified backup"
    )


# Where things must not be -------------------------------------------------------------------------


def _backups_in_data(place: Place) -> dict[str, object]:
    return {"backup__directory": str(place.database.parent / "backups")}


def _backups_are_data(place: Place) -> dict[str, object]:
    return {"backup__directory": str(place.database.parent)}


def _backups_through_a_link(place: Place) -> dict[str, object]:
    (place.root / "elsewhere").symlink_to(place.database.parent)
    return {"backup__directory": str(place.root / "elsewhere")}


def _backups_deep_through_a_link(place: Place) -> dict[str, object]:
    (place.root / "elsewhere").symlink_to(place.database.parent)
    return {"backup__directory": str(place.root / "elsewhere" / "not" / "yet")}


def _backups_with_dots(place: Place) -> dict[str, object]:
    return {"backup__directory": str(place.root / "x" / ".." / "data" / "b")}


def _state_in_data(place: Place) -> dict[str, object]:
    return {"service__state": str(place.database.parent / "state")}


def _database_behind_a_link(place: Place) -> dict[str, object]:
    (place.root / "link").mkdir()
    link = place.root / "link" / "app.duckdb"
    link.symlink_to(place.database)
    return {
        "database__path": str(link),
        "backup__directory": str(place.database.parent / "backups"),
    }


def _backups_in_the_mirror(place: Place) -> dict[str, object]:
    return {"backup__directory": str(place.state / "mirror"), "mirror__keep": False}


def _backups_in_the_scratch(place: Place) -> dict[str, object]:
    return {"backup__directory": str(place.state / "scratch" / "x")}


def _backups_are_the_state(place: Place) -> dict[str, object]:
    return {"backup__directory": str(place.state)}


def _database_in_the_mirror(place: Place) -> dict[str, object]:
    return _database_at(place, place.state / "mirror")


def _database_in_the_scratch(place: Place) -> dict[str, object]:
    return _database_at(place, place.state / "scratch")


def _database_in_staging(place: Place) -> dict[str, object]:
    return _database_at(place, place.backups / ".staging" / "x")


def _database_at(place: Place, folder: Path) -> dict[str, object]:
    folder.mkdir(parents=True)
    for path in (place.database, place.wal):
        path.rename(folder / path.name)
    return {"database__path": str(folder / place.database.name), "mirror__keep": False}


def _state_in_staging(place: Place) -> dict[str, object]:
    return {"service__state": str(place.backups / ".staging")}


@pytest.mark.parametrize(
    "where",
    [
        _backups_in_data,
        _backups_are_data,
        _backups_through_a_link,
        _backups_deep_through_a_link,
        _backups_with_dots,
        _state_in_data,
        _database_behind_a_link,
        _backups_in_the_mirror,
        _backups_in_the_scratch,
        _backups_are_the_state,
        _database_in_the_mirror,
        _database_in_the_scratch,
        _database_in_staging,
        _state_in_staging,
    ],
)
def test_folders_that_would_destroy_each_other_are_refused(
    place: Place, where: Callable[[Place], dict[str, object]]
) -> None:
    place.configure(**where(place))
    databases = sorted(p for p in place.root.rglob("app.duckdb*") if p.is_file())
    before = {path: path.read_bytes() for path in databases}
    ran = place.eider("backup", "--json").good_manners()
    assert {path: path.read_bytes() for path in databases if path.exists()} == before, (
        "the live database was touched"
    )
    assert ran.code == 2, ran
    answers(place, "config", "check", code=2)


def test_a_mirror_that_is_a_link_to_the_data_never_touches_the_database(place: Place) -> None:
    place.state.mkdir()
    (place.state / "mirror").symlink_to(place.database.parent)
    before = helpers.files_below(place.database.parent)
    place.configure(mirror__keep=False)
    ran = place.eider("backup").good_manners()
    assert ran.code in {2, 14}, ran
    assert helpers.files_below(place.database.parent) == before


# Full and vanished disks --------------------------------------------------------------------------


@root_only
def test_a_full_backup_disk_leaves_nothing_and_earlier_backups_intact(place: Place) -> None:
    with helpers.small_disk(place.backups, size="2m"):
        id_ = place.backup()["id"]
        before = helpers.files_below(place.backups)
        filler = place.backups / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        ran = place.eider("backup", "--json").good_manners()
        assert ran.code == 13, ran
        assert "no space" in ran.json["error"]["message"]
        filler.unlink()
        assert helpers.files_below(place.backups) == before
        assert place.listed() == {id_: "verified"}
        assert place.eider("verify", id_).code == 0
        place.backup()


@pytest.mark.parametrize("when", ["staged", "archived"])
def test_a_backup_folder_that_is_removed_meanwhile_is_no_crash(place: Place, when: str) -> None:
    pattern = ".staging/*" if when == "staged" else ".staging/*/*.tar.gz"
    process = helpers.start("backup", "--json", config=place.config)
    helpers.until(lambda: any(place.backups.glob(pattern)))
    shutil.rmtree(place.backups, ignore_errors=True)
    stdout, stderr = process.communicate(timeout=SECONDS)
    ran = Ran(process.returncode, stdout.decode(), stderr.decode(), 0, 0).good_manners()
    assert ran.code in {0, 2, 12, 14}, ran
    if ran.code:
        assert ran.json["error"]["message"]
    else:
        assert place.eider("verify").code == 0
    shutil.rmtree(place.backups, ignore_errors=True)
    place.backup()


@pytest.mark.parametrize("folder", ["backups", "state"])
@pytest.mark.parametrize("what", ["file", "link to nothing", "fifo"])
def test_a_folder_that_is_none_is_named(place: Place, folder: str, what: str) -> None:
    path: Path = getattr(place, folder)
    match what:
        case "file":
            path.write_text("x")
        case "link to nothing":
            path.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(path)
    ran = answers(place, "backup", code=2)
    assert str(path) in ran.stderr


# The configuration --------------------------------------------------------------------------------


def test_every_problem_is_said_at_once(place: Place) -> None:
    place.config.write_text(
        '[databse]\npath = "/x"\n'
        '[backup]\ndirectroy = "/y"\ndeadline = 3\n'
        '[engine]\nthreads = "many"\nmemory_limit = "-5GB"\n'
        '[service]\nstate = "relative"\n[nonsense]\na = 1\n'
    )
    ran = answers(place, "list", code=2)
    for word in ("database", "directory", "deadline", "threads", "memory_limit", "state"):
        assert word in ran.stderr, word
    assert ran.stderr.count("did you mean") >= 2
    assert "nonsense" in ran.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[database]",
        "[database]\npath = 3",
        "[database]\npath = ''",
        "[database]\npath = 'x.duckdb'",
        "[database]\npath = ['/x']",
        "database = 3",
        "[[database]]\npath = '/x'",
        "profile = 3\n[database]\npath = '/x'",
        "profile = 'nobody'\n[database]\npath = '/x'",
        "not toml",
        "[database\npath",
        "\0",
        "[backup]\ndeadline = '9999999999999999999d'",
        "[backup]\ndeadline = 'inf'",
        "[backup]\ndeadline = '-5m'",
        "[backup]\ndeadline = '0s'",
        "[backup]\ndeadline = ''",
        "[backup]\ndeadline = nan",
        '[backup]\ndirectory = "/a\\u0000b"\n',
        '[backup]\ndirectory = "/a\\u0000b"\n[database]\npath = "/x\\u0000y"',
        "[engine]\nmemory_limit = '99999999999999999999999999999'",
        "[engine]\nmemory_limit = '1B'",
        "[engine]\nmemory_limit = 'nan'",
        "[engine]\nthreads = 0",
        "[engine]\nthreads = 100000000000000000000000000",
        "[engine]\napplication = 'new'",
        "[engine]\nothers = '1.4.3'",
        "[mirror]\npasses = 1",
        "[mirror]\nkeep = 'perhaps'",
        "[log]\nlevel = 'loud'",
        "[content]\ntime_columns = ['a']",
        "a = " + "[" * 5000 + "]" * 5000,
        "[schema]\ntable = 3",
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(place: Place, text: str) -> None:
    if "database" not in text and text and "toml" not in text and text != "\0":
        text += f"\n[database]\npath = '{place.database}'\n"
    place.config.write_text(text)
    answers(place, "list", code=2)


@pytest.mark.parametrize("what", ["missing", "folder", "binary", "loop"])
def test_a_configuration_file_that_is_none(place: Place, what: str) -> None:
    place.config.unlink()
    match what:
        case "folder":
            place.config.mkdir()
        case "binary":
            place.config.write_bytes(b"\xff\xfe\0")
        case "loop":
            place.config.symlink_to(place.config.name)
    answers(place, "list", code=2)


def test_a_good_configuration_below_a_folder_named_like_markup(place: Place) -> None:
    folder = place.root / "[x]" / "[" / "bold]"
    folder.mkdir(parents=True)
    config = Path(shutil.copy(place.config, folder))
    for words in (("config", "check"), ("config", "show"), ("list",)):
        assert helpers.run_eider(*words, config=config).good_manners().code == 0


VARIABLES = [
    ("EIDER_DATABSE__PATH", "/x", "did you mean"),
    ("EIDER_DATABASE__PATHH", "/x", "path"),
    ("EIDER_DATABASE", "not json", "database"),
    ("EIDER_DATABASE", "3", "database"),
    ("EIDER_BACKUP__INCLUDE", "not json", "include"),
    ("EIDER_BACKUP__INCLUDE", '"/x"', "include"),
    ("EIDER_ENGINE__THREADS", "many", "threads"),
    ("EIDER_MIRROR__TIMEOUT", "9999999999999999999d", "timeout"),
    ("EIDER_PROFILE", "nobody", "nobody"),
    ("EIDER_CONFIGG", "x", "EIDER_CONFIGG"),
    ("EIDER_", "x", "EIDER_"),
    ("EIDER_SCHEMA__TABEL", "x", "tabel"),
    ("EIDER_MIRROR__KEEP__DEEPER", "x", "keep"),
]


@pytest.mark.parametrize(
    ("name", "value", "said"), VARIABLES, ids=[v[0] + "=" + v[1] for v in VARIABLES]
)
def test_a_variable_that_cannot_be_meant_is_refused(
    place: Place, name: str, value: str, said: str
) -> None:
    ran = answers(place, "list", code=2, env={name: value})
    assert said.lower() in ran.stderr.lower()


def test_the_environment_overrides_the_file(place: Place) -> None:
    env = {
        "EIDER_ENGINE__THREADS": "7",
        "EIDER_MIRROR__KEEP": "false",
        "EIDER_SCHEMA__TABLE": "versions",
        "EIDER_BACKUP__INCLUDE": '["/etc/hostname"]',
    }
    shown = place.eider("config", "show", "--json", env=env).good_manners().json
    assert shown["engine"]["threads"] == 7
    assert shown["mirror"]["keep"] is False
    assert shown["schema"]["table"] == "versions"
    assert shown["backup"]["include"] == ["/etc/hostname"]
    env = {"EIDER_CONFIG": str(place.config)}
    assert helpers.run_eider("list", env=env).good_manners().code == 0


@pytest.mark.parametrize("name", ["SCHEMA", "SCHEMA_", "DATABASE", "BACKUP", "LOG", "PROFILE"])
def test_other_programs_variables_are_not_ours(place: Place, name: str) -> None:
    ran = place.eider("config", "show", "--json", env={name: "theirs", f"{name}__TABLE": "theirs"})
    assert ran.good_manners().code == 0, ran
    assert "theirs" not in ran.stdout


# What goes into an archive besides ----------------------------------------------------------------


def included(place: Place, name: str | bytes, data: bytes = b"x") -> Path:
    folder = place.root / "include"
    folder.mkdir(exist_ok=True)
    path = folder / os.fsdecode(name)
    path.write_bytes(data)
    place.configure(backup__include=[str(folder)])
    return path


@pytest.mark.parametrize(
    "name",
    [
        "eider-manifest.json",
        "backup-metadata.json",
        "app.duckdb",
        "app.duckdb.wal",
        "n" * 250,
        "[bold]",
        "with space",
        "-rf",
        "ü",
    ],
    ids=repr,
)
def test_an_included_file_of_any_name_is_kept(place: Place, name: str | bytes) -> None:
    path = included(place, name, b"content")
    ran = place.eider("backup").good_manners()
    assert ran.code == 0, ran
    inside = {entry.name: entry.data for entry in helpers.read_archive(_newest(place))}
    assert inside[f"files{path}"] == b"content"
    for words in (("verify",), ("list",), ("show",), ("show", "--json"), ("verify", "--json")):
        assert place.eider(*words).good_manners().code == 0, words
    assert place.eider("verify", str(_newest(place))).good_manners().code == 0
    copied = shutil.copy(_newest(place), place.root / "copy.tar.gz")
    assert place.eider("verify", str(copied)).good_manners().code == 0


@pytest.mark.parametrize("name", [b"\xff", "a\nb", "\x1b[31m"], ids=repr)
def test_an_included_file_whose_name_cannot_be_written_down_is_refused(
    place: Place, name: str | bytes
) -> None:
    """A manifest is JSON, a listing is lines: neither could name it as it is."""
    included(place, name)
    ran = answers(place, "backup", code=2)
    assert "backup.include" in ran.stderr
    nothing_left(place)


def _newest(place: Place) -> Path:
    return place.archive(next(iter(place.listed())))


@pytest.mark.parametrize("what", ["another database", "a metadata file of theirs"])
def test_an_included_file_of_any_content_is_kept(place: Place, what: str) -> None:
    if what == "another database":
        included(place, "other", place.database.read_bytes())
    else:
        included(place, "backup-metadata.json", b"{}")
    assert place.eider("backup").good_manners().code == 0
    assert place.eider("verify").good_manners().code == 0
    copied = shutil.copy(_newest(place), place.root / "copy.tar.gz")
    assert place.eider("verify", str(copied)).good_manners().code == 0


@pytest.mark.parametrize("what", ["link", "dangling link", "fifo", "device"])
def test_what_is_included_by_name_is_kept_or_refused_never_dropped(place: Place, what: str) -> None:
    path = place.root / "extra"
    match what:
        case "link":
            path.symlink_to(place.config)
        case "dangling link":
            path.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
    place.configure(backup__include=[str(path)])
    ran = place.eider("backup", "--json", seconds=SECONDS).good_manners()
    if ran.code == 0:
        assert f"files{path}" in [member["name"] for member in ran.json["members"]]
    else:
        assert ran.code == 2
        assert str(path) in ran.json["error"]["message"]


# The command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",),
        ("backup", "--frobnicate"),
        ("backup", "unwanted"),
        ("verify", "--level", "9"),
        ("verify", "--level", "x"),
        ("verify", "a", "b"),
        ("config",),
        ("config", "frobnicate"),
        ("--config",),
        ("list", "--config", "x"),
    ],
    ids=" ".join,
)
def test_a_command_that_cannot_be_meant_is_usage(place: Place, words: tuple[str, ...]) -> None:
    ran = place.eider(*words).good_manners()
    assert ran.code == 2, ran
    assert ran.stderr or ran.stdout
    as_json = place.eider(*words, "--json").good_manners()
    assert as_json.code == 2, as_json
    assert as_json.json["error"]["exit_code"] == 2


@pytest.mark.parametrize("verb", ["show", "verify"])
@pytest.mark.parametrize("name", ["20010101-000000", "latest", "nonsense", "[bold]", "a" * 250])
def test_a_backup_that_is_not_there_is_exit_10(place: Place, verb: str, name: str) -> None:
    answers(place, verb, name, code=10)


def test_verifying_nothing_is_a_failure_and_one_document(place: Place) -> None:
    ran = place.eider("verify", "--all").good_manners()
    assert ran.code == 10, "verifying nothing is no success, and no bug of eiderd's either"
    as_json = place.eider("verify", "--all", "--json").good_manners()
    assert as_json.code == 10
    assert as_json.json


def test_an_empty_catalog_lists_nothing(place: Place) -> None:
    assert place.eider("list", "--json").good_manners().json == []
    assert place.eider("list").good_manners().code == 0
    assert not place.backups.exists(), "looking makes nothing"


def test_verifying_all_counts_what_cannot_be_read(with_backup: Place) -> None:
    (with_backup.backups / "backup-20010101-000000.json").write_text("{}")
    (id_,) = (id_ for id_, state in with_backup.listed().items() if state == "verified")
    ran = with_backup.eider("verify", "--all").good_manners()
    assert ran.code == 12, ran
    assert "20010101-000000" in ran.stdout
    assert "20010101-000000" in ran.stderr
    as_json = with_backup.eider("verify", "--all", "--json").good_manners()
    assert as_json.code == 12
    good, doubtful = as_json.json
    assert good["backup"] == id_
    assert good["proof"]["failure"] is None
    assert doubtful["backup"] == "20010101-000000"
    assert doubtful["proof"] is None
    assert "seal" in doubtful["problem"]


def test_a_manifest_of_any_name_can_be_listed(place: Place) -> None:
    place.backups.mkdir()
    for name in (b"backup-\xff.json", b"backup-\x1b[31m\xc2\x9b.json", b"backup-a\nb.json"):
        (place.backups / os.fsdecode(name)).write_text("{}")
    for words in (("list",), ("verify", "--all")):
        for more in ((), ("--json",)):
            ran = place.eider(*words, *more).good_manners()
            assert ran.code in {3, 12}, ran
            assert "\x9b" not in ran.stdout + ran.stderr
    assert len(place.eider("list", "--json").json) == 3


@pytest.mark.parametrize("words", [("--json", "list"), ("list", "--json")], ids=" ".join)
def test_json_may_stand_before_or_after_the_verb(place: Place, words: tuple[str, ...]) -> None:
    assert place.eider(*words).json == []
    assert place.eider(*words[::-1], "--unknown").json["error"]["exit_code"] == 2


@pytest.mark.parametrize("words", [("-h",), ("--help",), ("verify", "-h"), ("config", "--help")])
def test_help_is_no_failure(words: tuple[str, ...]) -> None:
    ran = helpers.run_eider(*words).good_manners()
    assert (ran.code, ran.stderr) == (0, "")
    assert "Usage: eider" in ran.stdout


@pytest.mark.parametrize("words", [(), ("config",)], ids=repr)
def test_without_a_verb_the_help_is_the_answer(words: tuple[str, ...]) -> None:
    ran = helpers.run_eider(*words).good_manners()
    assert (ran.code, ran.stderr) == (2, "")
    assert ran.stdout.count("Usage: eider") == 1


def test_a_path_that_cannot_be_looked_at_is_usage(place: Place) -> None:
    answers(place, "verify", "./" + "a" * 300, code=2)
    answers(place, "verify", "a" * 300, code=10)  # no path: an id there is not


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "/"),
        ("verify", "."),
        ("restore", "/", "--dry-run"),
        ("restore", "/", "--to", "x"),
        ("restore", ".", "--dry-run"),
        ("restore", "--to", "/", "--yes"),
        ("restore", "--to", "", "--yes"),
        ("rescue", "/"),
        ("rescue", ""),
        ("rescue", "x", "--to", ""),
        ("setup", "--database", "/", "--dry-run"),
        ("setup", "--backups", "", "--dry-run"),
        ("setup", "--compose", "", "--dry-run"),
        ("engine", "add", "1.4.3", "--wheel", ""),
    ],
    ids=repr,
)
def test_a_path_that_cannot_be_meant_is_usage(place: Place, words: tuple[str, ...]) -> None:
    here = place.root / "here"
    here.mkdir()
    ran = place.eider(*words, cwd=here).good_manners()
    assert ran.code == 2, ran
    assert "hint: " in ran.stderr
    assert helpers.files_below(here) == set()
    assert not (place.state / "journal.jsonl").exists(), "it was tried"


@root_only
def test_a_path_behind_a_closed_folder_is_usage(place: Place) -> None:
    closed = place.root / "closed"
    closed.mkdir(mode=0o700)
    for parent in (place.root, *list(place.root.parents)[:4]):
        parent.chmod(parent.stat().st_mode | 0o011)
    place.config.chmod(0o644)
    ran = place.eider("verify", str(closed / "x"), "--json", before=NOBODY).good_manners()
    if "No module" in ran.stderr:
        pytest.skip("this Python stands in a folder that nobody else may enter")
    assert ran.code == 2, ran
    assert "Permission denied" in ran.json["error"]["message"]
    # From a folder that may not be entered, a bare word is an id.
    ran = place.eider("verify", "nonsense", before=("env", "-C", str(closed), *NOBODY))
    assert ran.good_manners().code == 10, ran


@pytest.mark.parametrize("note", [b"\xff\xfe", "\x1b[31m", "[/bold]", "a" * 100_000, "\n\n", "ü"])
def test_any_note_is_kept_or_refused(place: Place, note: str | bytes) -> None:
    ran = place.eider("backup", "--json", "--note", note).good_manners()
    assert ran.code in {0, 2}, ran
    assert ran.json
    for words in (("list",), ("list", "--json"), ("show", "--json")):
        assert place.eider(*words).good_manners().code in {0, 10}


def test_the_second_of_two_backups_at_once_is_busy(with_backup: Place) -> None:
    place = with_backup
    first = helpers.start("backup", "--json", config=place.config)
    helpers.until(lambda: any(place.backups.glob(".staging/*")))
    first.send_signal(signal.SIGSTOP)
    try:
        others = [  # at once: each waits for some seconds
            helpers.start(*words, "--json", config=place.config)
            for words in (("backup",), ("verify", "latest"))
        ]
        for other in others:
            out, err = other.communicate(timeout=SECONDS)
            ran = Ran(other.returncode, out.decode(), err.decode(), 0, 0).good_manners()
            assert ran.code == 11, ran
            assert ran.json["error"]["retry"] is True
        assert place.eider("list").code == 0
    finally:
        first.send_signal(signal.SIGCONT)
    stdout, _stderr = first.communicate(timeout=SECONDS)
    assert first.returncode == 0
    assert json.loads(stdout)["state"] == "verified"


# Where it is said ---------------------------------------------------------------------------------


VERBS = (("list",), ("show",), ("verify",), ("config", "show"), ("list", "--json"))


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_closed_pipe_is_no_crash(with_backup: Place, words: tuple[str, ...]) -> None:
    process = helpers.start(*words, config=with_backup.config)
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    stderr = process.stderr.read().decode()
    process.wait(timeout=SECONDS)
    process.stderr.close()
    assert (process.returncode, stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("words", [*VERBS, ("frobnicate", "--json")], ids=" ".join)
def test_a_full_standard_output_is_an_error_not_a_crash(
    with_backup: Place, words: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("wb") as full:
        process = helpers.start(*words, config=with_backup.config, stdout=full)
        _none, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode not in {0, 1, 120}, stderr
    assert b"Traceback" not in stderr


@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-", ">/dev/full", ">&- 2>&- <&-"])
def test_a_closed_or_full_stream_is_no_crash(with_backup: Place, redirection: str) -> None:
    for words in ("list", "config example", "--version", "list --json", "verify"):
        script = f"exec {helpers.EIDER} --config {with_backup.config} {words} {redirection}"
        ran = subprocess.run(
            ["/bin/sh", "-c", script], capture_output=True, check=False, timeout=30
        )
        unread = ">&-" in redirection.replace("2>&-", "") or "full" in redirection
        assert ran.returncode in ({2, 13} if unread else {0}), (words, ran)
        lines = ran.stderr.decode().splitlines()
        assert (len(lines) > 0) == (unread and "2>&-" not in redirection)
        assert all(line.startswith(("eider: standard output", "  hint:")) for line in lines)


def test_the_reader_that_left_does_not_make_a_bad_verdict_good(with_backup: Place) -> None:
    (id_,) = with_backup.listed()
    with_backup.archive(id_).write_bytes(b"x")
    script = f"{helpers.EIDER} --config {with_backup.config} verify {id_}; echo $? >&2"
    ran = subprocess.run(["/bin/sh", "-c", f"({script}) | true"], capture_output=True, check=False)
    assert ran.stderr.decode().splitlines()[-1] == "12"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_is_no_crash(with_backup: Place, encoding: str) -> None:
    env = {"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    for words in VERBS:
        assert with_backup.eider(*words, env=env).good_manners().code == 0


@pytest.mark.parametrize("columns", ["1", "0", "-5", "x", "40"])
def test_a_narrow_terminal_is_no_crash(with_backup: Place, columns: str) -> None:
    for words in VERBS:
        assert with_backup.eider(*words, env={"COLUMNS": columns}).good_manners().code == 0


def test_a_narrow_terminal_does_not_cut_an_id(with_backup: Place) -> None:
    (id_,) = with_backup.listed()
    ran = with_backup.eider("list", env={"COLUMNS": "60"})
    assert re.search(rf"^{id_} ", ran.stdout, re.MULTILINE), ran.stdout


def test_without_a_home_and_without_a_path_it_still_works(place: Place) -> None:
    script = f"exec env -i {helpers.EIDER} --config {place.config} backup --json"
    ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False, timeout=30)
    assert ran.returncode == 0, ran
    assert json.loads(ran.stdout)["state"] == "verified"


def test_from_a_folder_that_was_removed_it_still_works(place: Place) -> None:
    folder = place.root / "gone"
    folder.mkdir()
    script = f"cd {folder} && rmdir {folder} && exec {helpers.EIDER} --config {place.config} list"
    ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False, timeout=30)
    assert ran.returncode == 0, ran
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "words",
    ["restore --to x --yes", "restore ./x", "rescue x.db", "setup --database x", "verify ./x"],
)
def test_a_path_from_a_folder_that_was_removed_leads_nowhere(place: Place, words: str) -> None:
    folder = place.root / "gone"
    folder.mkdir()
    eider = f"{helpers.EIDER} --config {place.config} {words}"
    script = f"cd {folder} && rmdir {folder} && exec {eider}"
    ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False, timeout=30)
    assert ran.returncode == 2, ran
    assert b"is gone" in ran.stderr
    assert b"cd /" in ran.stderr


# Questions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("n\n", 2, "the answer was no, so nothing was done"),
        ("\n", 2, "the answer was no, so nothing was done"),
        ("\x04", 130, "there was no answer, so nothing was done"),
    ],
    ids=repr,
)
def test_who_does_not_agree_is_told_that_nothing_was_done(
    with_backup: Place, typed: str, code: int, said: str
) -> None:
    before = with_backup.database.read_bytes()
    shown, ended = helpers.on_terminal("restore", typed=typed, config=with_backup.config)
    assert ended == code, shown
    assert said in shown
    assert "SIGINT" not in shown
    assert with_backup.database.read_bytes() == before
    engine = with_backup.state / "engines" / "1.4.3"
    (engine / "bin").mkdir(parents=True)
    shown, ended = helpers.on_terminal(
        "engine", "remove", "1.4.3", typed=typed, config=with_backup.config
    )
    assert ended == code, shown
    assert said in shown
    assert engine.exists()
