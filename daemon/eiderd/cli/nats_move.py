"""The verbs that put streams of NATS back, and take them from one server to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eiderd import catalog
from eiderd.broker.moving import Wish
from eiderd.cli import backups, completion, nats_move_report, terminal
from eiderd.cli.root import Json, session
from eiderd.errors import ConfigError

if TYPE_CHECKING:
    from eiderd.app import App
    from eiderd.model import Backup

Source = Annotated[
    str,
    typer.Argument(
        metavar="BACKUP",
        help="An id, `latest`, the path of an archive, or a folder that `nats stream backup` "
        "wrote.",
        autocompletion=completion.backup,
    ),
]
Kept = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="STREAM",
        help="These streams; all, if none is named.",
        autocompletion=completion.kept_stream,
    ),
]
Expected = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="STREAM",
        help="These streams; all, if none is named.",
        autocompletion=completion.expected_stream,
    ),
]
Replicas = Annotated[
    int | None,
    typer.Option(min=1, max=5, help="With so many replicas, not as it was.", show_default=False),
]
KeepExpired = Annotated[
    bool,
    typer.Option(
        "--keep-expired",
        help="Keep messages however old: set max_age to 0, which `eider nats ensure --drift` sets "
        "back.",
    ),
]
Credentials = Annotated[
    Path | None,
    typer.Option(help="A credentials file for the other server.", show_default=False),
]
TlsCa = Annotated[
    Path | None,
    typer.Option("--tls-ca", help="Who signed its certificate, as PEM.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def restore(  # noqa: PLR0917  (typer calls it)
    backup: Source = catalog.LATEST,
    streams: Kept = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="To this server, not the configured one.",
                     show_default=False),
    ] = None,
    credentials: Credentials = None,
    tls_ca: TlsCa = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Set a stream aside that is there already, in a folder, first."
        ),
    ] = False,
    replicas: Replicas = None,
    keep_expired: KeepExpired = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """Put streams of NATS back as they were at a backup, with their consumers."""
    from eiderd.broker.streams import Login  # noqa: PLC0415  (it takes long to import)

    login = Login(url=server, credentials=credentials, tls_ca=tls_ca)
    wish = Wish(replace=replace, replicas=replicas, keep_expired=keep_expired)
    with session.working(quiet=True, as_root=True) as looking:
        source = _source(looking, backup)
        mover = looking.stream_mover()
        with mover.restoring(source, wanted=streams or (), login=login, wish=wish) as found:
            shown = found.server.shown
            if not json_:
                nats_move_report.planned(found.plans, title=f"onto {shown}", dry_run=dry_run)
            if dry_run:
                if json_:
                    nats_move_report.plan_document(found.plans, server=shown)
                return
            _ask(yes=yes, quiet=json_, doubtful=any(one.problems for one in found.plans))
            with session.working(quiet=json_, as_root=True) as app:
                outcome = app.nats_restore(found)
    if json_:
        nats_move_report.restored_document(outcome, server=shown)
    else:
        nats_move_report.restored(outcome)


def migrate(  # noqa: PLR0917  (typer calls it)
    streams: Expected = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="URL", help="From this server, not the configured one.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="URL", help="To this server.", show_default=False)
    ] = None,
    credentials: Credentials = None,
    tls_ca: TlsCa = None,
    replicas: Replicas = None,
    keep_expired: KeepExpired = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """Take streams with their consumers to another server, and compare every message there.

    Nothing is changed on the old one. Stop the application first, or what it publishes meanwhile
    stays behind.
    """
    from eiderd.broker import migrating  # noqa: PLC0415  (it takes long to import)
    from eiderd.broker.streams import Login  # noqa: PLC0415

    if to is None:
        raise ConfigError("it is not said where to", hint="Name the new server: --to URL")
    wish = Wish(replicas=replicas, keep_expired=keep_expired)
    with (
        session.working(quiet=True, as_root=True) as looking,
        migrating.migrating(
            looking.settings,
            wanted=streams or (),
            old=Login(url=from_),
            new=Login(url=to, credentials=credentials, tls_ca=tls_ca),
            wish=wish,
            progress=lambda *_: None,
        ) as found,
    ):
        title = f"from {found.old.shown} to {found.new.shown}"
        if not json_:
            nats_move_report.planned(found.plans, title=title, dry_run=dry_run)
        if dry_run:
            if json_:
                nats_move_report.plan_document(found.plans, server=found.new.shown)
            return
        _ask(yes=yes, quiet=json_, doubtful=any(one.problems for one in found.plans))
        with session.working(quiet=json_, as_root=True) as app:
            outcome = app.nats_migrate(found)
    if json_:
        nats_move_report.moved_document(outcome)
    else:
        nats_move_report.moved(outcome)


def _source(app: App, name: str) -> Backup | Path:
    path = backups.foreign(app, name, folder=True)
    return path if path is not None else catalog.find(app.directory, name)


def _ask(*, yes: bool, quiet: bool, doubtful: bool) -> None:
    """Raise ConfigError when nobody can be asked, and when the answer is no.

    Nobody is asked about what is going to be refused.
    """
    if not yes and not doubtful:
        terminal.ask(quiet=quiet)
