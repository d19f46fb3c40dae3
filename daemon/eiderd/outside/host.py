"""This machine as setup sees and changes it, or an image of one below `root`.

Paths are those of the machine; `root` stands before each. Nothing is followed out of it but by
links that whoever owns the image put there.
"""

from __future__ import annotations

import contextlib
import grp
import os
import posixpath
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from eiderd.errors import ApplicationFailed, ConfigError, SourceUnavailable
from eiderd.outside import files, kernel, resolver, sandbox
from eiderd.outside.application import ask
from eiderd.outside.duckdb_file import MAGIC, WAL_SUFFIXES
from eiderd.setup.evidence import Data, Disk, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Judged = TypeVar("Judged")

_LARGEST: Final = 1_000_000
_SECONDS: Final = 60.0
_TRIES: Final = 5
_BATCH: Final = 500  # files that are named to one command
# As systemd looks for units; the first that has one wins.
_UNIT_FOLDERS: Final = (
    "/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system",
)  # fmt: skip
# Where a person would put backups: not a network, which may hang, nor what goes with a reboot.
_DISKS: Final = (
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "zfs",
    "f2fs",
    "bcachefs",
    "jfs",
    "reiserfs",
)
_NOT_FOR_DATA: Final = ("/boot", "/efi", "/proc", "/sys", "/dev", "/run", "/snap", "/usr", "/etc")


class Host:
    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    @property
    def is_this_machine(self) -> bool:
        return self._root == Path("/")

    @property
    def is_root(self) -> bool:
        return os.geteuid() == 0

    @property
    def runs_systemd(self) -> bool:
        return self.is_this_machine and Path("/run/systemd/system").is_dir()

    def at(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    # Looking ------------------------------------------------------------------------------------

    def text(self, path: str) -> str | None:
        """Return the text of a small file; None when there is none.

        Raise SourceUnavailable when it may not be read, or is no text.
        """
        try:
            return files.read_regular(self.at(path), most=_LARGEST).decode()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SourceUnavailable(
                f"cannot read {path}: {error.strerror}", hint="Run this as root: sudo eider setup"
            ) from error
        except ValueError as error:
            raise SourceUnavailable(f"{path} is no text", hint=f"Look: file {path}") from error

    def is_file(self, path: str) -> bool:
        with contextlib.suppress(OSError):
            return self.at(path).is_file()
        return False

    def exists(self, path: str) -> bool:
        with contextlib.suppress(OSError):
            return self.at(path).exists()
        return False

    def is_link(self, path: str) -> bool:
        return self.at(path).is_symlink()

    def files(self, patterns: Iterable[str]) -> list[str]:
        """Return the files that there are; a star stands for any one name."""
        found = []
        for pattern in patterns:
            with contextlib.suppress(OSError):
                found += [
                    f"/{path.relative_to(self._root)}"
                    for path in sorted(self._root.glob(pattern.lstrip("/")))
                    if path.is_file()
                ]
        return found

    def units(self) -> set[str]:
        patterns = (f"{folder}/*.service" for folder in _UNIT_FOLDERS)
        return {posixpath.basename(path) for path in self.files(patterns)}

    def unit_texts(self, name: str) -> dict[str, str]:
        """Return the file of a unit and its drop-ins, in systemd's order, by path."""
        if posixpath.basename(name) != name:
            raise ConfigError(f"{name!r} is no unit", hint="As in: --unit app.service")
        places = self.files(f"{folder}/{_escaped(name)}" for folder in _UNIT_FOLDERS)
        if not places:
            return {}
        found = {places[0]: self.text(places[0]) or ""}
        drop_ins: dict[str, str] = {}
        for path in self.files(f"{folder}/{_escaped(name)}.d/*.conf" for folder in _UNIT_FOLDERS):
            drop_ins.setdefault(posixpath.basename(path), path)
        for _name, path in sorted(drop_ins.items()):
            found[path] = self.text(path) or ""
        return found

    def has(self, command: str) -> bool:
        return shutil.which(command) is not None

    def user(self, name: str) -> tuple[int, int] | None:
        """Return the numbers of a user and its group; None when there is none."""
        for line in (self.text("/etc/passwd") or "").splitlines():
            fields = line.split(":")
            if fields[0] == name and len(fields) > 3:  # noqa: PLR2004
                return int(fields[2]), int(fields[3])
        return None

    def has_group(self, name: str) -> bool:
        lines = (self.text("/etc/group") or "").splitlines()
        return any(line.partition(":")[0] == name for line in lines)

    def is_active(self, unit: str) -> bool:
        if not self.runs_systemd:
            return False
        with contextlib.suppress(ApplicationFailed):
            return not ask.run(("systemctl", "--quiet", "is-active", unit), seconds=_SECONDS).code
        return False

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a name; none when it cannot be looked up, as in an image."""
        return sandbox.addresses(host, literally=not self.is_this_machine)

    def nameservers(self) -> tuple[str, ...]:
        return resolver.nameservers(self.text("/etc/resolv.conf") or "")

    def data(self, path: str) -> Data:
        """Return what there is to get through to read a database. Raise SourceUnavailable."""
        real = self.real(path)
        with files.reading_from(self.at(path)):
            if not self.at(real).exists():
                raise SourceUnavailable(
                    f"there is no database at {path} yet",
                    hint="Start the application once, so that it makes it, or name another: eider "
                    "setup --database FILE",
                )
            seen = self.at(real).stat()
            if not stat.S_ISREG(seen.st_mode):
                raise SourceUnavailable(f"{path} is not a file", hint="Name the database's file.")
            if _head(self.at(real))[8:] != MAGIC:
                raise SourceUnavailable(
                    f"{path} is no DuckDB database", hint="Name the right one with --database."
                )
            folder = posixpath.dirname(real)
            above = [folder]
            while above[-1] != "/":
                above.append(posixpath.dirname(above[-1]))
            return Data(
                path=real,
                bytes=seen.st_size,
                device=seen.st_dev,
                above=tuple(self.standing(one) for one in reversed(above[1:])),
                folder=self.standing(folder),
                files=(self.standing(real), *self._logs(real)),
            )

    def _logs(self, database: str) -> Iterator[Standing]:
        for end in WAL_SUFFIXES:
            with contextlib.suppress(FileNotFoundError):  # a checkpoint removes it at any moment
                yield self.standing(database + end)

    def real(self, path: str) -> str:
        """Return where a path leads; of an image, the links stay as they are."""
        return os.path.realpath(path) if self.is_this_machine else posixpath.normpath(path)

    def standing(self, path: str) -> Standing:
        seen = self.at(path).stat()
        try:
            group = grp.getgrgid(seen.st_gid).gr_name
        except KeyError:
            group = str(seen.st_gid)
        return Standing(
            path=path,
            is_folder=stat.S_ISDIR(seen.st_mode),
            mode=stat.S_IMODE(seen.st_mode),
            group=group,
            group_id=seen.st_gid,
        )

    def disks(self) -> tuple[Disk, ...]:
        """Return the local filesystems on which backups could stand."""
        found: dict[int, Disk] = {}
        mounts: list[str] = []
        with contextlib.suppress(OSError):  # it is not mounted: then nothing is known
            mounts = kernel.text(self.at("/proc/mounts")).splitlines()
        for line in mounts:
            fields = line.split()
            if len(fields) < 4 or fields[2] not in _DISKS:  # noqa: PLR2004
                continue
            mount = kernel.plain(fields[1])
            if any(mount == one or mount.startswith(f"{one}/") for one in _NOT_FOR_DATA):
                continue
            with contextlib.suppress(OSError):
                if not self.at(mount).is_dir():
                    continue  # a file that is mounted, as containers do
                room = os.statvfs(self.at(mount))
                found.setdefault(
                    self.at(mount).stat().st_dev,
                    Disk(
                        mount=mount,
                        device=self.at(mount).stat().st_dev,
                        free_bytes=room.f_bavail * room.f_frsize,
                        writable="rw" in fields[3].split(","),
                    ),
                )
        return tuple(found.values())

    def device_of(self, path: str) -> int:
        """Return the disk on which a path stands, or will when it is made."""
        while not os.path.lexists(self.at(path)) and path != "/":
            path = posixpath.dirname(path)
        return self.at(path).stat().st_dev

    def access_list(self, path: str) -> str:
        """Return what getfacl says. Raise SourceUnavailable."""
        with self._held(path) as held:
            return self.run("getfacl", "-c", "-p", "-n", "-E", "--", held)

    @contextlib.contextmanager
    def _held(self, path: str) -> Iterator[str]:
        """Yield a name for this very file, which no link can take the place of meanwhile.

        The folder may be another user's, who might put a link to something secret there.
        """
        with files.reading_from(self.at(path)):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self.at(path), flags)
        try:
            yield f"/proc/{os.getpid()}/fd/{descriptor}"
        finally:
            os.close(descriptor)

    # Changing -----------------------------------------------------------------------------------

    def run(self, *words: str) -> str:
        """Run a command to its end and return what it said. Raise SourceUnavailable."""
        ran = ask.run(words, seconds=_SECONDS)
        if ran.code:
            raise SourceUnavailable(
                f"{' '.join(words[:2])} failed: {ran.complaint}", hint=f"Try: {' '.join(words)}"
            )
        return ran.out

    def heard_as(
        self, user: tuple[int, int] | None, words: Sequence[str], *, groups: Sequence[str]
    ) -> tuple[int, str]:
        """Run a command as a user (None: as oneself) and return how it ended, and what it said."""
        before: list[str] = []
        if user:
            numbers = {user[1], *map(_group_number, groups)}
            before = ["setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--no-new-privs"]
            before += [f"--groups={','.join(map(str, sorted(numbers)))}", "--"]
        ran = ask.run([*before, *words], seconds=_SECONDS)
        return ran.code, ran.out

    def trying(self, text: str, judge: Callable[[Path], Judged]) -> Judged:
        """Let somebody judge a file with this text before it is anywhere else."""
        with tempfile.TemporaryDirectory(prefix="eider-setup-") as folder:
            path = Path(folder, "eiderd.toml")
            path.write_text(text)
            return judge(path)

    def change_access(self, path: str, *words: str) -> None:
        """Run setfacl on this very file. Raise SourceUnavailable, also where there are no lists."""
        with self._held(path) as held:
            ran = ask.run(("setfacl", *words, "--", held), seconds=_SECONDS)
        if ran.code:
            raise SourceUnavailable(
                f"setfacl failed for {path}: {ran.complaint.replace(held, path)}",
                hint="If that filesystem has no access lists: eider setup --access group",
            )

    def change_access_below(self, path: str, *words: str) -> None:
        """Run setfacl on all that is in this very folder, and below. Raise SourceUnavailable."""
        command, complaint = ("setfacl", "-R", "-P", *words, "--"), ""
        with self._held(path) as held:
            for _time in range(_TRIES):  # a checkpoint removes a WAL at any moment
                names = [str(inner) for inner in Path(held).iterdir()]
                batches = (names[begin : begin + _BATCH] for begin in range(0, len(names), _BATCH))
                every = [ask.run((*command, *batch), seconds=_SECONDS) for batch in batches]
                failed = [ran for ran in every if ran.code]
                if not failed:
                    return
                complaint = failed[0].complaint.replace(held, path)
        raise SourceUnavailable(
            f"setfacl failed below {path}: {complaint}",
            hint="Run the same command again.",
        )

    def write(self, path: str, text: str, *, aside: str | None = None) -> None:
        """Put a file there, whole or not at all; what was there stays as `aside`, if that is said.

        Who owns the old one and what may be done with it stays; a new one everybody may read.
        """
        target = self.at(path)
        with files.writing_to(target.parent):
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            old = target.stat() if target.exists() else None
            if old and aside and not self.at(aside).exists():
                files.write_new(self.at(aside), target.read_bytes())
            new = target.with_name(f".{target.name}.new")
            files.write_new(new, text.encode())
            new.chmod(stat.S_IMODE(old.st_mode) if old else 0o644)
            if old and self.is_root:
                os.chown(new, old.st_uid, old.st_gid)
            new.replace(target)
            files.sync_folder(target.parent)

    def remove(self, path: str) -> None:
        """Remove a file, and its folder if that is a drop-in's and now empty."""
        target = self.at(path)
        with files.writing_to(target.parent):
            target.unlink(missing_ok=True)
            files.sync_folder(target.parent)
            if target.parent.name.endswith(".d") and target.parent.name.count(".") > 1:
                with contextlib.suppress(OSError):
                    target.parent.rmdir()

    def make_private_folder(self, path: str, *, owner: tuple[int, int] | None) -> None:
        """Make a folder that only eiderd may enter. What is there already keeps what it has."""
        target = self.at(path)
        with files.writing_to(target):
            if target.is_dir():
                return
            target.mkdir(mode=files.PRIVATE_FOLDER, parents=True)
            if owner and self.is_root:
                os.chown(target, *owner)
            files.sync_folder(target.parent)


def _head(path: Path) -> bytes:
    with os.fdopen(files.open_regular(path), "rb") as file:
        return file.read(12)


def _group_number(name: str) -> int:
    """Raise SourceUnavailable when there is no such group."""
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise SourceUnavailable(
            f"there is no group {name}", hint=f"See: getent group {name}"
        ) from error


def _escaped(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)
