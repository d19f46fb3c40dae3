"""The operator's verbs: `eider [--config FILE] VERB`. What is asked is said here; jobs do it."""

from __future__ import annotations

from eiderd.cli import (
    backups,
    compact,
    demo,
    doctor,
    engines,
    heal,
    keep,
    nats,
    nats_move,
    rescue,
    restore,
    schema,
    settings,
    setup,
    standing,
)
from eiderd.cli.group import group
from eiderd.cli.root import cli, session

__all__ = ["cli", "session"]

_config = group(help="Look at the configuration.")

# In the order of `eider --help`.
cli.command()(standing.status)
cli.command()(standing.runbook)
cli.command()(doctor.doctor)
cli.command()(setup.setup)
cli.command()(backups.backup)
cli.command("list")(backups.list_)
cli.command()(backups.show)
cli.command()(backups.verify)
cli.command()(keep.prune)
cli.command()(keep.pin)
cli.command()(keep.unpin)
cli.command()(keep.accept)
cli.command()(heal.quarantine)
cli.command()(heal.clean)
cli.command()(heal.pause)
cli.command()(heal.resume)
cli.command()(restore.restore)
cli.command()(rescue.rescue)
cli.command()(compact.compact)
cli.command()(schema.schema)
cli.add_typer(nats.cli, name="nats")
nats.cli.command("restore")(nats_move.restore)
nats.cli.command("migrate")(nats_move.migrate)
cli.add_typer(engines.cli, name="engine")
cli.add_typer(_config, name="config")
_config.callback()(settings.options)
_config.command()(settings.check)
_config.command()(settings.show)
_config.command("example")(settings.print_example)
_config.command("reference")(settings.print_reference)
cli.command()(demo.demo)
