"""Whether what a text says to type exists: the verbs and options of `eider`."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import typer.main

from eiderd.cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator


def typed(text: str) -> Iterator[list[str]]:
    """Yield the words of each `eider` command in shell blocks and between backquotes."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    for line in lines + re.findall(r"`(eider [^`]+)`", text):
        words = shlex.split(line, comments=True)
        if words and words[0] == "eider":
            yield words[1:]


def refused(words: list[str]) -> str | None:
    """Return what is wrong with a command of `eider`, or None."""
    command = typer.main.get_command(cli)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return f"there is no verb {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = {word for word in words if word.startswith("-")} - known
    return f"there is no option {unknown}" if unknown else None
