"""Where the matrix of compatible versions is read from: the one that ships, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from eiderd import resources
from eiderd.schema import compatibility
from eiderd.sections.section import usable

if TYPE_CHECKING:
    from eiderd.schema.compatibility import Matrix

SHIPPED: Final = "cartographus"
_LARGEST: Final = 1_000_000


def named(name: str) -> Matrix:
    """Return the matrix of that name, or at that path. Raise ValueError, in a person's words."""
    path = resources.compatibility() if name == SHIPPED else usable(Path(name))
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise ValueError(f"{path} is too large")
    try:
        return compatibility.read(data.decode())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def checked(name: str) -> str:
    """Return a name that names one."""
    named(name)
    return name
