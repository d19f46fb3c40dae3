"""The verb that says how everything is, whether the service runs or not."""

from __future__ import annotations

import typer

from eiderd import documents, status_report
from eiderd.cli.root import Json, session
from eiderd.errors import ExitCode
from eiderd.health import Condition


def status(json_: Json = False) -> None:
    """Say how old the last verified backup is, what is wrong, and what to type about it."""
    from eiderd import log, lookout  # noqa: PLC0415  (they take long to import)
    from eiderd.outside import clock  # noqa: PLC0415

    settings = session.settings()
    log.configure_verb(level=settings.log.level, format_=settings.log.format)
    found = lookout.look_around(settings, at=clock.now(), zone=clock.zone())
    if json_:
        documents.anything(status_report.document(found))
    else:
        status_report.show(found, zone=clock.zone())
    well = found.condition is Condition.WELL
    raise typer.Exit(ExitCode.DONE if well else ExitCode.DEGRADED)
