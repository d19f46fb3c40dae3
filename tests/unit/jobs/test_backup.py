"""The order of a backup's steps, on which a power cut at any of them depends."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pytest

from eiderd import catalog, manifest, staging
from eiderd.errors import NoSpace, VerificationFailed
from eiderd.evidence import (
    Captured,
    Checked,
    Damage,
    Member,
    Opened,
    Packed,
    StreamMissing,
    StreamsTaken,
    StreamTaken,
    TableContent,
)
from eiderd.jobs import backup
from eiderd.model import Content, ContentVerdict, State

NOON = 1_790_000_000_000_000_123
CAPTURED = Captured(
    method="double-collect", passes=2, seconds=0.1, frozen_seconds=0.0, first_pass=None,
    instant=(NOON, NOON + 1000), iteration=7, engine="v1.4.3", storage_version=64, encrypted=False,
    block_size=262144, bytes=12288, wal_bytes=0, unsound=0, changed=(), wal_changed={},
    files=("x.duckdb",),
)  # fmt: skip
CHECKED = Checked(
    passed=3, damage=None, message="", sha256="ab", members=(), database="x.duckdb", blocks=1,
    blocks_unsound=0, encrypted=False, origin="eiderd",
)  # fmt: skip
OPENED = Opened(
    engine="2.0.0", damage=None, message="", tables={"t": TableContent(rows=1, fingerprint="f")},
    rows=1, indexes=0, indexes_asked=0, lookups=0, unique_checked=0, schema_digest="d",
    schema_version=None, storage_version=None, fingerprint_kind="k", blocks_free=0, extensions=(),
    seconds=0.1, peak_bytes=1,
)  # fmt: skip


class Steps:
    """Stand-ins for the steps, which write down that they were taken."""

    def __init__(self, *, checked: Checked = CHECKED, opened: Opened = OPENED) -> None:
        self.taken: list[str] = []
        self.streams = StreamsTaken()
        self.checked, self.opened = checked, opened

    def ensure_room(self) -> None:
        self.taken.append("ensure room")

    def capture_streams(self) -> StreamsTaken:
        self.taken.append("streams")
        return self.streams

    def refresh(self) -> Captured:
        self.taken.append("refresh")
        return CAPTURED

    def pack(self, *, target: Path, captured: Captured, manifest: object) -> Packed:
        self.taken.append("pack")
        target.write_bytes(b"archive")
        return Packed(bytes=7, sha256="ab", members=(Member(name="x", bytes=1, sha256="00"),))

    def check(self, **_words: object) -> Checked:
        self.taken.append("check")
        return self.checked

    def sync(self, path: Path) -> None:
        assert path.read_bytes() == b"archive"
        self.taken.append("sync")

    def compare(
        self, *, old: Content | None, new: Content
    ) -> tuple[ContentVerdict, tuple[str, ...]]:
        return ContentVerdict.NORMAL, ()

    def open_mirror(self) -> Opened:
        self.taken.append("open")
        return self.opened


def _run(directory: Path, steps: Steps) -> Any:  # noqa: ANN401
    return backup.run(
        now=lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        source=Path("/data/x.duckdb"),
        directory=directory,
        note="",
        ensure_room=steps.ensure_room,
        capture_streams=steps.capture_streams,
        refresh=steps.refresh,
        pack=steps.pack,
        check=steps.check,
        sync=steps.sync,
        open_mirror=steps.open_mirror,
        together=lambda one, other: (one(), other()),
        compare=steps.compare,
    ).value


def test_an_archive_is_synced_and_proven_before_it_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps()
    commit = staging.commit

    def committed(*arguments: Any) -> None:
        steps.taken.append("commit")
        commit(*arguments)

    monkeypatch.setattr(staging, "commit", committed)
    made = _run(tmp_path, steps)
    before = ["ensure room", "streams", "refresh", "pack"]  # never the streams after the database
    assert steps.taken == [*before, "check", "sync", "open", "commit"]
    assert made.state is State.VERIFIED
    # The instant of the capture, enclosed by whole microseconds.
    assert made.consistency.captured_from.microsecond == 0
    assert made.consistency.captured_to.microsecond == 2


TAKEN = StreamTaken(
    stream="tables", messages=7, first_seq=1, last_seq=7, bytes=70, consumers=1, method="snapshot",
    captured_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
)  # fmt: skip


def test_a_backup_counts_without_its_streams_and_says_so(tmp_path: Path) -> None:
    steps = Steps()
    missing = StreamMissing(stream="EVENTS", why="NATS is \x1b[31maway")
    steps.streams = StreamsTaken(taken=(TAKEN,), missing=(missing,))
    made = _run(tmp_path, steps)
    assert made.state is State.VERIFIED
    assert (made.nats, made.nats_missing) == ((TAKEN,), (missing,))
    assert backup.without(made) == "stream EVENTS is not in it: NATS is \ufffd[31maway"
    assert catalog.find(tmp_path, "latest") == made
    (brief,) = catalog.briefs(tmp_path).backups
    assert brief == manifest.brief_of(made)
    assert brief.nats_missing == (missing,)


def test_an_archive_that_does_not_come_back_is_no_backup(tmp_path: Path) -> None:
    bad = dataclasses.replace(CHECKED, passed=1, damage=Damage.DIFFERS, message="a member differs")
    with pytest.raises(VerificationFailed, match="a member differs"):
        _run(tmp_path, Steps(checked=bad))
    assert catalog.read(tmp_path).backups == ()
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_database_that_does_not_come_back_is_kept_unverified(tmp_path: Path) -> None:
    sick = dataclasses.replace(OPENED, damage=Damage.WAL_REPLAY, message="no", tables={})
    made = _run(tmp_path, Steps(opened=sick))
    assert catalog.read(tmp_path).backups == (dataclasses.replace(made, bytes=7),)
    assert made.state is State.UNVERIFIED


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    steps = Steps()

    def full(path: Path) -> None:
        raise NoSpace("full")

    steps.sync = full  # type: ignore[method-assign]
    with pytest.raises(NoSpace):
        _run(tmp_path, steps)
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_backup_that_does_not_fit_copies_nothing(tmp_path: Path) -> None:
    steps = Steps()

    def full() -> None:
        raise NoSpace("full")

    steps.ensure_room = full  # type: ignore[method-assign]
    with pytest.raises(NoSpace):
        _run(tmp_path, steps)
    assert steps.taken == []
    assert list(tmp_path.iterdir()) == []
