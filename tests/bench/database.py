"""The database that everything is measured on: the imitation application's, and artwork."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.bench import measure

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = ROOT / "packaging" / "demo" / "cartographus.py"
_FILL = Path(__file__).with_name("fill.py")
# Measured: an empty database with its 42 indexes, then what a playback event adds to it.
_EMPTY_BYTES = 20_000_000
_ROW_BYTES = 1_760
# Seeding takes minutes per million rows; beyond that a database grows by artwork alone.
_MOST_ROWS = 1_000_000
_APPLICATION_SHARE = 0.85  # of the bytes; the rest is artwork


def make(scratch: Path, *, megabytes: int) -> Path:
    """Return a closed database of about that size, made now unless `scratch` holds it already."""
    path = scratch / f"database-{megabytes}" / "app.duckdb"
    if path.exists():
        return path
    shutil.rmtree(path.parent, ignore_errors=True)
    aside = path.with_name("making.duckdb")
    aside.parent.mkdir(parents=True)
    wanted = megabytes * 1_000_000
    rows = int(wanted * _APPLICATION_SHARE - _EMPTY_BYTES) // _ROW_BYTES
    seed = (
        *(sys.executable, str(APPLICATION), "serve", "--database", str(aside)),
        *(
            "--ledger",
            str(scratch / "seed.ledger"),
            "--seed-rows",
            str(min(max(1, rows), _MOST_ROWS)),
            "--seconds",
            "0",
        ),
    )
    measure.run(seed)
    measure.run((sys.executable, str(_FILL), str(aside), str(wanted)))
    (scratch / "seed.ledger").unlink()
    return aside.rename(path)
