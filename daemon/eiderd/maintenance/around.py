"""Around an exchange of database files: stop the application, exchange, start it, see it well.

What was live is set aside, and returns when the application is not well with what took its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from eiderd.errors import ApplicationFailed, Busy, EiderError, StoreUnavailable
from eiderd.evidence import ApplicationState, Health, Settled
from eiderd.maintenance.restore_plan import COMPACT, ROLL_BACK
from eiderd.model import Ending, Outcome, Proof

if TYPE_CHECKING:
    from eiderd.evidence import Exchange

_NEW: Final = {COMPACT: "compacted"}  # what the database is that came in; else it was restored


class Application(Protocol):
    """What is asked of the application. `start` and `stop` raise ApplicationFailed."""

    @property
    def kind(self) -> str: ...
    def name(self) -> str: ...
    def state(self) -> ApplicationState: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


class Work(Protocol):
    """An exchange of files, made or to be made."""

    @property
    def plan(self) -> Exchange: ...
    @property
    def is_made(self) -> bool: ...
    @property
    def can_go_back(self) -> bool: ...
    def exchange(self) -> None: ...
    def settle(self) -> Settled: ...
    def close(self) -> None: ...
    def back(self) -> Work:
        """Return the exchange that puts the files from before back."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """What an exchange did.

    `aside` is where the database from before stands; `health` is None when the application was not
    running before and was left so; `settled` says that it ended what another run had begun.
    """

    kind: str
    what: str
    database: str
    aside: str | None = None
    proof: Proof | None = None
    health: Health | None = None
    settled: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The application and its database, as an exchange deals with them.

    `await_free` returns when nobody holds the database and raises Busy, naming who does.
    """

    application: Application
    await_free: Callable[[], None]
    until_healthy: Callable[[], Health]
    database: Path

    def is_to_start(self) -> bool:
        """Whether it runs, or tries to. One that was stopped is left so."""
        state = self.application.state()
        managed = self.application.kind != "none"
        return managed and state in {ApplicationState.RUNNING, ApplicationState.FAILED}

    def stop(self) -> bool:
        """Stop it, if it is to run, and wait until the database is free; return whether it was."""
        began = self.is_to_start()
        try:
            if began:
                self.application.stop()
            self.await_free()
        except BaseException:
            if began:
                self.start_again()
            raise
        return began

    def start_again(self) -> None:
        try:
            self.application.start()
        except EiderError as error:
            raise ApplicationFailed(
                f"nothing was changed, but {self.application.name()} does not start again: "
                f"{error.message}",
                hint=error.hint,
            ) from error


def run(
    *,
    around: Around,
    was_stopped_for_it: bool,
    prepare: Callable[[], Proof | None],
    work: Callable[[bool], Work],
    discard: Callable[[], bool],
) -> Outcome[Exchanged]:
    """Put a set of files in the place of the live one.

    `prepare` makes it ready, proven; `work` is told whether the application is to be started
    afterwards; `discard` removes what was made ready, and says whether all is as it was. Raise what
    they raise, with everything as it was; ApplicationFailed when the application was not well and
    what was there before is back.
    """
    try:
        if around.application.kind == "none":
            around.await_free()  # sooner refused than after a long proof
        verdict = prepare()
        stopped = around.stop()
    except BaseException:
        discard()
        raise
    made = None
    try:
        made = work(stopped or was_stopped_for_it)
        made.exchange()
    except BaseException as error:
        if discard():
            if stopped:
                around.start_again()
        elif made and made.is_made:  # asked to end when it was done: not with the application down
            conclude(around=around, work=made, verdict=verdict)
        elif isinstance(error, EiderError):
            raise StoreUnavailable(
                f"the exchange of the files did not end: {error.message}", hint=_again(made)
            ) from error
        raise
    return conclude(around=around, work=made, verdict=verdict)


def conclude(
    *, around: Around, work: Work, verdict: Proof | None = None, settled: bool = False
) -> Outcome[Exchanged]:
    """Start the application with the new files, if it ran before; put the old back if it is ill."""
    health = _started(around) if work.plan.restart else None
    if health and not health.well:
        if work.plan.kind == ROLL_BACK or not work.can_go_back:
            work.close()
            raise ApplicationFailed(
                f"{around.application.name()} is not well: {health.why}",
                hint="Read its log; then: eider status, eider restore",
            )
        _roll_back(around, work, why=health.why)
    work.close()
    plan = work.plan
    aside = str(around.database.parent / plan.aside) if plan.had_live else None
    value = Exchanged(
        kind=plan.kind,
        what=plan.what,
        database=str(around.database),
        aside=aside,
        proof=verdict,
        health=health,
        settled=settled,
    )
    return Outcome(ending=Ending.DONE, value=value, why=f"{plan.kind} of {plan.what}")


def _started(around: Around) -> Health:
    try:
        around.application.start()
    except ApplicationFailed as error:
        return Health(well=False, why=error.message)
    return around.until_healthy()


def _roll_back(around: Around, work: Work, *, why: str) -> None:
    name, new = around.application.name(), _NEW.get(work.plan.kind, "restored")
    try:
        if around.is_to_start():
            around.application.stop()
        around.await_free()
        back = work.back()
        back.exchange()
    except EiderError as error:
        raise ApplicationFailed(
            f"{name} is not well with the {new} database ({why}), and the previous one could "
            f"not be put back: {error.message}",
            hint=_again(work),
        ) from error
    again = _started(around)
    back.close()
    failed = around.database.parent / back.plan.aside
    then = "runs again" if again.well else f"is still not well: {again.why}"
    raise ApplicationFailed(
        f"{name} was not well with the {new} database ({why}): the previous database is back, "
        f"and {name} {then}; what was {new} stands in {failed}",
        hint="Read its log; look at the data elsewhere: eider restore --to DIR",
    )


def resume(*, around: Around, work: Work) -> Outcome[Exchanged] | bool:
    """Finish or undo what a run began that died.

    Return how it ended; when it was undone, whether the application had been stopped for it.
    """
    try:
        settled = work.settle()
    except Busy:  # an application came back in between and made a database of its own
        around.stop()
        settled = work.settle()
    if settled is Settled.FINISHED:
        return conclude(around=around, work=work, settled=True)
    return work.plan.restart


def _again(work: Work | None) -> str:
    verb = "compact" if work and work.plan.kind == COMPACT else "restore"
    return f"Run it again: eider {verb}; it goes on where this ended"
