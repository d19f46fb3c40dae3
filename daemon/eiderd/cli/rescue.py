"""The verb that brings a database back that its engine cannot bring back."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer reads it)
from typing import TYPE_CHECKING, Annotated

import typer

from eiderd.cli import documents
from eiderd.cli.reports import columns
from eiderd.cli.root import Json, absolute, session
from eiderd.cli.terminal import BOLD, GREEN, YELLOW, paint, say
from eiderd.errors import ExitCode
from eiderd.words import many, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.jobs.rescue import Rescued


def rescue(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", parser=absolute, help="The database; its WAL files stand beside it."
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=absolute,
            help="Where the rescued database goes [<state>/rescued/TIME].",
            show_default=False,
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Bring back a database whose WAL does not replay. Only copies are touched."""
    with session.working(quiet=json_, as_root=True) as app:
        found = app.rescue(file, to=to).value
    if json_:
        documents.anything(_document(found))
    else:
        _show(found)
    raise typer.Exit(ExitCode.DEGRADED if found.file and found.missing else ExitCode.DONE)


def _show(found: Rescued) -> None:
    opened = found.chosen.opened
    engine = f", read by DuckDB {plain(opened.engine)}" if opened else ""
    if found.file is None:
        say(f"{paint('✓', GREEN)} it needs no rescue: it opens as it is{engine}")
        say(f"  {many(found.chosen.rows, 'row')} of {many(len(found.tables), 'table')}")
        return
    say(f"{paint('✓', GREEN)} {paint('rescued', BOLD)} by {found.chosen.step.said}{engine}")
    say(f"  {plain(str(found.file))}")
    for tried in found.tried:
        if not tried.is_acceptable:
            say(f"  not {tried.step.said}: {plain('; '.join(tried.problems[:3]))}")
    title, *lines = columns(
        ("TABLE", "RESCUED", "LAST BACKUP", "BEST ATTEMPT"),
        list(_rows(found)),
        right={"RESCUED", "LAST BACKUP", "BEST ATTEMPT"},
    )
    say("\n".join(("", paint(title, BOLD), *lines)))
    if found.compared_with is None:
        say(f"\n{paint('!', YELLOW)} there is no verified backup to compare it with")
    if found.missing:
        say(f"\n{paint('!', YELLOW)} {many(found.missing, 'row')} are missing from it")


def _rows(found: Rescued) -> Iterator[tuple[str, str, str, str]]:
    for name, rows in found.tables.items():
        yield name, _count(rows.rescued), _count(rows.backup), _count(rows.best)


def _count(rows: int | None) -> str:
    return "-" if rows is None else f"{rows:,}"


def _document(found: Rescued) -> dict[str, object]:
    return {
        "rescued": found.file is not None,
        "file": found.file and plain(str(found.file)),
        "how": found.chosen.step.how,
        "engine": found.chosen.step.engine,
        "read_by": found.chosen.opened.engine if found.chosen.opened else None,
        "compared_with": found.compared_with,
        "missing_rows": found.missing,
        "tables": found.tables,
        "tried": [
            {
                "how": tried.step.how,
                "engine": tried.step.engine,
                "acceptable": tried.is_acceptable,
                "rows": tried.rows,
                "problems": [plain(problem) for problem in tried.problems],
            }
            for tried in found.tried
        ],
    }
