"""What the shell offers for a word that is begun. Silent whatever is wrong; no network is asked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import typer  # noqa: TC002  (it reads the annotations)

from eiderd import catalog
from eiderd import config as configuration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eiderd.config import Settings


def backup(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the ids there are."""
    with contextlib.suppress(Exception):
        ids = [found.id for found in catalog.read(_settings(context).backup.directory).backups]
        return _beginning(incomplete, ("latest", *reversed(ids)))
    return []


def engine(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the versions that are installed beside the bundled one."""
    from eiderd.outside import environments  # noqa: PLC0415  (it takes long to import)

    with contextlib.suppress(Exception):
        found = environments.installed(_settings(context).engine.directory)
        return _beginning(incomplete, (path.name for path in found))
    return []


def kept_stream(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the streams in the backup that was named before."""
    with contextlib.suppress(Exception):
        chosen = context.params.get("backup") or catalog.LATEST
        found = catalog.find(_settings(context).backup.directory, chosen)
        return _beginning(incomplete, (taken.stream for taken in found.nats))
    return []


def expected_stream(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the streams that the configuration names."""
    with contextlib.suppress(Exception):
        return _beginning(incomplete, _settings(context).nats.streams)
    return []


def _settings(context: typer.Context) -> Settings:
    return configuration.load(context.find_root().params.get("config"))[0]


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
