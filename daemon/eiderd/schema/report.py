"""What `eider schema` tells: a look for a person, compared as the service compares its own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from eiderd.health import Finding, Severity
from eiderd.schema import app as schema_app
from eiderd.schema import watch as schema_watch
from eiderd.schema.app import Shown
from eiderd.schema.compatibility import Row, numbers
from eiderd.watch import schema
from eiderd.watch.schema import Change, Judgement

if TYPE_CHECKING:
    import datetime

    from eiderd.app import App


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`row` is the one of the matrix that the application's version belongs to.

    `nats` is the version of the server that the service reached last.
    """

    shown: Shown
    row: Row | None
    nats: str | None
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]

    @property
    def is_bad(self) -> bool:
        return any(found.severity is not Severity.NOTICE for found in self.findings)


def report(app: App, *, at: datetime.datetime, table: str | None) -> Report:
    """Look, and compare with what the service saw last. Raise what the look raises."""
    known = schema_app.recall(app.settings.service.state)
    expected = schema_watch.expected_of(app.settings)
    briefs = app.briefs.look().backups

    def looked(*, thorough: bool) -> tuple[Shown, Judgement]:
        nonlocal known
        shown = app.schema_look().now(at=at, table=table, thorough=thorough)
        facts = known.named(shown.facts, application=shown.facts.application, at=at)
        known = known.and_then(facts, question="")
        judged = schema.run(now=at, known=known, briefs=briefs, expected=expected, nats=known.nats)
        return dataclasses.replace(shown, facts=facts), judged

    shown, judged = looked(thorough=False)
    if judged.unsure and not table:  # what alarms somebody is seen twice
        shown, judged = looked(thorough=True)
    facts = shown.facts
    return Report(
        shown=shown,
        row=expected.matrix.of(numbers(facts.application)) if expected.matrix else None,
        nats=known.nats,
        changes=schema.changes(briefs, latest=facts),
        findings=judged.findings,
    )
