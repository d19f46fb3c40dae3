"""The demo: a live imitation of Cartographus is backed up, restored by hand, compared, and served.

Run by `eider demo` and `make demo`. Everything happens in a temporary folder and is real: another
process holds its database open and keeps committing while the backup is taken. Exits with 0 only if
the restored copy holds exactly the commits that were acknowledged when it was captured.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

import incidents
import unattended
from cartographus_facts import acknowledged
from eiderd import config, log
from eiderd.app import App
from eiderd.cli import terminal
from eiderd.errors import EiderError
from eiderd.kit import silent
from eiderd.outside import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.model import Backup

APPLICATION: Final = Path(__file__).with_name("cartographus.py")
START_SECONDS: Final = 60.0
COPIES: Final = 5
DISK_BYTES_A_SECOND: Final = 100_000_000
EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# So that a few copies meet a checkpoint as a year of nightly ones would; the default is 16 MB.
CHECKPOINT_EVERY: Final = 1_000_000  # bytes
ENGINE: Final = importlib.metadata.version("duckdb")  # with which the imitation runs

_TRY_TO_OPEN: Final = """
import duckdb, sys
try:
    duckdb.connect(sys.argv[1], read_only=True)
    print("it opened")
except duckdb.Error as error:
    print(str(error).splitlines()[0].split(" See also ")[0])
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the demo happens. All of it is removed at the end."""

    folder: Path
    health_port: int = dataclasses.field(default_factory=incidents.free_port)

    @property
    def database(self) -> Path:
        return self.folder / "data" / "cartographus.duckdb"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.txt"

    @property
    def config(self) -> Path:
        return self.folder / "eiderd.toml"

    @property
    def backups(self) -> Path:
        return self.folder / "backups"


def main() -> int:
    parser = argparse.ArgumentParser(prog="eider demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of writing before the backup")
    parser.add_argument("--service-seconds", type=float, default=60.0,
                        help="of the service looking after it; 0: without")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    console = Console(highlight=False, quiet=arguments.json)
    try:
        with tempfile.TemporaryDirectory(prefix="eider-demo-") as folder:
            story = _play(
                Stage(folder=Path(folder)),
                console,
                seconds=arguments.seconds,
                service_seconds=arguments.service_seconds,
            )
    except EiderError as error:
        terminal.error(error, as_json=arguments.json)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        print(json.dumps(story, indent=2))
    return 0 if story["agree"] and story.get("service", {}).get("worked", True) else 12


def _play(
    stage: Stage, console: Console, *, seconds: float, service_seconds: float
) -> dict[str, Any]:
    stage.database.parent.mkdir()
    with incidents.small_disk(stage.backups), _application(stage) as process:
        megabytes = stage.database.stat().st_size / 1e6
        console.print(
            f"[bold]1[/] Cartographus runs (process {process.pid}): its database has "
            f"{megabytes:.0f} MB, and it commits all the time."
        )
        refused = _second_engine(stage.database)
        console.print(f"[bold]2[/] A second engine may not even look: [dim]{refused[:110]}[/]")
        time.sleep(seconds)
        copies = [_plain_copy(stage, number) for number in range(COPIES)]
        broken = [said for said in copies if said]
        console.print(
            f"[bold]3[/] Copied as cp does from a disk of 100 MB/s, file by file: "
            f"[bold red]{len(broken)} of {COPIES} copies are broken[/]{_samples(broken)}"
        )
        console.print("[bold]4[/] eider backup, of the same live file:")
        made = _back_up(stage, console)
        console.print(
            f"  [green]✓ {made.state}[/] {made.archive}: {made.proof.rows:,} rows of "
            f"{made.proof.tables} tables read, {made.consistency.passes} passes"
        )
        restored = _restore_by_hand(stage)
        console.print(
            "[bold]5[/] Restored by hand: [dim]tar -xzf backup-latest.tar.gz -C empty/[/]"
        )
        story = _compare(stage, made, _facts(restored))
        _side_by_side(console, story)
        if service_seconds:
            story["service"] = unattended.play(
                stage.config, console, seconds=service_seconds, application=process.pid
            )
    return {"copies": COPIES, "copies_broken": len(broken), "refused": refused, **story}


@contextlib.contextmanager
def _application(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(APPLICATION), "serve", "--database", str(stage.database),
         "--ledger", str(stage.ledger), "--seed-rows", "20000", "--pace", "0.01",
         "--checkpoint-every", str(CHECKPOINT_EVERY), "--health-port", str(stage.health_port)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        watchdog = signal.signal(signal.SIGALRM, lambda *_: process.kill())
        signal.setitimer(signal.ITIMER_REAL, START_SECONDS)
        ready = process.stdout.readline() if process.stdout else ""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, watchdog)
        if not ready.startswith("ready"):
            raise EiderError("the imitation application did not start", hint="Run it again.")
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _second_engine(database: Path) -> str:
    command = [sys.executable, "-c", _TRY_TO_OPEN, str(database)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return said.replace(f"{database.parent}/", "")


def _plain_copy(stage: Stage, number: int) -> str:
    """Copy as the application's own backup does, main file, then WAL. Return what is wrong."""
    target = stage.folder / f"copy{number}" / stage.database.name
    target.parent.mkdir()
    for suffix in ("", ".wal"):
        source = Path(f"{stage.database}{suffix}")
        with contextlib.suppress(FileNotFoundError):
            _copy_as_from_a_disk(source, Path(f"{target}{suffix}"))
    facts = _facts(target)
    shutil.rmtree(target.parent)
    if facts.get("intact"):
        return ""
    target_folder = f"{target.parent}/"
    wrong = [name for name, holds in facts.get("invariants", {}).items() if not holds]
    said = str(facts.get("error") or f"it opens, but is wrong: {', '.join(wrong)}")
    return said.replace(target_folder, "")


def _copy_as_from_a_disk(source: Path, target: Path) -> None:
    """Here everything is in memory; a plain disk gives a copy the time to be torn."""
    wait = clock.throttle(DISK_BYTES_A_SECOND)
    with source.open("rb") as live, target.open("wb") as copy:
        while data := live.read(1 << 20):
            copy.write(data)
            wait(len(data))


def _samples(broken: list[str]) -> str:
    return "".join(f"\n    [dim]{said[:120]}[/]" for said in dict.fromkeys(broken))


def _facts(database: Path) -> dict[str, Any]:
    command = [sys.executable, str(APPLICATION), "facts", "--database", str(database)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    facts: dict[str, Any] = json.loads(answer)
    return facts


def _back_up(stage: Stage, console: Console) -> Backup:
    stage.config.write_text(
        f'profile = "cartographus"\n[service]\nstate = "{stage.folder}/state"\n'
        f'look_every = "2s"\n[database]\npath = "{stage.database}"\n'
        f'[engine]\napplication = "{ENGINE}"\n[application]\nversion = "1.50.2"\n'
        f'health_url = "http://127.0.0.1:{stage.health_port}/api/v1/health"\n'
        f'[backup]\ndirectory = "{stage.backups}"\n'
    )
    settings, _path = config.load(stage.config)
    log.configure_verb(level="warning", format_="text")
    if console.quiet:
        return App(settings, progress=silent).backup().value
    with terminal.progress() as shown:
        return App(settings, progress=shown).backup().value


def _restore_by_hand(stage: Stage) -> Path:
    empty = stage.folder / "empty"
    empty.mkdir()
    archive = stage.backups / "backup-latest.tar.gz"
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(empty)], check=True)
    return empty / stage.database.name


def _compare(stage: Stage, made: Backup, facts: dict[str, Any]) -> dict[str, Any]:
    """The instant of the capture lies between two times, so a commit under way may be in or out."""
    low, high = (
        (moment - EPOCH) // datetime.timedelta(microseconds=1) * 1000
        for moment in (made.consistency.captured_from, made.consistency.captured_to)
    )
    counts = acknowledged(stage.ledger, from_ns=low, to_ns=high)
    found = facts.get("commits", -1)
    return {
        **counts,
        "found": found,
        "intact": facts.get("intact", False),
        "facts": facts,
        "agree": bool(facts.get("intact"))
        and counts["acknowledged_before"] <= found <= counts["begun_before"],
    }


def _side_by_side(console: Console, story: dict[str, Any]) -> None:
    under_way = story["begun_before"] - story["acknowledged_before"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("   COMMITS ACKNOWLEDGED AT THE CAPTURE INSTANT")
    table.add_column("FOUND IN THE RESTORED COPY")
    note = f" (and {under_way} under way)" if under_way else ""
    facts = story["facts"]
    table.add_row(f"   {story['acknowledged_before']}{note}", f"{story['found']}")
    table.add_row(
        "   [dim]every total that spans tables[/]",
        f"[dim]{sum(facts.get('invariants', {}).values())} of "
        f"{len(facts.get('invariants', {}))} hold[/]",
    )
    console.print(table)
    agree = "[bold green]They agree.[/]" if story["agree"] else "[bold red]They do not agree.[/]"
    console.print(agree)


if __name__ == "__main__":
    os.environ.pop("EIDER_CONFIG", None)
    sys.exit(main())
