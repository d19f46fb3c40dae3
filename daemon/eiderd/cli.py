"""The operator's verbs: `eider [--config FILE] VERB`. What is asked is said here; jobs do it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter

from eiderd import __version__, catalog, example, log, proof, resources, terminal
from eiderd import config as configuration
from eiderd.app import App, silent
from eiderd.errors import ConfigError, EiderError, ExitCode
from eiderd.model import Backup, Level, Proof, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPILOG = "Exit codes: " + ", ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."

_BACKUP = TypeAdapter(Backup)
_PROOF = TypeAdapter(Proof)
_LISTING = TypeAdapter(tuple[Backup | Unreadable, ...])

cli = typer.Typer(
    name="eider",
    help="Verified hot backups of a live DuckDB database.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_cli = typer.Typer(help="Look at the configuration.", no_args_is_help=True)
cli.add_typer(config_cli, name="config")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]


@dataclasses.dataclass(slots=True)
class _Session:
    """What stands before the verb on the command line."""

    config: Path | None = None

    def settings(self) -> configuration.Settings:
        settings, _path = configuration.load(self.config)
        log.configure_verb(level=settings.log.level, format_=settings.log.format)
        return settings

    def app(self) -> App:
        return App(self.settings())

    @contextlib.contextmanager
    def working(self, *, quiet: bool) -> Iterator[App]:
        """An app that shows how far it is, on a terminal and unless JSON was asked for."""
        settings = self.settings()
        if quiet:
            yield App(settings, progress=silent)
            return
        with terminal.progress() as shown:
            yield App(settings, progress=shown)


_session = _Session()


def _print_version(wanted: bool) -> None:  # noqa: FBT001  (typer calls it)
    if wanted:
        typer.echo(f"eider {__version__}")
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
) -> None:
    del version
    _session.config = config


def _complete_backup(incomplete: str) -> list[str]:
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
        autocompletion=_complete_backup,
    ),
]


@cli.command()
def backup(
    note: Annotated[str, typer.Option(help="A remark to keep with the backup.")] = "",
    json_: Json = False,
) -> None:
    """Take a backup of the live database and prove that it restores."""
    with _session.working(quiet=json_) as app:
        made = app.backup(note=note).value
    if json_:
        terminal.document(_BACKUP.dump_json(made, indent=2))
    else:
        terminal.backup_made(made, directory=app.directory)
    _end(made.proof)


@cli.command("list")
def list_(json_: Json = False) -> None:
    """List the backups, the newest first."""
    app = _session.app()
    listing = catalog.read(app.directory)
    if json_:
        every: tuple[Backup | Unreadable, ...] = (*reversed(listing.backups), *listing.unreadable)
        terminal.document(_LISTING.dump_json(every, indent=2, exclude={"__all__": {"members"}}))
    else:
        terminal.backups(listing, directory=app.directory)
    raise typer.Exit(ExitCode.DEGRADED if listing.unreadable else ExitCode.DONE)


@cli.command()
def show(backup: BackupName = catalog.LATEST, json_: Json = False) -> None:
    """Show all that is known of one backup."""
    app = _session.app()
    found = catalog.find(app.directory, backup)
    if json_:
        terminal.document(_BACKUP.dump_json(found, indent=2))
    else:
        terminal.backup(found, directory=app.directory)


@cli.command()
def verify(
    backup: BackupName = catalog.LATEST,
    all_: Annotated[bool, typer.Option("--all", help="Every backup in the catalog.")] = False,
    level: Annotated[
        int,
        typer.Option(
            min=1, max=4, help="How deep: 2 reads every byte, 4 lets an engine read every row."
        ),
    ] = 4,
    json_: Json = False,
) -> None:
    """Prove a backup, or any archive of a DuckDB database, again."""
    wanted = Level(max(level, Level.ARCHIVE))
    with _session.working(quiet=json_) as app:
        if not all_ and (path := _foreign(app, backup)):
            verdict = app.verify_file(path, level=wanted).value
            results: list[tuple[str, Proof]] = [(str(path), verdict)]
        else:
            listing = catalog.read(app.directory)
            chosen = listing.backups if all_ else (catalog.find(app.directory, backup),)
            results = [(b.id, app.verify(b, level=wanted).value.proof) for b in chosen]
    if json_:
        documents = [{"backup": name, "proof": _plain(verdict)} for name, verdict in results]
        _print_json(documents if all_ else documents[0])
    else:
        terminal.verdicts(results)
    if all_ and not results:
        raise EiderError("there is no backup, so nothing was verified", hint="eider backup")
    _end(*(verdict for _name, verdict in results))


def _foreign(app: App, name: str) -> Path | None:
    """Return the path that was meant, unless it is a backup of the catalog."""
    path = Path(name)
    if "/" not in name and not path.exists():
        return None
    if path.resolve().parent == app.directory.resolve():
        with contextlib.suppress(EiderError):
            catalog.find(app.directory, path.name)
            return None
    return path.resolve()


@config_cli.command("check")
def config_check(json_: Json = False) -> None:
    """Say whether the configuration can be meant, and what it lacks."""
    settings, path = configuration.load(_session.config)
    problems = App(settings).problems()
    if problems:
        raise ConfigError(
            "the configuration is well-formed, but:"
            + "".join(f"\n  - {problem}" for problem in problems),
            hint="Correct that and run: eider config check",
        )
    if json_:
        _print_json({"ok": True, "file": path and str(path)})
    else:
        terminal.say(f"[green]✓[/] {path or 'the environment'}: a good configuration")


@config_cli.command("show")
def config_show(json_: Json = False) -> None:
    """Print the configuration in force: file, profile, environment and defaults together."""
    settings = _session.settings()
    document = settings.model_dump(mode="json", by_alias=True, exclude_none=True)
    if json_:
        _print_json(document)
    else:
        terminal.toml(document)


@config_cli.command("example")
def config_example() -> None:
    """Print an annotated configuration to start from."""
    typer.echo(example.annotated(), nl=False)


@cli.command()
def demo(
    seconds: Annotated[float, typer.Option(help="How long the application writes first.")] = 3,
    json_: Json = False,
) -> None:
    """Back up a live imitation of Cartographus, restore it by hand, compare. Cleans up."""
    words = [sys.executable, str(resources.demo()), "--seconds", str(seconds)]
    os.execv(sys.executable, [*words, *(["--json"] if json_ else [])])


# Answers ----------------------------------------------------------------------------------------


def _plain(verdict: Proof) -> dict[str, Any]:
    document: dict[str, Any] = _PROOF.dump_python(verdict, mode="json")
    return document


def _print_json(document: object) -> None:
    terminal.document(json.dumps(document, indent=2, ensure_ascii=False).encode())


def _end(*verdicts: Proof) -> None:
    """Exit with the code of the worst verdict; say on standard error why it is not good."""
    failed = [verdict for verdict in verdicts if verdict.failure]
    for verdict in failed:
        terminal.problem(*proof.explain(verdict))
    raise typer.Exit(ExitCode.VERIFICATION_FAILED if failed else ExitCode.DONE)


def main(arguments: list[str] | None = None) -> int:
    """Run `eider` and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in words
    try:
        code = cli(args=words, standalone_mode=False)
    except EiderError as error:
        terminal.error(error, as_json=as_json)
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        interrupted = Interrupted("interrupted; nothing half done was kept")
        terminal.error(interrupted, as_json=as_json)
        return ExitCode.INTERRUPTED
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        if context and not words:  # no verb at all: the message is the help text
            typer.echo(error.format_message())
            return ExitCode.USAGE
        command = context.command_path if context else "eider"
        usage = ConfigError(error.format_message(), hint=f"See: {command} --help")
        terminal.error(usage, as_json=as_json)
        return ExitCode.USAGE
    except BrokenPipeError:
        return ExitCode.DONE
    return int(code or 0)


class Interrupted(EiderError):
    """The person at the terminal pressed Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED


def run() -> None:
    """Be the console script."""
    sys.exit(main())
