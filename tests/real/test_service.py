"""The service from outside: it begins, tells systemd, backs up, reloads, ends, survives kills."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import random
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import Place, children_with, given_place, until
from tests.running import EIDERD, Running, running
from tests.web import certificate

BACKED_UP = 'eider_job_runs_total{job_name="backup",outcome="done"}'
LOOKED = 'eider_job_runs_total{job_name="freshness",outcome="done"}'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return given_place(tmp_path, rows=2_000, wal_rows=100)


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = given_place(tmp_path_factory.mktemp("backed-up"), rows=2_000, wal_rows=100)
    made.backup()
    return made


@pytest.fixture
def fresh(backed_up: Place, tmp_path: Path) -> Place:
    """A place with a backup of just now: a service on it begins none."""
    return backed_up.clone(tmp_path / "place")


def _backups(place: Place) -> list[str]:
    return [id_ for id_, state in place.listed().items() if state == "verified"]


def _until_backed_up(service: Running, *, count: int = 1) -> None:
    service.until(lambda: service.metrics()[BACKED_UP] >= count, what=f"{count} backups")


def test_it_says_when_it_is_ready_what_runs_and_that_it_stops(place: Place) -> None:
    with running(place) as service:
        _until_backed_up(service)
        assert service.get("/healthz")[0] == 200
        service.until(lambda: any(n.startswith("STATUS=well: idle") for n in service.told()))
        assert any(note.startswith("STATUS=") and "backup" in note for note in service.told())
        assert service.end() == 0
        told = service.told()
        assert told.index("READY=1") < told.index("STOPPING=1")
        assert "WATCHDOG=1" not in told  # nobody asked for it
        assert not children_with(str(place.root))


def test_the_first_backup_is_overdue_and_is_taken_and_counted(place: Place) -> None:
    with running(place) as service:
        _until_backed_up(service)
        assert len(_backups(place)) == 1
        service.until(lambda: service.ready()["condition"] == "well", what="well")
        status, body = service.get("/readyz")
        assert status == 200
        assert json.loads(body)["age_seconds"] < 60
        assert service.metrics()["eider_last_verified_timestamp_seconds"] > time.time() - 60


def test_what_is_fresh_is_not_taken_again_at_a_restart(place: Place) -> None:
    with running(place) as service:
        _until_backed_up(service)
    with running(place, service__look_every="1s") as service:
        assert service.metrics()[BACKED_UP] == 1  # the counter came back
        looked = service.metrics()[LOOKED]
        service.until(lambda: service.metrics()[LOOKED] >= looked + 2, what="two more looks")
        assert len(_backups(place)) == 1
    lines = [json.loads(line) for line in _journal(place).splitlines()]
    began = [line for line in lines if line["word"] == "began" and line["job"] == "backup"]
    assert len(began) == 1


def test_a_missed_backup_is_made_up_for_once_and_the_others_are_counted(place: Place) -> None:
    """The machine was off for days: told by a journal and a catalog whose times are old."""
    with running(place) as service:
        _until_backed_up(service)
    journal = place.state / "journal.jsonl"
    old = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 5 * 86_400))
    today = {time.strftime("%Y-%m-%d", time.gmtime(time.time() - n * 86_400)) for n in (0, 1)}
    text = journal.read_text()
    for day in today:
        text = text.replace(f'"at":"{day}', f'"at":"{old}')
    journal.write_text(text)
    for path in place.backups.glob("backup-*"):
        path.unlink()
    with running(place, backup__schedule="15 3 * * *") as service:
        _until_backed_up(service, count=2)
        assert service.metrics()['eider_job_missed_total{job_name="backup"}'] in (
            3,
            4,
        )  # by the hour
        assert len(_backups(place)) == 1


def test_a_watchdog_is_fed_while_the_clockwork_turns(fresh: Place) -> None:
    with running(fresh, watchdog_seconds=2) as service:
        service.until(lambda: service.told().count("WATCHDOG=1") >= 3, what="three signs of life")


def test_a_process_that_is_stopped_feeds_no_watchdog(fresh: Place) -> None:
    with running(fresh, watchdog_seconds=1) as service:
        service.until(lambda: "WATCHDOG=1" in service.told())
        service.send(signal.SIGSTOP)
        service.told()
        before = service.told().count("WATCHDOG=1")
        with pytest.raises(AssertionError, match="in vain"):
            service.until(lambda: service.told().count("WATCHDOG=1") > before, seconds=2)
        service.send(signal.SIGCONT)
        service.until(lambda: service.told().count("WATCHDOG=1") > before)


def test_two_services_on_one_state_folder_are_one_too_many(fresh: Place) -> None:
    with running(fresh) as service:
        second = subprocess.run(
            [EIDERD, "--config", str(fresh.config)], capture_output=True, text=True, timeout=30,
            check=False,
        )  # fmt: skip
        assert second.returncode == 11
        assert "hint:" in second.stderr
        assert service.get("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "database.path"),
        ("[database]\npath = 7\n", 2, "database.path"),
        ('[database]\npath = "/x/y"\n[retention]\nmin_count = 0\n', 2, "min_count"),
        ('[database]\npath = "/x/y"\n[backup]\nschedule = "daily"\n', 2, "five fields"),
    ],
)
def test_a_bad_configuration_is_refused_at_the_start(
    tmp_path: Path, text: str, code: int, said: str
) -> None:
    (tmp_path / "bad.toml").write_text(text)
    ran = subprocess.run(
        [EIDERD, "--config", str(tmp_path / "bad.toml")], capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert ran.returncode == code
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_address_in_use_is_told_in_words(fresh: Place) -> None:
    with running(fresh) as service:
        other = Place(fresh.root / "other")
        other.root.mkdir()
        other.configure(server__listen=f"127.0.0.1:{service.port}",
                        database__path=str(fresh.database))  # fmt: skip
        ran = subprocess.run(
            [EIDERD, "--config", str(other.config)], capture_output=True, text=True, timeout=30,
            check=False,
        )  # fmt: skip
        assert ran.returncode == 2
        assert str(service.port) in ran.stderr
        assert "Traceback" not in ran.stderr


# Reload -----------------------------------------------------------------------------------------


def _reloaded(service: Running, text: str) -> None:
    service.place.config.write_text(text)
    before = service.told().count("READY=1")
    service.send(signal.SIGHUP)
    service.until(lambda: service.told().count("READY=1") > before, what="ready again")


def test_a_good_configuration_is_followed_without_a_restart(fresh: Place) -> None:
    with running(fresh) as service:
        text = fresh.config.read_text().replace('schedule = "0 0 29 2 *"', 'schedule = "0 5 * * *"')
        _reloaded(service, text)
        assert service.metrics()["eider_backup_schedule_interval_seconds"] == 86_400
        assert service.metrics()["eider_config_last_reload_successful"] == 1
        assert any(note.startswith("RELOADING=1") for note in service.told())


@pytest.mark.parametrize("count", ["0", "9" * 5000])
def test_a_bad_configuration_is_refused_and_the_old_one_stays(fresh: Place, count: str) -> None:
    with running(fresh) as service:
        good = fresh.config.read_text()
        _reloaded(service, good + f"\n[retention]\nmin_count = {count}\n")
        service.until(lambda: "config_refused" in service.kinds())
        assert service.metrics()["eider_config_last_reload_successful"] == 0
        assert service.get("/healthz")[0] == 200
        _reloaded(service, good)
        service.until(lambda: "config_refused" not in service.kinds())


def test_what_only_a_restart_changes_is_said(fresh: Place) -> None:
    with running(fresh) as service:
        text = fresh.config.read_text().replace(str(service.port), "1")
        _reloaded(service, text)
        service.until(lambda: "restart_needed" in service.kinds())
        assert service.get("/healthz")[0] == 200


def test_no_configuration_whatever_it_is_takes_the_service_down(fresh: Place) -> None:
    chance = random.Random(3)
    with running(fresh) as service:
        good = fresh.config.read_bytes()
        for _turn in range(25):
            bad = bytearray(good)
            for _change in range(chance.randrange(1, 12)):
                at = chance.randrange(len(bad))
                bad[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
            before = service.told().count("READY=1")
            fresh.config.write_bytes(bytes(bad))
            service.send(signal.SIGHUP)
            service.until(lambda before=before: service.told().count("READY=1") > before)  # type: ignore[misc]
            assert service.get("/healthz")[0] == 200
        fresh.config.write_bytes(good)
        service.send(signal.SIGHUP)
        service.until(lambda: "config_refused" not in service.kinds())
        assert "bug" not in service.words()
        assert service.end() == 0


def test_it_speaks_tls_to_those_who_may_look(fresh: Place) -> None:
    made = certificate(fresh.root / "tls")
    users = fresh.root / "users"
    users.write_text("prometheus:a long secret\n")
    users.chmod(0o600)
    settings: dict[str, Any] = {
        "server__tls_certificate": str(made.chain),
        "server__tls_key": str(made.key),
        "server__basic_auth": str(users),
    }
    with running(fresh, **settings) as service:
        trust = ssl.create_default_context(cafile=str(made.chain))
        address = f"https://127.0.0.1:{service.port}"
        with urllib.request.urlopen(f"{address}/healthz", context=trust) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address}/metrics", context=trust)
        secret = base64.b64encode(b"prometheus:a long secret").decode()
        asked = urllib.request.Request(
            f"{address}/metrics", headers={"Authorization": f"Basic {secret}"}
        )
        with urllib.request.urlopen(asked, context=trust) as answer:
            assert b"eider_build_info" in answer.read()
        assert "a long secret" not in service.said()


# Ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.5, 1.0])
def test_a_backup_at_work_is_ended_within_ten_seconds(place: Place, delay: float) -> None:
    with running(place, ready=False, mirror__rate_limit="1MB") as service:
        service.until(lambda: '"word":"began"' in _journal(place), what="a backup that began")
        time.sleep(delay)
        began = time.monotonic()
        assert service.end() == 0
        assert time.monotonic() - began < 10
        assert not children_with(str(place.root))
    assert '"outcome":"failed"' not in _journal(place)
    assert not list((place.backups / ".staging").glob("*"))
    with running(place) as service:
        _until_backed_up(service)
        assert "job_failed" not in service.kinds()


def _journal(place: Place) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (place.state / "journal.jsonl").read_text()
    return ""


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6, 1.0, 1.5])
def test_killed_in_any_phase_it_comes_back_and_takes_what_is_overdue_once(
    place: Place, delay: float
) -> None:
    with running(place, ready=False) as service:
        service.until(lambda: service.process.poll() is None and bool(_journal(place)))
        time.sleep(delay)
        service.end(signal.SIGKILL)
    service_runs = _journal(place).count('"word":"began"')
    assert len(_backups(place)) <= 1
    with running(place) as service:
        service.until(lambda: service.ready()["condition"] == "well", what="well")
        metrics = service.metrics()
        died = metrics['eider_job_runs_total{job_name="backup",outcome="died"}']
        done = metrics[BACKED_UP]
        assert len(_backups(place)) == 1
        assert 1 <= done + died <= service_runs + 1
        newest = json.loads(place.manifest(_backups(place)[0]).read_text())["created_at"]
        assert metrics["eider_last_verified_timestamp_seconds"] == pytest.approx(
            _seconds(newest), abs=0.01
        )
    until(lambda: not children_with(str(place.root)), what="no child is left")


def _seconds(iso: str) -> float:
    return datetime.datetime.fromisoformat(iso).timestamp()


# Goes on ----------------------------------------------------------------------------------------


def test_a_database_that_is_not_there_is_a_finding_and_not_the_end(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.database.parent.mkdir()
    with running(place.configure()) as service:
        service.until(lambda: {"job_failed", "no_verified_backup"} <= service.kinds())
        status, body = service.get("/readyz")
        assert status == 503
        assert json.loads(body)["condition"] == "ill"
        command = {f["kind"]: f["command"] for f in json.loads(body)["findings"]}
        assert command["job_failed"]


def test_a_backup_folder_that_cannot_be_written_is_a_finding_and_mended_it_goes(
    place: Place,
) -> None:
    place.backups.parent.mkdir(exist_ok=True)
    place.backups.write_text("a file where the folder should be")
    with running(place) as service:
        service.until(lambda: "no_verified_backup" in service.kinds() or
                      "watcher_failed" in service.kinds())  # fmt: skip
        assert service.get("/healthz")[0] == 200
        place.backups.unlink()
        assert place.eider("backup", "--json").code == 0
        service.send(signal.SIGHUP)  # so that it looks at once
        service.until(lambda: not service.kinds() & {"watcher_failed", "no_verified_backup"})


def test_a_backup_of_the_command_is_seen_by_the_service(place: Place) -> None:
    with running(place) as service:
        _until_backed_up(service)
        assert place.eider("backup", "--json").code == 0
        service.until(lambda: service.metrics()[BACKED_UP] == 2)  # by the journal, at once
        service.send(signal.SIGHUP)
        service.until(lambda: service.metrics()['eider_backups{state="verified"}'] == 2)


def test_it_listens_on_loopback_only(fresh: Place) -> None:
    with running(fresh) as service:
        descriptors = Path(f"/proc/{service.process.pid}/fd").iterdir()
        inodes = {str(link.readlink()) for link in descriptors if link.is_symlink()}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        mine = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
        assert mine == [f"0100007F:{service.port:04X}"]
        six = Path("/proc/net/tcp6").read_text().splitlines()[1:]
        assert not [row for row in map(str.split, six) if row[3] == "0A"
                    and f"socket:[{row[9]}]" in inodes]  # fmt: skip


def test_it_runs_without_systemd(place: Place) -> None:
    place.configure(server__listen="127.0.0.1:0", log__format="json")
    environment = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
    with subprocess.Popen([EIDERD, "--config", str(place.config)], env=environment,
                          stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if '"ready"' in line:
                break
        process.terminate()
        assert process.wait(timeout=15) == 0
