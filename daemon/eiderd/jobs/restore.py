"""Put a database back: prove it, stop the application, exchange the files, look whether it is well.

Nothing live is touched before the new files are proven and stand beside the live ones. The exchange
itself, and what becomes of the application around it, is `around`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eiderd import proof
from eiderd.errors import VerificationFailed
from eiderd.maintenance.around import Around, conclude, resume, run
from eiderd.maintenance.around import Exchanged as Restored

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable
    from pathlib import Path

    from eiderd.evidence import Checked, Opened
    from eiderd.model import Proof

__all__ = ["Around", "Restored", "conclude", "resume", "run", "stage"]


def stage(
    *,
    now: Callable[[], datetime.datetime],
    check: Callable[[], Checked],
    unpack: Callable[[Checked], Path],
    open_: Callable[[Path], Opened],
    expected_rows: int,
) -> tuple[Path, Proof]:
    """Unpack an archive to where it can be exchanged from, proven: every row of it was read.

    One that is encrypted is proven as far as that goes without its key.
    """
    checked = check()
    _refuse(proof.judge(checked=checked, opened=None, at=now()), encrypted=checked.encrypted)
    database = unpack(checked)
    opened = None if checked.encrypted else open_(database)
    verdict = proof.judge(checked=checked, opened=opened, at=now())
    _refuse(verdict, encrypted=checked.encrypted)
    if opened and expected_rows and opened.rows != expected_rows:
        raise VerificationFailed(
            f"{opened.rows:,} rows came back, and its proof says {expected_rows:,}; nothing was "
            "changed",
            hint="Prove the archive again: eider verify",
        )
    return database, verdict


def _refuse(verdict: Proof, *, encrypted: bool) -> None:
    if verdict.failure and not encrypted:
        said, hint = proof.explain_archive(verdict)
        raise VerificationFailed(f"it cannot be proven, so nothing was changed: {said}", hint=hint)
