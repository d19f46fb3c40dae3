"""What setup sees of this machine: disks, the database, and who may pass and read."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A filesystem where backups could stand."""

    mount: str
    device: int
    free_bytes: int
    writable: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One file or folder on the way to the database: who may do what with it."""

    path: str
    is_folder: bool
    mode: int
    group: str
    group_id: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The database and everything eiderd has to get through to read it.

    `above` leads from the root to the folder, without it. `files` are the database and its WALs.
    """

    path: str
    bytes: int
    device: int
    above: tuple[Standing, ...]
    folder: Standing
    files: tuple[Standing, ...]
