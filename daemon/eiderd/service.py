"""The service: it begins, turns, and ends, and tells systemd. `eiderd [--config FILE]`.

The main thread reads signals and looks after the others: the clockwork (APScheduler's thread and
its pools) and the web. If one of them dies the service ends with an error, to be started anew.
systemd's watchdog is fed only while the clockwork turns and no job has been at work for longer than
all its steps are given together.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from eiderd import __version__, log, metrics, resources, runbooks, self_findings
from eiderd import config as configuration
from eiderd.app import App, journal_of
from eiderd.board import Board
from eiderd.clockwork import Clockwork, threads
from eiderd.errors import EiderError, ExitCode
from eiderd.frame import frame_of
from eiderd.lookout import WATCHERS, Lookout
from eiderd.maintenance import maintain
from eiderd.maintenance.maintain import Task
from eiderd.model import Job
from eiderd.outside import clock, files, first_process, process, systemd
from eiderd.outside.inbox import Inbox
from eiderd.outside.web import Web
from eiderd.rounds import Rounds
from eiderd.runner import LONG_PATIENCE_SECONDS
from eiderd.schedule import Lane
from eiderd.status import Service as State
from eiderd.web import server

if TYPE_CHECKING:
    from eiderd.config import Settings
    from eiderd.schedule import Entry
    from eiderd.status import Status

_TICK_SECONDS: Final = 1.0
_WAKE_SECONDS: Final = 10.0
_SLOWEST_BEAT_SECONDS: Final = 30.0
_STUCK_SECONDS: Final = 600.0  # beyond what it is given; then only a new process helps
_FIRST_LOOK_SECONDS: Final = 10.0
_END_SECONDS: Final = 8.0
_POLL_SECONDS: Final = 0.01
_REPORTS: Final = frozenset(map(str, (*WATCHERS, Job.HEAL)))
_FIXED: Final = ("service", "server")  # sections that only a restart changes


class Service:
    """One life of the service, with the configuration at `path`."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._settings, _found = configuration.load(path)
        self._ending = False
        self._refused = ""  # why the configuration of the last reload was not taken
        self._unfollowed: tuple[str, ...] = ()
        self._zone = clock.zone()
        self._systemd = systemd.Systemd()
        self._watchdog_seconds = systemd.watchdog_seconds()
        self._fed_at = self._woken_at = 0.0

    def run(self) -> int:
        """Live until told to end. Return the exit code. Raise EiderError when it cannot begin."""
        settings = self._settings
        log.configure(level=settings.log.level, format_=settings.log.format)
        state = files.private_folder(settings.service.state)
        hint = "Is the service running already? systemctl status eiderd"
        with files.alone(state / "service.lock", hint=hint), contextlib.ExitStack() as at_the_end:
            inbox = Inbox()
            self._begin(at_the_end)
            return self._turn(inbox)

    # Begins ------------------------------------------------------------------------------------

    def _begin(self, at_the_end: contextlib.ExitStack) -> None:
        settings, at = self._settings, clock.now()
        self._journal = journal_of(settings)
        self._board = Board(
            frame=frame_of(settings, zone=self._zone, at=at), journal=self._journal, records=True
        )
        self._board.service = State(since=at, config_loaded_at=at)
        app = self._app_of(settings)
        lookout = Lookout(app=app, board=self._board)
        self._rounds = Rounds(app=app, lookout=lookout, board=self._board, zone=self._zone)
        self._clockwork = Clockwork(
            scheduler=threads(self._timetable), turn=self._rounds, zone=self._zone, now=clock.now
        )
        self._rounds.soon = self._clockwork.soon
        self._journal.look_at_clock(clock.reading())
        for run in self._journal.begin_service(at=at):
            structlog.get_logger().warning(
                "A run was killed.", word="run_died", job=str(run.job), began_at=str(run.began_at)
            )
        self._web = self._web_of(settings)
        self._web.begin()
        at_the_end.callback(self._web.end, seconds=1.0)
        at_the_end.callback(self._end)
        self._begin_turning()
        self._check_itself()
        self._systemd.ready()
        structlog.get_logger().info(
            "eiderd is ready.", word="ready", address="{}:{}".format(*self._web.address)
        )

    def _begin_turning(self) -> None:
        """Watchers first: what is overdue is known only once the catalog was looked at."""
        watchers = [entry for entry in self._timetable if entry.lane is Lane.WATCH]
        self._clockwork.begin(watchers, at_once=lambda _entry: True)
        deadline = time.monotonic() + _FIRST_LOOK_SECONDS
        wanted = {entry.job for entry in watchers}
        while not wanted <= self._rounds.looked and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        self._clockwork.follow(self._timetable, at_once=self._rounds.is_overdue)

    def _check_itself(self) -> None:
        """See that what is shown can be shown, before anybody is told "ready"."""
        for name, path in resources.rules().items():
            for unknown in metrics.unknown_names(path.read_text()):
                structlog.get_logger().error(
                    "A shipped rule uses a metric that does not exist.",
                    word="metric_unknown", rules=name, metric=unknown,
                )  # fmt: skip
        metrics.exposition(self._look(), "")
        self._tick()

    @property
    def _timetable(self) -> tuple[Entry, ...]:
        return self._board.frame.timetable

    def _app_of(self, settings: Settings) -> App:
        return App(
            settings,
            journal=self._journal,
            patience_seconds=LONG_PATIENCE_SECONDS,
            is_ending=lambda: self._ending,
        )

    def _web_of(self, settings: Settings) -> Web:
        wanted = settings.server
        host, port = wanted.address
        application = server.Application(
            look=self._look,
            turning=lambda: self._clockwork.beat_age_seconds() < _SLOWEST_BEAT_SECONDS,
            exposition=metrics.exposition,
            runbook=runbooks.text,
            complain=_complain,
            users=server.users_from(wanted.basic_auth) if wanted.basic_auth else {},
        )
        return Web(
            application,
            host=host,
            port=port,
            certificate=wanted.tls_certificate,
            key=wanted.tls_key,
        )

    def _look(self) -> Status:
        return self._board.status(at=clock.now())

    # Turns -------------------------------------------------------------------------------------

    def _turn(self, inbox: Inbox) -> int:
        while True:
            match inbox.next(seconds=_TICK_SECONDS):
                case None:
                    pass
                case number if number.name == "SIGHUP":
                    self._reload()
                case number:
                    structlog.get_logger().info("Ending.", word="ending", signal=number.name)
                    return ExitCode.DONE
            if not self._tick():
                return ExitCode.BUG

    def _tick(self) -> bool:
        """Look after everything that should be alive. Return False when one of them is not."""
        now, reading = time.monotonic(), clock.reading()
        if jump := self._journal.look_at_clock(reading):
            structlog.get_logger().warning(
                "The clock was set.", word="clock_jumped", by_seconds=round(jump.total_seconds())
            )
            self._clockwork.follow(self._timetable, at_once=self._rounds.is_overdue)
        if now - self._woken_at > _WAKE_SECONDS:
            self._woken_at = now
            self._clockwork.wake()
        found = self_findings.all_of(
            at_work=[(entry, now - began) for entry, began in self._clockwork.at_work()],
            refused=self._refused,
            unfollowed=self._unfollowed,
            trouble=self._journal.trouble,
            is_clock_doubtful=self._journal.is_clock_doubtful(reading),
        )
        self._board.report("service", found, at=reading.at)
        self._board.forget_old(_REPORTS, at=reading.at)
        self._systemd.status(self._line())
        for name, alive in (("web", self._web.alive()), ("clockwork", self._clockwork.alive())):
            if not alive:
                structlog.get_logger().critical("A helper died.", word="helper_died", helper=name)
                return False
        self._feed(now)
        return True

    def _feed(self, now: float) -> None:
        """Tell systemd's watchdog that work can be done, if that is so."""
        if self._watchdog_seconds is None or now - self._fed_at < self._watchdog_seconds / 4:
            return
        stuck = any(
            entry.stuck and now - began > entry.stuck.total_seconds() + _STUCK_SECONDS
            for entry, began in self._clockwork.at_work()
        )
        if not stuck and self._clockwork.beat_age_seconds() < _SLOWEST_BEAT_SECONDS:
            self._fed_at = now
            self._systemd.alive()

    def _line(self) -> str:
        """Return what `systemctl status` shows: how it is, what runs, what runs next."""
        status = self._look()
        said = ", ".join(str(running.job) for running in status.running) or "idle"
        for one in status.upcoming[:1]:
            said += f"; next {one.job} {one.at.astimezone(self._zone):%a %d %b %H:%M}"
        return f"{status.condition}: {said}"

    # Changes and ends --------------------------------------------------------------------------

    def _reload(self) -> None:
        """Follow a changed configuration, or keep the old one and say why."""
        self._systemd.reloading()
        try:
            wanted = configuration.load(self._path)[0]
            self._web.renew()  # a certificate is often renewed in its place
            self._follow(wanted)  # last: what is refused changes nothing
            self._refused = ""
            structlog.get_logger().info("The configuration was loaded.", word="config_loaded")
        except EiderError as error:
            self._refused = error.message
            structlog.get_logger().error(
                "The new configuration was refused.",
                word="config_refused", why=error.message, hint=error.hint,
            )  # fmt: skip
        self._board.service = dataclasses.replace(
            self._board.service, config_refused=bool(self._refused)
        )
        self._systemd.ready()

    def _follow(self, wanted: Settings) -> None:
        old, at = self._settings, clock.now()
        self._unfollowed = tuple(
            section for section in _FIXED if getattr(wanted, section) != getattr(old, section)
        )
        settings = wanted.model_copy(update={section: getattr(old, section) for section in _FIXED})
        log.configure(level=settings.log.level, format_=settings.log.format)
        self._settings = settings
        self._board.frame = frame_of(settings, zone=self._zone, at=at)
        self._board.service = dataclasses.replace(self._board.service, config_loaded_at=at)
        self._rounds.go_on_with(self._app_of(settings))
        # Other limits may find other things: look at once.
        self._clockwork.follow(
            self._timetable,
            at_once=lambda entry: entry.lane is Lane.WATCH or self._rounds.is_overdue(entry),
        )

    def _end(self) -> None:
        """Begin nothing new, end the children, and wait, but not for ever, for what they leave."""
        self._ending = True
        self._systemd.stopping()
        self._clockwork.end()
        process.close()
        deadline = time.monotonic() + _END_SECONDS
        while self._is_store_busy() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _is_store_busy(self) -> bool:
        return any(entry.lane is Lane.STORE for entry, _began in self._clockwork.at_work())


def _complain(error: Exception) -> None:
    structlog.get_logger().error("A page failed.", word="page_failed", exc_info=error)


def run() -> None:
    """Be the console script `eiderd`."""
    parser = argparse.ArgumentParser(prog="eiderd", description="The service, in the foreground.")
    parser.add_argument("--config", type=Path, help="the configuration file [EIDER_CONFIG]")
    parser.add_argument(
        "--maintain", type=Task, metavar="TASK",
        help="what eiderd-maintain@TASK.service does, once: compact or restore",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"eiderd {__version__}")
    words = parser.parse_args()
    first_process.give_way()
    try:
        if words.maintain:
            code = maintain.run(words.config, words.maintain)
        else:
            code = Service(words.config).run()
    except EiderError as error:
        log.complain(error)
        code = error.exit_code
    sys.stderr.flush()
    # A thread that hangs on a dead disk must not keep the process: what had to be put away, was.
    os._exit(code)
