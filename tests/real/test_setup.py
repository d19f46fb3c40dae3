"""`eider setup` on an image of a machine: what it finds, writes, grants, and takes back."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import io
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd import entry
from eiderd.errors import SourceUnavailable
from eiderd.outside.host import Host
from tests.helpers import EIDER, SECONDS, Ran, build_database, on_terminal, run_eider

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = 61234  # of nobody on the machine that tests
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--")
MAINTAIN = "/etc/systemd/system/eiderd-maintain@.service.d/10-application.conf"
SERVICE = "/etc/systemd/system/eiderd.service.d/10-application.conf"
RULES = "/etc/polkit-1/rules.d/50-eiderd-application.rules"
CONFIG = "/etc/eiderd/eiderd.toml"
UNIT = """[Unit]
Description=Cartographus
[Service]
User=cartographus
ExecStart=/opt/cartographus/cartographus-linux-amd64
EnvironmentFile={env}
"""
needs_lists = pytest.mark.skipif(not shutil.which("setfacl"), reason="acl is not installed")


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """The files of a machine, below `root`."""

    root: Path

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).write_text(text)

    def database(self, path: str) -> Path:
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(_built(), self.at(path)))

    def user(self) -> None:
        self.write("/etc/passwd", f"root:x:0:0::/:/bin/sh\neiderd:x:{USER}:{USER}::/:/bin/false\n")

    def unit(self, *, env: str = "/etc/cartographus/env", more: str = "") -> None:
        self.write("/etc/systemd/system/cartographus.service", UNIT.format(env=env) + more)

    def setup(self, *words: str) -> Ran:
        """Run it as the command does, within this process: there is nobody to ask."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = entry.main(["setup", "--root", str(self.root), *words])
        said = {"stdout": out.getvalue(), "stderr": err.getvalue()}
        return Ran(code=code, **said, peak_bytes=0, seconds=0).good_manners()

    def configuration(self) -> dict[str, Any]:
        document = tomllib.loads(self.at(CONFIG).read_text())
        return {key: value for key, value in document.items() if value}

    def all_files(self) -> dict[str, tuple[bytes, int, int]]:
        return {
            str(path): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
            for path in self.root.rglob("*")
            if path.is_file()
        }


@functools.cache
def _built() -> Path:
    folder = tempfile.mkdtemp(prefix="eider-built-")
    atexit.register(shutil.rmtree, folder)
    return build_database(Path(folder, "x.duckdb"), rows=20, wal_rows=0)


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> Iterator[Image]:
    for name in [name for name in os.environ if name.startswith("EIDER")]:
        monkeypatch.delenv(name)
    # Not below pytest's own folder, which no other user may enter.
    with tempfile.TemporaryDirectory(prefix="eider-image-") as folder:
        Path(folder).chmod(0o711)
        yield Image(Path(folder))


@pytest.fixture
def machine(image: Image) -> Image:
    """A Cartographus as its documents install it, and a user eiderd."""
    image.user()
    image.unit()
    image.write(
        "/etc/cartographus/env",
        "DUCKDB_PATH='/var/lib/cartographus/cartographus.duckdb'\r\nJWT_SECRET=\"s3cret\"\r\n",
    )
    image.database("/var/lib/cartographus/cartographus.duckdb")
    image.at("/var/lib/cartographus").chmod(0o750)
    return image


def _states(ran: Ran) -> dict[str, str]:
    return {row["what"]: row["state"] for row in ran.json["steps"]}


# What is found ----------------------------------------------------------------------------------


@needs_lists
def test_a_cartographus_is_found_and_configured(machine: Image) -> None:
    ran = machine.setup("--yes", "--json")
    assert ran.code == 0, ran
    assert ran.json["application"]["found_in"] == [
        "/etc/systemd/system/cartographus.service", "/etc/cartographus/env",
    ]  # fmt: skip
    assert machine.configuration() == {
        "profile": "cartographus",
        "database": {"path": "/var/lib/cartographus/cartographus.duckdb"},
        "retention": {
            "min_count": 3, "keep_recent_hours": 48, "daily": 14, "weekly": 8, "monthly": 12,
        },
        "application": {
            "kind": "systemd",
            "unit": "cartographus.service",
            "health_url": "http://127.0.0.1:3857/api/v1/health",
        },
        "nats": {"url": "nats://127.0.0.1:4222"},
    }  # fmt: skip
    assert not machine.at(MAINTAIN).exists()  # nothing is to write in the application's folder
    assert not machine.at(SERVICE).exists()
    assert '"cartographus.service"' in machine.at(RULES).read_text()
    written = b"".join(data for data, _mode, _time in machine.all_files().values() if data)
    assert written.count(b"s3cret") == 1, "a secret went where it was not"


@needs_lists
@pytest.mark.parametrize("env", ["/etc/cartographus/env", "/etc/cartographus/cartographus.env"])
def test_either_documented_name_of_the_env_file_is_known(image: Image, env: str) -> None:
    image.user()
    image.unit(env="-/etc/elsewhere")
    image.write("/etc/systemd/system/cartographus.service.d/x.conf", "[Service]\nEnvironmentFile=")
    image.write(env, "DUCKDB_PATH=/srv/c.duckdb\n")
    image.database("/srv/c.duckdb")
    assert image.setup("--yes").code == 0
    assert image.configuration()["database"]["path"] == "/srv/c.duckdb"


@needs_lists
def test_a_compose_file_is_found_and_docker_is_not_spoken_with(image: Image) -> None:
    image.user()
    image.write(
        "/opt/cartographus/docker-compose.yml",
        "services:\n  cartographus:\n    image: ghcr.io/tomtom215/cartographus\n"
        "    container_name: carto\n    volumes: ['./data:/data']\n    ports: ['8080:3857']\n",
    )
    image.database("/opt/cartographus/data/cartographus.duckdb")
    image.at("/opt/cartographus/data").chmod(0o700)
    ran = image.setup("--yes", "--json")
    assert ran.code == 0, ran
    document = image.configuration()
    assert document["database"]["path"] == "/opt/cartographus/data/cartographus.duckdb"
    assert document["application"] == {"health_url": "http://127.0.0.1:8080/api/v1/health"}
    assert "nats" not in document
    assert not image.at(RULES).exists()
    assert any("as good as root" in note for note in ran.json["notes"])
    assert image.setup("--yes", "--docker").code == 0
    assert image.configuration()["application"]["container"] == "carto"
    assert "SupplementaryGroups=docker" in image.at(SERVICE).read_text()


@needs_lists
def test_any_database_can_be_named(image: Image) -> None:
    image.user()
    database = image.database("/srv/my data/it's.duckdb")
    database.chmod(0o600)
    ran = image.setup("--yes", "--database", "/srv/my data/it's.duckdb")
    assert ran.code == 0, ran
    assert image.configuration()["database"] == {"path": "/srv/my data/it's.duckdb"}
    assert "profile" not in image.configuration()
    config = image.at(CONFIG).read_text()
    image.write(CONFIG, config.replace("[heal]\n", "[heal]\nrestore = true\n"))
    assert image.setup("--yes").code == 0
    assert 'ReadWritePaths="/srv/my data"' in image.at(MAINTAIN).read_text()


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("DUCKDB_PATH=/srv/gone.duckdb", "there is no database"),
        ('DUCKDB_PATH="/srv/\x1b[2J\nx"', "cannot be one"),
        ("DUCKDB_PATH=/etc/passwd", "no DuckDB database"),
        ("DUCKDB_PATH=/etc", "is not a file"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(image: Image, env: str, said: str) -> None:
    image.user()
    image.unit()
    image.write("/etc/cartographus/env", env)
    before = image.all_files()
    ran = image.setup("--yes")
    assert ran.code in (2, 14), ran
    assert said in ran.stderr
    assert image.all_files() == before


def test_nothing_found_says_what_to_type(image: Image) -> None:
    image.user()
    ran = image.setup("--yes")
    assert ran.code == 2
    assert "eider setup --database" in ran.stderr


def test_of_two_that_are_there_one_must_be_named(machine: Image) -> None:
    machine.write(
        "/opt/cartographus/compose.yaml", "services: {cartographus: {volumes: ['./d:/data']}}"
    )
    machine.database("/opt/cartographus/d/cartographus.duckdb")
    ran = machine.setup("--yes", "--access", "none")
    assert ran.code == 2
    assert "2 applications" in ran.stderr
    ran = machine.setup("--yes", "--access", "none", "--compose", "/opt/cartographus/compose.yaml")
    assert ran.code == 0, ran


# Asking -----------------------------------------------------------------------------------------


@needs_lists
def test_a_dry_run_changes_nothing_and_says_what_it_would(machine: Image) -> None:
    before = machine.all_files()
    ran = machine.setup("--dry-run", "--json")
    assert ran.code == 0, ran
    assert set(_states(ran).values()) <= {"to do", "done"}
    assert ran.json["to_do"] >= 4
    assert machine.all_files() == before
    shown = machine.setup("--dry-run").stdout
    assert "setfacl -m u:eiderd:rx" in shown
    assert "every file and folder that will be made in it" in shown
    assert "nothing was changed" in shown


@needs_lists
def test_the_plan_shows_what_will_be_in_force_and_no_comments(machine: Image) -> None:
    """As a package leaves it: a file with comments only."""
    machine.write(CONFIG, "# nothing is set\n# [database]\n")
    shown = machine.setup("--dry-run").stdout
    assert '+path = "/var/lib/cartographus/cartographus.duckdb"' in shown
    assert "# " not in shown
    assert len(shown.splitlines()) < 60
    row = machine.setup("--dry-run", "--json").json["steps"][0]
    assert row["text"].count("\n#") > 50, "the whole is for whoever asks for it"
    assert machine.setup("--yes").code == 0
    assert machine.at(CONFIG).read_text() == row["text"]


@needs_lists
def test_a_long_file_is_shown_in_part_and_says_where_the_rest_is(machine: Image) -> None:
    shown = machine.setup("--dry-run", "--systemd").stdout
    assert "lines more: eider setup --dry-run --json" in shown
    longest = max(len(one.splitlines()) for one in shown.split("→ "))
    assert longest <= 45


def test_without_anybody_to_ask_nothing_is_done(machine: Image) -> None:
    before = machine.all_files()
    for words in ([], ["--json"]):
        ran = machine.setup("--access", "none", *words)
        assert ran.code == 2, ran
        assert machine.all_files() == before


def test_each_change_is_asked_about(machine: Image) -> None:
    said, code = _answering(machine, "ny")
    assert code == 3, said
    assert said.count("Do it?") == 2, said
    assert not machine.at(CONFIG).exists()
    assert machine.at(RULES).exists()
    assert "1 step declined" in said


def _answering(image: Image, answers: str) -> tuple[str, int]:
    """Run setup on a terminal, where somebody types these letters."""
    typed = "".join(f"{letter}\n" for letter in answers)
    return on_terminal("setup", "--root", str(image.root), "--access", "none", typed=typed)


@needs_lists
def test_a_second_run_changes_nothing_and_says_so(machine: Image) -> None:
    assert machine.setup("--yes").code == 0
    before = machine.all_files()
    ran = machine.setup("--yes")
    assert "nothing was changed" in ran.stdout
    ran = machine.setup("--json")  # nobody needs to be asked
    assert (ran.code, ran.json["changed"], ran.json["to_do"]) == (0, 0, 0)
    assert machine.all_files() == before


@needs_lists
def test_an_older_configuration_stays_aside_and_what_was_chosen_stays(machine: Image) -> None:
    old = '# mine\n[database]\npath = "/old.duckdb"\n[log]\nlevel = "error"\n'
    machine.write(CONFIG, old)
    machine.at(CONFIG).chmod(0o640)
    ran = machine.setup("--yes", "--json")
    assert ran.code == 0, ran
    row = ran.json["steps"][0]
    assert '-path = "/old.duckdb"' in row["difference"]
    assert machine.at(row["kept"]).read_text() == old
    document = machine.configuration()
    assert document["log"] == {"level": "error"}
    assert "retention" not in document  # it had none, and somebody may have meant that
    assert machine.at(CONFIG).stat().st_mode & 0o777 == 0o640
    assert _states(machine.setup("--yes", "--json"))[f"write {CONFIG}"] == "done"


@needs_lists
def test_of_older_configurations_the_last_few_stay_and_none_twice(machine: Image) -> None:
    folder = machine.at(CONFIG).parent

    def given(port: int, name: str = CONFIG) -> None:
        machine.write(name, f'[database]\npath = "/old"\n[server]\nlisten = "127.0.0.1:{port}"\n')

    def kept() -> list[str]:
        old = sorted(folder.glob("eiderd.toml.bak-2*"))
        return [tomllib.loads(path.read_text())["server"]["listen"][-4:] for path in old]

    for day, port in enumerate((1001, 1002, 1003, 1004), start=1):
        given(port, f"{CONFIG}.bak-2001010{day}-000000")
    machine.write(f"{CONFIG}.bak-mine", "")
    given(1004)
    ran = machine.setup("--yes", "--json")
    assert ran.json["steps"][0]["kept"].endswith("-20010104-000000"), "it is there already"
    assert kept() == ["1002", "1003", "1004"]
    given(1005)
    assert machine.setup("--yes").code == 0
    assert kept() == ["1003", "1004", "1005"]
    assert (folder / "eiderd.toml.bak-mine").exists(), "a person's own is not setup's to remove"


@needs_lists
def test_another_place_for_backups_is_made_and_let_through_the_sandbox(machine: Image) -> None:
    assert machine.setup("--yes").code == 0
    assert not machine.at(SERVICE).exists()
    ran = machine.setup("--yes", "--backups", "/mnt/big/backups/eiderd")
    assert ran.code == 0, ran
    assert machine.configuration()["backup"] == {"directory": "/mnt/big/backups/eiderd"}
    assert machine.at("/mnt/big/backups/eiderd").stat().st_mode & 0o777 == 0o700
    said = machine.at(SERVICE).read_text()
    assert "ReadWritePaths=/mnt/big/backups/eiderd" in said
    assert "RequiresMountsFor=/mnt/big/backups/eiderd" in said
    assert machine.setup("--json").json["to_do"] == 0


NATS = '[database]\npath = "{path}"\n[nats]\nurl = "nats://10.9.8.7:4222"\n'


@needs_lists
def test_what_the_configuration_names_is_let_through_as_long_as_it_does(machine: Image) -> None:
    assert machine.setup("--yes").code == 0
    config = machine.at(CONFIG).read_text()
    machine.write(
        CONFIG, config.replace('url = "nats://127.0.0.1:4222"', 'url = "nats://10.9.8.7"')
    )
    machine.write("/etc/cartographus/env", "NATS_EMBEDDED=false\nNATS_URL=nats://10.9.8.7\n"
                  "DUCKDB_PATH=/var/lib/cartographus/cartographus.duckdb\n")  # fmt: skip
    shown = machine.setup("--dry-run").stdout
    assert "+IPAddressAllow=10.9.8.7" in shown
    assert not machine.at(SERVICE).exists()
    assert machine.setup("--yes").code == 0
    assert machine.at(SERVICE).read_text().endswith("[Service]\nIPAddressAllow=10.9.8.7\n")
    assert not machine.at(MAINTAIN).exists()
    assert machine.setup("--json").json["to_do"] == 0

    machine.write(CONFIG, config)
    machine.write("/etc/cartographus/env",
                  "DUCKDB_PATH=/var/lib/cartographus/cartographus.duckdb\n")  # fmt: skip
    ran = machine.setup("--yes", "--json")
    assert _states(ran)[f"remove {SERVICE}"] == "changed"
    assert not machine.at(SERVICE).exists()
    assert machine.setup("--json").json["to_do"] == 0


@needs_lists
def test_without_a_word_what_is_configured_is_meant(image: Image) -> None:
    image.user()
    database = image.database("/srv/app/x.duckdb")
    database.parent.chmod(0o755)
    image.write(CONFIG, NATS.format(path="/srv/app/x.duckdb"))
    before = image.at(CONFIG).read_text()
    ran = image.setup("--yes", "--json")
    assert ran.code == 0, ran
    assert image.at(CONFIG).read_text() == before
    assert "IPAddressAllow=10.9.8.7" in image.at(SERVICE).read_text()
    image.setup("--remove", "--yes")
    assert not image.at(SERVICE).exists()


@needs_lists
def test_what_a_person_let_through_is_not_said_again_and_stays(image: Image) -> None:
    image.user()
    image.database("/srv/app/x.duckdb")
    image.write(
        CONFIG, NATS.format(path="/srv/app/x.duckdb") + '[server]\nlisten = "0.0.0.0:9857"\n'
    )
    image.write(
        "/etc/systemd/system/eiderd.service",
        "[Service]\nIPAddressDeny=any\nIPAddressAllow=localhost\n",
    )
    mine = "/etc/systemd/system/eiderd.service.d/override.conf"
    image.write(mine, "[Service]\nIPAddressAllow=10.9.0.0/16\n")
    ran = image.setup("--yes", "--json")
    assert ran.code == 0, ran
    assert not image.at(SERVICE).exists()
    image.at(mine).unlink()
    ran = image.setup("--yes", "--json")
    assert "IPAddressAllow=10.9.8.7 link-local 10.0.0.0/8" in image.at(SERVICE).read_text()
    assert any("private networks" in note for note in ran.json["notes"])
    assert image.setup("--json").json["to_do"] == 0


def test_a_group_that_was_chosen_stays_chosen(machine: Image) -> None:
    if os.geteuid() == 0:
        for path in ("/var/lib/cartographus", "/var/lib/cartographus/cartographus.duckdb"):
            os.chown(machine.at(path), 0, 12)
    machine.at("/var/lib/cartographus/cartographus.duckdb").chmod(0o640)
    assert machine.setup("--yes", "--access", "group").code == 0
    said = machine.at(SERVICE).read_text()
    assert "SupplementaryGroups=" in said
    again = machine.setup("--json")
    assert (again.code, again.json["to_do"]) == (0, 0), again
    assert machine.at(SERVICE).read_text() == said


@needs_lists
@pytest.mark.parametrize(
    ("section", "line"),
    [("[heal]\n", "restore = true\n"), ("[compact]\n", 'window = "01:00-02:00"\n')],
)
def test_only_what_changes_the_database_by_itself_may_write_in_its_folder(
    machine: Image, section: str, line: str
) -> None:
    assert machine.setup("--yes").code == 0
    config = machine.at(CONFIG).read_text()
    machine.write(CONFIG, config.replace(section, f"{section}{line}"))
    assert machine.setup("--yes").code == 0
    assert machine.at(MAINTAIN).read_text().endswith("ReadWritePaths=/var/lib/cartographus\n")
    assert machine.setup("--json").json["to_do"] == 0
    machine.write(CONFIG, config)
    assert machine.setup("--yes").code == 0
    assert not machine.at(MAINTAIN).exists()


@needs_lists
def test_docker_stays_spoken_with(image: Image) -> None:
    image.user()
    image.write("/etc/group", "root:x:0:\ndocker:x:999:\n")
    image.database("/srv/app/x.duckdb")
    words = ("--database", "/srv/app/x.duckdb", "--container", "app")
    assert image.setup("--yes", "--docker", *words).code == 0
    assert "SupplementaryGroups=docker" in image.at(SERVICE).read_text()
    ran = image.setup("--json")
    assert (ran.code, ran.json["to_do"]) == (0, 0), ran
    image.write("/etc/group", "root:x:0:\n")
    assert any("no group docker" in note for note in image.setup("--yes", "--json").json["notes"])
    assert not image.at(SERVICE).exists()


def test_a_configuration_that_cannot_be_meant_is_not_touched(machine: Image) -> None:
    machine.write(CONFIG, '[database]\npath = "/x"\ncolour = "red"\n')
    before = machine.all_files()
    ran = machine.setup("--yes", "--access", "none")
    assert ran.code == 2, ran
    assert machine.all_files() == before


# Without a package ------------------------------------------------------------------------------


@needs_lists
def test_the_units_are_installed_and_taken_away_again_and_nothing_else(machine: Image) -> None:
    before = set(machine.all_files())
    ran = machine.setup("--systemd", "--yes")
    assert ran.code == 0, ran
    unit = machine.at("/etc/systemd/system/eiderd.service").read_text()
    assert f"ExecStart={Path(EIDER).parent}/eiderd --config {CONFIG}" in unit
    assert machine.at("/etc/sysusers.d/eiderd.conf").exists()
    assert machine.setup("--systemd", "--json").json["to_do"] == 0

    changed = machine.at("/etc/systemd/system/eiderd-maintain@.service")
    changed.write_text(changed.read_text() + "# mine\n")
    ran = machine.setup("--remove", "--yes")
    assert ran.code == 0, ran
    assert "stays" in ran.stdout
    assert set(machine.all_files()) - before == {str(machine.at(CONFIG)), str(changed)}
    assert "987" not in _lists(machine.at("/var/lib/cartographus"))
    assert "default" not in _lists(machine.at("/var/lib/cartographus"))
    assert str(USER) not in _lists(machine.at("/var/lib/cartographus/cartographus.duckdb"))
    assert "nothing was changed" in machine.setup("--remove", "--yes").stdout


RECORD = "/etc/eiderd/granted"


@needs_lists
def test_all_that_was_ever_given_is_taken_back_with_what_inherited_it(image: Image) -> None:
    """One database after the other was configured; meanwhile their folders filled."""
    image.user()
    for name in "ab":
        image.database(f"/srv/{name}/x.duckdb").parent.chmod(0o700)
        assert image.setup("--yes", "--database", f"/srv/{name}/x.duckdb").code == 0
        image.write(f"/srv/{name}/sub/later", "")
        assert str(USER) in _lists(image.at(f"/srv/{name}/sub/later"))
    image.at("/srv/a/sub/link").symlink_to("/etc/passwd")
    mine = image.at("/srv/b")
    subprocess.run(["setfacl", "-m", "u:4321:rx,d:u:4321:rx", str(mine)], check=True)
    ran = image.setup("--remove", "--yes", "--json")
    assert ran.code == 0, ran
    for path in ("/srv/a", "/srv/b"):
        for one in (image.at(path), *image.at(path).rglob("*")):
            assert one.is_symlink() or str(USER) not in _lists(one), one
    assert "default" not in _lists(image.at("/srv/a"))
    assert "default:user:4321:r-x" in _lists(mine), "what somebody else was given stays"
    assert not image.at(RECORD).exists()
    again = image.setup("--remove", "--json")
    assert (again.code, again.json["to_do"]) == (0, 0)


@needs_lists
def test_what_was_given_before_the_power_went_is_known(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    image.user()
    image.database("/srv/a/x.duckdb").parent.chmod(0o700)

    def dies(_host: Host, _path: str, *_words: str) -> None:
        raise SourceUnavailable("the power went", hint="")

    with monkeypatch.context() as patch:
        patch.setattr(Host, "change_access", dies)
        assert image.setup("--yes", "--database", "/srv/a/x.duckdb").code == 14
    assert image.at(RECORD).read_text().endswith(" /srv/a\n")
    ran = image.setup("--remove", "--yes")
    assert ran.code == 0, ran
    assert not image.at(RECORD).exists()


@needs_lists
def test_a_removal_that_is_cut_short_is_done_again(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    image.user()
    folder = image.database("/srv/a/x.duckdb").parent
    folder.chmod(0o700)
    assert image.setup("--yes", "--database", "/srv/a/x.duckdb").code == 0
    image.write("/srv/a/sub/later", "")

    def dies(_host: Host, _path: str, *_words: str) -> None:
        raise SourceUnavailable("the power went", hint="")

    with monkeypatch.context() as patch:
        patch.setattr(Host, "change_access_below", dies)
        assert image.setup("--remove", "--yes").code == 14
    assert image.at(RECORD).exists()
    assert image.setup("--remove", "--yes").code == 0
    assert all(str(USER) not in _lists(one) for one in (folder, *folder.rglob("*")))
    assert not image.at(RECORD).exists()


@needs_lists
def test_what_stands_in_the_place_of_a_file_that_is_gone_is_left_alone(image: Image) -> None:
    image.user()
    database = image.database("/srv/a/x.duckdb")
    database.parent.chmod(0o700)
    assert image.setup("--yes", "--database", "/srv/a/x.duckdb").code == 0
    secret = image.root / "secret"
    secret.write_text("")
    subprocess.run(["setfacl", "-m", f"u:{USER}:r,u:4321:rwx,m:r", str(secret)], check=True)
    before = _lists(secret)
    database.unlink()
    database.symlink_to(secret)
    image.at(CONFIG).unlink()
    assert image.setup("--remove", "--yes").code == 0
    assert _lists(secret) == before
    assert str(USER) not in _lists(image.at("/srv/a"))
    assert not image.at(RECORD).exists()


@needs_lists
@pytest.mark.parametrize("name", ["a\nentry /etc", "a\u2028b"])
def test_a_path_that_cannot_be_noted_is_not_opened(
    image: Image, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a link leads is not always what a person could have typed."""
    image.user()
    image.database(f"/srv/{name}/x.duckdb").parent.chmod(0o700)
    image.at("/srv/x.duckdb").symlink_to(f"{name}/x.duckdb")
    monkeypatch.setattr(Host, "real", lambda _host, path: path.replace("/srv/x", f"/srv/{name}/x"))
    before = image.all_files()
    ran = image.setup("--yes", "--database", "/srv/x.duckdb")
    assert ran.code == 2, ran
    assert "cannot be noted" in ran.stderr
    assert image.all_files() == before


def test_where_a_package_brought_the_unit_none_is_written(machine: Image) -> None:
    machine.write("/usr/lib/systemd/system/eiderd.service", "[Service]\n")
    ran = machine.setup("--systemd", "--yes")
    assert ran.code == 2
    assert "package" in ran.stderr


def _lists(path: Path) -> str:
    command = ["getfacl", "-cpn", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# Reading, and no writing ------------------------------------------------------------------------

# As strict as an application can be; its WAL is removed and made anew.
_APPLICATION = """
import os, sys
import duckdb
os.umask(0o077)
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE TABLE more (n INTEGER)")
for word in sys.stdin:
    connection.execute(word)
    print("done", flush=True)
os._exit(0)
"""
_TRY = """
import os, sys
folder, name = sys.argv[1:]
os.chdir(folder)
print(sorted(os.listdir()))
for path in (name, name + ".wal"):
    with open(path, "rb") as file:
        print(path, len(file.read()) > 0)
for attempt in (
    lambda: open(name, "r+b"), lambda: open(name + ".wal", "ab"), lambda: open("new", "wb"),
    lambda: os.rename(name, "gone"), lambda: os.unlink(name + ".wal"),
    lambda: os.chmod(name, 0o777),
):
    try:
        attempt()
        print("WRITTEN")
    except PermissionError:
        print("refused")
"""


@needs_lists
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look as another user")
def test_the_user_reads_a_wal_that_is_made_anew_and_writes_nothing(machine: Image) -> None:
    database = machine.at("/var/lib/cartographus/cartographus.duckdb")
    database.chmod(0o600)
    database.parent.chmod(0o700)
    assert machine.setup("--yes").code == 0
    writer = subprocess.Popen(
        [sys.executable, "-c", _APPLICATION, str(database)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert writer.stdin
    assert writer.stdout
    with writer:
        for words in ("CHECKPOINT", "INSERT INTO more VALUES (1)"):
            writer.stdin.write(words + "\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "done\n"
        ids = f"--reuid={USER}", f"--regid={USER}", "--clear-groups"
        folder, name = str(database.parent), database.name
        # By the interpreter of the machine: that of the tests may be in a home.
        ran = subprocess.run(
            ["setpriv", *ids, "--", "/usr/bin/python3", "-I", "-c", _TRY, folder, name],
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        writer.stdin.close()
    said = ran.stdout.splitlines()
    assert said[1:3] == [f"{name} True", f"{name}.wal True"], ran
    assert said[3:] == ["refused"] * 6, ran
    assert database.stat().st_mode & 0o007 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_link_that_the_application_put_there_is_not_followed(machine: Image) -> None:
    """Its folder is its own: eiderd must not be let read what it chooses."""
    secret = machine.root / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o600)
    folder = machine.at("/var/lib/cartographus")
    (folder / "cartographus.duckdb.wal").symlink_to(secret)
    ran = machine.setup("--yes")
    assert ran.code == 14, ran
    assert str(USER) not in _lists(secret)


# For oneself ------------------------------------------------------------------------------------


def test_an_ordinary_user_gets_a_configuration_of_their_own(image: Image) -> None:
    before = NOBODY if os.geteuid() == 0 else ()
    home = image.root / "home"
    home.mkdir()
    database = image.database("/home/data/x.duckdb")
    for path in (home, database.parent, database):
        os.chown(path, *((65534, 65534) if before else (-1, -1)))
    config = home / "eiderd.toml"
    words = ("setup", "--database", str(database), "--yes", "--json")
    ran = run_eider(*words, config=config, env={"HOME": str(home)}, before=before, cwd=home)
    # Where that user may not run the interpreter of these tests, nobody is there to look.
    marks = {check["name"]: check["mark"] for check in ran.json["checks"]}
    assert ran.code == (3 if "doctor" in marks else 0), ran
    assert [row["kind"] for row in ran.json["steps"]] == ["write"]
    document = tomllib.loads(config.read_text())
    assert document["service"]["state"] == str(home / ".local/state/eiderd")
    if "doctor" not in marks:
        assert marks["database"] == marks["configuration"] == "well"
    again = run_eider(*words, config=config, env={"HOME": str(home)}, before=before, cwd=home)
    assert (again.code, again.json["changed"]) == (ran.code, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="it asks what happens without root")
def test_only_root_sets_up_the_machine(image: Image) -> None:
    database = image.database("/srv/x.duckdb")
    ran = run_eider("setup", "--database", str(database), "--yes", before=NOBODY)
    assert ran.code == 2
    assert "sudo eider setup" in ran.stderr
