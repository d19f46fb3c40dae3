"""The verbs that say how everything is, whether the service runs or not, and what that means."""

from __future__ import annotations

from typing import Annotated

import typer

from eiderd import runbooks
from eiderd.cli import documents, heal_report, status_report, terminal
from eiderd.cli.root import Json, session
from eiderd.errors import ConfigError, ExitCode
from eiderd.health import Condition


def status(
    heal: Annotated[
        bool, typer.Option("--heal", help="Say of each finding what is repaired, and why not.")
    ] = False,
    json_: Json = False,
) -> None:
    """Say how old the last verified backup is, what is wrong, and what to type about it."""
    from eiderd import log, lookout  # noqa: PLC0415  (they take long to import)
    from eiderd.outside import clock  # noqa: PLC0415

    settings = session.settings()
    session.ensure_visible(settings)
    log.configure_verb(level=settings.log.level, format_=settings.log.format)
    found = lookout.look_around(settings, at=clock.now(), zone=clock.zone())
    if heal:
        documents.anything(heal_report.document(found)) if json_ else heal_report.show(
            found, zone=clock.zone()
        )
    elif json_:
        documents.anything(status_report.document(found))
    else:
        status_report.show(found, zone=clock.zone())
    well = found.condition is Condition.WELL
    raise typer.Exit(ExitCode.DONE if well else ExitCode.DEGRADED)


def _complete_runbook(incomplete: str) -> list[str]:
    return [name for name in sorted(runbooks.NAMES) if name.startswith(incomplete)]


def runbook(
    name: Annotated[
        str | None,
        typer.Argument(help="The kind of a finding.", autocompletion=_complete_runbook),
    ] = None,
    json_: Json = False,
) -> None:
    """Print what a finding means and what to do about it; without a name, list them."""
    names = sorted(runbooks.NAMES)
    if name is None:
        documents.plain_document(names) if json_ else terminal.say("\n".join(names))
        return
    text = runbooks.text(name)
    if text is None:
        raise ConfigError(
            f"there is no runbook {name!r}", hint="See which there are: eider runbook"
        )
    if json_:
        documents.plain_document({"name": name, "text": text})
    else:
        terminal.markdown(text)
