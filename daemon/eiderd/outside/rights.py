"""What this process may not see, and what would let it: what it may not see is not known to be so.

Of what is eiderd's own, a person without the right is told whose it is. Nobody may conclude from it
that there is no backup.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
import stat
from typing import TYPE_CHECKING, Final

from eiderd.errors import NotPermitted, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

USER: Final = "eiderd"  # of the service, where a package or `eider setup` made it
_MAY_LOOK: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def me() -> str:
    """Return the name of the user that this process runs as."""
    return user_name(os.geteuid())


def is_stranger(state: Path) -> bool:
    """Say whether this is neither root nor the user whose the state folder is."""
    if os.geteuid() == 0 or me() == USER:
        return False
    try:
        return state.stat().st_uid != os.geteuid()
    except PermissionError:
        return True
    except OSError:  # not made yet
        return False


def ensure_visible(folders: Sequence[Path], *, state: Path, verb: str) -> None:
    """Raise NotPermitted when this process may not look into one of them. One may be missing.

    `verb` is what was typed, for whoever has to type it with other rights.
    """
    for folder in folders:
        try:
            os.close(os.open(folder, _MAY_LOOK))
        except PermissionError as error:
            refused = _refused(folder, opening=_KEPT)
            raise (with_sudo(refused, verb) if is_stranger(state) else refused) from error
        except OSError:
            continue  # whoever uses it says what is wrong with it


def shut(path: Path) -> Path | None:
    """Return the first folder on the way to a file that this process may not enter, if any."""
    for folder in reversed(path.absolute().parents):
        if not os.access(folder, os.X_OK, effective_ids=True):
            return folder
    return None


def unknown(path: Path, *, shut: Path) -> SourceUnavailable:
    """Return the error of a file of the application's when `shut`, on the way to it, is."""
    letters = "rx" if shut == path.parent else "x"
    return SourceUnavailable(
        f"{me()} may not enter {shut}, so that nothing is known of {path}",
        hint=f"Let it: setfacl -m u:{me()}:{letters} {shlex.quote(str(shut))}; or: eider setup",
    )


def unreadable(configuration: Path) -> NotPermitted:
    """Return the error of a configuration that this process may not read."""
    return _refused(configuration, opening=_CONFIGURATION)


def with_sudo(refused: NotPermitted, verb: str) -> NotPermitted:
    """Return the same for a person, whose own rights are not to be widened."""
    return NotPermitted(refused.message, hint=f"Run: sudo {verb}")


_KEPT: Final = "chown {user} {path}"
_CONFIGURATION: Final = "chgrp {user} {path} && chmod g+r {path}"  # which its rewriting keeps
_PASSED: Final = "setfacl -m u:{user}:x {path}"
_OWN: Final = "chmod u+rwX {path}"


def _refused(path: Path, *, opening: str) -> NotPermitted:
    closed = shut(path)
    opening = _PASSED if closed else opening
    closed = closed or path.absolute()
    readers = ["root"]
    with contextlib.suppress(OSError):
        seen = closed.stat()
        if seen.st_mode & (stat.S_IRGRP | stat.S_IXGRP):
            readers.insert(0, f"the group {group_name(seen.st_gid)}")
        if seen.st_uid != 0:
            readers.insert(0, user_name(seen.st_uid))
        opening = _OWN if seen.st_uid == os.geteuid() else opening
    who = " and ".join(readers) if len(readers) < 3 else f"{readers[0]}, {readers[1]} and root"  # noqa: PLR2004
    return NotPermitted(
        f"only {who} may read {closed}",
        hint=f"Let {me()}: {opening.format(user=me(), path=shlex.quote(str(closed)))}",
    )


def user_name(number: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)


def group_name(number: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)
