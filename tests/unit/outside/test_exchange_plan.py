"""Whose plan of an exchange is believed, what one may name, and what a shut folder is told as."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.errors import SourceUnavailable, StoreUnavailable
from eiderd.outside import exchange_plan, files
from tests.helpers import is_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eiderd.evidence import Exchange

ROOT, EIDERD, APPLICATION = 0, 61234, 61235
needs_root = pytest.mark.skipif(not is_root(), reason="only root is several users")


@dataclasses.dataclass(frozen=True)
class Place:
    database: Path
    state: Path

    @property
    def record(self) -> Path:
        return self.database.with_name(".app.duckdb.eider-swap.json")

    def plan(self) -> Exchange:
        return exchange_plan.plan(
            database=self.database,
            incoming=exchange_plan.staging(self.database) / "app.duckdb",
            wal_base=self.database,
            kind="compact",
            what="app.duckdb",
            stamp="20260101-020000",
            restart=True,
        )

    def leave(self, *, by: int | None = None, **changed: Any) -> Exchange:
        plan = self.plan()
        self.record.write_text(json.dumps(dataclasses.asdict(plan) | changed))
        self.record.chmod(0o644)
        if by is not None:
            os.chown(self.record, by, by)
        return plan


@pytest.fixture
def place() -> Iterator[Place]:
    """Where everybody may pass, unlike the folders that pytest makes."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        root = Path(name)
        root.chmod(0o755)
        for folder, owner in (("data", APPLICATION), ("state", EIDERD)):
            (root / folder).mkdir()
            if is_root():
                os.chown(root / folder, owner, owner)
        database = root / "data" / "app.duckdb"
        database.write_bytes(b"x")
        yield Place(database=database, state=root / "state")


@contextlib.contextmanager
def _as(user: int) -> Iterator[None]:
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


# Whose ------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("reader", [ROOT, EIDERD])
@pytest.mark.parametrize("writer", [ROOT, EIDERD])
def test_root_and_eiderd_end_what_the_other_began(place: Place, writer: int, reader: int) -> None:
    plan = place.leave(by=writer)
    with _as(reader):
        assert exchange_plan.unfinished(place.database, state=place.state) == plan


@needs_root
@pytest.mark.parametrize("reader", [ROOT, EIDERD])
def test_what_the_application_wrote_is_not_believed(place: Place, reader: int) -> None:
    place.leave(by=APPLICATION)
    with _as(reader), pytest.raises(StoreUnavailable, match="belongs to somebody else"):
        exchange_plan.unfinished(place.database, state=place.state)


@needs_root
@pytest.mark.parametrize("trick", ["in its folder", "a link", "a link above"])
def test_a_state_that_the_application_put_there_tells_nothing(place: Place, trick: str) -> None:
    mine = place.database.parent / "state"
    mine.mkdir()
    os.chown(mine, APPLICATION, APPLICATION)
    state = mine
    if trick == "a link":
        state = place.state.with_name("link")
        state.symlink_to(mine)
        os.lchown(state, APPLICATION, APPLICATION)
    elif trick == "a link above":
        (place.state.parent / "above").symlink_to(mine.parent)
        state = place.state.parent / "above" / "state"
    place.leave(by=APPLICATION)
    with pytest.raises(StoreUnavailable, match="belongs to somebody else"):
        exchange_plan.unfinished(place.database, state=state)


# What it names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"live": "other.duckdb"},
        {"live": "../etc/passwd"},
        {"incoming": "../../etc/shadow"},
        {"incoming": "/etc/shadow"},
        {"incoming": ".app.duckdb.eider-new/../../etc/shadow"},
        {"incoming": ".app.duckdb.eider-new/.."},
        {"incoming_wals": ["/../../x"]},
        {"aside": "/etc/cron.d/x"},
        {"aside": ".."},
        {"aside_wals": [["../x.wal", "app.duckdb.before-1.wal"]]},
        {"aside_wals": [["app.duckdb.wal", "../x"]]},
        {"live_wals": ["../../etc/passwd"]},
        {"wal_base": "../../etc/passwd"},
        {"staging": "../../etc"},
        {"staging": 7},
        {"live_wals": [7]},
    ],
)
def test_a_plan_never_leads_out_of_the_folder(place: Place, changed: dict[str, Any]) -> None:
    place.leave(**changed)
    with pytest.raises(StoreUnavailable, match="did not end, but it"):
        exchange_plan.unfinished(place.database, state=place.state)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"phase": "moving"}, "was not done"),
        ({"phase": "in", "aside": "../x"}, "names files"),
        ({"phase": "in", "incoming": "../../etc/shadow"}, "names files"),
        ({"phase": "in", "colour": "red"}, "cannot be read"),
        ({"phase": "in", "before": "itself"}, "was not done"),
    ],
)
def test_what_a_roll_back_takes_back_is_believed_no_sooner(
    place: Place, changed: dict[str, Any], said: str
) -> None:
    done = dataclasses.replace(place.plan(), phase="in")
    place.leave(before=dataclasses.asdict(done))
    found = exchange_plan.unfinished(place.database, state=place.state)
    assert found == dataclasses.replace(place.plan(), before=done)
    if "before" in changed:
        changed = changed | {"before": dataclasses.asdict(done)}
    place.leave(before=dataclasses.asdict(done) | changed)
    with pytest.raises(StoreUnavailable, match=said):
        exchange_plan.unfinished(place.database, state=place.state)


def test_a_database_behind_a_link_has_its_logs_beside_both(place: Place) -> None:
    link = place.state.with_name("link.duckdb")
    link.symlink_to(place.database)
    link.with_name("link.duckdb.wal").write_bytes(b"wal")
    plan = exchange_plan.plan(
        database=link,
        incoming=place.database.with_name("app.duckdb.before-restore-20260101-020000"),
        wal_base=link,
        kind="undo",
        what="x",
        stamp="20260102-020000",
        restart=False,
        staged=False,
    )
    assert plan.aside_wals
    place.record.write_text(json.dumps(dataclasses.asdict(plan)))
    assert exchange_plan.unfinished(link, state=place.state) == plan


# A shut folder ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _shut(folder: Path) -> Iterator[str]:
    """Let nobody enter a folder, be somebody who is kept out, and yield the name of that one."""
    folder.chmod(0o000)
    try:
        with _as(EIDERD) if is_root() else contextlib.nullcontext():
            yield str(EIDERD) if is_root() else ""
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize("above", [False, True])
def test_a_folder_that_may_not_be_entered_is_no_exchange(place: Place, *, above: bool) -> None:
    inner = place.database.parent
    folder = inner.parent if above else inner
    with _shut(folder) as user:
        looks: list[Callable[[], object]] = [
            lambda: exchange_plan.unfinished(place.database, state=place.state),
            lambda: _read(place.database),
        ]
        for look in looks:
            with pytest.raises(SourceUnavailable, match=f"may not enter {folder},") as raised:
                look()
            rights = "x" if above else "rx"
            assert f"setfacl -m u:{user}" in raised.value.hint
            assert f":{rights} {folder};" in raised.value.hint


def _read(path: Path) -> None:
    with files.reading_from(path):
        path.read_bytes()


def test_a_file_that_may_not_be_read_is_named_itself(place: Place) -> None:
    place.database.chmod(0o000)
    with (
        _as(EIDERD) if is_root() else contextlib.nullcontext(),
        pytest.raises(SourceUnavailable, match=f"may not read {place.database}"),
    ):
        _read(place.database)
