"""What every verb of `eider` shares: the options before it, the settings, an app that works."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eiderd import __version__, catalog
from eiderd import config as configuration
from eiderd.cli import terminal
from eiderd.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.app import App

_EPILOG = "Exit codes: " + ", ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."

cli = typer.Typer(
    name="eider",
    help="Verified hot backups of a live DuckDB database.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _is_json_wanted(context: typer.Context, wanted: bool) -> bool:  # noqa: FBT001  (typer calls it)
    """`--json` may stand anywhere: before the verb, it counts for the verb."""
    return wanted or bool(context.parent and context.parent.params.get("json_"))


Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document, nothing else.", callback=_is_json_wanted),
]


@dataclasses.dataclass(slots=True)
class _Session:
    """What stands before the verb on the command line."""

    config: Path | None = None
    debug: bool = False

    def load(self) -> tuple[configuration.Settings, Path | None]:
        settings, path = configuration.load(self.config)
        self.debug = settings.log.level == "debug"
        return settings, path

    def settings(self) -> configuration.Settings:
        return self.load()[0]

    @contextlib.contextmanager
    def working(self, *, quiet: bool) -> Iterator[App]:
        """An app that shows how far it is, on a terminal and unless JSON was asked for."""
        # Only jobs need these, and they take longer to import than the other verbs take in all.
        from eiderd import log  # noqa: PLC0415
        from eiderd.app import App  # noqa: PLC0415
        from eiderd.outside import ownership  # noqa: PLC0415

        settings = self.settings()
        log.configure_verb(level=settings.log.level, format_=settings.log.format)
        try:
            with contextlib.nullcontext() if quiet else terminal.progress() as shown:
                yield App(settings, progress=shown) if shown else App(settings)
        finally:
            # `sudo eider backup`: the service must be able to read what root made.
            folders = (settings.service.state, settings.backup.directory)
            ownership.hand_over(folders, besides=frozenset({"engines"}))


session = _Session()


def _print_version(wanted: bool) -> None:  # noqa: FBT001  (typer calls it)
    if wanted:
        terminal.say(f"eider {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    config: Annotated[
        Path | None,
        typer.Option(
            help=f"The configuration file [EIDER_CONFIG, else {configuration.DEFAULT_PATH}].",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
    json_: Json = False,
) -> None:
    del version, json_
    session.config, session.debug = config, False


def complete_backup(incomplete: str) -> list[str]:
    """Shell completion: the ids there are. Silent whatever is wrong."""
    with contextlib.suppress(Exception):
        directory = configuration.load(None)[0].backup.directory
        ids = [backup.id for backup in catalog.read(directory).backups]
        return [id_ for id_ in ("latest", *reversed(ids)) if id_.startswith(incomplete)]
    return []


BackupName = Annotated[
    str,
    typer.Argument(
        metavar="[BACKUP]",
        help="An id, `latest`, or the path of any archive.",
        autocompletion=complete_backup,
    ),
]
