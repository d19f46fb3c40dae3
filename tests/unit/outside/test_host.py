from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eiderd.errors import SourceUnavailable
from eiderd.outside.host import Host

if TYPE_CHECKING:
    from pathlib import Path


def test_a_database_that_the_application_has_not_made_yet_is_told_of_as_such(
    tmp_path: Path,
) -> None:
    with pytest.raises(SourceUnavailable, match=r"no database at /data/app\.duckdb yet") as told:
        Host(tmp_path).data("/data/app.duckdb")
    assert "Start the application once" in told.value.hint
    assert "eider setup --database" in told.value.hint
