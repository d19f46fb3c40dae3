"""The child that moves streams: what it is told by others becomes no path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eiderd.outside.nats_client import transfer_worker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("how", ["../backups", "/absolute", "..", "."])
def test_a_name_that_none_can_be_is_no_path(how: str, tmp_path: Path) -> None:
    """A server chose it. What cannot be read is removed, and that would be somebody else's."""
    folder, other = tmp_path / "scratch", tmp_path / "backups"
    folder.mkdir()
    other.mkdir()
    (other / "backup.tar.gz").write_text("all that is left")
    (folder / "kept").touch()
    said = transfer_worker.capture(
        server={"urls": ["nats://127.0.0.1:1"]},
        streams=[str(other) if how == "/absolute" else how],
        folder=str(folder),
        most_bytes=1 << 30,
        settle_seconds=0.0,
        deadline_seconds=5.0,
        by_message=False,
        progress=lambda *_said: None,
    )
    assert [one["why"] for one in said["missing"]] == ["no stream can be called so"]
    assert (other / "backup.tar.gz").exists()
    assert (folder / "kept").exists()
