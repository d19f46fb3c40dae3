"""Binds healing: asks the policy about what the board shows, and keeps in the journal what it says.

It only looks and decides. Who acts is `rounds`, in the lane of the store, like every other run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eiderd import room
from eiderd.errors import EiderError
from eiderd.frame import limits_of
from eiderd.heal import actions, policy
from eiderd.healing import Decision, Limits, Ready, Verdict
from eiderd.health import Finding, Kind, Severity
from eiderd.jobs.prune import why_frozen
from eiderd.maintenance import bring_back as bringing_back
from eiderd.model import Job, RunOutcome, State
from eiderd.outside import clock
from eiderd.units import spoken
from eiderd.words import plain

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Mapping

    from eiderd.app import App
    from eiderd.board import Board
    from eiderd.healing import Pause, Repair

_CANNOT_COUNT: Final = "the journal cannot be written, so the tries could not be counted"


class Healer:
    """Decides for one board. `wanted` is the repair to be made now, if there is one."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.wanted: Decision | None = None

    def look(self, app: App, *, at: datetime.datetime) -> tuple[Finding, ...]:
        """Decide anew. Return what a person should know: that it gave up, that it is paused."""
        self.wanted = None  # should this raise, nothing is done by what an earlier look saw
        if not self._board.records:
            if self._board.service.since is None:  # else what the service decided is what counts
                self._board.decisions = self.decide(app, at=at)
            return tuple(self._findings(app, at=at))
        self._follow(app, at=at)
        decisions = self.decide(app, at=at)
        self._keep(app, decisions, at=at)
        self.wanted = next((one for one in decisions if one.verdict is Verdict.ACT), None)
        return tuple(self._findings(app, at=at))

    def still(self, app: App, wanted: Decision, *, at: datetime.datetime) -> Decision | None:
        """Return the decision as it is now, None when it is no longer to be done."""
        return next(
            (
                one
                for one in self.decide(app, at=at)
                if one.verdict is Verdict.ACT and (one.job, one.name) == (wanted.job, wanted.name)
            ),
            None,
        )

    def decide(self, app: App, *, at: datetime.datetime) -> tuple[Decision, ...]:
        running = app.journal.running()
        return policy.decide(
            seen=self._board.seen(),
            repairs=actions.TABLE,
            ask=lambda repair, found: self._ready(app, repair, found),
            past=_past(app),
            limits=limits_of(app.settings),
            busy=f"the job {running[0].job}" if running else "",
            now=at,
        )

    def pause(self, app: App, *, at: datetime.datetime) -> Pause | None:
        """Return the pause that holds now, if one does."""
        pause = _past(app).pause
        return pause if pause and pause.holds(at) else None

    def _follow(self, app: App, *, at: datetime.datetime) -> None:
        """Record what the checks say of earlier tries, and of what was given up."""
        past, seen = _past(app), self._board.seen()
        looked = {job: when for job in Job if (when := self._board.looked.get(str(job)))}
        present = [one.finding.name for one in seen]
        done = policy.confirmed(
            past.attempts, present=present, looked=looked, repairs=actions.TABLE
        )
        # While such a thing is there, its check cannot see what it hides.
        hidden = {kind for kind, by in actions.SPEAK_AGAINST.items() if self._present(by)}
        for job, name in done:
            if name[0] not in hidden:
                app.journal.confirmed(job, name, at=at)
        for job in policy.over(past.stopped, seen=seen, looked=looked, repairs=actions.TABLE):
            if not any(one.job is job and one.kind in hidden for one in actions.TABLE):
                app.journal.going_on(job, at=at)

    def _keep(self, app: App, decisions: tuple[Decision, ...], *, at: datetime.datetime) -> None:
        with app.journal.memory() as known:
            stopped, before = set(known.heal.stopped), known.heal.decisions
        given_up = {one.job for one in decisions if one.verdict is Verdict.STOPPED and one.job}
        for job in sorted(given_up - stopped):
            app.journal.stopped(job, at=at)
        if decisions != before:
            app.journal.decided(decisions)
        self._board.decisions = decisions

    def _findings(self, app: App, *, at: datetime.datetime) -> list[Finding]:
        past, limits = _past(app), limits_of(app.settings)
        found = []
        if past.pause and past.pause.holds(at):
            found.append(_paused(past.pause, at=at))
        decisions = self._board.decisions or ()
        for job in sorted(past.stopped):
            about = next((one for one in decisions if one.job is job), None)
            found.append(_gave_up(job, about, limits=limits, findings=self._board.findings()))
        return found

    # What a repair needs -------------------------------------------------------------------------

    def _ready(self, app: App, repair: Repair, found: Finding) -> Ready:
        """Say whether it may be tried. What cannot be told is not known, which is not yes."""
        if repair.counted and app.journal.trouble:
            return Ready(False, _CANNOT_COUNT)
        ask: Mapping[Job, Callable[[App, Finding], Ready]] = {
            Job.BACKUP: self._may_back_up,
            Job.QUARANTINE: self._may_move,
            Job.PRUNE: self._may_prune,
            Job.CLEAN: self._may_clean,
            Job.RESTORE: self._may_restore,
        }
        for other in self._present(actions.SPEAK_AGAINST.get(repair.kind, ())):
            return Ready(False, f"first: {other.message}")
        if repair.job is None or repair.job not in ask:
            return Ready(True)
        try:
            return ask[repair.job](app, found)
        except (EiderError, OSError) as error:
            return Ready(None, plain(getattr(error, "message", str(error))))

    def _may_back_up(self, app: App, _found: Finding) -> Ready:
        if not app.settings.database.path.exists():
            return Ready(False, "the database is not there; it is taken when it is back")
        newest = self._board.stock.backups[-1:]
        if newest and newest[0].state is State.SUSPECT:
            return Ready(False, "the newest backup is suspect, and a person has to say what of")
        with app.journal.memory() as known:
            last = known.last.get(Job.BACKUP)
        if last and last.outcome is RunOutcome.UNPROVEN:
            return Ready(False, "the last copy was exact and could not be proven: one more"
                             " would be the same")  # fmt: skip
        try:
            room.ensure(app.needs(), critical_bytes=app.settings.disk.critical)
        except EiderError as error:
            return Ready(False, error.message)
        return Ready(True)

    def _may_move(self, _app: App, found: Finding) -> Ready:
        backup = next((one for one in self._board.stock.backups if one.id == found.subject), None)
        if backup is None or backup.state is not State.CORRUPT:
            return Ready(None, "the catalog does not say so now")
        if backup.pinned:
            return Ready(False, "it is pinned, so a person has to say where it goes")
        return Ready(True)

    def _may_prune(self, _app: App, _found: Finding) -> Ready:
        stock = self._board.stock
        if stock.frozen:
            return Ready(False, f"nothing may be pruned: {why_frozen(stock.frozen)}")
        if not stock.removable:
            return Ready(False, "the rules keep every backup that there is")
        return Ready(True)

    def _may_clean(self, app: App, _found: Finding) -> Ready:
        size = sum(one.bytes for one in app.leftovers())
        return Ready(True) if size else Ready(False, "nothing is left over")

    def _may_restore(self, app: App, _found: Finding) -> Ready:
        unopenable = self._present(actions.UNOPENABLE)
        if not unopenable:
            return Ready(False, "nothing says that it is the database that cannot be opened")
        if not any(found.severity is Severity.CRITICAL for found in unopenable):
            return Ready(False, "it is not the application's own engine that cannot open it: set"
                             " engine.application, and: eider engine add VERSION")  # fmt: skip
        if self._board.stock.newest_verified is None:
            return Ready(False, "there is no verified backup to compare with")
        return bringing_back.may(app)

    def _present(self, kinds: tuple[Kind, ...]) -> tuple[Finding, ...]:
        return tuple(found for found in self._board.findings() if found.kind in kinds)


def _past(app: App) -> policy.Past:
    with app.journal.memory() as known:
        heal = known.heal
        return policy.Past(
            attempts=tuple(heal.attempts),
            stopped=dict(heal.stopped),
            pause=heal.pause,
            resumed_at=heal.resumed_at,
        )


def _paused(pause: Pause, *, at: datetime.datetime) -> Finding:
    if pause.until:
        left = spoken((pause.until - at).total_seconds())
        until = f"for {left} more, until {pause.until.astimezone(clock.zone()):%a %d %b %H:%M}"
    else:
        until = "until somebody resumes it"
    why = f": {plain(pause.reason)}" if pause.reason else ""
    return Finding(
        kind=Kind.HEALING_PAUSED,
        severity=Severity.NOTICE,
        message=f"Healing is paused {until}{why}. Backups and checks go on.",
        command="eider resume",
    )


def _gave_up(
    job: Job, about: Decision | None, *, limits: Limits, findings: tuple[Finding, ...]
) -> Finding:
    times = f"{limits.tries} tries within {spoken(limits.period.total_seconds())}"
    said = f"Healing gave up: the job {job} did not help, {times}."
    command = "eider status --heal"
    if about:
        named = next((found.message for found in findings if found.name == about.name), "")
        said = f"Healing gave up: to {about.said} did not help; {plain(about.why)}. {named}"
        command = about.command
    return Finding(
        kind=Kind.HEALING_STOPPED,
        subject=str(job),
        severity=Severity.WARNING,
        message=said.strip(),
        command=command,
    )


def summary(wanted: Decision) -> dict[str, str | None]:
    """Return the words of a log line about a repair."""
    return {
        "job": str(wanted.job),
        "kind": str(wanted.kind),
        "subject": wanted.subject or None,
        "why": wanted.why,
    }
