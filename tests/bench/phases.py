"""The child that does a backup's phases one by one: `python -m tests.bench.phases CONFIG`.

In a real backup two chains run at once; here nothing does, so that the CPU seconds and the memory
of each phase's process are its own. Prints one JSON list.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from eiderd import config
from eiderd.app import App
from eiderd.outside import copier, engine, files, process

if TYPE_CHECKING:
    from collections.abc import Callable

    from eiderd.evidence import Captured


_Result = TypeVar("_Result")


class Phases:
    """Runs the functions that a backup is made of, with the settings of `app`."""

    def __init__(self, app: App) -> None:
        self.found: list[dict[str, Any]] = []
        self._app = app
        self._source = app.settings.database.path
        self._state = app.settings.service.state
        self._deadline = app.settings.backup.deadline.total_seconds()
        self._answer: process.Answer | None = None
        self._record_answers()

    def _record_answers(self) -> None:
        """What a child says of its own memory and time is not part of what a phase returns."""
        run = process.run

        def recording(*arguments: Any, **words: Any) -> process.Answer:
            self._answer = run(*arguments, **words)
            return self._answer

        process.run = recording

    def _timed(self, name: str, do: Callable[[], _Result]) -> _Result:
        os.sync()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = do()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        answer = self._answer
        assert answer is not None
        self.found.append(
            {
                "name": name,
                "wall": answer.seconds,
                "cpu": sum(after[:2]) - sum(before[:2]),
                "peak_bytes": answer.peak_bytes,
                "inside": answer.result.get("seconds") if name == "open and read" else None,
            }
        )
        return result

    def _refresh(self, *, thorough: bool) -> Captured:
        mirror = self._app.settings.mirror
        return copier.refresh(
            source=self._source,
            mirror=self._state / "mirror",
            passes=mirror.passes,
            timeout_seconds=mirror.timeout.total_seconds(),
            rate_limit=mirror.rate_limit,
            thorough=thorough,
            deadline_seconds=self._deadline,
            progress=nobody,
        )

    def copy(self) -> Captured:
        captured = self._timed("copy, cold", lambda: self._refresh(thorough=True))
        self._timed("copy, warm", lambda: self._refresh(thorough=True))
        self._timed("mirror only (no backup)", lambda: self._refresh(thorough=False))
        return captured

    def archive_and_check(self, captured: Captured) -> None:
        target = files.private_folder(self._app.directory) / "phase.tar.gz"
        packed = self._timed(
            "archive",
            lambda: copier.pack(
                target=target,
                members=[(self._state / "mirror" / name, name) for name in captured.files],
                owner=(0, 0, 0o600),
                modified=0,
                manifest={"id": "phase"},
                deadline_seconds=self._deadline,
                progress=nobody,
            ),
        )
        self._timed(
            "check",
            lambda: copier.check(
                archive=target,
                expected_sha256=packed.sha256,
                expected_members=packed.members,
                expected_id="phase",
                most_bytes=None,
                deadline_seconds=self._deadline,
                progress=nobody,
            ),
        )

    def open_and_read(self) -> None:
        self._timed(
            "open and read",
            lambda: engine.open_and_read(
                database=self._state / "mirror" / self._source.name,
                interpreter=self._app.engines().interpreter(),
                scratch=files.private_folder(self._state / "scratch"),
                bounds=self._app.engine_bounds(),
                time_columns={},
                schema_table=self._app.settings.schema_.table,
                progress=nobody,
            ),
        )


def nobody(_done: int, _total: int) -> None:
    """Nobody is watching."""


def main() -> None:
    settings, _path = config.load(Path(sys.argv[1]))
    phases = Phases(App(settings))
    captured = phases.copy()
    phases.archive_and_check(captured)
    phases.open_and_read()
    sys.stdout.write(json.dumps(phases.found))


if __name__ == "__main__":
    main()
