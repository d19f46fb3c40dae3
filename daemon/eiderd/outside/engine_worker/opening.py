"""Opening a database so that nothing in it can reach out, and nothing beside it changes."""

from __future__ import annotations

import fcntl
import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from .indexes import MATCHES
from .nouns import Connection, Verdict, engine, failure, literal, one_row

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a read-only open may say of a sound database: 1.x engines write while they replay a WAL that
# holds a CREATE INDEX, or a large insert into an indexed table, and may not.
Settings = dict[str, str | bool | int | float | list[str]]

_PERHAPS_SOUND = {"wal_replay", "cannot_open"}
_WANTED_TO_WRITE = "Could not write file"  # how each of these engines says so
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_WAL_SUFFIXES = (".wal", ".wal.checkpoint", ".wal.recovery")


class Session:
    """A database that is open, locked in, and can be opened anew to give back its memory."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._path = Path(order["database"]).absolute()
        self._scratch = Path(order["scratch"]).absolute()
        look_first(self._path)
        self._settings: Settings = {
            "memory_limit": order["memory_limit"],
            "threads": str(order["threads"]),
            "temp_directory": str(self._scratch / "engine-spill"),
            "max_temp_directory_size": f"{4 * self._path.stat().st_size + (64 << 20)}B",
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_persistent_secrets": "false",
        }
        self._spare = False
        self.extensions: list[str] = []
        try:
            self.connection = self._opened(self._path, read_only=True)
        except Verdict as verdict:
            if verdict.kind not in _PERHAPS_SOUND:
                raise
            self._spare = True
            most = order.get("spare_bytes")
            spare = copy_aside(self._path, self._scratch, because=verdict, most_bytes=most)
            self.connection = self._opened(spare, read_only=False)

    def _opened(self, path: Path, *, read_only: bool) -> Connection:
        connection = connect(path, self._settings, read_only=read_only)
        self.extensions = load_spatial(connection)
        lock_down(connection)
        return connection

    def reopen(self) -> Connection | None:
        """Open anew. Not a spare copy: closing one checkpoints, and 1.x leaves indexes stale."""
        if self._spare:
            return None
        self.connection.close()
        self.connection = self._opened(self._path, read_only=True)
        return self.connection


def connect(path: Path, settings: Settings, *, read_only: bool) -> Connection:
    try:
        return duckdb.connect(str(path), read_only=read_only, config=settings)
    except duckdb.Error as error:
        raise Verdict(open_failure(error), "", error) from error


def copy_aside(
    path: Path, scratch: Path, *, because: Verdict, most_bytes: int | None = None
) -> Path:
    """Copy a database and its WAL files into scratch, where an engine may write as it likes.

    With `most_bytes`, only what failed for want of writing is tried again, and a larger file only
    where the filesystem shares its blocks.
    """
    if most_bytes is not None and _WANTED_TO_WRITE not in str(because.__cause__ or because):
        raise because
    folder = scratch / "spare"
    spare = folder / path.name
    try:
        folder.mkdir(exist_ok=True)
        if not share(path, spare):
            if most_bytes is not None and path.stat().st_size > most_bytes:
                raise Verdict("untried", f"it is too large to be tried on a copy: {because}")
            shutil.copyfile(path, spare)
        for suffix in _WAL_SUFFIXES:
            log = path.with_name(path.name + suffix)
            if log.exists():
                shutil.copyfile(log, folder / log.name)
    except OSError as error:
        message = f"{because}; it could not be tried on a copy: {error.strerror}"
        raise Verdict(because.kind, message) from error
    return spare


def share(path: Path, copy: Path) -> bool:
    """Make a copy that takes no room, if the filesystem can."""
    with path.open("rb") as source, copy.open("wb") as target:
        try:
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
        except OSError:
            return False
    return True


def look_first(path: Path) -> None:
    """See what the engine would misread in silence."""
    try:
        with path.open("rb") as file:
            magic = file.read(12)[8:]
    except OSError as error:
        raise Verdict("cannot_open", "", error) from error
    if magic != b"DUCK":  # it would take the file for SQLite's and look for an extension
        raise Verdict("not_a_database", f"{path.name} is not a DuckDB database")
    second_log = path.with_name(f"{path.name}.wal.checkpoint")
    if second_log.exists() and engine() < (1, 5):
        message = f"DuckDB {duckdb.__version__} would leave out the commits in {second_log.name}"
        raise Verdict("wal_replay", message)


def open_failure(error: duckdb.Error) -> str:
    text = str(error)
    if "replaying WAL" in text:
        return "wal_replay"
    if "Cannot open encrypted database" in text:
        return "key_needed"
    return failure(error, "not_a_database" if "not a valid DuckDB" in text else "cannot_open")


def load_spatial(connection: Connection) -> list[str]:
    """Load the extension of this very engine where it is installed and wanted. Never fetch it.

    Without it, geometries are read as bytes and RTREE indexes are left alone.
    """
    (wanted,) = one_row(
        connection,
        "SELECT count(*) FROM duckdb_indexes() WHERE database_name = current_database() "
        "AND sql ILIKE '%USING RTREE%'",
    )
    for place in spatial_files() if wanted else ():
        try:
            connection.execute(f"LOAD {place}")
        except duckdb.Error:
            continue
        return ["spatial"]
    return []


def spatial_files() -> Iterator[str]:
    """Where it can be: the engine's own extension folder, or the package that PyPI has."""
    yield "spatial"
    package = importlib.util.find_spec("duckdb_extension_spatial")
    for folder in (package and package.submodule_search_locations) or ():
        for path in sorted(Path(folder).rglob("spatial.duckdb_extension")):
            yield literal(str(path))


def lock_down(connection: Connection) -> None:
    connection.execute("SET TimeZone = 'UTC'")  # nested values are hashed as text too
    connection.execute(f"SET index_scan_max_count = {10 * MATCHES}")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")  # last: nothing can be set after it
