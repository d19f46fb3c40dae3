"""The parent's side of a compaction: an engine writes a database anew, and lists what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eiderd.errors import ChildFailed, EiderError, NoSpace, VerificationFailed
from eiderd.evidence import Survey
from eiderd.outside import engine, process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_MAPPED_BESIDE: Final = 3 << 30  # as for a proof: code, thread stacks, allocator arenas
_BOUNDS: Final = "Raise engine.memory_limit or engine.deadline, then: eider compact --dry-run"


def compact(
    *,
    database: Path,
    to: Path,
    interpreter: Path,
    scratch: Path,
    bounds: engine.Bounds,
    progress: Callable[[int, int], None],
) -> None:
    """Let an engine write what is in `database` to the new file `to`, in the same storage format.

    `database` is only read. Raise VerificationFailed when the engine cannot, with what it says, and
    NoSpace.
    """
    _asked(
        {"do": "compact", "database": str(database), "to": str(to), "scratch": str(scratch)},
        interpreter=interpreter,
        bounds=bounds,
        progress=progress,
        folder=to.parent,
    )


def survey(*, database: Path, interpreter: Path, scratch: Path, bounds: engine.Bounds) -> Survey:
    """Return all objects that an engine finds in `database`. Raise VerificationFailed, NoSpace."""
    found = _asked(
        {"do": "survey", "database": str(database), "scratch": str(scratch)},
        interpreter=interpreter,
        bounds=bounds,
        progress=lambda _done, _total: None,
        folder=scratch,
    )
    return Survey(
        engine=found["engine"],
        storage_version=found["storage_version"],
        block_bytes=found["blocks"]["size"],
        blocks=found["blocks"]["total"],
        blocks_free=found["blocks"]["free"],
        stored_rows=found["stored_rows"],
        objects={kind: tuple(every) for kind, every in found["objects"].items()},
    )


def _asked(
    order: Mapping[str, object],
    *,
    interpreter: Path,
    bounds: engine.Bounds,
    progress: Callable[[int, int], None],
    folder: Path,
) -> dict[str, Any]:
    limit = {
        "memory_limit": f"{bounds.memory_limit // 1_000_000}MB",
        "threads": bounds.threads,
    }
    try:
        answer = process.run(
            engine.command(interpreter),
            order={**order, **limit},
            limits=process.Limits(
                address_space=bounds.memory_limit + _MAPPED_BESIDE,
                deadline_seconds=bounds.deadline_seconds,
            ),
            progress=lambda said: progress(int(said["done"]), int(said["total"])),
        )
    except ChildFailed as error:
        hung = error.how == "deadline"
        said = "it did not end before its deadline" if hung else f"it died: {error.message}"
        hint = _BOUNDS if hung else "Read what it says; nothing was changed."
        raise VerificationFailed(
            f"the engine could not write the database anew: {said}", hint=hint
        ) from error
    if answer.result["kind"] != "ok":
        raise _refusal(str(answer.result["kind"]), _said(answer.result, order), folder=folder)
    return answer.result


def _said(result: Mapping[str, Any], order: Mapping[str, object]) -> str:
    """Return what the engine said without the folders in which copies of the database stood."""
    message = str(result["message"] or result["kind"])
    for key in ("database", "to"):
        path = str(order.get(key, ""))
        message = message.replace(path, path.rpartition("/")[2]) if path else message
    return f"DuckDB {result['engine']}: {message}"


def _refusal(kind: str, said: str, *, folder: Path) -> EiderError:
    if kind == "no_space":
        return NoSpace(
            f"no space left in {folder} to write the database anew; nothing was changed",
            hint=f"Free some space: df -h {folder}; eider prune --dry-run",
        )
    if kind == "out_of_memory":
        return VerificationFailed(f"the database cannot be written anew: {said}", hint=_BOUNDS)
    if "unknown index type" in said:
        return VerificationFailed(
            f"the database cannot be written anew without an extension: {said}",
            hint="Install the extension for the application's own engine: see README, Engines.",
        )
    return VerificationFailed(
        f"the database cannot be written anew as it is: {said}",
        hint="Nothing was changed. Change what is named, or leave the file as it is.",
    )
