"""What holds verbs together: `eider`, `eider nats`, `eider engine`, `eider config`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from eiderd.cli import terminal
from eiderd.errors import ExitCode


class _Group(TyperGroup):
    """Says of each verb the whole sentence, however many lines that takes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Answer with the help where no verb is given, which is no good use all the same."""
        if not args and not ctx.resilient_parsing:
            terminal.say(ctx.get_help())
            ctx.exit(ExitCode.USAGE)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  (typer's own click)
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, " ".join((command.help or "").partition("\n\n")[0].split()))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def group(**words: Any) -> typer.Typer:
    """Return a group in whose help nothing is markup: [retention] would vanish from it."""
    return typer.Typer(cls=_Group, rich_markup_mode=None, **words)
