"""How maintenance has archives and databases read: what it asks of the kit. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from eiderd.evidence import Checked, Member, Opened


class Check(Protocol):
    """Read an archive once, writing nothing but the members that are `wanted`, to `into`."""

    def __call__(
        self,
        *,
        archive: Path,
        sha256: str | None,
        members: tuple[Member, ...] | None,
        id_: str | None,
        beside: Mapping[str, Any] | None = None,
        into: Path | None = None,
        wanted: Mapping[str, int] | None = None,
    ) -> Checked: ...


class OpenAndRead(Protocol):
    """Let the application's engine read all of a database."""

    def __call__(self, database: Path, *, scratch: Path) -> Opened: ...
