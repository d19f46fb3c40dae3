"""The verbs that install, list and remove side environments with other DuckDB versions."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from eiderd.cli import completion, documents, terminal
from eiderd.cli.group import group
from eiderd.cli.root import Json, absolute, session
from eiderd.cli.terminal import BOLD, DIM, GREEN, RED, paint, say
from eiderd.errors import ConfigError, ExitCode
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eiderd.config import Settings

cli = group(help="Install other DuckDB versions beside the bundled one.")

_VERSION: Final = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}")

Version = Annotated[str, typer.Argument(metavar="VERSION", help="As in 1.4.3.")]
Installed = Annotated[
    str,
    typer.Argument(metavar="VERSION", help="As in 1.4.3.", autocompletion=completion.engine),
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One engine. `configured`: eiderd uses it; `problem`: why it does not work, if it does not."""

    version: str
    folder: str
    bundled: bool
    configured: bool
    application: bool
    problem: str


@cli.callback()
def options(json_: Json = False) -> None:
    del json_


@cli.command()
def add(
    version: Version,
    wheel: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            parser=absolute,
            help="Install from this wheel, without a network; may be repeated.",
        ),
    ] = None,
    spatial: Annotated[
        bool, typer.Option("--spatial", help="With the spatial extension of that version.")
    ] = False,
    json_: Json = False,
) -> None:
    """Make an environment with DuckDB VERSION below engine.directory."""
    from eiderd.outside import environments  # noqa: PLC0415  (it takes long to import)

    settings, path = session.load()
    number = _checked(version)
    home = settings.engine_folder(number)
    found = environments.trial(environments.interpreter(home), spatial=spatial)
    there = not found.problem and found.version == number and found.spatial is not False
    if not there:
        wheels = [_existing(file) for file in wheel or ()]
        with _telling(quiet=json_) as tell:
            environments.make(home, version=number, wheels=wheels, tell=tell, spatial=spatial)
    line = _line_to_add(settings, number)
    if json_:
        documents.plain_document(
            {"version": number, "folder": str(home), "made": not there, "add_to_config": line}
        )
        return
    what = "was there already" if there else "is installed"
    say(f"{paint('✓', GREEN)} DuckDB {number} {what}: {plain(str(home))}")
    if line:
        place = plain(str(path or "the configuration"))
        say(f"  to have it used, in {place}:\n\n    [engine]\n    {paint(plain(line), BOLD)}")


@cli.command("list")
def list_(json_: Json = False) -> None:
    """List the engines, and whether each works."""
    every = list(_listed(session.settings(as_root=True)))
    if json_:
        documents.plain_document([dataclasses.asdict(one) for one in every])
    else:
        for one in every:
            _show(one)
    broken = any(one.problem and (one.configured or one.bundled) for one in every)
    raise typer.Exit(ExitCode.DEGRADED if broken else ExitCode.DONE)


@cli.command()
def remove(
    version: Installed,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Remove the environment of VERSION from engine.directory."""
    from eiderd.outside import environments  # noqa: PLC0415

    settings = session.settings(as_root=True)
    number = _checked(version)
    home = settings.engine_folder(number)
    if home.is_symlink() or not home.is_dir():
        raise ConfigError(f"there is no environment at {home}", hint="See: eider engine list")
    if not yes:
        hint = f"eider engine remove {number} --yes"
        terminal.ask(f"Remove {plain(str(home))}?", quiet=json_, hint=hint)
    environments.remove(home)
    used = number in settings.engine.others
    if json_:
        documents.plain_document({"removed": number, "folder": str(home), "still_named": used})
        return
    say(f"{paint('✓', GREEN)} removed {plain(str(home))}")
    if used:
        say(f'  take "{number}" out of engine.others too')


def _checked(version: str) -> str:
    number = version.removeprefix("v")
    if not _VERSION.fullmatch(number) or not number.isascii():
        raise ConfigError(f"{version!r} is no version of DuckDB", hint="Write it as in 1.4.3.")
    return number


def _existing(wheel: Path) -> Path:
    path = Path(os.path.realpath(wheel))
    if not path.is_file() or path.suffix != ".whl":
        raise ConfigError(f"{wheel} is no wheel", hint="Name a .whl file, downloaded elsewhere.")
    return path


@contextlib.contextmanager
def _telling(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield what is told each step: a bar on a terminal, nothing elsewhere."""
    if quiet:
        yield lambda _step: None
        return
    with terminal.progress() as shown:
        yield lambda step: shown(step, 0, 1)


def _line_to_add(settings: Settings, version: str) -> str | None:
    """Return the line for [engine] that names the version too; None when it is named already."""
    named = settings.engine.others
    folders = {Path(os.path.realpath(settings.engine_folder(name))) for name in named}
    if Path(os.path.realpath(settings.engine_folder(version))) in folders:
        return None
    return f"others = [{', '.join(map(_quoted, (*named, version)))}]"


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _listed(settings: Settings) -> Iterator[Listed]:
    from eiderd.outside import environments  # noqa: PLC0415

    named = [settings.engine_folder(name) for name in settings.engine.others]
    found = environments.installed(settings.engine.directory)
    wanted = (settings.engine.application or "").removeprefix("v")
    bundled = environments.trial(Path(sys.executable))
    yield Listed(
        version=bundled.version,
        folder=sys.prefix,
        bundled=True,
        configured=True,
        application=wanted == bundled.version,
        problem=bundled.problem,
    )
    for home in dict.fromkeys((*named, *found)):
        tried = environments.trial(environments.interpreter(home))
        wrong = "" if tried.version in {"", home.name} else f"it is DuckDB {tried.version}"
        yield Listed(
            version=home.name,
            folder=str(home),
            bundled=False,
            configured=home in named,
            application=home.name == wanted,
            problem=tried.problem or wrong,
        )


def _show(one: Listed) -> None:
    mark = paint("✗", RED) if one.problem else paint("✓", GREEN)
    roles = [
        *(["bundled"] if one.bundled else []),
        *(["the application's"] if one.application else []),
        *([] if one.configured else ["not in engine.others"]),
    ]
    said = f" ({', '.join(roles)})" if roles else ""
    say(f"{mark} {plain(one.version or '?').ljust(10)}{plain(one.folder)}{paint(said, DIM)}")
    if one.problem:
        say(f"    {plain(one.problem)}")
