"""No backup becomes verified without a look at its content, whichever job proves it."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pytest

from eiderd import catalog, content
from eiderd.comparison import compared
from eiderd.evidence import Checked, Damage, Opened, TableContent
from eiderd.jobs import verify
from eiderd.model import Backup, Content, ContentVerdict, Level, State
from tests.unit.jobs.test_prune import DAY, NOW, _given_backup

FULL = {"facts": TableContent(rows=1000, fingerprint="f")}
EMPTY = {"facts": TableContent(rows=0, fingerprint="f")}
CHECKED = Checked(
    passed=3, damage=None, message="", sha256="ab", members=(), database="x", blocks=1,
    blocks_unsound=0, encrypted=False, origin="eiderd",
)  # fmt: skip
OPENED = Opened(
    engine="2.0.0", damage=None, message="", tables=EMPTY, rows=0, indexes=0, indexes_asked=0,
    lookups=0, unique_checked=0, schema_digest="d", schema_version=None, storage_version=None,
    fingerprint_kind="k", blocks_free=0, extensions=(), seconds=0.1, peak_bytes=1,
)  # fmt: skip


def _given(
    directory: Path,
    age: datetime.timedelta,
    state: State = State.VERIFIED,
    tables: dict[str, TableContent] | None = None,
    verdict: ContentVerdict | None = None,
) -> Backup:
    made = _given_backup(directory, age, state)
    made = dataclasses.replace(made, content=Content(tables=tables or {}, verdict=verdict))
    catalog.rewrite(directory, made)
    return made


def _compare(*, old: Content | None, new: Content) -> tuple[ContentVerdict, tuple[str, ...]]:
    return content.compare(old=old, new=new, max_row_loss=0.2, min_rows=100)


def _verify(directory: Path, backup: Backup, **more: Any) -> Backup:
    """Prove it again; what is found is that of an archive without fault and an empty database."""
    found: dict[str, Any] = {"checked": CHECKED, "opened": OPENED, "level": Level.RESTORE, **more}
    return verify.run(
        now=lambda: NOW,
        directory=directory,
        backup=backup,
        level=found["level"],
        check=lambda **_words: found["checked"],
        open_archive=lambda **_words: found["opened"],
        compare=_compare,
    ).value


def test_the_last_good_one_is_pinned_before_the_suspect_one_is_there(tmp_path: Path) -> None:
    good = _given(tmp_path, 2 * DAY, tables=FULL)
    draft = _given_backup(tmp_path / "elsewhere", DAY)
    new = dataclasses.replace(draft, sequence=2, content=Content(tables=EMPTY))
    found = compared(tmp_path, new, compare=_compare)
    assert found.state is State.SUSPECT
    assert found.content.verdict is ContentVerdict.SUSPECT
    assert found.content.compared_with == good.id
    assert found.content.reasons[0] == "facts lost 1,000 of 1,000 rows"
    assert catalog.read(tmp_path).backups == (dataclasses.replace(good, pinned=True),)


def test_what_is_normal_pins_nothing(tmp_path: Path) -> None:
    good = _given(tmp_path, 2 * DAY, tables=FULL)
    draft = _given_backup(tmp_path / "elsewhere", DAY)
    new = dataclasses.replace(draft, sequence=2, content=Content(tables=FULL))
    found = compared(tmp_path, new, compare=_compare)
    assert (found.state, found.content.verdict) == (State.VERIFIED, ContentVerdict.NORMAL)
    assert catalog.read(tmp_path).backups == (good,)


def test_only_the_last_verified_one_is_compared_with(tmp_path: Path) -> None:
    good = _given(tmp_path, 4 * DAY, tables=FULL)
    _given(tmp_path, 3 * DAY, State.SUSPECT, tables=EMPTY)
    _given(tmp_path, 2 * DAY, State.UNVERIFIED, tables=EMPTY)
    draft = _given_backup(tmp_path / "elsewhere", DAY)
    new = dataclasses.replace(draft, sequence=4, content=Content(tables=FULL))
    found = compared(tmp_path, new, compare=_compare)
    assert found.content.compared_with == good.id
    assert found.state is State.VERIFIED


def test_an_unproven_one_that_is_proven_later_is_compared_too(tmp_path: Path) -> None:
    good = _given(tmp_path, 2 * DAY, tables=FULL)
    unproven = _given(tmp_path, DAY, State.UNVERIFIED)
    (tmp_path / f"{unproven.archive}.sha256").write_text(f"ab  {unproven.archive}\n")
    found = _verify(tmp_path, unproven)
    assert found.state is State.SUSPECT
    assert catalog.recorded(tmp_path, good.id).pinned
    assert catalog.recorded(tmp_path, found.id) == found


def test_an_old_one_proven_again_is_as_good_as_it_was(tmp_path: Path) -> None:
    old = _given(tmp_path, 3 * DAY, State.UNVERIFIED)
    newest = _given(tmp_path, 2 * DAY, tables=FULL)
    assert _verify(tmp_path, old).state is State.VERIFIED
    assert not catalog.recorded(tmp_path, newest.id).pinned


BAD_BYTES = dataclasses.replace(CHECKED, passed=0, damage=Damage.CHECKSUM, message="bad")
NO_MEMORY = dataclasses.replace(OPENED, damage=Damage.OUT_OF_MEMORY, message="no", tables={})


@pytest.mark.parametrize(
    ("more", "between"),
    [
        ({}, State.SUSPECT),
        ({"level": Level.ARCHIVE}, State.SUSPECT),
        ({"opened": NO_MEMORY}, State.SUSPECT),
        ({"checked": BAD_BYTES}, State.CORRUPT),
    ],
)
def test_no_proof_takes_back_that_one_is_suspect(
    tmp_path: Path, more: dict[str, Any], between: State
) -> None:
    _given(tmp_path, 2 * DAY, tables=FULL)
    suspect = _given(tmp_path, DAY, State.SUSPECT, EMPTY, ContentVerdict.SUSPECT)
    found = _verify(tmp_path, suspect, **more)
    assert found.state is between
    assert _verify(tmp_path, found).state is State.SUSPECT


def test_a_pin_that_came_while_it_waited_is_not_lost(tmp_path: Path) -> None:
    made = _given(tmp_path, DAY, State.UNVERIFIED)
    catalog.rewrite(tmp_path, dataclasses.replace(made, pinned=True))
    assert _verify(tmp_path, made).pinned
    assert catalog.recorded(tmp_path, made.id).pinned
