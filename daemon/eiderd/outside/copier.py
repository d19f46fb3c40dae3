"""The parent's side of moving bytes: each of these runs in a child process with limits."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eiderd.evidence import Captured, Checked, Damage, Member, Packed
from eiderd.outside import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eiderd.outside.application.hold import Keeper

    Progress: TypeAlias = Callable[[int, int], None]

_COMMAND: Final = (sys.executable, "-I", "-m", "eiderd.outside.copier_worker")
# Far above what the work needs (about 100 MB resident): libraries and thread stacks are mapped, not
# used. It stops a bomb, not the work.
_ADDRESS_SPACE: Final = 2 << 30


def _run(
    do: str,
    *,
    deadline_seconds: float,
    progress: Progress,
    order: Mapping[str, object],
    descriptors: Sequence[int] = (),
) -> dict[str, Any]:
    answer = process.run(
        _COMMAND,
        order={"do": do, **order},
        limits=process.Limits(address_space=_ADDRESS_SPACE, deadline_seconds=deadline_seconds),
        progress=lambda said: progress(said["done"], said["total"]),
        descriptors=descriptors,
    )
    return answer.result


def refresh(
    *,
    source: Path,
    mirror: Path,
    passes: int,
    timeout_seconds: float,
    rate_limit: int | None,
    thorough: bool,
    deadline_seconds: float,
    progress: Progress,
    keeper: Keeper | None = None,
) -> Captured:
    """As `capture.refresh`, in a child. With a keeper, the child lets it freeze the application."""
    result = _run(
        "refresh",
        deadline_seconds=deadline_seconds,
        progress=progress,
        order={
            "source": str(source),
            "mirror": str(mirror),
            "passes": passes,
            "timeout_seconds": timeout_seconds,
            "rate_limit": rate_limit,
            "thorough": thorough,
            "keeper": keeper and dataclasses.asdict(keeper),
        },
        descriptors=(keeper.asking, keeper.answers) if keeper else (),
    )
    low, high = result.pop("instant")
    return Captured(
        **{
            **result,
            "changed": tuple((offset, length) for offset, length in result["changed"]),
            "wal_changed": {name: (a, b) for name, (a, b) in result["wal_changed"].items()},
            "files": tuple(result["files"]),
        },
        instant=(low, high),
    )


def ensure_ruined(
    path: Path, *, deadline_seconds: float, progress: Progress = lambda _done, _total: None
) -> None:
    """As `ruin.ensure_ruined`, in a child."""
    _run(
        "ensure_ruined",
        deadline_seconds=deadline_seconds,
        progress=progress,
        order={"path": str(path)},
    )


def pack(
    *,
    target: Path,
    members: Sequence[tuple[Path, str]],
    owner: tuple[int, int, int],
    modified: int,
    manifest: Mapping[str, object],
    deadline_seconds: float,
    progress: Progress,
) -> Packed:
    """As `archive.pack`, in a child."""
    result = _run(
        "pack",
        deadline_seconds=deadline_seconds,
        progress=progress,
        order={
            "target": str(target),
            "members": [(str(path), name) for path, name in members],
            "owner": owner,
            "modified": modified,
            "manifest": manifest,
        },
    )
    return Packed(**{**result, "members": _members(result["members"])})


def check(
    *,
    archive: Path,
    expected_sha256: str | None,
    expected_members: Sequence[Member] | None,
    expected_id: str | None,
    most_bytes: int | None,
    deadline_seconds: float,
    progress: Progress,
    beside: Mapping[str, Any] | None = None,
    into: Path | None = None,
    wanted: Mapping[str, int] | None = None,
) -> Checked:
    """As `archive_check.check`, in a child."""
    members = expected_members
    result = _run(
        "check",
        deadline_seconds=deadline_seconds,
        progress=progress,
        order={
            "archive": str(archive),
            "expected_sha256": expected_sha256,
            "expected_members": members and [dataclasses.asdict(member) for member in members],
            "expected_id": expected_id,
            "most_bytes": most_bytes,
            "beside": beside,
            "into": into and str(into),
            "wanted": wanted,
        },
    )
    damage = result["damage"]
    return Checked(
        **{
            **result,
            "damage": damage and Damage(damage),
            "members": _members(result["members"]),
        }
    )


def unpack(
    *,
    archive: Path,
    folder: Path,
    database: str,
    members: Sequence[Member],
    deadline_seconds: float,
    progress: Progress,
) -> Path:
    """As `archive.unpack`, in a child."""
    result = _run(
        "unpack",
        deadline_seconds=deadline_seconds,
        progress=progress,
        order={
            "archive": str(archive),
            "folder": str(folder),
            "database": database,
            "members": [dataclasses.asdict(member) for member in members],
        },
    )
    return Path(result["database"])


def unpack_extras(
    *,
    archive: Path,
    folder: Path,
    members: Sequence[Member],
    deadline_seconds: float,
    progress: Progress,
    inside: str = "files",
) -> int:
    """As `archive.unpack_extras`, in a child."""
    result = _run(
        "unpack_extras",
        deadline_seconds=deadline_seconds,
        progress=progress,
        order={
            "archive": str(archive),
            "folder": str(folder),
            "inside": inside,
            "members": [dataclasses.asdict(member) for member in members],
        },
    )
    return int(result["files"])


def _members(listed: Sequence[Mapping[str, Any]]) -> tuple[Member, ...]:
    return tuple(Member(**member) for member in listed)
