"""The operator's verbs: `eider [--config FILE] VERB`. What is asked is said here; jobs do it."""

from __future__ import annotations

import typer

from eiderd.cli import backups, demo, doctor, engines, keep, rescue, restore, settings, standing
from eiderd.cli.root import cli, session

__all__ = ["cli", "session"]

_config = typer.Typer(help="Look at the configuration.", no_args_is_help=True)

# In the order of `eider --help`.
cli.command()(standing.status)
cli.command()(standing.runbook)
cli.command()(doctor.doctor)
cli.command()(backups.backup)
cli.command("list")(backups.list_)
cli.command()(backups.show)
cli.command()(backups.verify)
cli.command()(keep.prune)
cli.command()(keep.pin)
cli.command()(keep.unpin)
cli.command()(keep.accept)
cli.command()(restore.restore)
cli.command()(rescue.rescue)
cli.add_typer(engines.cli, name="engine")
cli.add_typer(_config, name="config")
_config.callback()(settings.options)
_config.command()(settings.check)
_config.command()(settings.show)
_config.command("example")(settings.print_example)
cli.command()(demo.demo)
