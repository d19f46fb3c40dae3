"""The watcher of NATS: remembers what earlier looks left, and puts what it sees on the board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eiderd.broker import look as broker
from eiderd.errors import EiderError
from eiderd.evidence import ApplicationState
from eiderd.watch.nats import Known

if TYPE_CHECKING:
    import datetime

    from eiderd.app import App
    from eiderd.board import Board
    from eiderd.health import Finding

DOWN: Final = (ApplicationState.STOPPED, ApplicationState.FAILED)


class NatsWatch:
    """What is known is of one server: another url begins anew."""

    def __init__(self, *, app: App, board: Board) -> None:
        self._board = board
        if app.settings.nats.urls:
            board.nats = broker.standing_of(app.settings.nats)
        self._known = Known()
        self._of: tuple[str, ...] = ()

    def look(self, app: App, *, at: datetime.datetime) -> tuple[Finding, ...]:
        """Return what is wrong. Nothing is asked, nor imported, while no url is set."""
        section, board = app.settings.nats, self._board
        if not section.urls:
            board.nats, self._known = None, Known()
            return ()
        if section.urls != self._of:
            self._known, self._of = Known(), section.urls
        try:
            board.nats, found, self._known = broker.look(
                section, now=at, known=self._known, application_down=self._is_application_down
            )
        except EiderError as error:  # what was seen before says nothing of now
            board.nats = broker.standing_of(section, why=error.message)
            raise
        if board.nats.seen:
            board.nats_version = board.nats.seen.version or None
        return found

    def _is_application_down(self) -> bool:
        seen = self._board.application
        return seen is not None and seen.state in DOWN
