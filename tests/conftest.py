"""What every test may rely on: no setting of the machine's own leaks in."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import structlog

# Minutes each, by themselves: whichever is begun last is waited for, with all others idle. So these
# are begun first. (pytest-xdist left to itself begins with the files that have the most tests.)
LONG = (
    "real/test_restore.py",
    "service/test_package.py",
    "real/test_guide.py",
    "years/test_years.py",
    "unit/test_bench_smoke.py",
    "years/test_empty_database.py",
)


@pytest.fixture(autouse=True)
def _no_eider_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("EIDER_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_logging_of_another_test() -> None:
    structlog.reset_defaults()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--note-skipped", metavar="FILE", help="write the names of skipped tests here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: at for at, name in enumerate(LONG)}
    if gone := [str(path) for path in places if not path.exists()]:
        raise pytest.UsageError(f"LONG in {__file__} names what is not there: {', '.join(gone)}")
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_configure(config: pytest.Config) -> None:
    # Below `nohup`, or behind `&` in a script, these are ignored, and so they would be by whatever
    # is run here: it could not be interrupted.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            standard = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if standard else signal.SIG_DFL)
    if (path := config.getoption("--note-skipped")) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_NoteSkipped(Path(path)))


class _NoteSkipped:
    """Writes what pytest takes as `@FILE`: another machine may be able to run these."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self._names[report.nodeid] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._names[report.nodeid] = None

    def pytest_sessionfinish(self) -> None:
        # File after file, and in each in its own order: one test may go on where the last ended.
        names = sorted(self._names, key=lambda name: name.partition("::")[0])
        self._path.write_text("".join(f"{name}\n" for name in names))
