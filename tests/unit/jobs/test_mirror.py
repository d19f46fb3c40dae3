from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from eiderd.errors import ApplicationFailed, EiderError, NotConverged, SourceUnavailable
from eiderd.jobs import mirror
from tests.unit.jobs.test_backup import CAPTURED

if TYPE_CHECKING:
    from eiderd.evidence import Captured


@dataclasses.dataclass(slots=True)
class Step:
    """One step of a ladder: it fails, or it captures by its own name."""

    name: str
    failure: EiderError | None = None
    tried: bool = False

    def __call__(self) -> Captured:
        self.tried = True
        if self.failure:
            raise self.failure
        return dataclasses.replace(CAPTURED, method=self.name)


def test_the_first_step_that_converges_is_the_last_that_is_tried() -> None:
    ladder = (Step("double-collect"), Step("freeze"), Step("stop"))
    assert mirror.run(ladder=ladder).value.method == "double-collect"
    assert [step.tried for step in ladder] == [True, False, False]


@pytest.mark.parametrize("failure", [NotConverged("too fast"), ApplicationFailed("no freezer")])
def test_the_next_step_is_tried_when_one_could_not(failure: EiderError) -> None:
    ladder = (Step("double-collect", NotConverged("too fast")), Step("freeze", failure))
    assert mirror.run(ladder=(*ladder, Step("stop"))).value.method == "stop"


def test_when_none_could_the_last_says_why() -> None:
    ladder = (Step("double-collect", NotConverged("too fast")), Step("stop", NotConverged("still")))
    with pytest.raises(NotConverged, match="still"):
        mirror.run(ladder=ladder)


def test_what_is_no_haste_is_not_answered_by_a_freeze() -> None:
    ladder = (Step("double-collect", SourceUnavailable("no such file")), Step("freeze"))
    with pytest.raises(SourceUnavailable, match="no such file"):
        mirror.run(ladder=ladder)
    assert not ladder[1].tried
