"""What setup let the service's user read, noted so that all of it can be taken back. No world.

The file is root's own, in a folder that eiderd cannot write: nobody else decides what is taken
back. Each line has what was given, a blank, and the path: `entry` for the path alone, `inherited`
when what is made in it gets the same, or the words with which setup began a default there. The
scripts of the packages read it too, when eider itself is gone: the form is theirs as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eiderd.setup.plan import USER, Grant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PLACE: Final = "/etc/eiderd/granted"
_HEAD: Final = (
    f"# What `eider setup` lets the user {USER} read. `eider setup --remove`, and purging the\n"
    "# package, go by this when they take it back.\n"
)
_ENTRY, _INHERITED, _DEFAULT = "entry", "inherited", "d:u::"


def text_of(grants: Iterable[Grant]) -> str:
    """Return the file for these grants, each path once, as what was ever given there."""
    most: dict[str, Grant] = {}
    for one in grants:
        before = most.get(one.path)
        if before is None or _extent(one) > _extent(before):
            most[one.path] = one
    lines = (f"{_kind(one)} {path}\n" for path, one in sorted(most.items()))
    return _HEAD + "".join(lines)


def added(text: str | None, grant: Grant) -> str:
    """Return the file with one grant more. The path has to be one line: the plan sees to it."""
    return text_of((*grants_in(text), grant))


def grants_in(text: str | None) -> Iterator[Grant]:
    """Return what was given. What cannot be understood is left out."""
    for line in (text or "").split("\n"):
        kind, _, path = line.partition(" ")
        if path.startswith("/") and (kind in (_ENTRY, _INHERITED) or kind.startswith(_DEFAULT)):
            yield Grant(
                what=f"let {USER} read {path}",
                why="setup gave it",
                path=path,
                rights="rx",
                inherited="" if kind == _ENTRY else "rx",
                base=kind if kind.startswith(_DEFAULT) else "",
            )


def _kind(grant: Grant) -> str:
    return grant.base or (_INHERITED if grant.inherited else _ENTRY)


def _extent(grant: Grant) -> tuple[bool, bool]:
    return bool(grant.inherited), bool(grant.base)
