"""The verdict on a backup: levels 1 to 4 from what was read, in one place. Pure.

A copy is a backup only when it has been restored once and its content was read.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from eiderd.evidence import Checked, Damage, Opened
from eiderd.model import Backup, Content, ContentVerdict, Failure, Level, Proof, State

if TYPE_CHECKING:
    import datetime

_KEY = "the database is encrypted: an engine needs its key to read it"


def judge(*, checked: Checked, opened: Opened | None, at: datetime.datetime) -> Proof:
    """Given one reading of the archive and, for level 4, of its database, return the proof.

    It has the highest level that holds, the evidence, and why the next one does not.
    """
    return Proof(
        level=_level(checked, opened),
        at=at,
        engine=opened.engine if opened else None,
        tables=len(opened.tables) if opened else 0,
        rows=opened.rows if opened else 0,
        blocks=checked.blocks,
        indexes=opened.indexes if opened else 0,
        indexes_asked=opened.indexes_asked if opened else 0,
        lookups=opened.lookups if opened else 0,
        unique_checked=opened.unique_checked if opened else 0,
        seconds=opened.seconds if opened else 0.0,
        failure=_failure(checked, opened),
    )


def _level(checked: Checked, opened: Opened | None) -> Level:
    failure = _failure(checked, opened)
    if failure:
        return Level(failure.level - 1)
    return Level.RESTORE if opened else Level(checked.passed)


def _failure(checked: Checked, opened: Opened | None) -> Failure | None:
    if checked.damage:
        level = Level(checked.passed + 1)
        return Failure(level=level, kind=checked.damage, message=checked.message)
    if checked.encrypted:
        return Failure(level=Level.BLOCKS, kind=Damage.KEY_NEEDED, message=_KEY)
    if opened is None:
        return None
    kind, message = opened.damage, opened.message
    if not kind and not opened.tables:  # success without evidence must not pass
        kind, message = Damage.NOTHING_CHECKED, "no table was read"
    if kind:
        return Failure(level=Level.RESTORE, kind=kind, message=message)
    # Free blocks may hold anything; used ones may not. Only the engine knows how many are free.
    free = opened.blocks_free
    if free is not None and checked.blocks_unsound > free:
        return Failure(
            level=Level.BLOCKS,
            kind=Damage.BLOCKS,
            message=f"{checked.blocks_unsound} of {checked.blocks} blocks are not as their "
            f"checksums say, and only {free} are free",
        )
    return None


def state_of(proof: Proof) -> State:
    """Given a proof that was meant to go to level 4, return what the backup is worth."""
    if proof.level >= Level.RESTORE:
        return State.VERIFIED
    return State.UNVERIFIED if proof.level >= Level.ARCHIVE else State.CORRUPT


def content_of(opened: Opened) -> Content:
    return Content(
        schema_version=opened.schema_version,
        schema_digest=opened.schema_digest,
        fingerprint_kind=opened.fingerprint_kind,
        tables=opened.tables,
    )


def recorded(backup: Backup, verdict: Proof, opened: Opened | None) -> Backup:
    """Return the backup as it is known now. A look that went less deep takes nothing back."""
    known = backup.proof
    # Also why it did not get further stays known, until something gets at least so far again.
    reached = known.failure.level if known.failure else known.level
    if verdict.failure is None and verdict.level < reached:
        return backup
    state: State = State.VERIFIED
    if verdict.level < Level.RESTORE:
        state = state_of(verdict) if verdict.failure else backup.state
    suspect = State.SUSPECT is backup.state or backup.content.verdict is ContentVerdict.SUSPECT
    if suspect and state is not State.CORRUPT:
        state = State.SUSPECT  # only a person takes that back, no proof does
    content = backup.content
    if opened and opened.tables and not content.tables:
        content = content_of(opened)
    return dataclasses.replace(backup, proof=verdict, state=state, content=content)


def explain(proof: Proof) -> tuple[str, str]:
    """Return one sentence for a person about a failed proof, and what to type next."""
    failure = proof.failure
    if failure is None:
        return "", ""
    said, hint = _SENTENCES.get(failure.kind, ("{message}", "Take a new backup: eider backup"))
    engine = f"DuckDB {proof.engine}" if proof.engine else "the engine"
    return said.format(message=failure.message, engine=engine), hint


def explain_archive(proof: Proof) -> tuple[str, str]:
    """Return the same of an archive by itself, of which nobody knows which database it is of."""
    failure = proof.failure
    if failure is None or failure.kind in {Damage.KEY_NEEDED, *_OURS}:
        return explain(proof)
    said, hint = (
        "{message}",
        "Look at it: file ARCHIVE; tar -tzf ARCHIVE. What else is there: eider list",
    )
    if _SENTENCES.get(failure.kind) is _REFUSES:
        said = "{engine} cannot bring it back: {message}"
        hint = "Another version may: eider engine add VERSION. Another archive: eider list"
    elif failure.kind in _SENTENCES:
        hint = "Take another archive: eider list"
    engine = f"DuckDB {proof.engine}" if proof.engine else "the engine"
    return said.format(message=failure.message, engine=engine), hint


_OURS = {Damage.OUT_OF_MEMORY, Damage.DEADLINE}
_CHECKPOINT = (
    "Let the application run CHECKPOINT, or stop it cleanly and start it, then: eider backup"
)
_NOT_BACK = "the copy is exact, so the database itself would not come back after a crash"
_REFUSES = (f"{{engine}} cannot bring it back: {{message}}; {_NOT_BACK}", _CHECKPOINT)
_DAMAGED = (
    "{message}; the copy is exact, so the database itself is damaged",
    "Keep the last verified backup (eider list) and read the application's log.",
)
_BOUNDS = (
    "{message}",
    "Raise engine.memory_limit (and MemoryMax= with it) or engine.deadline, then: eider verify",
)
_SENTENCES = {
    Damage.KEY_NEEDED: (_KEY, "The archive is complete; keep its key safe, and apart from it."),
    Damage.WAL_REPLAY: _REFUSES,
    Damage.CANNOT_OPEN: _REFUSES,
    Damage.ENGINE_DIED: _REFUSES,
    Damage.TABLE: _DAMAGED,
    Damage.INDEX: _DAMAGED,
    Damage.DUPLICATES: _DAMAGED,
    Damage.BLOCKS: _DAMAGED,
    Damage.NOT_A_DATABASE: _DAMAGED,
    Damage.NOTHING_CHECKED: (
        "the database holds no table, so nothing could be checked",
        "Is database.path the application's database? See: eider config show",
    ),
    Damage.OUT_OF_MEMORY: _BOUNDS,
    Damage.DEADLINE: _BOUNDS,
}
