"""An application's own archive, written by the engine version that the application runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import helpers
from tests.helpers import Entry, Place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("version", ["1.4.3", "1.5.6", "2.0.0"])
@pytest.mark.parametrize("wal_rows", [0, 300], ids=["without a WAL", "with its WAL"])
def test_an_archive_of_each_engine_proves(
    engines: Callable[[str], Path], tmp_path: Path, version: str, wal_rows: int
) -> None:
    place = Place(tmp_path).configure()
    helpers.build_database(place.database, wal_rows=wal_rows, python=str(engines(version)))
    entries = [Entry("database/app.duckdb", place.database.read_bytes())]
    if wal_rows:
        entries.append(Entry("database/app.duckdb.wal", place.wal.read_bytes()))
    archive = helpers.write_archive(tmp_path / "theirs.tar.gz", entries)

    ran = place.eider("verify", str(archive), "--json").good_manners()

    assert ran.code == 0, ran
    assert ran.json["proof"]["rows"] == helpers.ROWS + wal_rows
