"""What a script is told of backups: the JSON documents of `--json`."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from eiderd.cli import terminal
from eiderd.model import Backup, Proof, Unreadable
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eiderd.catalog import Listing
    from eiderd.cli.reports import Verdict
    from eiderd.model import Outcome
    from eiderd.retention import Decision, Pruned


def anything(document: dict[str, Any]) -> None:
    """Print nouns within plain lists and dictionaries."""
    terminal.document(_adapter(dict[str, Any]).dump_json(document, indent=2))


def plain_document(document: object) -> None:
    terminal.document(json.dumps(document, indent=2).encode())


def backup(found: Backup) -> None:
    terminal.document(_adapter(Backup).dump_json(found, indent=2))


def listing(found: Listing) -> None:
    # The names of unreadable manifests are whatever stands in the folder, even no Unicode.
    doubtful = [
        dataclasses.replace(other, id=plain(other.id), problem=plain(other.problem))
        for other in found.unreadable
    ]
    every = (*reversed(found.backups), *doubtful)
    adapter = _adapter(tuple[Backup | Unreadable, ...])
    terminal.document(adapter.dump_json(every, indent=2, exclude={"__all__": {"members"}}))


def pruned(outcome: Outcome[Pruned], *, dry_run: bool) -> None:
    plan, removed = outcome.value.plan, outcome.value.removed
    plain_document(
        {
            "ending": outcome.ending,
            "why": outcome.why,
            "dry_run": dry_run,
            "frozen": plan.frozen,
            "removed": [gone.id for gone in removed],
            "bytes": outcome.value.bytes,
            "backups": [_decision(decision) for decision in plan.decisions],
        }
    )


def _decision(decision: Decision) -> dict[str, Any]:
    """Tell what becomes of a backup, and what the rules alone would make of it."""
    found = decision.backup
    return {
        "id": found.id,
        "sequence": found.sequence,
        "created_at": found.created_at.isoformat(),
        "state": found.state,
        "bytes": found.bytes,
        "pinned": found.pinned,
        "keep": decision.keep,
        "keep_by_rules": decision.keep_by_rules,
        "reasons": decision.reasons,
    }


def verdict(result: Verdict) -> None:
    plain_document(_verdict(result))


def verdicts(results: Sequence[Verdict]) -> None:
    plain_document([_verdict(result) for result in results])


def _verdict(result: Verdict) -> dict[str, Any]:
    if result.proof is None:
        return {"backup": result.name, "proof": None, "problem": result.problem}
    proof = _adapter(Proof).dump_python(result.proof, mode="json")
    return {"backup": result.name, "proof": proof}


@functools.cache
def _adapter(noun: Any) -> TypeAdapter[Any]:  # noqa: ANN401  (any type)
    """Return what writes a noun as JSON; made when needed, since making it takes its time."""
    return TypeAdapter(noun)
