"""The child that moves bytes: it copies, packs, checks and unpacks. Started by `copier`.

Each verb imports only what it uses: a child's start is part of every backup.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from eiderd.evidence import Member
from eiderd.outside import process


def _refresh(
    *, source: str, mirror: str, keeper: dict[str, Any] | None, **words: Any
) -> dict[str, Any]:
    from eiderd.outside import capture

    chosen = None
    if keeper:
        from eiderd.outside.application.hold import Keeper

        chosen = Keeper(**keeper)
    report = capture.refresh(source=Path(source), mirror=Path(mirror), keeper=chosen, **words)
    return dataclasses.asdict(report)


def _ensure_ruined(*, path: str, **words: Any) -> dict[str, Any]:
    from eiderd.outside.ruin import ensure_ruined

    ensure_ruined(Path(path), **words)
    return {}


def _pack(
    *, target: str, members: list[tuple[str, str]], owner: tuple[int, int, int], **words: Any
) -> dict[str, Any]:
    from eiderd.outside.archive import pack

    packed = pack(
        target=Path(target),
        members=[(Path(path), name) for path, name in members],
        owner=(owner[0], owner[1], owner[2]),
        **words,
    )
    return dataclasses.asdict(packed)


def _check(*, archive: str, into: str | None, **words: Any) -> dict[str, Any]:
    from eiderd.outside.archive_check import check

    folder = Path(into) if into else None
    return dataclasses.asdict(check(archive=Path(archive), into=folder, **words))


def _unpack(
    *, archive: str, folder: str, members: list[dict[str, Any]], **words: Any
) -> dict[str, str]:
    from eiderd.outside.archive import unpack

    counted = [Member(**member) for member in members]
    database = unpack(archive=Path(archive), folder=Path(folder), members=counted, **words)
    return {"database": str(database)}


def _unpack_extras(
    *, archive: str, folder: str, members: list[dict[str, Any]], **words: Any
) -> dict[str, int]:
    from eiderd.outside.archive import unpack_extras

    counted = [Member(**member) for member in members]
    count = unpack_extras(archive=Path(archive), folder=Path(folder), members=counted, **words)
    return {"files": count}


if __name__ == "__main__":
    sys.exit(
        process.serve(
            {
                "refresh": _refresh,
                "ensure_ruined": _ensure_ruined,
                "pack": _pack,
                "check": _check,
                "unpack": _unpack,
                "unpack_extras": _unpack_extras,
            }
        )
    )
