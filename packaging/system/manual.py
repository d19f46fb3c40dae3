"""Writes the manual pages and shell completions from the command line and the settings themselves.

Run: python packaging/system/manual.py FOLDER
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from eiderd import __version__
from eiderd.cli import cli
from eiderd.errors import ExitCode
from eiderd.sections import example

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILES: Final = {
    "/etc/eiderd/eiderd.toml": "The configuration: eiderd.toml(5).",
    "/etc/eiderd/granted": "What eider setup let the user eiderd read, noted to be taken back.",
    "/var/lib/eiderd": "What eiderd keeps: mirror, journal, engines. Its user alone may read it.",
    "/var/lib/eiderd/backups": "Archives and manifests, if backup.directory says nothing else. No "
    "removal of the package removes them.",
    "/etc/credstore": "Secrets for the service, as files eiderd.NAME: see eiderd.service.",
    "/etc/polkit-1/rules.d/50-eiderd-application.rules": "Lets the service start, stop, freeze and "
    "thaw the application's unit, and no other.",
}
_SIGNALS: Final = {
    "SIGHUP": "Load the configuration anew; one that is no good is refused, and the old one stays.",
    "SIGTERM, SIGINT": "End. A run that is at work is ended and leaves only usable things.",
}
_SETTING: Final = re.compile(r"(# )?(?P<name>[a-z_]+) = (?P<value>.*)")
_SHELLS: Final = {"bash": "eider", "zsh": "_eider", "fish": "eider.fish"}
_ZSH_LAST: Final = "compdef _eider_completion eider"
_ZSH_AUTOLOADED: Final = """\
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _eider_completion "$@"
else
    compdef _eider_completion eider
fi
"""


def _plain(text: str) -> str:
    """Return text that means nothing to troff."""
    spelled = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(
        f"\\&{line}" if line.startswith((".", "'")) else line for line in spelled.splitlines()
    )


def _head(name: str, section: int, said: str) -> str:
    title = f'.TH {name.upper()} {section} "" "eiderd {__version__}" "eiderd"\n'
    return f"{title}.SH NAME\n{_plain(name)} \\- {_plain(said)}\n"


def _items(pairs: dict[str, str]) -> str:
    return "".join(f".TP\n.B {_plain(term)}\n{_plain(said)}\n" for term, said in pairs.items())


def _exit_codes() -> str:
    return ".SH EXIT STATUS\n" + _items({str(code.value): code.meaning for code in ExitCode})


def eider() -> str:
    """Return the page of `eider`: every verb with its arguments and options, as typer has them."""
    command = typer.main.get_command(cli)
    text = _head("eider", 1, "verified hot backups of a live DuckDB database")
    text += ".SH SYNOPSIS\n.B eider\n[\\fIOPTION\\fR]... \\fIVERB\\fR [\\fIARGUMENT\\fR]...\n"
    text += ".SH DESCRIPTION\nThe operator's command. The service is\n.BR eiderd (8).\n"
    text += ".SH OPTIONS\n" + "".join(_options(command))
    text += ".SH VERBS\n" + "".join(_verbs(command, "eider"))
    text += _exit_codes() + ".SH FILES\n" + _items(_FILES)
    return text + ".SH SEE ALSO\n.BR eiderd (8),\n.BR eiderd.toml (5)\n"


def _verbs(command: Any, path: str) -> Iterator[str]:  # noqa: ANN401  (typer brings its own click)
    for name, verb in command.commands.items():
        arguments = " ".join(
            _metavar(one) for one in verb.params if not one.opts[0].startswith("-")
        )
        yield f".SS {_plain(f'{path} {name} {arguments}'.rstrip())}\n"
        yield f"{_plain(' '.join((verb.help or '').split()))}\n"
        yield from _options(verb)
        if hasattr(verb, "commands"):
            yield from _verbs(verb, f"{path} {name}")


def _metavar(argument: Any) -> str:  # noqa: ANN401
    return str(argument.metavar or argument.name.upper())


def _options(command: Any) -> Iterator[str]:  # noqa: ANN401
    for one in command.params:
        if getattr(one, "hidden", False):
            continue
        term = ", ".join([*one.opts, *one.secondary_opts])
        if not one.opts[0].startswith("-"):
            term = _metavar(one)
        elif not getattr(one, "is_flag", False):
            term += f" {_metavar(one)}"
        if one.help:
            yield f".TP\n.B {_plain(term)}\n{_plain(one.help)}\n"


def eiderd() -> str:
    """Return the page of the service."""
    text = _head("eiderd", 8, "the service that takes verified hot backups of a DuckDB database")
    text += ".SH SYNOPSIS\n.B eiderd\n[\\fB\\-\\-config\\fR \\fIFILE\\fR]\n.SH DESCRIPTION\n"
    text += _plain(
        "It takes backups of a live DuckDB database without its application's help, proves that "
        "each restores, keeps the right ones, watches what would make them worthless, repairs "
        "what can be repaired safely, and serves a status page and metrics.\n"
    )
    text += "\n.PP\nIt stays in the foreground and tells systemd, where there is one, that it is "
    text += 'ready, what it does and that it lives. Begin with\n.BR "eider setup" .\n'
    text += ".SH OPTIONS\n" + _items(
        {
            "--config FILE": "The configuration; else EIDER_CONFIG, else /etc/eiderd/eiderd.toml.",
            "--maintain compact|restore": "What eiderd-maintain@.service does, once, and end.",
            "--version": "Print the version.",
        }
    )
    text += ".SH SIGNALS\n" + _items(_SIGNALS) + _exit_codes() + ".SH FILES\n" + _items(_FILES)
    return text + ".SH SEE ALSO\n.BR eider (1),\n.BR eiderd.toml (5)\n"


def eiderd_toml() -> str:
    """Return eiderd.toml(5), from the settings."""
    text = _head("eiderd.toml", 5, "the configuration of eiderd")
    text += ".SH DESCRIPTION\n" + _plain(
        'Only database.path is required. Durations and sizes carry their unit: "90s", "1h30m", '
        '"7d"; "500MB", "2GiB". Every setting can also come from the environment, which wins: '
        "EIDER_DATABASE__PATH. What counts: eider config show. Check it: eider config check.\n"
    )
    text += "\n.SH SETTINGS\n.TP\n.B profile\nDefaults for a known application; what stands in the "
    text += "file wins.\n"
    said: list[str] = []
    for line in example.annotated().partition("\n[")[2].splitlines():
        setting = _SETTING.match(line)
        if line.endswith("]") and not line.startswith("#"):
            text += f".SS [{_plain(line.strip('[]'))}]\n"
        elif setting:
            text += f".TP\n.B {_plain(setting['name'])}\n{_plain(' '.join(said))}\n"
            text += f".br\n{_plain(_default(setting['value']))}\n"
            said = []
        else:
            said.append(line.removeprefix("# "))
    return text + ".SH SEE ALSO\n.BR eider (1),\n.BR eiderd (8)\n"


def _default(value: str) -> str:
    shown, unset, _ = value.partition("  # not set")
    return f"Not set; as in: {shown}" if unset else f"Default: {shown}"


def completion(shell: str) -> str:
    """Return what typer prints for a shell, as a file that the shell loads by itself."""
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("eider"))],
        env={**os.environ, "_EIDER_COMPLETE": f"source_{shell}"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    text = f"{ran.stdout.strip()}\n"
    return text.replace(f"{_ZSH_LAST}\n", _ZSH_AUTOLOADED) if shell == "zsh" else text


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"eider.1": eider(), "eiderd.8": eiderd(), "eiderd.toml.5": eiderd_toml()}
    for name, text in pages.items():
        (folder / name).write_text(text)
    for shell, name in _SHELLS.items():
        (folder / name).write_text(completion(shell))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
