"""What every verb of `eider` shares: the options before it, the settings, an app that works."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eiderd import __version__, staging
from eiderd import config as configuration
from eiderd.cli import completion, terminal
from eiderd.cli.group import group
from eiderd.errors import ConfigError, ExitCode, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.app import App

_EPILOG = "Exit codes: " + ", ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."

cli = group(
    name="eider",
    help="Verified hot backups of a live DuckDB database.",
    epilog=_EPILOG,
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
    typed: str = "eider"  # the whole of it, as a person may type it again

    def load(self) -> tuple[configuration.Settings, Path | None]:
        try:
            settings, path = configuration.load(self.config)
        except NotPermitted as refused:
            from eiderd.outside import rights  # noqa: PLC0415

            if rights.me() == rights.USER:
                raise
            raise rights.with_sudo(refused, self.typed) from refused
        self.debug = settings.log.level == "debug"
        return settings, path

    def settings(self, *, as_root: bool = False) -> configuration.Settings:
        """Return the settings. From here on root has the rights of the service, but `as_root`.

        What eiderd's folders hold is only as good as whoever may write there, and what the service
        may not read is no backup of it: so root does in them what the service does, as the service.
        """
        settings = self.load()[0]
        if not as_root:
            self.go_on_as_service(settings)
        return settings

    @staticmethod
    def go_on_as_service(settings: configuration.Settings) -> None:
        """Let root have the rights of the service from here on."""
        from eiderd.outside import ownership  # noqa: PLC0415

        ownership.become_owner(settings.service.state, groups=_groups_of_the_service)

    def ensure_visible(self, settings: configuration.Settings, *folders: Path) -> None:
        """Raise NotPermitted when this person may not look into these, or into any of eiderd's."""
        from eiderd.outside import rights  # noqa: PLC0415

        state, backups = settings.service.state, settings.backup.directory
        rights.ensure_visible(folders or (state, backups), state=state, verb=self.typed)

    @contextlib.contextmanager
    def working(
        self, *, quiet: bool, as_root: bool = False, open_to_all: bool = False
    ) -> Iterator[App]:
        """An app that shows how far it is, on a terminal and unless JSON was asked for.

        `as_root`, for what has to write where the service may not: see `settings`. `open_to_all`,
        for what needs nothing of eiderd's own folders.
        """
        # Only jobs need these, and they take longer to import than the other verbs take in all.
        from eiderd import log  # noqa: PLC0415
        from eiderd.app import App  # noqa: PLC0415
        from eiderd.outside import ownership  # noqa: PLC0415

        settings = self.settings(as_root=as_root)
        if not open_to_all:
            self.ensure_visible(settings)
        log.configure_verb(level=settings.log.level, format_=settings.log.format)
        try:
            with contextlib.nullcontext() if quiet else terminal.progress() as shown:
                yield App(settings, progress=shown) if shown else App(settings)
        finally:
            # `sudo eider restore`: the service must be able to read what root made.
            ownership.hand_over(settings.service.state, is_ours=lambda _name: True)
            ownership.hand_over(settings.backup.directory, is_ours=staging.is_of_backups)


def _groups_of_the_service() -> tuple[str, ...]:
    from eiderd.outside import sandbox  # noqa: PLC0415  (only root waits for it)

    return sandbox.groups_of_the_service()


session = _Session()


def absolute(path: str) -> Path:
    """Return where a path that was typed leads, from the root. Raise ConfigError: nowhere.

    Links are kept: what belongs to a file may stand beside the link.
    """
    if not path:  # what a variable leaves that is not set; it would be the folder one is in
        raise ConfigError("a path is empty", hint="Name the file or the folder.")
    try:
        found = Path(os.path.abspath(path))  # noqa: PTH100
    except FileNotFoundError as error:
        raise ConfigError(
            f"the folder from which {path} leads is gone", hint="Go elsewhere first: cd /"
        ) from error
    if not found.name:
        raise ConfigError(f"{path} cannot be meant", hint="Name a file or a folder in it.")
    return found


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


BackupName = Annotated[
    str,
    typer.Argument(
        metavar="[BACKUP]",
        help="An id, `latest`, or the path of any archive.",
        autocompletion=completion.backup,
    ),
]
