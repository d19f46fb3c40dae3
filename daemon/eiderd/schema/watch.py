"""The watcher of the schema: it remembers the last two looks, across restarts, and judges them."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from eiderd.errors import ConfigError, NoSpace
from eiderd.schema import app as schema_app
from eiderd.schema import matrices
from eiderd.watch import schema
from eiderd.watch.schema import Expected

if TYPE_CHECKING:
    import datetime

    from eiderd.app import App
    from eiderd.board import Board
    from eiderd.config import Settings
    from eiderd.health import Finding
    from eiderd.model import Outcome
    from eiderd.schema.facts import Known
    from eiderd.watch.schema import Judgement


class SchemaWatch:
    """Puts what is known on the board. Whoever does not record shows what the service saw."""

    def __init__(self, *, app: App, board: Board) -> None:
        self._board = board
        board.schema = schema_app.recall(app.settings.service.state)

    def follow(self, app: App, *, at: datetime.datetime) -> Outcome[Known]:
        """Look, if the database was written since, or if something has to be confirmed."""
        before, unsure = self._board.schema, self._judged(app, at=at).unsure
        outcome = app.schema_look().follow(before, unsure=unsure, at=at)
        known = dataclasses.replace(outcome.value, nats=self._nats())
        self._board.schema = known
        if known != before:
            # On a full disk, which the watcher of disks tells of, a restart looks anew.
            with contextlib.suppress(NoSpace):
                schema_app.remember(app.settings.service.state, known)
        return outcome

    def _nats(self) -> str | None:
        return self._board.nats_version or self._board.schema.nats

    def look(self, app: App, *, at: datetime.datetime) -> tuple[Finding, ...]:
        """Return what is wrong, by the looks there were."""
        return self._judged(app, at=at).findings

    def _judged(self, app: App, *, at: datetime.datetime) -> Judgement:
        return schema.run(
            now=at,
            known=self._board.schema,
            briefs=self._board.stock.backups,
            expected=expected_of(app.settings),
            nats=self._nats(),
        )


def expected_of(settings: Settings) -> Expected:
    """Return what the configuration says of what goes together. Raise ConfigError."""
    application, name = settings.application, settings.schema_.compatibility
    try:
        matrix = matrices.named(name) if name else None
    except ValueError as error:  # it was there when the configuration was read
        raise ConfigError(
            f"schema.compatibility: {error}", hint="Correct it and run: eider config check"
        ) from error
    names = {"systemd": application.unit, "docker": application.container}
    return Expected(
        database=str(settings.database.path),
        matrix=matrix,
        engine=settings.engine.application,
        kind=application.kind,
        name=names.get(application.kind) or "",
    )
