"""What putting a database back costs, against plain `tar -xzf`, and for how long the rest stops.

The application here is a file that exists while it "runs": `stop` and `start` write down when they
were called, so its downtime is what eiderd makes of it and nothing else. For the freeze, the
imitation application runs, and writes flat out.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import measure, tools, writer

_DELETE = """
import sys
import duckdb
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute("DELETE FROM artwork WHERE id % 2 = 0")
    connection.execute("CHECKPOINT")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restores:
    """Seconds of each round. `down` is for how long the application did not run.

    `frozen` has the seconds of each backup for which it was frozen, of `backups` that were tried.
    """

    bytes: int
    tar: tuple[float, ...]
    folder: tuple[float, ...]
    down: tuple[float, ...]
    frozen: tuple[float, ...]
    backups: int
    compact_down: float
    compact_bytes: tuple[int, int]

    @property
    def ratio(self) -> float:
        return measure.median_ratio(self.folder, self.tar)

    @property
    def compact_seconds_per_gb(self) -> float:
        return self.compact_down / (self.compact_bytes[0] / 1e9)


def restores(database: Path, scratch: Path, *, runs: int) -> Restores:
    folder = scratch / "restore"
    shutil.rmtree(folder, ignore_errors=True)
    live = folder / "live" / database.name
    live.parent.mkdir(parents=True)
    shutil.copyfile(database, live)
    config = _configure(folder, database=live)
    measure.run(tools.backup_command(config))
    tar, unpacked, down = [], [], []
    for _round in range(runs):
        tar.append(_tar(folder))
        unpacked.append(_to_folder(config, folder))
        down.append(_live(config, live))
    sizes, compact_down = _compact(config, live)
    frozen = _freezes(database, folder / "frozen", runs=runs)
    shutil.rmtree(folder)
    return Restores(
        bytes=database.stat().st_size,
        tar=tuple(tar),
        folder=tuple(unpacked),
        down=tuple(down),
        frozen=tuple(seconds for seconds in frozen if seconds),
        backups=len(frozen),
        compact_down=compact_down,
        compact_bytes=sizes,
    )


def _configure(folder: Path, *, database: Path) -> Path:
    """Write a configuration whose application is a file and two instants."""
    config = tools.configure(folder, database=database)
    running = folder / "running"
    running.touch()
    commands = {
        "state": f"test -e {running} || exit 3",
        "stop": f"rm {running}; date +%s%N > {folder}/stopped",
        "start": f"date +%s%N > {folder}/started; touch {running}",
    }
    _append(config, commands)
    version = measure.run((sys.executable, "-c", "import duckdb; print(duckdb.__version__)")).said
    with config.open("a") as file:
        file.write(f'[engine]\napplication = "{version.strip()}"\n[compact]\nmin_gain = 0.0\n')
    return config


def _append(config: Path, commands: dict[str, str], *more: str) -> None:
    lines = ["[application]", 'kind = "commands"', *more, "[application.commands]"]
    lines += [f"{verb} = {json.dumps(['sh', '-c', text])}" for verb, text in commands.items()]
    with config.open("a") as file:
        file.write("\n".join(lines) + "\n")


def _eider(config: Path, *words: str) -> tuple[str, ...]:
    return (tools.EIDER, "--config", str(config), *words)


def _tar(folder: Path) -> float:
    target = folder / "by-hand"
    target.mkdir()
    archive = folder / "backups" / "backup-latest.tar.gz"
    took = measure.run(("tar", "-xzf", str(archive), "-C", str(target))).usage.wall
    shutil.rmtree(target)
    return took


def _to_folder(config: Path, folder: Path) -> float:
    target = folder / "unpacked"
    took = measure.run(_eider(config, "restore", "--to", str(target), "--json")).usage.wall
    shutil.rmtree(target)
    return took


def _live(config: Path, live: Path) -> float:
    measure.run(_eider(config, "restore", "--yes", "--json"))
    _forget_aside(live)
    return _downtime(config.parent)


def _compact(config: Path, live: Path) -> tuple[tuple[int, int], float]:
    measure.run((sys.executable, "-c", _DELETE, str(live)))
    before = live.stat().st_size
    measure.run(tools.backup_command(config), check=False)  # suspect: rows are gone
    accept = json.loads(measure.run(_eider(config, "list", "--json")).said)[0]
    if accept["state"] == "suspect":
        measure.run(_eider(config, "accept", accept["id"]))
    measure.run(_eider(config, "compact", "--yes", "--json"))
    _forget_aside(live)
    return (before, live.stat().st_size), _downtime(config.parent)


def _downtime(folder: Path) -> float:
    stopped, started = (int((folder / name).read_text()) for name in ("stopped", "started"))
    return (started - stopped) / 1e9


def _forget_aside(live: Path) -> None:
    for path in live.parent.iterdir():
        if ".before-" in path.name:
            path.unlink()


def _freezes(database: Path, folder: Path, *, runs: int) -> list[float]:
    """Return how long each backup froze a writer that never rests; 0: it converged by itself."""
    live = folder / "live" / database.name
    live.parent.mkdir(parents=True)
    shutil.copyfile(database, live)
    always = ("--checkpoint-every", "1")
    with writer.serving(live, folder / "ledger", pace=0.0, more=always) as pid:
        config = tools.configure(folder, database=live)
        with config.open("a") as file:  # so that it does not converge within its bound
            file.write("[mirror]\npasses = 2\n")
        commands = {
            "state": f"kill -0 {pid} || exit 3",
            "freeze": f"kill -STOP {pid}",
            "thaw": f"kill -CONT {pid}",
        }
        _append(config, commands, "allow_freeze = true")
        found = []
        for _round in range(runs + 1):
            ran = measure.run(tools.backup_command(config), check=False, settle=False)
            found.append(float(json.loads(ran.said)["consistency"]["frozen_seconds"]))
    return found[1:]  # the first one has no mirror yet


def milliseconds(seconds: Sequence[float]) -> str:
    """Return the middle one and the longest."""
    if not seconds:
        return ""
    return f"{1000 * statistics.median(seconds):.0f}, {1000 * max(seconds):.0f} at most"
