"""The operator's verbs: `eider [--config FILE] VERB`. What is asked is said here; jobs do it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eiderd import __version__, catalog, documents, example, proof, reports, resources, terminal
from eiderd import config as configuration
from eiderd.errors import ConfigError, EiderError, ExitCode, NoSuchBackup, SourceUnavailable
from eiderd.model import Level
from eiderd.reports import Verdict
from eiderd.words import is_unicode, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eiderd.app import App
    from eiderd.model import Backup

_EPILOG = "Exit codes: " + ", ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."

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

        settings = self.settings()
        log.configure_verb(level=settings.log.level, format_=settings.log.format)
        if quiet:
            yield App(settings)
            return
        with terminal.progress() as shown:
            yield App(settings, progress=shown)


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


@config_cli.callback()
def _config_options(json_: Json = False) -> None:
    del json_


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
    if not is_unicode(note):
        raise ConfigError("the note is not text in UTF-8", hint="Write the note in other words.")
    with session.working(quiet=json_) as app:
        made = app.backup(note=note).value
    if json_:
        documents.backup(made)
    else:
        reports.backup_made(made, directory=app.directory)
    _end([Verdict(name=made.id, proof=made.proof)])


@cli.command("list")
def list_(json_: Json = False) -> None:
    """List the backups, the newest first."""
    directory = session.settings().backup.directory
    listing = catalog.read(directory)
    if json_:
        documents.listing(listing)
    else:
        reports.backups(listing, directory=directory)
    raise typer.Exit(ExitCode.DEGRADED if listing.unreadable else ExitCode.DONE)


@cli.command()
def show(backup: BackupName = catalog.LATEST, json_: Json = False) -> None:
    """Show all that is known of one backup."""
    directory = session.settings().backup.directory
    found = catalog.find(directory, backup)
    if json_:
        documents.backup(found)
    else:
        reports.backup(found, directory=directory)


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
    with session.working(quiet=json_) as app:
        if all_:
            verdicts = _verify_all(app, level=wanted)
        elif path := _foreign(app, backup):
            proven = app.verify_file(path, level=wanted).value
            verdicts = [Verdict(name=str(path), proof=proven)]
        else:
            verdicts = [_verify(app, catalog.find(app.directory, backup), level=wanted)]
    if json_ and all_:
        documents.verdicts(verdicts)
    elif json_:
        documents.verdict(verdicts[0])
    else:
        reports.verdicts(verdicts)
    _end(verdicts)


def _verify_all(app: App, *, level: Level) -> list[Verdict]:
    """Prove every backup. One whose manifest cannot be believed has failed already."""
    listing = catalog.read(app.directory)
    if not listing.backups and not listing.unreadable:
        raise NoSuchBackup(
            f"there is no backup in {app.directory}, so nothing was verified", hint="eider backup"
        )
    proven = [_verify(app, backup, level=level) for backup in listing.backups]
    return proven + [Verdict(name=other.id, problem=other.problem) for other in listing.unreadable]


def _verify(app: App, backup: Backup, *, level: Level) -> Verdict:
    return Verdict(name=backup.id, proof=app.verify(backup, level=level).value.proof)


def _foreign(app: App, name: str) -> Path | None:
    """Return the path that was meant, unless it is a backup of the catalog."""
    try:
        if "/" not in name and not os.path.lexists(name):
            return None
        Path(name).stat()
    except FileNotFoundError:
        pass  # whoever reads it says so
    except ValueError as error:
        raise ConfigError(f"{name!r} is no path", hint="See: eider list") from error
    except OSError as error:
        # A path that nobody could follow is no archive; one that this user may not, is usage.
        kind = SourceUnavailable if error.errno == errno.ELOOP else ConfigError
        raise kind(
            f"cannot look at {name}: {error.strerror}", hint="See what there is: eider list"
        ) from error
    path = Path(os.path.realpath(name))
    if path.parent == Path(os.path.realpath(app.directory)):
        with contextlib.suppress(EiderError):
            catalog.find(app.directory, path.name)
            return None
    return path


@config_cli.command("check")
def config_check(json_: Json = False) -> None:
    """Say whether the configuration can be meant, and what it lacks."""
    from eiderd.app import App  # noqa: PLC0415  (it takes long, and `config show` is without it)

    settings, path = session.load()
    problems = App(settings).problems()
    if problems:
        raise ConfigError(
            "the configuration is well-formed, but:"
            + "".join(f"\n  - {plain(problem)}" for problem in problems),
            hint="Correct that and run: eider config check",
        )
    if json_:
        documents.plain_document({"ok": True, "file": path and str(path)})
    else:
        place = plain(str(path or "the environment"))
        terminal.say(f"{terminal.paint('✓', terminal.GREEN)} {place}: a good configuration")


@config_cli.command("show")
def config_show(json_: Json = False) -> None:
    """Print the configuration in force: file, profile, environment and defaults together."""
    document = configuration.shown(session.settings())
    if json_:
        documents.plain_document(document)
    else:
        terminal.toml(document)


@config_cli.command("example")
def config_example() -> None:
    """Print an annotated configuration to start from."""
    terminal.write(example.annotated())


@cli.command()
def demo(
    seconds: Annotated[float, typer.Option(help="How long the application writes first.")] = 3,
    json_: Json = False,
) -> None:
    """Back up a live imitation of Cartographus, restore it by hand, compare. Cleans up."""
    words = [sys.executable, str(resources.demo()), "--seconds", str(seconds)]
    os.execv(sys.executable, [*words, *(["--json"] if json_ else [])])


def _end(verdicts: Sequence[Verdict]) -> None:
    """Exit with the code of the worst verdict; say on standard error why it is not good."""
    failed = [verdict for verdict in verdicts if not verdict.proof or verdict.proof.failure]
    for verdict in failed:
        terminal.problem(*(proof.explain(verdict.proof) if verdict.proof else _doubt(verdict)))
    raise typer.Exit(ExitCode.VERIFICATION_FAILED if failed else ExitCode.DONE)


def _doubt(verdict: Verdict) -> tuple[str, str]:
    hint = "Copy the archive elsewhere and prove it by itself: eider verify FILE"
    return f"backup {verdict.name}: {verdict.problem}", hint
