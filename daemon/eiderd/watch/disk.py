"""Is there room, and for how long still? One look at each filesystem that matters."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal

from eiderd import room
from eiderd.errors import EiderError
from eiderd.growth import Samples
from eiderd.health import Finding, Kind, Severity
from eiderd.status import Disk, Place
from eiderd.units import spoken
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eiderd.evidence import Filesystem

_LOW_SHARE: Final = 10  # one part in so many, of bytes
_INODES_SHARE: Final = 20
_SECONDS_PER_HOUR: Final = 3600


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """As the configuration has them, in bytes. `ballast` is None when none is wanted."""

    warn: int
    critical: int
    forecast: datetime.timedelta
    ballast: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What was found, and the samples to hand in next time, by place."""

    findings: tuple[Finding, ...]
    disks: tuple[Disk, ...]
    samples: Mapping[Place, Samples]


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    disk: Disk
    device: int


def run(
    *,
    now: datetime.datetime,
    folders: Mapping[Place, Path],
    look: Callable[[Path], Filesystem],
    ballast_there: Callable[[], bool],
    samples: Mapping[Place, Samples],
    limits: Limits,
) -> Looks:
    """Look at each folder's filesystem. One that gives no answer is a finding, not a failure."""
    findings: list[Finding] = []
    seen: list[_Seen] = []
    kept = dict(samples)
    for place, folder in folders.items():
        try:
            found = look(folder)
        except EiderError as error:
            findings.append(_no_answer(place, error, path=str(folder)))
            continue
        kept[place] = kept.get(place, Samples()).added(
            now, used_bytes=found.used_bytes, total_bytes=found.total_bytes
        )
        seen.append(_Seen(_disk(place, folder, found, kept[place], now=now), found.device))
    for subject, disk in _by_device(seen):
        findings += _judged(disk, subject=subject, limits=limits)
    for one in seen:
        if one.disk.place is Place.BACKUPS and limits.ballast is not None:
            findings += _ballast(one.disk, limits, size=limits.ballast, there=ballast_there)
    return Looks(findings=tuple(findings), disks=tuple(one.disk for one in seen), samples=kept)


def _no_answer(place: Place, error: EiderError, *, path: str) -> Finding:
    return Finding(
        kind=Kind.WATCHER_FAILED,
        subject=str(place),
        severity=Severity.WARNING,
        message=f"How full the disk of {place} is cannot be told: {plain(error.message)}.",
        command=_df(path),
    )


def _disk(
    place: Place, folder: Path, found: Filesystem, samples: Samples, *, now: datetime.datetime
) -> Disk:
    growth = samples.bytes_per_hour
    # Less than a byte an hour is the noise of the reckoning.
    grows = growth is not None and growth >= 1
    return Disk(
        place=place,
        path=str(folder),
        at=now,
        total_bytes=found.total_bytes,
        free_bytes=found.free_bytes,
        total_inodes=found.total_inodes,
        free_inodes=found.free_inodes,
        growth_bytes_per_hour=growth,
        seconds_to_full=found.free_bytes / growth * _SECONDS_PER_HOUR if growth and grows else None,
    )


def _by_device(seen: list[_Seen]) -> Iterator[tuple[str, Disk]]:
    """Yield one disk for each filesystem, and the places on it as one subject."""
    devices = dict.fromkeys(one.device for one in seen)
    for device in devices:
        disks = [one.disk for one in seen if one.device == device]
        yield "+".join(disk.place for disk in disks), disks[0]


def _judged(disk: Disk, *, subject: str, limits: Limits) -> Iterator[Finding]:
    yield from _space(disk, subject=subject, limits=limits)
    full = disk.seconds_to_full
    if full is not None and full < limits.forecast.total_seconds():
        left = spoken(full)
        yield _finding(
            Kind.DISK_FILLING,
            disk,
            subject,
            f"The disk of {subject} will be full in about {left}: it grows by "
            f"{decimal(int(disk.growth_bytes_per_hour or 0))} an hour and "
            f"{decimal(disk.free_bytes)} are free.",
        )
    # What does not count its inodes has none of none, which is not few.
    if disk.free_inodes < disk.total_inodes / _INODES_SHARE:
        yield _finding(
            Kind.INODES_LOW,
            disk,
            subject,
            f"The disk of {subject} has {disk.free_inodes:,} of {disk.total_inodes:,} inodes left: "
            "it will take no more files than that, however small.",
            command=f"df -i {shlex.quote(plain(disk.path))}",
        )


def _space(disk: Disk, *, subject: str, limits: Limits) -> Iterator[Finding]:
    critical = room.reserve(disk.total_bytes, critical_bytes=limits.critical)
    low = min(limits.warn, disk.total_bytes // _LOW_SHARE)
    said = f"of {decimal(disk.total_bytes)} are free on the disk of {subject}"
    free = decimal(disk.free_bytes)
    if disk.free_bytes < critical:
        yield _finding(
            Kind.DISK_CRITICAL,
            disk,
            subject,
            f"Only {free} {said}; less than {decimal(critical)} is critical.",
            severity=Severity.CRITICAL,
        )
    elif disk.free_bytes < low:
        yield _finding(
            Kind.DISK_LOW, disk, subject, f"{free} {said}; less than {decimal(low)} is low."
        )


def _ballast(
    disk: Disk, limits: Limits, *, size: int, there: Callable[[], bool]
) -> Iterator[Finding]:
    try:
        if there():
            return
    except EiderError as error:
        yield _no_answer(disk.place, error, path=disk.path)
        return
    critical = room.reserve(disk.total_bytes, critical_bytes=limits.critical)
    enough = 2 * critical + size
    said = f"The ballast of {decimal(size)} is not there"
    if disk.free_bytes >= enough:
        yield _finding(
            Kind.BALLAST_RELEASED,
            disk,
            "",
            f"{said} yet; it will be made now.",
            severity=Severity.NOTICE,
        )
    else:
        yield _finding(
            Kind.BALLAST_RELEASED,
            disk,
            "",
            f"{said}; it is made again when {decimal(enough)} are free beside the backups "
            f"(now {decimal(disk.free_bytes)}).",
        )


def _finding(
    kind: Kind,
    disk: Disk,
    subject: str,
    message: str,
    *,
    severity: Severity = Severity.WARNING,
    command: str = "",
) -> Finding:
    return Finding(
        kind=kind,
        subject=subject,
        severity=severity,
        message=message,
        command=command or _df(disk.path),
    )


def _df(path: str) -> str:
    return f"df -h {shlex.quote(plain(path))}"
