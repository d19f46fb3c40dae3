"""However `eider` ends: one code, one message, and standard output is a document or nothing."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from eiderd import catalog, entry
from eiderd.cli import reports, terminal
from eiderd.errors import EiderError, ExitCode
from eiderd.evidence import TableContent
from eiderd.model import (
    Backup,
    Consistency,
    Content,
    Level,
    Proof,
    Source,
    State,
    Unreadable,
)  # fmt: skip
from eiderd.outside import signals

if TYPE_CHECKING:
    from pathlib import Path

NASTY = "a\x1b[31m\x9b\u202e\udcff\nb [bold]x[/nothing] " + "w" * 5000
NOON = datetime.datetime(2026, 3, 29, 12, 0, 0, tzinfo=datetime.UTC)


@pytest.fixture
def given_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EIDER_DATABASE__PATH", str(tmp_path / "data" / "x.duckdb"))
    monkeypatch.setenv("EIDER_BACKUP__DIRECTORY", str(tmp_path / "backups"))
    monkeypatch.setenv("EIDER_SERVICE__STATE", str(tmp_path / "state"))


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def read(_directory: Path) -> catalog.Listing:
        raise error

    monkeypatch.setattr(catalog, "read", read)
    monkeypatch.setattr(catalog, "briefs", read)


# Bugs -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("given_settings")
def test_a_bug_is_one_line_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, ZeroDivisionError(f"division {NASTY}"))
    assert entry.main(["list"]) == ExitCode.BUG
    out, err = capsys.readouterr()
    line, hint = err.splitlines()
    assert line.startswith("eider: a bug in eiderd: ZeroDivisionError: division")
    assert "EIDER_LOG__LEVEL=debug" in hint
    assert out == ""


@pytest.mark.usefixtures("given_settings")
def test_a_bug_is_one_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, ZeroDivisionError("division"))
    assert entry.main(["list", "--json"]) == ExitCode.BUG
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["exit_code"] == ExitCode.BUG
    assert "a bug in eiderd" in json.loads(out)["error"]["message"]
    assert err == ""


@pytest.mark.usefixtures("given_settings")
def test_what_this_user_may_not_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, PermissionError(13, "Permission denied", "/var/lib/x"))
    assert entry.main(["list"]) == ExitCode.USAGE
    _out, err = capsys.readouterr()
    assert "this user may not use /var/lib/x: Permission denied" in err
    assert "report" not in err
    assert "a bug" not in err


@pytest.mark.usefixtures("given_settings")
def test_debugging_a_bug_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, ZeroDivisionError("division"))
    monkeypatch.setenv("EIDER_LOG__LEVEL", "debug")
    assert entry.main(["list", "--json"]) == ExitCode.BUG
    out, err = capsys.readouterr()
    assert "Traceback" in err
    assert json.loads(out)["error"]["exit_code"] == ExitCode.BUG


# Interrupted ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("given_settings")
@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (KeyboardInterrupt(), 130),
        (signals.Ended(signal.SIGINT), 130),
        (signals.Ended(signal.SIGTERM), 143),
        (signals.Ended(signal.SIGHUP), 129),
    ],
    ids=repr,
)
def test_interrupted_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
) -> None:
    _failing(monkeypatch, raised)
    assert entry.main(["list"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("eider: interrupted")
    assert entry.main(["list", "--json"]) == code
    out, err = capsys.readouterr()
    assert "interrupted" in json.loads(out)["error"]["message"]
    assert json.loads(out)["error"]["exit_code"] == code
    assert err == ""


_INTERRUPTED_WHILE_IMPORTING = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *rest):
        if name == "eiderd.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
import eiderd.__main__
"""


def test_interrupted_while_importing_there_is_no_traceback() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest may run in the background
    command = [sys.executable, "-c", _INTERRUPTED_WHILE_IMPORTING]
    ran = subprocess.run(command, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (-signal.SIGINT, b"")


_TWICE = """
import os, signal, sys
from eiderd.outside import signals
signals.raise_ended()
try:
    os.kill(os.getpid(), signal.SIGTERM)
except signals.Ended as ended:
    os.kill(os.getpid(), signal.SIGTERM)  # while all is put away
    os.kill(os.getpid(), signal.SIGHUP)
    print("put away", ended.exit_code)
"""


def test_a_second_signal_does_not_disturb_the_tidying() -> None:
    ran = subprocess.run([sys.executable, "-c", _TWICE], capture_output=True, check=False)
    assert ran.stdout == b"put away 143\n", ran


def test_what_is_ignored_stays_ignored() -> None:
    script = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from eiderd.outside import signals; signals.raise_ended()\n"
        "os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ran.stdout == b"alive\n", ran


# What others chose to name ----------------------------------------------------------------------


def given_backup(**more: Any) -> Backup:
    at = NOON
    return Backup(
        id="20260329-120000", sequence=1, created_at=at, state=State.VERIFIED,
        archive=f"backup-{NASTY}.tar.gz", bytes=5, sha256="00", note=NASTY,
        source=Source(path=NASTY, engine=NASTY, storage_version=64, encrypted=False, bytes=1),
        consistency=Consistency(method="double-collect", passes=2, frozen_seconds=0.0,
                                iteration=1, wal_bytes=0, captured_from=at, captured_to=at),
        proof=Proof(level=Level.RESTORE, at=at, engine=NASTY, rows=7),
        content=Content(
            schema_digest="0" * 64,
            tables={NASTY: TableContent(rows=1, newest=NASTY, fingerprint=NASTY)},
        ),
        members=(), eiderd="0", **more,
    )  # fmt: skip


def test_names_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = given_backup()
    doubtful = Unreadable(id=NASTY, problem=NASTY)
    reports.backup_made(made, directory=tmp_path / NASTY)
    reports.backup(made, directory=tmp_path / NASTY)
    reports.backups(catalog.Listing(backups=(made,), unreadable=(doubtful,)), directory=tmp_path)
    reports.backups(catalog.Listing(backups=(), unreadable=()), directory=tmp_path / NASTY)
    reports.verdicts(
        [
            reports.Verdict(name=NASTY, proof=made.proof),
            reports.Verdict(name=NASTY, problem=NASTY),
        ]
    )
    terminal.problem(NASTY, NASTY)
    out, err = capsys.readouterr()
    assert all(char.isprintable() for char in (out + err).replace("\n", ""))
    assert max(map(len, (out + err).split())) <= 201
    assert "[bold]x[/nothing]" in out
    assert len(err.splitlines()) == 2


def test_a_message_is_one_line_and_one_for_each_problem(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for as_json in (False, True):
        terminal.error(EiderError("2 problems:\n  - one\ntwo\n  - three"), as_json=as_json)
    out, err = capsys.readouterr()
    assert err == "eider: 2 problems:\n  - one two\n  - three\n"
    assert json.loads(out)["error"]["message"] == "2 problems:\n  - one two\n  - three"


def test_a_document_is_ascii_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    said = "ü€😀\x7f\x9b\u202e\u2028\udcff"
    terminal.document(json.dumps(said[:-1], ensure_ascii=False).encode())
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x7f" not in out
    assert json.loads(out) == said[:-1]


# How long it takes ------------------------------------------------------------------------------


def test_ten_thousand_backups_are_listed_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = dataclasses.replace(given_backup(), note="before the upgrade")
    listing = catalog.Listing(backups=(plain,) * 10_000, unreadable=())
    began = time.process_time()
    reports.backups(listing, directory=tmp_path)
    seconds = time.process_time() - began
    assert len(capsys.readouterr().out.splitlines()) == 10_001
    assert seconds < 0.3


def test_looking_needs_none_of_what_is_slow_to_import() -> None:
    slow = {"asyncio", "duckdb", "numpy", "pydantic_settings", "rich.console", "rich.progress"}
    script = "import sys, eiderd.entry; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": ""}
    ran = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    assert not {*slow, "structlog", "eiderd.app"} & set(ran.stdout.split())
