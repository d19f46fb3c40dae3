"""The child that moves bytes: it copies, packs, checks and unpacks. Started by `copier`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from eiderd.evidence import Member
from eiderd.outside import archive as archive_module
from eiderd.outside import archive_check, capture, process

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress: TypeAlias = Callable[[int, int], None]


def _refresh(*, source: str, mirror: str, **words: Any) -> dict[str, Any]:
    report = capture.refresh(source=Path(source), mirror=Path(mirror), **words)
    return dataclasses.asdict(report)


def _pack(
    *, target: str, members: list[tuple[str, str]], owner: tuple[int, int, int], **words: Any
) -> dict[str, Any]:
    packed = archive_module.pack(
        target=Path(target),
        members=[(Path(path), name) for path, name in members],
        owner=(owner[0], owner[1], owner[2]),
        **words,
    )
    return dataclasses.asdict(packed)


def _check(*, archive: str, **words: Any) -> dict[str, Any]:
    return dataclasses.asdict(archive_check.check(archive=Path(archive), **words))


def _unpack(
    *, archive: str, folder: str, members: list[dict[str, Any]], **words: Any
) -> dict[str, str]:
    database = archive_module.unpack(
        archive=Path(archive),
        folder=Path(folder),
        members=[Member(**member) for member in members],
        **words,
    )
    return {"database": str(database)}


if __name__ == "__main__":
    sys.exit(
        process.serve({"refresh": _refresh, "pack": _pack, "check": _check, "unpack": _unpack})
    )
