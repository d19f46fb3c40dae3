"""Take a backup: refresh the mirror, archive it, prove the archive and its database, commit.

It counts only when it is proven. What cannot be proven is kept and listed as `unverified`, because
an exact copy of a database that does not come back is still the best there is of it.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from typing import TYPE_CHECKING, Protocol, TypeVar

from eiderd import __version__, proof, staging
from eiderd.comparison import compared
from eiderd.errors import VerificationFailed
from eiderd.evidence import StreamsTaken
from eiderd.model import (
    Backup,
    Consistency,
    Content,
    Ending,
    Level,
    Outcome,
    Source,
    State,
)
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from eiderd.comparison import Compare
    from eiderd.evidence import Captured, Checked, Member, Opened, Packed
    from eiderd.model import Proof


One = TypeVar("One")
Other = TypeVar("Other")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Pack(Protocol):
    """Archive the mirrored files and the extra ones."""

    def __call__(
        self, *, target: Path, captured: Captured, manifest: Mapping[str, object]
    ) -> Packed: ...


class Check(Protocol):
    """Read an archive back, writing nothing."""

    def __call__(
        self, *, archive: Path, sha256: str, members: tuple[Member, ...], id_: str
    ) -> Checked: ...


class Together(Protocol):
    """Run both at once and return both results."""

    def __call__(
        self, one: Callable[[], One], other: Callable[[], Other], /
    ) -> tuple[One, Other]: ...


def run(
    *,
    now: Callable[[], datetime.datetime],
    source: Path,
    directory: Path,
    note: str,
    ensure_room: Callable[[], None],
    refresh: Callable[[], Captured],
    pack: Pack,
    check: Check,
    sync: Callable[[Path], None],
    open_mirror: Callable[[], Opened],
    together: Together,
    compare: Compare,
    capture_streams: Callable[[], StreamsTaken] = StreamsTaken,
) -> Outcome[Backup]:
    """Return the backup: `verified`, `suspect` or `unverified`. What fails leaves no trace behind.

    The archive is written and read back while an engine reads the mirror it was written from: the
    members' SHA-256 prove that both are the same bytes. `ensure_room` comes before anything is
    copied: a disk that is full ends more than a backup. What becomes of the streams of NATS stops
    nothing: the manifest says which are missing.

    Raise what the steps raise; VerificationFailed when the archive did not come back from disk as
    it was written.
    """
    ensure_room()
    # The streams before the database, never after it: an application acknowledges an event once it
    # is in the database, and what was acknowledged when a stream is captured is then in the later
    # copy of the database; what was not is still in the stream. The other way round, whatever is
    # acknowledged between the two would be in neither.
    streams = capture_streams()
    captured = refresh()
    created_at = _consistency(captured).captured_to
    draft = staging.draft(directory, created_at=created_at)

    def archive_and_check() -> tuple[Packed, Checked]:
        inside = _inside(draft, streams, created_at=created_at, database=source.name)
        packed = pack(target=draft.archive, captured=captured, manifest=inside)
        read_back = functools.partial(
            check, archive=draft.archive, sha256=packed.sha256, members=packed.members, id_=draft.id
        )
        # The disk takes its time while the processor reads back; both end before the commit.
        checked, _synced = together(read_back, functools.partial(sync, draft.archive))
        return packed, checked

    try:
        (packed, checked), opened = together(archive_and_check, open_mirror)
        verdict = proof.judge(checked=checked, opened=opened, at=now())
        _refuse_bad_archive(verdict)
        backup = _backup(
            draft, packed, captured, streams, opened, source=source, note=note, verdict=verdict
        )
        if backup.verified:
            backup = compared(directory, backup, compare=compare)
        staging.commit(directory, backup)
    except BaseException:
        staging.discard(draft)
        raise
    ending = Ending.UNPROVEN if backup.state is State.UNVERIFIED else Ending.DONE
    return Outcome(ending=ending, value=backup, why=_why(backup))


def _inside(
    draft: staging.Draft,
    streams: StreamsTaken,
    *,
    created_at: datetime.datetime,
    database: str,
) -> dict[str, object]:
    """Return what the manifest within the archive says besides its members."""
    return {
        "id": draft.id,
        "sequence": draft.sequence,
        "created_at": created_at.isoformat(),
        "database": database,
        "nats": [
            {**dataclasses.asdict(one), "captured_at": one.captured_at.isoformat()}
            for one in streams.taken
        ],
        "nats_missing": [dataclasses.asdict(one) for one in streams.missing],
        "eiderd": __version__,
    }


def _why(backup: Backup) -> str:
    if backup.state is State.SUSPECT:
        return f"its content is suspect: {'; '.join(backup.content.reasons)}"
    if backup.nats_missing and backup.verified:
        return without(backup)
    return proof.explain(backup.proof)[0]


def without(backup: Backup) -> str:
    """Return which streams of NATS a backup does without, and why."""
    return "; ".join(
        f"stream {plain(one.stream)} is not in it: {plain(one.why)}" for one in backup.nats_missing
    )


def _backup(
    draft: staging.Draft,
    packed: Packed,
    captured: Captured,
    streams: StreamsTaken,
    opened: Opened,
    *,
    source: Path,
    note: str,
    verdict: Proof,
) -> Backup:
    consistency = _consistency(captured)
    return Backup(
        id=draft.id,
        sequence=draft.sequence,
        created_at=consistency.captured_to,
        state=proof.state_of(verdict),
        archive=draft.archive.name,
        bytes=packed.bytes,
        sha256=packed.sha256,
        note=note,
        source=_source(source, captured),
        consistency=consistency,
        proof=verdict,
        content=proof.content_of(opened) if opened.tables else Content(),
        members=packed.members,
        nats=streams.taken,
        nats_missing=streams.missing,
        eiderd=__version__,
    )


def _refuse_bad_archive(verdict: Proof) -> None:
    if verdict.level < Level.ARCHIVE and verdict.failure:
        raise VerificationFailed(
            f"the new archive did not come back as it was written: {verdict.failure.message}",
            hint="Check the disk of the backup folder: dmesg | tail",
        )


def _consistency(captured: Captured) -> Consistency:
    low, high = captured.instant
    return Consistency(
        method=captured.method,
        passes=captured.passes,
        frozen_seconds=captured.frozen_seconds,
        iteration=captured.iteration,
        wal_bytes=captured.wal_bytes,
        captured_from=_time(low),
        captured_to=_time(high + 999),  # rounded up: the instant lies between the two
    )


def _time(nanoseconds: int) -> datetime.datetime:
    """Return the time, UTC, rounded down to a microsecond, without a detour through a float."""
    return _EPOCH + datetime.timedelta(microseconds=nanoseconds // 1000)


def _source(path: Path, captured: Captured) -> Source:
    return Source(
        path=str(path),
        engine=captured.engine,
        storage_version=captured.storage_version,
        encrypted=captured.encrypted,
        bytes=captured.bytes,
    )
