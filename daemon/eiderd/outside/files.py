"""Files as eiderd writes them: aside, synced, then renamed. And what the kernel's refusals mean."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from eiderd.errors import Busy, NoSpace, SourceUnavailable, StoreUnavailable
from eiderd.outside import rights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn the kernel's refusals while writing below `folder` into errors with a remedy.

    Raise NoSpace when a disk or quota is full, StoreUnavailable for any other refusal.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise NoSpace(
                f"no space left in {folder}",
                hint=f"Free some space (df -h {folder}) and run the same command again.",
            ) from error
        raise StoreUnavailable(
            f"cannot write in {folder}: {error.strerror or error}",
            hint=_remedy(error, folder),
        ) from error


@contextlib.contextmanager
def reading_from(path: Path) -> Iterator[None]:
    """Turn the kernel's refusals while reading the database into SourceUnavailable."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceUnavailable(
            f"there is no database at {path}",
            hint="Check the path (eider config show). If it was there before: eider restore "
            "--dry-run. If it never was, start the application once.",
        ) from error
    except PermissionError as error:
        if shut := rights.shut(path):
            raise rights.unknown(path, shut=shut) from error
        raise SourceUnavailable(
            f"may not read {path}",
            hint="Give the user that runs eiderd read access: "
            f"setfacl -m u:eiderd:r {shlex.quote(str(path))}",
        ) from error
    except OSError as error:
        raise SourceUnavailable(
            f"cannot read {path}: {error.strerror or error}", hint="Check the disk: dmesg | tail"
        ) from error


@contextlib.contextmanager
def _reading_extra(path: Path) -> Iterator[None]:
    """Turn the kernel's refusals while reading what backup.include names into SourceUnavailable."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _Gone(
            f"{path}, which backup.include names, is gone",
            hint="Make it again, or take it out of backup.include.",
        ) from error
    except PermissionError as error:
        if shut := rights.shut(path):
            raise rights.unknown(path, shut=shut) from error
        raise SourceUnavailable(
            f"may not read {path}, which backup.include asks for",
            hint="Give the user that runs eiderd read access: "
            f"setfacl -m u:{rights.me()}:r {shlex.quote(str(path))}",
        ) from error
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise  # of whoever writes the copy
        raise SourceUnavailable(
            f"cannot read {path}, which backup.include asks for: {error.strerror or error}",
            hint="Check the disk (dmesg | tail), or take it out of backup.include.",
        ) from error


@contextlib.contextmanager
def reading_own(path: Path) -> Iterator[None]:
    """Turn the kernel's refusals while reading a file of eiderd's own into StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"cannot read {path}: {error.strerror or error}",
            hint=_remedy(error, path),
        ) from error


def _remedy(error: OSError, path: Path) -> str:
    """Return what to do about a refusal of the kernel, in a place of eiderd's own."""
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return f"It has to belong to the user that runs eiderd, and runs this: ls -ld {path}"
        case errno.EROFS:
            return (
                f"Is it mounted read-only (findmnt -T {path})? What the service may not write in, "
                "eider doctor says"
            )
        case errno.ENOENT | errno.ENOTDIR:
            return f"Make it again, or see whether its disk is mounted: findmnt -T {path.parent}"
    return "Check the disk: dmesg | tail"


@contextlib.contextmanager
def reading_archive(path: Path) -> Iterator[None]:
    """Turn the kernel's refusals while reading an archive into SourceUnavailable."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceUnavailable(
            f"there is no archive at {path}", hint="See what there is: eider list"
        ) from error
    except OSError as error:
        raise SourceUnavailable(
            f"cannot read the archive {path}: {error.strerror or error}",
            hint="Check its permissions (ls -l) and the disk (dmesg | tail).",
        ) from error


def open_regular(path: Path) -> int:
    """Open a file for reading and return its descriptor; never wait for a pipe or a device.

    Raise SourceUnavailable when it is no regular file, OSError when it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SourceUnavailable(f"{path} is not a file", hint="Name a regular file.")
    return descriptor


def read_regular(path: Path, *, most: int) -> bytes:
    """Return the bytes of a small file.

    Raise SourceUnavailable, OSError, or ValueError when it has more than `most`.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path} has more than {most} bytes")
    return data


def private_folder(path: Path) -> Path:
    """Make `path`, with mode 0700, if it is not there. Raise StoreUnavailable, NoSpace."""
    ensure_not_led_astray(path)
    with writing_to(path):
        path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    return path


def ensure_not_led_astray(folder: Path) -> None:
    """Raise StoreUnavailable when `folder` is a link that neither root nor this user made.

    What is removed or written in it would be removed or written where somebody else wants it.
    """
    with contextlib.suppress(FileNotFoundError):
        found = folder.lstat()
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in {0, os.geteuid()}:
            raise StoreUnavailable(
                f"{folder} is a link that somebody else made",
                hint=f"Look where it leads (ls -l {folder}), and remove it.",
            )


def sync_folder(path: Path) -> None:
    """Make renames and removals in `path` survive a power cut."""
    with _folder_open(path) as descriptor:
        os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Make what was written to `path` survive a power cut."""
    with writing_to(path.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_new(path: Path, data: bytes) -> None:
    """Write and sync a private file. The folder is not synced: the caller renames next."""
    path.unlink(missing_ok=True)  # of a run that died; or a link, which would lead elsewhere
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path`: whoever reads it, whenever the power goes, finds the old or the new."""
    aside = path.with_name(f".{path.name}.new")
    write_new(aside, data)
    aside.replace(path)
    sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, without an instant in which there is none."""
    aside = link.with_name(f".{link.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)
    sync_folder(link.parent)


def remove_tree(path: Path) -> None:
    """Remove what stands in a folder of eiderd's own. Nothing there is no error."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write there, in bytes."""
    with writing_to(folder):
        return shutil.disk_usage(folder).free


def _at_once() -> bool:
    return False


@contextlib.contextmanager
def locked(
    *folders: Path, hint: str, go_on_waiting: Callable[[], bool] = _at_once
) -> Iterator[None]:
    """Hold the kernel's lock on each of `folders`. It dies with the process: nothing to clean up.

    Raise Busy when another process holds one and `go_on_waiting`, asked again and again, says no.
    """
    with contextlib.ExitStack() as stack:
        for folder in folders:
            with writing_to(folder):
                descriptor = stack.enter_context(_folder_open(folder))
            while not _is_taken(descriptor):
                if not go_on_waiting():
                    raise Busy(f"another eider is at work in {folder}", hint=hint)
                time.sleep(_SECONDS_BETWEEN_TRIES)
        yield


_SECONDS_BETWEEN_TRIES = 0.2


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def kept_mounted(folder: Path) -> Iterator[None]:
    """Hold a folder open: the disk on which it stands is busy, and nobody unmounts it by chance."""
    with contextlib.ExitStack() as stack:
        with reading_own(folder):
            stack.enter_context(_folder_open(folder))
        yield


@contextlib.contextmanager
def alone(path: Path, *, hint: str) -> Iterator[None]:
    """Be the only process that holds `path`, a file of nothing else. Raise Busy when one does."""
    with writing_to(path.parent):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        if not _is_taken(descriptor):
            raise Busy(f"another process holds {path}", hint=hint)
        yield
    finally:
        os.close(descriptor)


SCRATCH = "run-"  # how the names of scratch folders begin


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Yield a new private folder below `parent` and remove it afterwards.

    What a run that was killed left there is removed too: a folder of such a name whose lock nobody
    holds. What else stands there is somebody's.
    """
    private_folder(parent)
    with _folder_open(parent) as guard, writing_to(parent):
        # Nobody may sweep between the making of a folder and the locking of it.
        fcntl.flock(guard, fcntl.LOCK_EX)
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=SCRATCH))
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        remove_tree(folder)  # under its lock: a sweeper must not come between
        os.close(held)


@contextlib.contextmanager
def _folder_open(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{SCRATCH}*"):
        if folder.is_symlink() or not folder.is_dir():
            continue
        with contextlib.suppress(BlockingIOError), _folder_open(folder) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else another run is in it
            remove_tree(folder)


_TRIES = 5


class _Gone(SourceUnavailable):
    """What was to be copied is not there any more."""


@contextlib.contextmanager
def copied_aside(
    paths: Iterable[Path], *, named: Collection[Path], folder: Path
) -> Iterator[list[tuple[Path, Path]]]:
    """Copy files that others may be writing; yield (path, steady copy) of each.

    One that goes meanwhile is left out, unless it is one of the `named`. Raise SourceUnavailable
    when such a one has gone, or one will not hold still.
    """
    copies = []
    try:
        for number, path in enumerate(paths):
            private_folder(folder)
            try:
                copies.append((path, _steady_copy(path, folder / str(number))))
            except _Gone:
                if path in named:
                    raise
        yield copies
    finally:
        remove_tree(folder)


def _steady_copy(path: Path, copy: Path) -> Path:
    for _try in range(_TRIES):
        with writing_to(copy.parent), _reading_extra(path):
            before = path.stat()
            shutil.copyfile(path, copy)
            after = path.stat()
        if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
            return copy
    raise SourceUnavailable(
        f"{path} changes faster than it can be copied",
        hint="Take it out of backup.include, or include a dump of it instead.",
    )
