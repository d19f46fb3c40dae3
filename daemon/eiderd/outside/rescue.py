"""Copies of a sick database, each changed in one way before an engine reads it."""

from __future__ import annotations

import os
import shutil
import struct
from typing import TYPE_CHECKING, Final

from eiderd.errors import ChildFailed, ConfigError
from eiderd.evidence import Damage
from eiderd.outside import engine, files, process
from eiderd.outside.duckdb_file import HEADER_BYTES, PAGE, read_headers, wal_names

if TYPE_CHECKING:
    from pathlib import Path

_MAPPED_BESIDE: Final = 3 << 30  # as for a proof: code, thread stacks, allocator arenas


def fresh_copy(image: Path, folder: Path, *, wal: bool, older_header: bool) -> Path:
    """Copy the database at `image` into an empty private `folder` and return the copy."""
    files.remove_tree(folder)
    files.private_folder(folder)
    copy = folder / image.name
    with files.writing_to(folder):
        for name in (image.name, *(wal_names(image.name) if wal else ())):
            source = image.with_name(name)
            if source.exists():
                shutil.copyfile(source, folder / name)
    if older_header:
        put_older_header(copy)
    return copy


def put_older_header(database: Path) -> None:
    """Put the older of the two headers in the place of the newer one: then both are the older."""
    with files.writing_to(database.parent), database.open("r+b") as file:
        pages = file.read(HEADER_BYTES)
        read_headers(pages, of=database)
        halves = [pages[offset : offset + PAGE] for offset in (PAGE, 2 * PAGE)]
        older = min(halves, key=_iteration)
        newer = 2 - halves.index(older)  # the number of the other one's page
        file.seek(newer * PAGE)
        file.write(older)


def _iteration(header: bytes) -> int:
    (iteration,) = struct.unpack_from("<Q", header, 8)
    return int(iteration)


def storage_version(database: Path) -> int:
    """Return the number of the storage format, as the main header has it."""
    with files.reading_from(database), database.open("rb") as file:
        return read_headers(file.read(HEADER_BYTES), of=database).storage_version


def fold(
    *, database: Path, interpreter: Path, scratch: Path, bounds: engine.Bounds
) -> tuple[Damage | None, str]:
    """Let the engine of `interpreter` fold the WAL into the copy at `database`.

    Return what is wrong and what was said of it; None when it is done.
    """
    try:
        answer = process.run(
            engine.command(interpreter),
            order={
                "do": "fold",
                "database": str(database),
                "scratch": str(scratch),
                "memory_limit": f"{bounds.memory_limit // 1_000_000}MB",
                "threads": bounds.threads,
            },
            limits=process.Limits(
                address_space=bounds.memory_limit + _MAPPED_BESIDE,
                deadline_seconds=bounds.deadline_seconds,
            ),
            progress=lambda _said: None,
        )
    except ChildFailed as error:
        return engine.damage_of(error), error.message
    kind = answer.result["kind"]
    return (None if kind == "ok" else Damage(kind)), str(answer.result["message"] or "")


def keep(folder: Path, kept: Path) -> None:
    """Put `folder` by as `kept`, in place of what is there. Both are eiderd's own scratch."""
    files.remove_tree(kept)
    folder.rename(kept)


def ensure_free(folder: Path, *, name: str) -> None:
    """Raise ConfigError when anything stands where the rescued files are to go."""
    for other in (name, *wal_names(name)):
        if os.path.lexists(folder / other):
            raise ConfigError(
                f"there is something at {folder / other} already",
                hint="Name another folder with --to; nothing is ever written over.",
            )


def deliver(kept: Path, folder: Path, *, name: str) -> Path:
    """Copy what was put by to `folder` and return the database there, its WAL files first.

    The database gets its name last: whoever finds it finds all of it.
    """
    ensure_free(folder, name=name)
    files.private_folder(folder)
    with files.writing_to(folder):
        for other in (*wal_names(name), name):
            if (kept / other).exists():
                aside = folder / f".{other}.rescued"
                shutil.copyfile(kept / other, aside)
                aside.chmod(files.PRIVATE_FILE)
                files.sync_file(aside)
                aside.rename(folder / other)
        files.sync_folder(folder)
    return folder / name
