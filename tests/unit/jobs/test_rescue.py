"""Which attempt wins: by content alone, the gentlest first, and never instead of a good file."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd import config, content
from eiderd.errors import ExitCode, NoSpace, VerificationFailed
from eiderd.evidence import Damage, Filesystem, Opened, TableContent
from eiderd.jobs import rescue
from eiderd.jobs.rescue import How, NotFolded, NotRescued, Rescued, Step
from eiderd.maintenance import rescue as rescuing
from eiderd.model import Backup, Ending, Outcome
from eiderd.outside import filesystem
from tests.unit.jobs.test_prune import DAY, _given_backup
from tests.unit.test_proof import OPENED

KIND = "k"
FILE = Path("/rescued/x.duckdb")
compare = functools.partial(content.compare, max_row_loss=0.2, min_rows=100)
FAILED = dataclasses.replace(OPENED, damage=Damage.WAL_REPLAY, message="no", tables={}, rows=0)


def _opened(**rows: int) -> Opened:
    tables = {
        name: TableContent(rows=count, fingerprint=f"{name}-{count}")
        for name, count in rows.items()
    }
    return dataclasses.replace(
        OPENED, tables=tables, rows=sum(rows.values()), fingerprint_kind=KIND
    )


def _backup(directory: Path, **rows: int) -> Backup:
    held = dataclasses.replace(
        _given_backup(directory, DAY).content,
        tables=_opened(**rows).tables,
        fingerprint_kind=KIND,
    )
    return dataclasses.replace(_given_backup(directory, 2 * DAY), content=held)


@dataclasses.dataclass
class _Copies:
    """What each step gives; FAILED where nothing is said. What was last tried, and put by."""

    gives: dict[Step, Opened]
    asked: list[Step] = dataclasses.field(default_factory=list)
    kept: Step | None = None
    cut_short: dict[Step, Damage] = dataclasses.field(default_factory=dict)

    def attempt(self, step: Step) -> Opened:
        self.asked.append(step)
        if damage := self.cut_short.get(step):
            if step.engine:
                raise NotFolded("it ended", damage=damage)
            return dataclasses.replace(FAILED, damage=damage)
        if step.engine and step not in self.gives:
            raise VerificationFailed("it cannot be folded in")
        return self.gives.get(step, FAILED)

    def keep(self) -> None:
        self.kept = self.asked[-1]


def _rescue(copies: _Copies, *, backup: Backup | None = None) -> Outcome[Rescued]:
    return rescue.run(
        engines=("1.4.3", "2.0.0"),
        backup=backup,
        attempt=copies.attempt,
        keep=copies.keep,
        deliver=lambda: FILE,
        compare=compare,
    )


AS_IT_IS = Step(how=How.AS_IT_IS)
OLD, NEW = (Step(how=How.CHECKPOINT, engine=engine) for engine in ("1.4.3", "2.0.0"))
WITHOUT_WAL = Step(how=How.WITHOUT_WAL)
OLDER = Step(how=How.OLDER_HEADER_WITHOUT_WAL)


def test_what_opens_as_it_is_is_left_alone(tmp_path: Path) -> None:
    copies = _Copies({AS_IT_IS: _opened(t=1000), NEW: _opened(t=2000)})
    outcome = _rescue(copies, backup=_backup(tmp_path, t=900))
    assert (outcome.ending, outcome.value.file) == (Ending.NOTHING_TO_DO, None)
    assert copies.asked == [AS_IT_IS]


def test_the_fullest_of_a_round_wins_and_ends_it() -> None:
    copies = _Copies({OLD: _opened(t=900), NEW: _opened(t=1000), WITHOUT_WAL: _opened(t=5000)})
    outcome = _rescue(copies)
    assert (outcome.ending, outcome.value.file) == (Ending.DONE, FILE)
    assert (outcome.value.chosen.step, copies.kept) == (NEW, NEW)
    assert WITHOUT_WAL not in copies.asked


def test_of_equals_the_applications_engine_wins() -> None:
    copies = _Copies({OLD: _opened(t=900), NEW: _opened(t=900)})
    assert _rescue(copies).value.chosen.step == OLD
    assert copies.kept == OLD


def test_what_lost_rows_against_the_backup_is_not_taken(tmp_path: Path) -> None:
    copies = _Copies({OLD: _opened(t=799), NEW: _opened(u=5000), WITHOUT_WAL: _opened(t=800)})
    outcome = _rescue(copies, backup=_backup(tmp_path, t=1000))
    assert outcome.value.chosen.step == WITHOUT_WAL
    assert outcome.value.tables["t"] == rescue.Rows(rescued=800, backup=1000, best=800)
    assert outcome.value.tables["u"] == rescue.Rows(rescued=None, backup=None, best=5000)
    assert outcome.value.missing == 200 + 5000


def test_a_small_table_of_the_backup_may_not_vanish_either(tmp_path: Path) -> None:
    copies = _Copies({OLD: _opened(t=1000), WITHOUT_WAL: _opened(t=1000, small=2)})
    outcome = _rescue(copies, backup=_backup(tmp_path, t=1000, small=2))
    assert outcome.value.chosen.step == WITHOUT_WAL


@pytest.mark.parametrize("damage", [Damage.INDEX, Damage.DUPLICATES, Damage.TABLE])
def test_what_an_engine_finds_wrong_is_not_taken(damage: Damage) -> None:
    wrong = dataclasses.replace(_opened(t=1000), damage=damage, message="wrong")
    copies = _Copies({AS_IT_IS: wrong, OLD: wrong, WITHOUT_WAL: wrong})
    with pytest.raises(NotRescued) as raised:
        _rescue(copies)
    assert raised.value.exit_code is ExitCode.VERIFICATION_FAILED
    assert raised.value.hint
    assert copies.kept is None


def test_the_older_header_needs_a_backup_that_vouches_for_every_table(tmp_path: Path) -> None:
    gives = {AS_IT_IS: _opened(t=0, u=50), OLDER: _opened(t=1000, u=50)}
    backup = _backup(tmp_path, t=1000, u=40)
    assert _rescue(_Copies(dict(gives)), backup=backup).value.chosen.step == OLDER
    with pytest.raises(NotRescued, match="vouches"):
        _rescue(_Copies(dict(gives)), backup=_backup(tmp_path / "other", t=999, u=40))


def test_without_a_backup_the_older_header_is_never_taken() -> None:
    with pytest.raises(NotRescued, match="no verified backup"):
        _rescue(_Copies({OLDER: _opened(t=1000)}))


def test_a_fingerprint_of_another_kind_vouches_for_nothing(tmp_path: Path) -> None:
    other = dataclasses.replace(_opened(t=1000), fingerprint_kind="another")
    with pytest.raises(NotRescued, match="vouches"):
        _rescue(_Copies({OLDER: other}), backup=_backup(tmp_path, t=1000))


def test_a_file_that_opens_is_not_read_without_its_wal(tmp_path: Path) -> None:
    copies = _Copies({AS_IT_IS: _opened(t=1), WITHOUT_WAL: _opened(t=1000)})
    with pytest.raises(NotRescued):
        _rescue(copies, backup=_backup(tmp_path, t=1000))
    assert {step.how for step in copies.asked} == {
        How.AS_IT_IS,
        How.OLDER_HEADER,
        How.OLDER_HEADER_WITHOUT_WAL,
    }


SAY_NOTHING = [Damage.OUT_OF_MEMORY, Damage.DEADLINE, Damage.KEY_NEEDED]


@pytest.mark.parametrize("damage", SAY_NOTHING)
def test_what_says_nothing_about_the_file_ends_the_trying(damage: Damage) -> None:
    copies = _Copies({AS_IT_IS: dataclasses.replace(FAILED, damage=damage), OLD: _opened(t=1)})
    with pytest.raises(NotRescued) as raised:
        _rescue(copies)
    assert copies.asked == [AS_IT_IS]
    assert not raised.value.is_about_the_database
    assert "restore" not in raised.value.hint


@pytest.mark.parametrize(
    ("damage", "is_about_it"),
    [
        (Damage.WAL_REPLAY, True),
        (Damage.CANNOT_OPEN, True),
        (Damage.ENGINE_DIED, True),
        (Damage.BLOCKS, True),
        (Damage.TABLE, True),
        (Damage.INDEX, False),
        (Damage.DUPLICATES, False),
        (Damage.NOTHING_CHECKED, False),
    ],
)
def test_only_a_file_that_is_unsound_is_a_reason_to_replace_it(
    damage: Damage, *, is_about_it: bool
) -> None:
    with pytest.raises(NotRescued) as raised:
        _rescue(_Copies({AS_IT_IS: dataclasses.replace(FAILED, damage=damage)}))
    assert raised.value.is_about_the_database == is_about_it


def test_a_file_that_opens_and_lost_rows_is_not(tmp_path: Path) -> None:
    with pytest.raises(NotRescued) as raised:
        _rescue(_Copies({AS_IT_IS: _opened(t=1)}), backup=_backup(tmp_path, t=1000))
    assert not raised.value.is_about_the_database


@pytest.mark.parametrize("damage", SAY_NOTHING)
@pytest.mark.parametrize("step", [NEW, WITHOUT_WAL, OLDER])
def test_nor_one_of_which_an_attempt_was_cut_short(step: Step, damage: Damage) -> None:
    copies = _Copies({}, cut_short={step: damage})
    with pytest.raises(NotRescued) as raised:
        _rescue(copies)
    assert not raised.value.is_about_the_database
    assert OLDER in copies.asked, "the other attempts are made all the same"


def test_what_was_rescued_says_whether_more_may_come_of_it() -> None:
    assert not _rescue(_Copies({WITHOUT_WAL: _opened(t=1)})).value.is_cut_short
    copies = _Copies({WITHOUT_WAL: _opened(t=1)}, cut_short={OLD: Damage.OUT_OF_MEMORY})
    assert _rescue(copies).value.is_cut_short


def test_what_does_not_fit_is_refused_before_anything_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "x.duckdb"
    source.write_bytes(bytes(1000))
    source.with_name("x.duckdb.wal").write_bytes(bytes(500))
    settings = config.Settings(database=config.Database(path=source))

    def ensure(free: int) -> None:
        disk = Filesystem(
            device=1, total_bytes=0, free_bytes=free, used_bytes=0, total_inodes=0, free_inodes=0
        )
        monkeypatch.setattr(filesystem, "look", lambda _folder: disk)
        rescuing.ensure_room(source, state=tmp_path, to=tmp_path, settings=settings)

    ensure(4 * 1500)  # the image, the copy that is tried, the best so far, what is handed over
    with pytest.raises(NoSpace, match="no space for a rescue"):
        ensure(4 * 1500 - 1)


_OPENED = st.one_of(
    st.just(FAILED),
    st.builds(lambda t, u: _opened(t=t, u=u), st.integers(0, 2000), st.integers(0, 2000)),
)


@given(
    gives=st.dictionaries(st.sampled_from([AS_IT_IS, OLD, NEW, WITHOUT_WAL, OLDER]), _OPENED),
    held=st.none() | st.tuples(st.integers(0, 2000), st.integers(0, 2000)),
)
def test_whatever_the_attempts_give_what_is_taken_would_not_be_suspect(
    tmp_path_factory: pytest.TempPathFactory,
    gives: dict[Step, Opened],
    held: tuple[int, int] | None,
) -> None:
    folder = tmp_path_factory.mktemp("backups")
    backup = _backup(folder, t=held[0], u=held[1]) if held else None
    copies = _Copies(gives)
    try:
        found = _rescue(copies, backup=backup).value
    except NotRescued:
        return
    opened = found.chosen.opened
    assert opened
    assert not opened.damage
    for name, table in backup.content.tables.items() if backup else ():
        assert table.rows < 100 or opened.tables[name].rows >= 0.8 * table.rows
    if found.file:
        assert copies.kept == found.chosen.step
