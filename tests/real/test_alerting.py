"""From a folder that cannot be written to a page at night, and back, with nothing imitated."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from eiderd import resources
from tests.helpers import given_place, is_root
from tests.prometheus import alertmanager, prometheus, tool
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOO_OLD, FAILING = "EiderVerifiedBackupTooOld", "EiderBackupFailing"
BACKED_UP = 'eider_job_runs_total{job_name="backup",outcome="done"}'
TWO_TURNS_SECONDS = 150  # of the timetable, the steps of which are minutes


@contextlib.contextmanager
def _unwritable(folder: Path) -> Iterator[None]:
    """Keep everybody from writing here: root, too, whom modes do not stop."""
    if not is_root():
        mode = folder.stat().st_mode
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(mode)
        return
    subprocess.run(["mount", "--bind", folder, folder], check=True, capture_output=True)
    try:
        again = ["mount", "-o", "remount,ro,bind", str(folder)]
        subprocess.run(again, check=True, capture_output=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True, capture_output=True)


def test_backups_that_stop_are_alerted_on_until_they_go_on(tmp_path: Path) -> None:
    """A backup each minute, and nobody may wait longer than twenty seconds for the next."""
    tool("alertmanager")
    tool("prometheus")
    place = given_place(tmp_path / "place", rows=2_000, wal_rows=100)
    with (
        running(
            place,
            backup__schedule="* * * * *",
            backup__fresh_within="20s",
            service__look_every="1s",
        ) as service,
        alertmanager(tmp_path / "alertmanager") as manager,
        prometheus(
            tmp_path / "prometheus",
            target=f"127.0.0.1:{service.port}",
            rules=resources.rules(),
            alerts_to=manager,
        ) as server,
    ):
        service.until(lambda: service.metrics()[BACKED_UP] >= 1, what="the first backup")
        server.await_scrape()

        with _unwritable(place.backups):
            failing = manager.await_firing(FAILING, seconds=TWO_TURNS_SECONDS)
            too_old = manager.await_firing(TOO_OLD, seconds=TWO_TURNS_SECONDS)
            assert failing["labels"]["severity"] == "warning"
            assert too_old["labels"]["severity"] == "critical"
            assert too_old["labels"]["instance"] == f"127.0.0.1:{service.port}"
            link = too_old["annotations"]["runbook_url"]
            status, page = service.get(link.removeprefix(service.url("")))
            assert status == 200
            assert "eider backup" in page
            assert "no_verified_backup" in service.kinds()

        manager.await_resolved(TOO_OLD, seconds=TWO_TURNS_SECONDS)
        manager.await_resolved(FAILING, seconds=TWO_TURNS_SECONDS)
        assert [one for one in server.rules() if one["health"] != "ok"] == []
