"""The parent's side of the engines: a database is opened in a child, by the version that fits."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eiderd.errors import ChildFailed, ConfigError
from eiderd.evidence import Damage, Opened, TableContent
from eiderd.outside import ownership, process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Progress: TypeAlias = Callable[[int, int], None]

# The worker's folder is a package by itself: a side environment has no eiderd.
_START: Final = (
    "import sys; sys.path.append(sys.argv[1]); from engine_worker.worker import main; main()"
)
# What an engine maps beyond its own memory limit: its code, thread stacks, allocator arenas.
_MAPPED_BESIDE: Final = 3 << 30
_LOOKUPS: Final = 32  # keys looked up through each index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """The interpreters that hold an engine: eiderd's own (the newest), and others by version."""

    others: dict[str, Path]
    application: str | None

    def interpreter(self) -> Path:
        """Return the application's version where it is installed, else the newest."""
        wanted = (self.application or "").removeprefix("v")
        return self.others.get(wanted, Path(sys.executable))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`memory_limit` in bytes, the most for an engine's own buffers; `deadline_seconds` for it."""

    memory_limit: int
    threads: int
    deadline_seconds: float


def open_and_read(
    *,
    database: Path,
    interpreter: Path,
    scratch: Path,
    bounds: Bounds,
    time_columns: Mapping[str, str],
    schema_table: str,
    progress: Progress,
) -> Opened:
    """Let an engine open `database` read-only and read all of it. Nothing beside it is written.

    Whatever the engine does, crash, hang or complain, is a verdict in what is returned.
    Raise ConfigError when `interpreter` holds no engine.
    """
    order = {
        "do": "prove",
        "database": str(database),
        "scratch": str(scratch),
        "threads": bounds.threads,
        "time_columns": dict(time_columns),
        "schema_table": schema_table,
        "lookups": _LOOKUPS,
    }
    for memory_limit in _limits(bounds.memory_limit, wal_bytes=_wal_bytes(database)):
        opened = _attempt(
            {**order, "memory_limit": f"{memory_limit // 1_000_000}MB"},
            interpreter=interpreter,
            bounds=dataclasses.replace(bounds, memory_limit=memory_limit),
            progress=progress,
        )
        if opened.damage is not Damage.OUT_OF_MEMORY:
            break
    return opened


def _wal_bytes(database: Path) -> int:
    wal = database.with_name(f"{database.name}.wal")
    return wal.stat().st_size if wal.exists() else 0


# Most databases are read with the first. A replayed WAL stays in memory, and so do the pages of
# every index that it touches, so one with a WAL of some size begins with the second.
_BEGIN_WITH: Final = (150_000_000, 400_000_000)
_SMALL_WAL: Final = 1_000_000


def _limits(most: int, *, wal_bytes: int) -> list[int]:
    """Return the memory limits to try, in bytes, each one larger than the one before."""
    first = 0 if wal_bytes <= _SMALL_WAL else 1
    return [limit for limit in _BEGIN_WITH[first:] if limit < most] + [most]


def _attempt(
    order: Mapping[str, object], *, interpreter: Path, bounds: Bounds, progress: Progress
) -> Opened:
    try:
        answer = _run(order, interpreter=interpreter, bounds=bounds, progress=progress)
    except ChildFailed as error:
        _refuse_missing(interpreter, error)
        return _fallen(error, engine=interpreter)
    return _opened(answer)


def version(*, interpreter: Path, bounds: Bounds) -> str:
    """Return the version of the engine that `interpreter` holds. Raise ConfigError if none."""
    try:
        answer = _run(
            {"do": "version"}, interpreter=interpreter, bounds=bounds, progress=lambda _d, _t: None
        )
    except ChildFailed as error:
        _refuse_missing(interpreter, error)
        raise
    return str(answer.result["engine"])


def ask_schema(
    *,
    database: Path,
    interpreter: Path,
    scratch: Path,
    bounds: Bounds,
    schema_table: str,
    spare_bytes: int,
    table: str | None = None,
) -> dict[str, Any]:
    """Let an engine open `database` as `open_and_read` does, and say only which schema it has.

    Return its answer: `kind` is "ok", or why it could not be opened, with `message`. Where the
    engine wants to write, it is given a copy, unless that would be larger than `spare_bytes`.
    Raise ConfigError when `interpreter` holds no engine, ChildFailed when its process was ended.
    """
    order = {
        "do": "schema",
        "database": str(database),
        "scratch": str(scratch),
        "threads": 1,
        "schema_table": schema_table,
        "spare_bytes": spare_bytes,
        "table": table,
    }
    answer: dict[str, Any] = {}
    for memory_limit in _limits(bounds.memory_limit, wal_bytes=_wal_bytes(database)):
        said = {**order, "memory_limit": f"{memory_limit // 1_000_000}MB"}
        limits = dataclasses.replace(bounds, memory_limit=memory_limit)
        answer = _answered(said, interpreter=interpreter, bounds=limits)
        if answer["kind"] != "out_of_memory":
            break
    return answer


def _answered(order: Mapping[str, object], *, interpreter: Path, bounds: Bounds) -> dict[str, Any]:
    """An engine that crashes has given an answer too. One that was killed has not."""
    try:
        return _run(
            order, interpreter=interpreter, bounds=bounds, progress=lambda _d, _t: None
        ).result
    except ChildFailed as error:
        _refuse_missing(interpreter, error)
        if error.how not in _CRASHES:
            raise
        return {"engine": _named(interpreter), "kind": "engine_died", "message": error.message}


_CRASHES: Final = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"})


def command(interpreter: Path) -> list[str]:
    """Return the command line that is the engine's child in the environment of `interpreter`.

    Raise ConfigError when it would run with more rights than whoever can change that environment.
    """
    if interpreter != Path(sys.executable):
        ownership.ensure_unforgeable(interpreter)
    return [str(interpreter), "-I", "-c", _START, str(Path(__file__).parent)]


def _run(
    order: Mapping[str, object], *, interpreter: Path, bounds: Bounds, progress: Progress
) -> process.Answer:
    return process.run(
        command(interpreter),
        order=order,
        limits=process.Limits(
            address_space=bounds.memory_limit + _MAPPED_BESIDE,
            deadline_seconds=bounds.deadline_seconds,
        ),
        progress=lambda said: progress(int(said["done"]), int(said["total"])),
    )


def _refuse_missing(interpreter: Path, error: ChildFailed) -> None:
    if "No module named 'duckdb'" in error.message or not interpreter.exists():
        raise ConfigError(
            f"there is no DuckDB engine in {interpreter.parent.parent}",
            hint="Install eiderd again: this one comes with it"
            if interpreter == Path(sys.executable)
            else "Correct engine.others, or install it: eider engine add VERSION",
        ) from error


def damage_of(error: ChildFailed) -> Damage:
    """Return what it says of the database that an engine fell. A kill says nothing of it."""
    return {"deadline": Damage.DEADLINE, "SIGKILL": Damage.OUT_OF_MEMORY}.get(
        error.how, Damage.ENGINE_DIED
    )


def _fallen(error: ChildFailed, *, engine: Path) -> Opened:
    damage = damage_of(error)
    return Opened(
        engine=_named(engine),
        damage=damage,
        message="the engine did not finish before its deadline" if damage is Damage.DEADLINE
        else f"the engine died: {error.message}",
        tables={}, rows=0, indexes=0, indexes_asked=0, lookups=0, unique_checked=0,
        schema_digest=None, schema_version=None, storage_version=None, fingerprint_kind=None,
        blocks_free=None, extensions=(), seconds=0.0, peak_bytes=0,
    )  # fmt: skip


def _named(interpreter: Path) -> str:
    """Return the version of a side environment; of eiderd's own nothing is known here."""
    return interpreter.parent.parent.name if interpreter != Path(sys.executable) else ""


def _opened(answer: process.Answer) -> Opened:
    result: dict[str, Any] = answer.result
    kind = result["kind"]
    indexes, blocks = result.get("indexes") or {}, result.get("blocks") or {}
    return Opened(
        engine=result["engine"],
        damage=None if kind == "ok" else Damage(kind),
        message=result.get("message") or "",
        tables={
            name: TableContent(**table) for name, table in (result.get("tables") or {}).items()
        },
        rows=result.get("rows") or 0,
        indexes=indexes.get("found", 0),
        indexes_asked=indexes.get("asked", 0),
        lookups=indexes.get("lookups", 0),
        unique_checked=(result.get("unique") or {}).get("checked", 0),
        schema_digest=result.get("schema_digest"),
        schema_version=result.get("schema_version"),
        storage_version=result.get("storage_version"),
        fingerprint_kind=result.get("fingerprint_kind"),
        blocks_free=blocks.get("free"),
        extensions=tuple(result.get("extensions") or ()),
        seconds=answer.seconds,
        peak_bytes=answer.peak_bytes,
    )
