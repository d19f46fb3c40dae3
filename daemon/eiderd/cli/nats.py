"""The verbs about NATS: how it is, whether that is well, and creating what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from eiderd import health
from eiderd.cli import documents, nats_report, terminal
from eiderd.cli.group import group
from eiderd.cli.root import Json, session
from eiderd.errors import ExitCode
from eiderd.health import Condition

if TYPE_CHECKING:
    from eiderd.app import App
    from eiderd.broker.evidence import NatsStanding
    from eiderd.health import Finding
    from eiderd.sections.nats import NatsSection

cli = group(help="Look at NATS, and keep its streams as expected.")


@cli.callback()
def options(json_: Json = False) -> None:
    del json_


@cli.command()
def status(json_: Json = False) -> None:
    """Show the server, the expected streams and consumers, and what is wrong with them."""
    standing, found = _looked()
    if json_:
        documents.anything(_document(standing, found))
    else:
        nats_report.status(standing, found)
    raise typer.Exit(_exit_code(standing, found))


@cli.command()
def check(json_: Json = False) -> None:
    """Say in one line whether all is well, for a monitoring probe.

    Exits with 0 when it is, 3 when something needs attention, 14 when NATS cannot be reached and 2
    when it is not configured.
    """
    standing, found = _looked()
    if json_:
        documents.anything(_document(standing, found))
    else:
        terminal.say(nats_report.one_line(standing, found))
    raise typer.Exit(_exit_code(standing, found))


@cli.command()
def ensure(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing, say what would be.")
    ] = False,
    drift: Annotated[
        bool,
        typer.Option(
            "--drift",
            help="Also set what is configured otherwise to what is expected, unless that would "
            "remove messages.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Create the expected streams and consumers that are missing."""
    with session.working(quiet=json_) as app:
        _configured(app)
        outcome = app.nats_ensure(drift=drift, dry_run=dry_run)
    if json_:
        steps = outcome.value.steps
        documents.anything(
            {"ending": outcome.ending, "why": outcome.why, "dry_run": dry_run, "steps": steps}
        )
    else:
        nats_report.ensured(outcome, dry_run=dry_run)


def _looked() -> tuple[NatsStanding, tuple[Finding, ...]]:
    from eiderd.broker import look as broker  # noqa: PLC0415  (it takes long to import)
    from eiderd.broker import unfinished  # noqa: PLC0415
    from eiderd.outside import clock, rights  # noqa: PLC0415
    from eiderd.watch.nats import Known  # noqa: PLC0415

    with session.working(quiet=True, open_to_all=True) as app:
        standing, found, _known = broker.look(
            _configured(app),
            now=clock.now(),
            known=Known(),
            application_down=lambda: _is_application_down(app),
        )
        if not rights.is_stranger(app.settings.service.state):  # a probe need not see that
            found += unfinished.look(app.settings, journal=app.journal)
    return standing, health.worst_first(found)


def _configured(app: App) -> NatsSection:
    from eiderd.broker import look as broker  # noqa: PLC0415  (it takes long to import)

    broker.refuse_none(app.settings.nats)
    return app.settings.nats


def _is_application_down(app: App) -> bool:
    from eiderd.broker.watch import DOWN  # noqa: PLC0415
    from eiderd.errors import EiderError  # noqa: PLC0415

    if app.settings.application.kind == "none":
        return False
    try:
        return app.application().details().state in DOWN
    except EiderError:  # nobody can tell: what is found counts in full
        return False


def _exit_code(standing: NatsStanding, found: tuple[Finding, ...]) -> ExitCode:
    if standing.seen is None:
        return ExitCode.SOURCE_UNAVAILABLE
    well = health.condition(found) is Condition.WELL
    return ExitCode.DONE if well else ExitCode.DEGRADED


def _document(standing: NatsStanding, found: tuple[Finding, ...]) -> dict[str, Any]:
    return {
        "condition": health.condition(found),
        "reached": standing.seen is not None,
        "why": standing.why,
        "findings": found,
        "expected": {name: list(consumers) for name, consumers in standing.expected.items()},
        "seen": standing.seen,
    }
