"""Replacements of streams that did not end: what the records say that they leave."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd.broker import look as broker
from eiderd.model import Job
from eiderd.outside.nats_client import replacing
from eiderd.watch import replacing as watch

if TYPE_CHECKING:
    from eiderd.broker.evidence import Replacement
    from eiderd.config import Settings
    from eiderd.health import Finding
    from eiderd.journal import Journal

_FOLDER: Final = "streams-set-aside"


def folder(settings: Settings) -> Path:
    """Return where streams are set aside, each in a folder of its own."""
    return settings.service.state / _FOLDER


def look(settings: Settings, *, journal: Journal) -> tuple[Finding, ...]:
    """Return what did not end. NATS need not be there, nor be configured."""
    return watch.run(
        look=functools.partial(replacing.begun, folder(settings)),
        at_work_since=lambda: [
            run.began_at for run in journal.running() if run.job is Job.NATS_RESTORE
        ],
        configured=functools.partial(configured, settings),
    )


def configured(settings: Settings) -> str:
    """Return the configured server as it is shown; nothing if there is none."""
    return broker.server_of(settings.nats).shown if settings.nats.urls else ""


def of(settings: Settings, *, stream: str, server: str) -> tuple[Replacement, ...]:
    """Return those of one stream on one server, the first begun first."""
    begun = replacing.begun(folder(settings))
    return tuple(one for one in begun if (one.stream, one.server) == (stream, server))


def end(settings: Settings, *, stream: str, server: str) -> None:
    """Forget those of a stream that was made and looked at. What was set aside stays."""
    for one in of(settings, stream=stream, server=server):
        replacing.end(Path(one.folder))
