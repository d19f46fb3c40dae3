"""Side environments: one virtual environment with one DuckDB version each, made by venv and pip.

One is made aside, tried, and renamed into place: what stands under its version has worked once.
Where packages come from is pip's own configuration's matter, or that of the wheels that are given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final, TypeAlias

from eiderd.errors import ChildFailed, ConfigError, EiderError, NoSpace
from eiderd.outside import engine, files, ownership, process, signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Tell: TypeAlias = Callable[[str], None]

_MAKING: Final = ".making-"
_DEADLINE_SECONDS: Final = 900.0  # for pip, on a slow line
_SECONDS_TO_DIE: Final = 5.0
_TRIAL_SECONDS: Final = 60.0
_TRIAL_BYTES: Final = 4 << 30
_READABLE_BY_ALL: Final = 0o755  # whoever made it, the service runs it
_SPATIAL: Final = "duckdb-extension-spatial"
_UMASK: Final = 0o022
_TOO_FEW_BYTES: Final = 32 << 20  # for pip alone; what fails there fails for want of room


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What an interpreter's engine says of itself; `problem` says why it does not work.

    `spatial` says whether it has that extension; None: nobody asked.
    """

    version: str
    problem: str = ""
    spatial: bool | None = None


def interpreter(home: Path) -> Path:
    return home / "bin" / "python"


def make(
    home: Path, *, version: str, wheels: Sequence[Path], tell: Tell, spatial: bool = False
) -> None:
    """Make the environment `home` with DuckDB `version`, from `wheels` alone if there are some.

    `spatial` asks for that extension of the same version, from the package that PyPI has.

    Raise ConfigError when it cannot be made or does not work; then there is nothing new.
    """
    with _alone_in(home.parent):
        aside = _aside(home)
        try:
            _make_folder(aside)
            tell("make the environment")
            _run([sys.executable, "-I", "-m", "venv", str(aside)], folder=home.parent)
            tell(f"install DuckDB {version}")
            _install(aside, version=version, wheels=wheels, spatial=spatial)
            tell("try it")
            found = trial(interpreter(aside), scratch=aside, spatial=spatial)
            if found.problem or found.version != version or found.spatial is not (spatial or None):
                raise _no_good(found, version)
            (aside / "trial.duckdb").unlink(missing_ok=True)
            _put_in_place(aside, home)
        finally:
            files.remove_tree(aside)


def remove(home: Path) -> None:
    """Remove an environment: at once under its name, then what it holds."""
    with _alone_in(home.parent), files.writing_to(home.parent):
        files.remove_tree(home.rename(_aside(home)))


def trial(python: Path, *, scratch: Path | None = None, spatial: bool = False) -> Trial:
    """Let the engine of `python` make and read a database, in `scratch` or in memory alone."""
    if not python.exists():
        return Trial(version="", problem=f"there is no {python}")
    try:
        answer = process.run(
            engine.command(python),
            order={"do": "try", "scratch": scratch and str(scratch), "spatial": spatial},
            limits=process.Limits(address_space=_TRIAL_BYTES, deadline_seconds=_TRIAL_SECONDS),
            progress=lambda _said: None,
        )
    except EiderError as error:
        return Trial(version="", problem=error.message)
    said = answer.result
    return Trial(version=said["engine"], problem=said["message"] or "", spatial=said["spatial"])


def installed(folder: Path) -> list[Path]:
    """Return the environments in `folder`, the engines of the state."""
    with contextlib.suppress(OSError):
        every = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        return [path for path in every if interpreter(path).exists()]
    return []


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock on the engines, and remove what a run that was killed left."""
    with files.writing_to(folder):
        if not folder.exists():
            folder.parent.mkdir(mode=_READABLE_BY_ALL, parents=True, exist_ok=True)
            _make_folder(folder)
    ownership.ensure_unforgeable(folder)  # pip runs in it, with the rights of this process
    with files.locked(folder, hint="Wait for the other eider engine to end."):
        for left in folder.glob(f".*{_MAKING}*"):
            files.remove_tree(left)
        yield


def _aside(home: Path) -> Path:
    return home.with_name(f".{home.name}{_MAKING}{os.getpid()}")


def _make_folder(path: Path) -> None:
    with files.writing_to(path.parent):
        path.mkdir()
        path.chmod(_READABLE_BY_ALL)  # whatever the umask


def _put_in_place(aside: Path, home: Path) -> None:
    with files.writing_to(home.parent):
        if home.exists():  # one that does not work, or it would not be made anew
            old = home.rename(aside.with_name(f"{aside.name}-old"))
            aside.rename(home)
            files.remove_tree(old)
        else:
            aside.rename(home)
        files.sync_folder(home.parent)


def _install(home: Path, *, version: str, wheels: Sequence[Path], spatial: bool) -> None:
    names = ["duckdb", *([_SPATIAL] if spatial else [])]
    wanted = [f"{name}=={version}" for name in names]
    if wheels:
        wanted = ["--no-index", *map(str, wheels)]
    pip = [str(interpreter(home)), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    try:
        _run([*pip, "install", "--quiet", "--only-binary", ":all:", *wanted], folder=home.parent)
    except ConfigError as error:
        raise ConfigError(
            f"pip could not install DuckDB {version}: {error.message}",
            hint="Is there such a version? Without a network, bring its wheel: "
            f"eider engine add {version} --wheel FILE",
        ) from error


def _run(command: Sequence[str], *, folder: Path) -> None:
    """Run to the end, or end it. Raise ConfigError with what it said last, NoSpace."""
    # Held back until there is somebody to end: a child that nobody knows would go on writing.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals.ASKING)
    try:
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            umask=_UMASK,
            cwd="/",
        )
        said = _heard(child, mask, what=command[-1])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if child.returncode:
        raise _refused(said, folder=folder)


def _heard(child: subprocess.Popen[str], mask: set[int | signal.Signals], *, what: str) -> str:
    """Return all that the child says. Whatever happens, it and its own children are gone then."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        said, _nothing = child.communicate(timeout=_DEADLINE_SECONDS)
    except subprocess.TimeoutExpired as error:
        message = f"{what} was not done in {_DEADLINE_SECONDS:g} s"
        raise ChildFailed(message, how="deadline") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        # Until the last of them has let go of the pipe, one may still be writing files.
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
            child.communicate(timeout=_SECONDS_TO_DIE)
        if child.stdout:
            child.stdout.close()
    return said


def _refused(said: str, *, folder: Path) -> EiderError:
    if "No space left" in said or files.free_bytes(folder) < _TOO_FEW_BYTES:
        hint = f"Free some space (df -h {folder}) and run the same command again."
        return NoSpace(f"no space left in {folder}", hint=hint)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    if "ensurepip" in said:
        hint = "Install Python's venv module: apt-get install python3-venv"
    else:
        hint = "Run it again; see what pip says by itself."
    last = (told or lines or ["it said nothing"])[-1]
    return ConfigError(last[:300], hint=hint)


def _no_good(found: Trial, version: str) -> ConfigError:
    said = found.problem or f"it is DuckDB {found.version}"
    if found.spatial is False:
        said = "its spatial extension does not load"
    return ConfigError(
        f"what was installed is no working DuckDB {version}: {said}",
        hint="Nothing was kept. Check the version, or the wheels.",
    )
