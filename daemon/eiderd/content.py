"""What a backup holds, against what the last verified one held: normal, or suspect and why. Pure.

A database that was emptied backs up, restores and verifies perfectly. Only the comparison with the
one before tells that the next prune would remove the last good copy.
"""

from __future__ import annotations

import datetime
import decimal
from typing import TYPE_CHECKING, Final

from eiderd.model import Content, ContentVerdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from eiderd.evidence import TableContent

_MOST_REASONS: Final = 20


def compare(
    *,
    old: Content | None,
    new: Content,
    max_row_loss: float,
    min_rows: int,
    timed: Collection[str] | None = None,
    trimmed: Collection[str] = (),
) -> tuple[ContentVerdict, tuple[str, ...]]:
    """Given the content of the last verified backup (None: there is none) and of a new one, judge.

    Tables that had fewer than `min_rows` rows may do as they like. `timed` names the tables whose
    newest time was asked for this time (None: all): of others nothing can be missed. From the
    `trimmed` the application itself removes old rows: they may shrink, but not become empty.
    """
    if old is None:
        return ContentVerdict.NORMAL, ()
    reasons: list[str] = []
    for name, was in old.tables.items():
        if was.rows >= min_rows:
            asked = timed is None or name in timed
            share = None if name in trimmed else max_row_loss
            reasons += _of_table(name, was, new.tables.get(name), share=share, asked=asked)
    before, after = _untrimmed_rows(old, trimmed), _untrimmed_rows(new, trimmed)
    if before >= min_rows and _is_loss(before, after, share=max_row_loss):
        reasons.append(f"the whole database lost {before - after:,} of {before:,} rows")
    if not reasons:
        return ContentVerdict.NORMAL, ()
    return ContentVerdict.SUSPECT, _bounded(reasons)


def _untrimmed_rows(content: Content, trimmed: Collection[str]) -> int:
    return sum(table.rows for name, table in content.tables.items() if name not in trimmed)


def _of_table(
    name: str, was: TableContent, table: TableContent | None, *, share: float | None, asked: bool
) -> Iterator[str]:
    if table is None:
        yield f"{name} is gone; it had {was.rows:,} rows"
        return
    if _is_loss(was.rows, table.rows, share=share):
        yield f"{name} lost {was.rows - table.rows:,} of {was.rows:,} rows"
    if was.newest is None:
        return
    if table.newest is None:
        if asked:
            yield f"{name} has no newest time any more; it was {was.newest}"
    elif _is_earlier(table.newest, was.newest):
        yield f"{name} went back in time, from {was.newest} to {table.newest}"


def _is_loss(before: int, after: int, *, share: float | None) -> bool:
    """Given the share that may be lost (None: anything but all), return whether more was."""
    return after == 0 if share is None else (before - after) / before > share


def _is_earlier(one: str, other: str) -> bool:
    """Compare as times, else as numbers. What is neither, or of two kinds, is not compared."""
    for read in (datetime.datetime.fromisoformat, decimal.Decimal):
        try:
            return bool(read(one) < read(other))  # type: ignore[operator]
        except (ValueError, TypeError, decimal.InvalidOperation):
            continue
    return False


def _bounded(reasons: list[str]) -> tuple[str, ...]:
    """The last of them is about the whole database, if there is one; it matters most."""
    if len(reasons) <= _MOST_REASONS:
        return tuple(reasons)
    more = f"and {len(reasons) - _MOST_REASONS:,} other reasons"
    return (*reasons[: _MOST_REASONS - 1], more, reasons[-1])
