"""What the service lets the maintenance unit do, where it may not write the database itself.

The unit's run is in the journal like any other: what came of it is read there. Where there is no
such unit, or none is needed, the work is done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from eiderd.errors import ApplicationFailed
from eiderd.maintenance import bring_back as bringing_back
from eiderd.model import Ending, Job, Outcome, RunOutcome
from eiderd.outside import clock, maintenance

if TYPE_CHECKING:
    import datetime

    from eiderd.app import App

LIMIT_SECONDS: Final = 86400.0  # each step of it has a deadline of its own
_WELL: Final = {
    RunOutcome.DONE: Ending.DONE,
    RunOutcome.NOTHING_TO_DO: Ending.NOTHING_TO_DO,
    RunOutcome.REFUSED: Ending.REFUSED,
}


def compact(
    app: App, *, zone: datetime.tzinfo, planned_at: datetime.datetime | None = None
) -> Outcome[Any]:
    """Compact the database if its window is open. Raise EiderError, which the journal has too."""
    if app.settings.compact.url or not _is_for_the_unit(app, "compact"):
        return app.compact_in_window(zone=zone, planned_at=planned_at)
    return _through_the_unit(app, Job.COMPACT, "compact")


def restore(app: App) -> Outcome[Any]:
    """Bring the application back. Raise EiderError, which the journal has too."""
    if not _is_for_the_unit(app, "restore"):
        return bringing_back.run(app)
    return _through_the_unit(app, Job.RESTORE, "restore")


def _is_for_the_unit(app: App, task: str) -> bool:
    folder = app.settings.database.path.parent
    return maintenance.is_needed(folder) and maintenance.may_write(folder, task=task)


def _through_the_unit(app: App, job: Job, task: str) -> Outcome[Any]:
    began = clock.now()
    failed: ApplicationFailed | None = None
    try:
        maintenance.run(task, seconds=LIMIT_SECONDS)
    except ApplicationFailed as error:
        failed = error
    with app.journal.memory() as known:
        ended = known.last.get(job)
    if ended and ended.began_at >= began and ended.outcome in _WELL:
        return Outcome(ending=_WELL[ended.outcome], value=None, why=ended.why)
    if ended and ended.began_at >= began:
        raise ApplicationFailed(ended.why, hint=ended.hint)
    # It could not even begin, so nobody told the journal.
    why = failed or ApplicationFailed(f"the unit for {task} did nothing", hint="eider doctor")
    _record(app, job, why, began=began)
    raise why


def _record(app: App, job: Job, error: ApplicationFailed, *, began: datetime.datetime) -> None:
    app.journal.ran(
        job,
        began=began,
        at=clock.now(),
        outcome=RunOutcome.FAILED,
        why=error.message,
        hint=error.hint,
    )
    structlog.get_logger().error(
        "The job failed.", word="job_failed", job=str(job), why=error.message, hint=error.hint
    )
