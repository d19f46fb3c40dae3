"""The tools that are compared: what each runs, from the same file to its own fresh folder."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import machine, measure
from tests.bench.measure import Usage

EIDER = str(Path(sys.executable).with_name("eider"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run. `steps` are parts of `total`; `proven` is what the tool itself vouches for."""

    total: Usage
    steps: dict[str, Usage]
    stored: int
    proven: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """`run` gets the database and an empty folder, which a `warm` tool finds as it left it."""

    name: str
    programs: tuple[str, ...]
    package: str
    version: Sequence[str]
    run: Callable[[Path, Path], Result]
    proof: str

    def missing(self) -> list[str]:
        return [program for program in self.programs if not shutil.which(program)]

    def described(self) -> str:
        return "not installed" if self.missing() else machine.first_line(list(self.version))


# tar ---------------------------------------------------------------------------------------------


def _gzip(database: Path, folder: Path) -> Result:
    target = folder / "copy.tar.gz"
    ran = measure.run(("tar", "czf", str(target), "-C", str(database.parent), database.name))
    return Result(total=ran.usage, steps={}, stored=target.stat().st_size)


def _tar_through(*compressor: str) -> Callable[[Path, Path], Result]:
    def run(database: Path, folder: Path) -> Result:
        target = folder / "copy.tar"
        tar = ("tar", "cf", "-", "-C", str(database.parent), database.name)
        ran = measure.run(tar, compressor, output=target)
        return Result(total=ran.usage, steps={}, stored=target.stat().st_size)

    return run


# Repositories: made before the clock starts ------------------------------------------------------


def _restic(database: Path, folder: Path) -> Result:
    own = {"RESTIC_PASSWORD": "bench", "XDG_CACHE_HOME": str(folder / "cache")}
    repository = folder / "repository"
    words = ("restic", "--quiet", "--repo", str(repository))
    measure.run((*words, "init"), environment=own)
    backup = measure.run((*words, "backup", database.name), environment=own, folder=database.parent)
    check = measure.run((*words, "check", "--read-data"), environment=own)
    return _two_steps(backup.usage, check.usage, stored=measure.stored_bytes(repository))


def _borg(database: Path, folder: Path) -> Result:
    home = {
        "BORG_BASE_DIR": str(folder / "home"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }
    repository = folder / "repository"
    measure.run(("borg", "init", "--encryption", "none", str(repository)), environment=home)
    create = ("borg", "create", "--compression", "lz4", f"{repository}::copy", database.name)
    backup = measure.run(create, environment=home, folder=database.parent)
    check = measure.run(("borg", "check", "--verify-data", str(repository)), environment=home)
    return _two_steps(backup.usage, check.usage, stored=measure.stored_bytes(repository))


def _two_steps(backup: Usage, check: Usage, *, stored: int) -> Result:
    return Result(total=backup + check, steps={"backup": backup, "check": check}, stored=stored)


# eider -------------------------------------------------------------------------------------------


def configure(folder: Path, *, database: Path) -> Path:
    """Write a configuration with nothing but the places. Every other setting is the default."""
    config = folder / "eiderd.toml"
    config.write_text(
        f'[database]\npath = "{database}"\n[service]\nstate = "{folder / "state"}"\n'
        f'[backup]\ndirectory = "{folder / "backups"}"\n[log]\nlevel = "error"\n'
    )
    return config


def backup_command(config: Path) -> tuple[str, ...]:
    return (EIDER, "--config", str(config), "backup", "--json")


def _eider(database: Path, folder: Path) -> Result:
    config = configure(folder, database=database)
    shutil.rmtree(folder / "backups", ignore_errors=True)
    ran = measure.run(backup_command(config))
    return Result(
        total=ran.usage,
        steps={},
        stored=measure.stored_bytes(folder / "backups"),
        proven=json.loads(ran.said)["state"] == "verified",
    )


TAR, RESTIC, COLD, WARM = "tar czf", "restic", "eider, cold", "eider, warm"
_BYTES_ONLY = "no: its bytes were read back, no database was opened"
_OPENED = "yes: opened by an engine, every row read"

TOOLS = (
    Tool(
        name=TAR,
        programs=("tar", "gzip"),
        package="gzip",
        version=("gzip", "--version"),
        run=_gzip,
        proof="no",
    ),
    Tool(
        name="tar + pigz -p2",
        programs=("tar", "pigz"),
        package="pigz",
        version=("pigz", "--version"),
        run=_tar_through("pigz", "-p2"),
        proof="no",
    ),
    Tool(
        name="tar + zstd -1 -T2",
        programs=("tar", "zstd"),
        package="zstd",
        version=("zstd", "--version"),
        run=_tar_through("zstd", "-1", "-T2", "-q", "-c"),
        proof="no",
    ),
    Tool(
        name=RESTIC,
        programs=("restic",),
        package="restic",
        version=("restic", "version"),
        run=_restic,
        proof=_BYTES_ONLY,
    ),
    Tool(
        name="borg, lz4",
        programs=("borg",),
        package="borgbackup",
        version=("borg", "--version"),
        run=_borg,
        proof=_BYTES_ONLY,
    ),
    Tool(
        name=COLD,
        programs=(EIDER,),
        package="eiderd",
        version=(sys.executable, "-c", "import eiderd; print(eiderd.__version__)"),
        run=_eider,
        proof=_OPENED,
    ),
    Tool(
        name=WARM,  # finds the mirror that the cold run left
        programs=(EIDER,),
        package="eiderd",
        version=(sys.executable, "-c", "import eiderd; print(eiderd.__version__)"),
        run=_eider,
        proof=_OPENED,
    ),
)


def how_to_install() -> str:
    """Return the command that installs whatever is missing, or nothing."""
    packages = sorted({tool.package for tool in TOOLS if tool.missing()})
    return f"apt-get install {' '.join(packages)}" if packages else ""
