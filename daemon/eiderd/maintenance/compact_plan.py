"""Whether a copy of a database is the same database, and smaller by enough. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Final

from eiderd.errors import NoSuchBackup, VerificationFailed
from eiderd.units import spoken
from eiderd.words import many, plain

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Mapping

    from eiderd.evidence import Opened, Survey
    from eiderd.model import Backup

_SHOWN: Final = 5
_PARTS: Final = ("columns", "constraints")
# Of each kind of object, what a person calls it and where its name stands.
_WORDS: Final = {
    "tables": ("table", "table_name"),
    "columns": ("column", "column_name"),
    "constraints": ("constraint", "constraint_text"),
    "indexes": ("index", "index_name"),
    "views": ("view", "view_name"),
    "sequences": ("sequence", "sequence_name"),
    "functions": ("macro", "function_name"),
    "types": ("type", "type_name"),
    "triggers": ("trigger", "trigger_name"),
    "schemas": ("schema", "schema_name"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What a compaction would meet. `doubt` says why it would be refused now, if it would be.

    `application` is what is stopped, empty: nothing is; `asks` is the URL that is asked instead.
    """

    database: str
    application: str
    holder: str
    backup: str | None
    doubt: str
    hint: str
    unfinished: str
    asks: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A compact copy that was made and is the same database.

    Sizes are those of the files, WAL files counted in. `stored_rows` are those that take room,
    `rows` those that are not deleted. `seconds` is how long it took to copy and to compare.
    """

    old_bytes: int
    new_bytes: int
    stored_rows: int
    rows: int
    tables: int
    objects: int
    free_bytes: int
    engine: str
    storage_version: str | None
    seconds: float

    @property
    def gain(self) -> float:
        """The share of the old size that would be saved; below zero when the copy is larger."""
        return 1 - self.new_bytes / self.old_bytes if self.old_bytes else 0.0

    @property
    def dead_rows(self) -> int:
        return max(0, self.stored_rows - self.rows)


def ensure_recent(
    backup: Backup | None, *, of: str, now: datetime.datetime, within: datetime.timedelta
) -> Backup:
    """Return the newest verified backup. Raise NoSuchBackup when it is not as young as wanted.

    One of the future is of another clock, and one that is not `of` this database of no use.
    """
    hint = "Take one first: eider backup"
    if backup is None:
        raise NoSuchBackup("there is no verified backup, so nothing is compacted", hint=hint)
    if backup.source.path != of:
        raise NoSuchBackup(
            f"the newest verified backup, {backup.id}, is of {plain(backup.source.path)}", hint=hint
        )
    age = now - backup.created_at
    if abs(age) > within:
        raise NoSuchBackup(
            f"the newest verified backup, {backup.id}, is {spoken(age.total_seconds())} old, and "
            f"compact.backup_within is {spoken(within.total_seconds())}",
            hint=hint,
        )
    return backup


def measured(
    *, old: Survey, before: Opened, old_bytes: int, new_bytes: int, seconds: float
) -> Measured:
    return Measured(
        old_bytes=old_bytes,
        new_bytes=new_bytes,
        stored_rows=old.stored_rows,
        rows=before.rows,
        tables=len(before.tables),
        objects=sum(map(len, old.objects.values())),
        free_bytes=old.blocks_free * old.block_bytes,
        engine=before.engine,
        storage_version=old.storage_version,
        seconds=seconds,
    )


def ensure_readable(opened: Opened, *, what: str) -> None:
    """Raise VerificationFailed when an engine could not read all of a database."""
    if opened.damage:
        raise VerificationFailed(
            f"{what} cannot be read whole, so nothing was changed: {opened.message}",
            hint="See what is wrong with it: eider backup",
        )


def ensure_same(differences: tuple[str, ...]) -> None:
    """Raise VerificationFailed when there is any difference, naming the first few."""
    if differences:
        more = len(differences) - _SHOWN
        said = "; ".join(map(plain, differences[:_SHOWN])) + (f"; {more} more" if more > 0 else "")
        raise VerificationFailed(
            f"the engine cannot copy this database faithfully, so nothing was changed: {said}",
            hint="Change what is named, or leave the file as it is.",
        )


# What differs -----------------------------------------------------------------------------------


def differences(*, old: Survey, new: Survey, before: Opened, after: Opened) -> tuple[str, ...]:
    """Return in words all that is not the same in both databases: format, objects, rows."""
    found = list(_format(old, new))
    kinds = dict.fromkeys((*old.objects, *new.objects))
    for kind in sorted(kinds, key=_PARTS.__contains__):  # a lost table before all its columns
        found += _objects(kind, old.objects.get(kind, ()), new.objects.get(kind, ()))
    return (*found, *_rows(before, after))


def _format(old: Survey, new: Survey) -> Iterator[str]:
    if (old.storage_version, old.block_bytes) != (new.storage_version, new.block_bytes):
        yield (
            f"the storage format: {old.storage_version}, blocks of {old.block_bytes} bytes, became "
            f"{new.storage_version}, {new.block_bytes} bytes"
        )


def _objects(
    kind: str,
    old: tuple[dict[str, str | None], ...],
    new: tuple[dict[str, str | None], ...],
) -> Iterator[str]:
    had = Counter(tuple(one.items()) for one in old)
    has = Counter(tuple(one.items()) for one in new)
    lost, come = list((had - has).elements()), list((has - had).elements())
    others = {_name(kind, dict(one)): dict(one) for one in come}
    for one in lost:
        facts = dict(one)
        other = others.pop(name := _name(kind, facts), None)
        if other is None:
            yield f"{name} is missing"
        else:
            changed = [key for key in facts if facts[key] != other.get(key)]
            yield f"{name} is not the same ({', '.join(changed)})"
    for name in others:
        yield f"{name} is new"


def _name(kind: str, facts: Mapping[str, str | None]) -> str:
    word, key = _WORDS.get(kind) or (kind, _name_key(facts))
    name = facts.get(key) or facts.get("constraint_type") or "?"
    schema, table = facts.get("schema_name"), facts.get("table_name")
    within = "" if schema in {"main", None} or kind == "schemas" else f"{schema}."
    if table and kind != "tables":
        return f"{word} {name} of table {within}{table}"
    return f"{word} {within}{name}"


def _name_key(facts: Mapping[str, str | None]) -> str:
    names = [key for key in facts if key.endswith("_name")]
    own = [key for key in names if key not in {"schema_name", "table_name"}]
    return next(iter(own or names), "")


def _rows(before: Opened, after: Opened) -> Iterator[str]:
    for name in dict.fromkeys((*before.tables, *after.tables)):
        old, new = before.tables.get(name), after.tables.get(name)
        if old is None or new is None:
            yield f"the rows of {name} are {'new' if old is None else 'missing'}"
        elif old.rows != new.rows:
            yield f"{name} had {many(old.rows, 'row')} and has {new.rows:,}"
        elif old != new:
            yield f"the {many(old.rows, 'row')} of {name} are not the same"
    if before.fingerprint_kind != after.fingerprint_kind:
        yield "the rows cannot be compared"
    for word, one, other in (
        ("indexes", before.indexes, after.indexes),
        ("unique keys", before.unique_checked, after.unique_checked),
    ):
        if one != other:
            yield f"it had {one:,} {word} and has {other:,}"
